/** The page for staff and admins: who is on it, and which view. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import "./admin.css";
import { api, type Profile } from "../lib/api.ts";
import { Frame, Gate, show } from "../lib/frame.tsx";
import { useTask } from "../lib/hooks.ts";
import type { Session } from "../lib/session.ts";
import { Problem } from "../lib/ui.tsx";
import { ConsoleContext } from "./answer.ts";
import { Audit } from "./audit.tsx";
import { Name, isolated } from "./format.tsx";
import { href, usePlace, type View } from "./route.ts";
import { say } from "./say.ts";
import { Today } from "./today.tsx";
import { PART_NAMES, User } from "./user.tsx";
import { Users } from "./users.tsx";

const SECTIONS: { view: View; text: string }[] = [
  { view: { name: "today" }, text: "Today" },
  { view: { name: "users", prefix: "", active: "" }, text: "Users" },
  { view: { name: "audit" }, text: "Audit trail" },
];

function title(view: View): string {
  switch (view.name) {
    case "user":
      return `${isolated(view.username)} · ${PART_NAMES[view.part]}`;
    case "unknown":
      return "Not found";
    default:
      return SECTIONS.find((section) => section.view.name === view.name)?.text ?? "";
  }
}

function Shown({ view, cursors }: { view: View; cursors: string[] }) {
  switch (view.name) {
    case "today":
      return <Today />;
    case "users":
      return <Users prefix={view.prefix} active={view.active} cursors={cursors} />;
    case "user":
      return <User key={view.username} username={view.username} part={view.part} cursors={cursors} />;
    case "audit":
      return <Audit cursors={cursors} />;
    case "unknown":
      return (
        <>
          <h1 tabIndex={-1}>Not found</h1>
          <p>There is no such view.</p>
        </>
      );
  }
}

/** The title of the page, and the focus, go with the view: to its heading, or to that of the part of an account. */
function useArrival(view: View): void {
  const whole = view.name === "user" ? `user/${view.username}` : view.name;
  const part = view.name === "user" ? view.part : "";
  const before = useRef<string | null>(null);
  useEffect(() => {
    document.title = `${title(view)} · Administration · AI Chat System`;
    const isFirst = before.current === null;
    const isWhole = before.current !== whole;
    before.current = whole;
    if (isFirst) return;
    document.querySelector<HTMLElement>(isWhole ? "main h1" : "#part")?.focus();
    if (isWhole) window.scrollTo(0, 0);
  }, [whole, part]);
}

function Console({ me, recheck }: { me: Profile; recheck: () => void }) {
  const { view, cursors } = usePlace();
  useArrival(view);
  const section = view.name === "user" ? "users" : view.name;
  return (
    <ConsoleContext.Provider value={{ me, canChange: me.role === "admin", recheck }}>
      <nav class="sections" aria-label="Administration">
        {SECTIONS.map((one) => (
          <a key={one.text} href={href(one.view)} aria-current={one.view.name === section ? (view.name === "user" ? "true" : "page") : undefined}>
            {one.text}
          </a>
        ))}
      </nav>
      <main id="main" class="content console" tabIndex={-1}>
        <Shown view={view} cursors={cursors} />
      </main>
    </ConsoleContext.Provider>
  );
}

function NotStaff({ username }: { username: string }) {
  return (
    <main id="main" class="content" tabIndex={-1}>
      <h1>Administration</h1>
      <p>
        You are logged in as <Name name={username} />.
      </p>
      <p>This page is for staff and admins, and you are neither. An admin can give you the role.</p>
      <p>
        <a href="./">To the chat</a>
      </p>
    </main>
  );
}

function Admin({ current }: { current: Session }) {
  const [profile, setProfile] = useState<Profile | null>(null);
  const { busy, error, run } = useTask();
  const load = () => run(async () => setProfile(await api.profile()));
  useEffect(load, []);
  // Whoever that fails for has been told what failed before it.
  const recheck = useCallback(() => {
    api.profile().then(setProfile, () => undefined);
  }, []);
  const isStaff = profile !== null && profile.role !== "user";
  return (
    <Frame page="admin" current={current} isStaff={isStaff}>
      {isStaff ? (
        <Console me={profile} recheck={recheck} />
      ) : profile ? (
        <NotStaff username={current.username} />
      ) : (
        <main id="main" class="content" tabIndex={-1}>
          <h1>Administration</h1>
          {busy && <p class="waiting">Loading …</p>}
          <Problem error={error} onRetry={load} say={say} />
        </main>
      )}
    </Frame>
  );
}

show(<Gate page="admin">{(current) => <Admin key={current.username} current={current} />}</Gate>);
