/** Sends a call and tells what comes back, as it comes. */

import { ApiError } from "../lib/api.ts";
import { session } from "../lib/session.ts";
import { EventParser, type Told } from "../lib/stream.ts";
import type { Call } from "./request.ts";

export interface Exchange {
  status: number;
  statusText: string;
  headers: [string, string][];
  body: string;
  /** Of a stream: what has come so far. */
  events: Told[] | null;
  /** How long it took: to the headers, and to the end if that has come. */
  toHeaders: number;
  toEnd: number | null;
}

/** What authorises: the session of this browser, or the value of a header. */
export type Authorization = "session" | string | null;

async function once(call: Call, authorization: string | null, signal: AbortSignal): Promise<Response> {
  try {
    const headers = new Headers(call.headers);
    if (authorization !== null) headers.set("Authorization", authorization);
    return await fetch(call.url, { method: call.method, headers, body: call.body, signal, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (signal.aborted) throw error;
    // What the browser does not even send, such as a header in other letters than Latin ones.
    if (error instanceof TypeError && error.message.includes("'Headers'")) throw new ApiError(0, { code: "invalid", detail: error.message });
    throw new ApiError(0, { code: navigator.onLine ? "unreachable" : "offline" });
  }
}

/** As the pages do it: an access token that is not valid any more is traded for the next one, once. */
async function withSession(call: Call, signal: AbortSignal): Promise<Response> {
  const current = session.own();
  if (!current) throw new ApiError(401, { code: "not_authenticated" });
  const response = await once(call, `Bearer ${current.access}`, signal);
  if (response.status !== 401) return response;
  const body = (await response.clone().json().catch(() => null)) as { code?: unknown } | null;
  if (body?.code !== "token_not_valid") return response;
  const next = await session.renew(current);
  return next ? once(call, `Bearer ${next.access}`, signal) : response;
}

export async function send(call: Call, authorization: Authorization, signal: AbortSignal, tell: (exchange: Exchange) => void): Promise<void> {
  const begun = performance.now();
  const response = await (authorization === "session" ? withSession(call, signal) : once(call, authorization, signal));
  const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream") ?? false;
  let exchange: Exchange = {
    status: response.status,
    statusText: response.statusText,
    headers: [...response.headers],
    body: "",
    events: isStream ? [] : null,
    toHeaders: performance.now() - begun,
    toEnd: null,
  };
  tell(exchange);
  const decoder = new TextDecoder();
  const parser = new EventParser();
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      if (signal.aborted) throw error;
      throw new ApiError(0, { code: "unreachable" });
    });
    const text = decoder.decode(value, { stream: !done });
    exchange = { ...exchange, body: exchange.body + text, events: exchange.events && [...exchange.events, ...parser.push(text)] };
    if (done) break;
    if (isStream) tell(exchange);
  }
  tell({ ...exchange, toEnd: performance.now() - begun });
}
