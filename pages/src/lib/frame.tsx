/** What is around every page: the way to the others, who is logged in, and what must be said to everybody. */

import { render, type ComponentChildren } from "preact";

import "./theme.css";
import { useOnline, useSession } from "./hooks.ts";
import { session, type Session } from "./session.ts";
import { SignIn } from "./sign-in.tsx";
import { Button, Notice, Toasts, toast } from "./ui.tsx";

export type PageName = "chat" | "admin" | "docs";

// Relative to the base of the page, as every address here. An address of a fragment alone would be one of the base, too.
const LINKS: { name: PageName; href: string; text: string }[] = [
  { name: "chat", href: "./", text: "Chat" },
  { name: "admin", href: "admin", text: "Admin" },
  { name: "docs", href: "docs", text: "API" },
];

function logOut(who: Session): void {
  session.leave(who).catch(() => toast("You are logged out here. The server could not be told; the session ends there by itself."));
}

function skip(event: MouseEvent): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

type FrameProps = {
  page: PageName;
  current: Session | null;
  /** More of the head of the page, such as a balance. */
  extra?: ComponentChildren;
  /** Whether the way to the page for staff is shown. */
  isStaff?: boolean;
  children: ComponentChildren;
};

export function Frame({ page, current, extra, isStaff = false, children }: FrameProps) {
  const online = useOnline();
  const shown = LINKS.filter((link) => link.name === page || link.name !== "admin" || isStaff);
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <header class="head">
        <nav aria-label="Pages">
          {shown.map((link) => (
            <a key={link.name} href={link.href} aria-current={link.name === page ? "page" : undefined}>
              {link.text}
            </a>
          ))}
        </nav>
        {extra}
        {current && (
          <div class="account">
            <bdi class="name">{current.username}</bdi>
            <Button kind="quiet" onClick={() => logOut(current)}>
              Log out
            </Button>
          </div>
        )}
      </header>
      {!online && <Notice kind="problem">You are offline. What you type stays here.</Notice>}
      {children}
      <Toasts />
    </>
  );
}

/** A page for who is logged in; everybody else is asked to. */
export function Gate({ page, children }: { page: PageName; children: (current: Session) => ComponentChildren }) {
  const { current, reason } = useSession();
  if (current) return <>{children(current)}</>;
  return (
    <Frame page={page} current={null}>
      <SignIn reason={reason} />
    </Frame>
  );
}

/** Puts a page where the document has room for it. */
export function show(page: ComponentChildren): void {
  const root = document.getElementById("app");
  if (root) render(page, root);
}
