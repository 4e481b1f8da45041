/** What is counted, as people call it. */

import type { Counts } from "./calls.ts";

export type Metric = keyof Counts;

export const METRICS: Record<Metric, string> = {
  sign_ups: "Sign-ups",
  messages: "Messages",
  tokens_charged: "Tokens charged",
  requests: "Requests",
  errors: "Errors",
};
