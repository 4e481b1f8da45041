/**
 * Messages that were sent and whose outcome is not known yet. They are kept with what is typed, so that a reload or a new login can ask for
 * the outcome under the same key, and so that logging out forgets them.
 */

import { draft, keepDraft } from "../lib/drafts.ts";

export interface Pending {
  /** The idempotency key: whatever happens, the message is charged once. */
  key: string;
  message: string;
  /** The conversation, or `new`. */
  conversation: string;
  /** When it was sent, by this browser's clock. */
  at: number;
  /** The newest id that was known then, of the chats of the conversation or, for a new one, of the conversations. The answer's is newer. */
  newest: string;
  /** Its sender does not wait for the answer any more. It is only looked for. */
  stopped?: boolean;
  /** Nothing came of it, and nothing was charged. It is sent again only by its sender. */
  failed?: boolean;
}

const NAME = "pending";
/** The API remembers keys for a day. After that the same key would be another message, which is paid for again. */
const KEPT_MILLISECONDS = 23 * 60 * 60 * 1000;

/** Whether it can only be looked for. */
export const isForgotten = ({ at }: Pending): boolean => Date.now() - at > KEPT_MILLISECONDS;

export function pending(username: string): Pending[] {
  try {
    const list = JSON.parse(draft(username, NAME) || "[]") as Pending[];
    return list.filter((one) => typeof one.key === "string");
  } catch {
    return [];
  }
}

export function keepPending(username: string, one: Pending): void {
  const others = pending(username).filter((other) => other.key !== one.key);
  keepDraft(username, NAME, JSON.stringify([...others, one]));
}

export function forgetPending(username: string, key: string): void {
  const rest = pending(username).filter((one) => one.key !== key);
  keepDraft(username, NAME, rest.length > 0 ? JSON.stringify(rest) : "");
}

/** Each tab that has a message holds a lock of this name, until it is closed. Pages that are not served securely have none. */
const lockOf = (key: string): string => `ai-chat-system:message:${key}`;
const locks = (): LockManager | undefined => navigator.locks;

/** Tells the other tabs that this one has a message, until what is given back is called. */
export function hold(key: string): () => void {
  let release = () => {};
  const over = new Promise<void>((resolve) => (release = resolve));
  locks()?.request(lockOf(key), { mode: "shared" }, () => over).catch(() => undefined);
  return release;
}

/** Does something with a message, if no tab has it. */
export async function ifNobodyHolds(key: string, task: () => void): Promise<void> {
  const all = locks();
  if (all) await all.request(lockOf(key), { ifAvailable: true }, (lock) => lock && task());
  else task();
}

/** What every id is greater than that the API makes from then on: ids begin with the time (ULID), in this alphabet, most significant first. */
export function idSince(milliseconds: number): string {
  const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  let rest = milliseconds;
  let id = "";
  for (let digit = 0; digit < 10; digit++) {
    id = (alphabet[rest % 32] ?? "") + id;
    rest = Math.floor(rest / 32);
  }
  return id;
}
