/** What went wrong, in sentences for people. */

import { ApiError } from "./api.ts";

/** Every code that the API has (`Error::code` in shared/src/error.rs), the gateway's own, and those of calls that get no answer. */
const SENTENCES = {
  not_authenticated: "Log in first.",
  bad_authorization_header: "Log in again.",
  token_not_valid: "Your session has ended. Log in again.",
  user_inactive: "This account has been deactivated. An administrator can activate it.",
  permission_denied: "You may not do this.",
  model_not_allowed: "This API key may not use this model.",
  invalid_credentials: "The name or the password is wrong.",
  username_taken: "This name is taken. Choose another.",
  wrong_password: "The password is wrong.",
  // What can be wrong with a value only the API knows; its words are for people.
  invalid: null,
  unsupported: null,
  malformed: "The page sent something that the server does not understand. Reload the page and try again.",
  unsupported_media_type: "The page sent something that the server does not understand. Reload the page and try again.",
  body_too_large: "This is too long to be sent.",
  not_found: "There is nothing here.",
  method_not_allowed: "The page asked for something that the server does not do. Reload the page and try again.",
  chat_not_found: "This message is not there any more.",
  conversation_not_found: "This conversation is not there any more.",
  user_not_found: "There is no such user.",
  api_key_not_found: "This API key is not there any more.",
  metrics_not_collected: "This server collects no metrics, so there are no figures.",
  too_many_api_keys: null,
  own_rights: "You cannot deactivate yourself or change your own role. Another administrator can.",
  admin_account: "An administrator's account cannot be deleted. Another administrator must take the role from it first.",
  deletion_continues: "It is deleted. What is left of it goes within a day.",
  idempotency_mismatch: "This was sent before with other content. Send it as a new message.",
  idempotency_in_progress: "This message is still being answered.",
  too_many_requests: "That was too fast.",
  insufficient_tokens: "You do not have enough tokens for this message.",
  api_key_cap_reached: "This API key has spent what it may.",
  too_many_in_flight: "Too many of your messages are being answered at once.",
  // Says what the provider said, where that is for people.
  model_failed: null,
  model_timed_out: "The model did not answer in time. Nothing was charged.",
  model_busy: "The model is busy. Nothing was charged.",
  model_not_found: "This model is not served here.",
  context_length_exceeded: "The message is longer than the model takes. Nothing was charged.",
  content_filtered: "The model does not answer this message. Nothing was charged.",
  hold_lost: "The answer came too late. Nothing was charged.",
  outcome_unknown: "It may or may not have been done. Look before you do it again.",
  drift: null,
  busy: "The service is busy.",
  internal: "Something went wrong on the server.",
  gateway_error: "Something went wrong on the way to the server.",
  blocked: "The firewall has stopped this request.",
  offline: "You are offline. This will work again when you are connected.",
  unreachable: "The server cannot be reached. Check your connection.",
  unreadable: "The server gave an answer that the page does not understand.",
} as const satisfies Record<string, string | null>;

export type Code = keyof typeof SENTENCES;

/** The codes that have a sentence, for the test that compares them with the API's. */
export const CODES = Object.keys(SENTENCES) as Code[];

function isKnown(code: string): code is Code {
  return Object.hasOwn(SENTENCES, code);
}

/** One or two sentences that say what happened and, where it is known, what to do. */
export function sentence(error: unknown): string {
  if (!(error instanceof ApiError)) return "Something went wrong on this page. Reload it and try again.";
  const known = isKnown(error.code) ? SENTENCES[error.code] : null;
  // Texts of the API end without a full stop.
  const text = known ?? error.message.replace(/\.?$/, ".");
  // What nobody can do anything about, somebody may want to report.
  const isOurs = error.status >= 500 && ["internal", "gateway_error", "unreadable"].includes(error.code);
  return isOurs && error.requestId ? `${text} If it happens again, report the request ${error.requestId}.` : text;
}

/** The sentence for the end of a session. */
export function ending(code: string | undefined): string | undefined {
  if (code === undefined) return undefined;
  return (isKnown(code) ? SENTENCES[code] : null) ?? SENTENCES.token_not_valid;
}

/** How many seconds to wait before it makes sense to try again; nothing if that would not help. */
export function wait(error: unknown): number | undefined {
  if (!(error instanceof ApiError) || ![409, 429, 503].includes(error.status)) return undefined;
  return error.retryAfter;
}
