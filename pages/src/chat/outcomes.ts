/** What an error says of a message that was sent: whether its outcome is known by it. */

import { ApiError } from "../lib/api.ts";

/**
 * `refused`: somebody has to change something first; `failed`: nothing came of it and nothing was charged; `ended`: the session has;
 * `open`: it is being done, or the server does not know; `unreached`: nobody who knows has answered; `unknown`: somebody else has.
 */
export type Verdict = "refused" | "failed" | "ended" | "open" | "unreached" | "unknown";

/** Of all else that may answer in the place of the API a status says nothing. These codes are its own, and its gateway's. */
const REFUSED = [
  "invalid",
  "unsupported",
  "malformed",
  "unsupported_media_type",
  "body_too_large",
  "blocked",
  "permission_denied",
  "model_not_allowed",
  "model_not_found",
  "insufficient_tokens",
  "api_key_cap_reached",
  "conversation_not_found",
  "chat_not_found",
  "context_length_exceeded",
  "content_filtered",
  "idempotency_mismatch",
];
/** Not now. */
const BUSY = ["busy", "too_many_requests", "too_many_in_flight", "hold_lost"];
/** The model was asked, and all calls under one key share what is held for them: no other of them is being answered. */
const UNANSWERED = ["model_failed", "model_timed_out", "model_busy"];
/** What leaves the outcome open. Under the same key it can be asked for. */
const OPEN = ["idempotency_in_progress", "outcome_unknown"];

/** `isOpen`: it was sent before, and what became of that is not known. Then it matters only what is said of all that was sent. */
export function verdict(error: unknown, isOpen: boolean): Verdict {
  if (!(error instanceof ApiError)) return "unknown";
  const { code, status } = error;
  if (status === 401) return "ended";
  if (UNANSWERED.includes(code)) return "failed";
  if (OPEN.includes(code)) return "open";
  if (BUSY.includes(code)) return isOpen ? "open" : "failed";
  if (REFUSED.includes(code)) return isOpen ? "unknown" : "refused";
  return status === 0 || status >= 500 ? "unreached" : "unknown";
}
