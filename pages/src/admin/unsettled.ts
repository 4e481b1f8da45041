/**
 * Adjustments that were sent and whose outcome is not known yet: one for each user. They are kept with what is typed, so that a dialog that
 * is opened again, even after a reload or a new login, can only send the very same again, and so that logging out forgets them.
 */

import { draft, keepDraft } from "../lib/drafts.ts";

export interface Unsettled {
  /** The idempotency key: however often it is sent, it is done once. */
  key: string;
  amount: number;
  reason: string;
  /** When it was sent first, by this browser's clock. */
  at: number;
}

/** The API remembers keys for a day. After that the same key would adjust once more. */
const KEPT_MILLISECONDS = 23 * 60 * 60 * 1000;

const nameOf = (username: string): string => `adjustment:${username}`;

/** What this admin has sent for that user. */
export function unsettled(admin: string, username: string): Unsettled | null {
  try {
    const one = JSON.parse(draft(admin, nameOf(username)) || "null") as Unsettled | null;
    return one && typeof one.key === "string" && Date.now() - one.at < KEPT_MILLISECONDS ? one : null;
  } catch {
    return null;
  }
}

export function keepUnsettled(admin: string, username: string, one: Unsettled): void {
  keepDraft(admin, nameOf(username), JSON.stringify(one));
}

/** Its outcome is known. What was sent after it is kept. */
export function settle(admin: string, username: string, key: string): void {
  if (unsettled(admin, username)?.key === key) keepDraft(admin, nameOf(username), "");
}
