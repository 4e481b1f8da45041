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

/** Whether it may have been done all the same. */
export function isUncertain(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 0 || error.status >= 500 || error.code === "idempotency_in_progress");
}
