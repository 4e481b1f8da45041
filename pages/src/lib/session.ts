/**
 * Who is logged in, in this browser: one session for all tabs, kept in localStorage. Refresh tokens are traded for the next ones, and each
 * is good for one trade, so of all tabs one trades at a time and the others take what it got.
 */

import { ApiError, api, type Login } from "./api.ts";
import { forgetDrafts } from "./drafts.ts";

export type Session = Login;

/** Why nobody is logged in any more; `undefined` for one who chose to leave or never came. */
export type Reason = string | undefined;

type Listener = (current: Session | null, reason: Reason) => void;

// Deployments at one host, under several paths, keep apart.
const below = typeof document === "undefined" ? "/" : new URL(document.baseURI).pathname;
export const KEY = `ai-chat-system:${below}:session`;
const ENDED = `ai-chat-system:${below}:ended`;

/** How the API refuses a refresh token: what is not such a token is `invalid` or `malformed`. */
const OVER = ["token_not_valid", "user_inactive", "invalid", "malformed"];

const listeners = new Set<Listener>();

function parse(text: string | null): Session | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    const wanted = ["username", "access", "refresh"] as const;
    const isOne = typeof value === "object" && value !== null && wanted.every((name) => typeof (value as Session)[name] === "string");
    return isOne ? (value as Session) : null;
  } catch {
    return null;
  }
}

function store(next: Session | null, reason?: Reason): void {
  if (reason === undefined) localStorage.removeItem(ENDED);
  else localStorage.setItem(ENDED, reason);
  if (next) localStorage.setItem(KEY, JSON.stringify(next));
  else localStorage.removeItem(KEY);
  tell();
}

/** Whom the page is shown for: who was logged in when it was told last. */
let shown: string | undefined;

function tell(): void {
  const current = session.current();
  shown = current?.username;
  for (const listener of listeners) listener(current, session.reason());
}

/** Runs one task at a time, of all tabs. A page that is not served securely has no locks, and is alone with its own tasks. */
let queue: Promise<unknown> = Promise.resolve();
function alone<T>(task: () => Promise<T>): Promise<T> {
  const locks: LockManager | undefined = navigator.locks;
  if (locks) return locks.request(KEY, task) as Promise<T>;
  const done = queue.then(task);
  queue = done.catch(() => undefined);
  return done;
}

export const session = {
  current: (): Session | null => parse(localStorage.getItem(KEY)),

  /**
   * The session that a call of this page may be made for: that of whom the page is shown for. If it is another one's by now the page is told
   * instead, and what is left of the other's view gets nothing.
   */
  own(): Session | null {
    const current = session.current();
    if (current?.username === shown) return current;
    tell();
    return null;
  },

  /** Why the last session ended, if it did not end by choice. */
  reason: (): Reason => localStorage.getItem(ENDED) ?? undefined,

  begin(login: Login): void {
    const { username, access, refresh } = login;
    store({ username, access, refresh });
  },

  /** Ends the session, if it is still the one that was refused: another tab may have begun the next. */
  end(reason: string, refused: Session): void {
    if (session.current()?.access === refused.access) store(null, reason);
  },

  /**
   * The session with an access token that is newer than the stale one's; nothing if it is over. Fails, with the session as it was, if the
   * answer does not tell.
   */
  renew(stale: Session): Promise<Session | null> {
    return alone(async () => {
      const current = session.current();
      // Another tab was here first, or somebody logged out.
      if (!current || current.access !== stale.access) return current?.username === stale.username ? current : null;
      try {
        const pair = await api.refresh(current.refresh);
        const next = { ...current, access: pair.access, refresh: pair.refresh };
        // Whoever logged out meanwhile stays logged out.
        if (session.current()?.access !== stale.access) return null;
        store(next);
        return next;
      } catch (error) {
        if (error instanceof ApiError && OVER.includes(error.code)) {
          session.end(error.code, current);
          // Unless the same person has begun another one meanwhile, as after a new password.
          return session.still(current);
        }
        throw error;
      }
    });
  },

  /** The session as it is now, if it is still this person's: meanwhile somebody else may have logged in. */
  still({ username }: { username: string }): Session | null {
    const current = session.current();
    return current?.username === username ? current : null;
  },

  /** Logs somebody out: here at once, in every tab, and at the server as soon as it hears of it. Whoever else is there by now stays. */
  async leave(who: Session): Promise<void> {
    forgetDrafts(who.username);
    const current = session.current();
    if (current && current.username !== who.username) return tell();
    store(null);
    if (!current) return;
    try {
      await api.logout(current);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      const pair = await api.refresh(current.refresh);
      await api.logout(pair);
    }
  },

  /** Calls back whenever somebody logs in or out, in any tab. Gives back how to stop that. */
  listen(listener: Listener): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

if (typeof window !== "undefined") {
  shown = session.current()?.username;
  window.addEventListener("storage", (event) => {
    if (event.key === KEY || event.key === null) tell();
  });
  // A page that the way back brings up again as it was left, or that slept, has heard of nothing meanwhile.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) tell();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") tell();
  });
}
