/** What went wrong, in the console's own words where the general ones speak of messages to the model. */

import { ApiError } from "../lib/api.ts";
import { sentence } from "../lib/errors.ts";

const OWN: Record<string, string> = {
  permission_denied: "Your role does not allow this. If it did before, an administrator has changed it.",
  idempotency_mismatch: "Something else was sent from this dialog before, and has been done. Close it and look at the ledger.",
  idempotency_in_progress: "The same adjustment is being made right now.",
  outcome_unknown: "It may or may not have been done. Trying again does not do it twice.",
  insufficient_tokens: "The balance does not cover this.",
};

export function say(error: unknown): string {
  return (error instanceof ApiError ? OWN[error.code] : undefined) ?? sentence(error);
}

/** Whether it may have been done all the same, also by an attempt `before` this one of which nobody knows. */
export function isUncertain(error: unknown, before: boolean): boolean {
  if (!(error instanceof ApiError)) return true;
  if (error.status === 0 || error.status >= 500) return true;
  // What is between here and there has answered, or it is being done.
  if (error.code === "unreadable" || error.code === "idempotency_in_progress") return true;
  // The API looks first whether it has been done, and then refuses it for what it is. Other refusals say nothing of attempts before.
  return before && ![400, 402, 404, 409, 422].includes(error.status);
}
