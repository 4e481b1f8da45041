/** One user's account: what is in it, what can be changed about it, and what has happened to it. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

import { ApiError } from "../lib/api.ts";
import { session } from "../lib/session.ts";
import { Button, Problem, toast } from "../lib/ui.tsx";
import { useAnswer, useConsole } from "./answer.ts";
import { ActiveBadge, RoleBadge } from "./badges.tsx";
import { admin, type UserData } from "./calls.ts";
import { ChangeDialog, type Change } from "./change.tsx";
import { Name, Time, Zone, number, tokens } from "./format.tsx";
import { mixedScripts } from "./names.ts";
import { href, PARTS, type Part } from "./route.ts";
import { say } from "./say.ts";
import { unsettled } from "./unsettled.ts";
import { UserChats } from "./user-chats.tsx";
import { UserLedger } from "./user-ledger.tsx";
import { UserSessions } from "./user-sessions.tsx";

export const PART_NAMES: Record<Part, string> = { ledger: "Ledger", chats: "Chats", sessions: "Sessions and holds" };

function Facts({ user }: { user: UserData }) {
  const facts: [string, ComponentChildren][] = [
    ["Balance", tokens(user.token_balance)],
    ["Held", user.held_tokens > 0 ? `${tokens(user.held_tokens)} in ${number(user.holds.length)} ${user.holds.length === 1 ? "hold" : "holds"}` : "nothing"],
    ["Grant at sign-up", tokens(user.signup_grant)],
    ["E-mail", user.email === null ? <span class="none">none</span> : <bdi dir="auto">{user.email}</bdi>],
    ["Joined", <Time time={user.date_joined} />],
    ["Sessions", number(user.sessions.length)],
    ["Id", <code>{user.id}</code>],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function LookAlike({ name }: { name: string }) {
  const scripts = mixedScripts(name);
  if (scripts.length === 0) return null;
  return (
    <p class="notice">
      This name mixes letters of several scripts ({scripts.join(", ")}). It may be meant to look like another one.
    </p>
  );
}

/** The buttons of what this one may change; the reason where that is not all. */
function Actions({ user, onChange }: { user: UserData; onChange: (change: Change) => void }) {
  const { me, canChange } = useConsole();
  if (!canChange) return <p class="hint">Only admins can change accounts.</p>;
  const isSelf = me.id === user.id;
  return (
    <>
      <div class="actions">
        <Button onClick={() => onChange("tokens")}>Adjust tokens</Button>
        {!isSelf && <Button onClick={() => onChange("role")}>Change role</Button>}
        {!isSelf && (
          <Button kind={user.active ? "danger" : "plain"} onClick={() => onChange("active")}>
            {user.active ? "Deactivate" : "Activate"}
          </Button>
        )}
      </div>
      {isSelf && <p class="hint">This is you. Your role, and whether you are active, only another admin can change.</p>}
    </>
  );
}

export function User({ username, part, cursors }: { username: string; part: Part; cursors: string[] }) {
  const { data: user, error, busy, reload } = useAnswer(username, (signal) => admin.user(username, signal));
  const { me, recheck } = useConsole();
  const [change, setChange] = useState<Change | null>(null);
  const [outcome, setOutcome] = useState<ComponentChildren>(null);
  // What has changed may be in the lists below, too.
  const [round, setRound] = useState(0);
  const isMissing = error instanceof ApiError && error.code === "user_not_found";

  const refresh = () => {
    reload();
    setRound((before) => before + 1);
  };
  const begin = (next: Change) => {
    setOutcome(null);
    setChange(next);
    // What the dialog says will happen is reckoned from what is now.
    reload();
  };
  const isLeft = useRef(false);
  useEffect(() => () => void (isLeft.current = true), []);
  const end = (told?: ComponentChildren) => {
    if (isLeft.current) {
      // It is told wherever the admin is by now, but nobody else.
      if (told !== undefined && session.still(me)) toast(told);
      return;
    }
    if (told !== undefined) setOutcome(told);
    refresh();
    // What was refused may have been so for another role.
    recheck();
  };

  return (
    <>
      <p class="back">
        <a href={href({ name: "users", prefix: "", active: "" })}>All users</a>
      </p>
      <h1 tabIndex={-1}>
        <Name name={user?.username ?? username} />
      </h1>
      {isMissing ? <p>There is no user of this name. The account may have been deleted.</p> : <Problem error={error} onRetry={reload} say={say} />}
      {!user && busy && <p class="waiting">Loading the account …</p>}
      {user && !isMissing && (
        <>
          <p class="badges">
            <RoleBadge role={user.role} /> <ActiveBadge active={user.active} />
          </p>
          <LookAlike name={user.username} />
          <Facts user={user} />
          <Actions user={user} onChange={begin} />
          {change === null && unsettled(me.username, user.username) && (
            <p class="notice">
              An adjustment was sent, and it is not known whether it was made. “Adjust tokens” sends the very same again, which is not done twice.
            </p>
          )}
          {/* Where the eyes are, and the focus. */}
          <div role="status">{outcome && <p class="notice success">{outcome}</p>}</div>
          <ChangeDialog change={change} user={user} onClose={() => setChange(null)} onOutcome={end} />
          <nav class="parts" aria-label="Parts of the account">
            {PARTS.map((one) => (
              <a key={one} href={href({ name: "user", username, part: one })} aria-current={one === part ? "page" : undefined}>
                {PART_NAMES[one]}
              </a>
            ))}
          </nav>
          <section aria-labelledby="part">
            <h2 id="part" tabIndex={-1}>
              {PART_NAMES[part]}
            </h2>
            {part === "ledger" && <UserLedger key={round} username={username} cursors={cursors} />}
            {part === "chats" && <UserChats key={round} username={username} cursors={cursors} />}
            {part === "sessions" && <UserSessions user={user} />}
          </section>
          <Zone />
        </>
      )}
    </>
  );
}
