/** The API as its pages see it: the shapes on the wire, as the OpenAPI document has them (`npm run types`), and how a call is made. */

import type { components } from "../../schema.d.ts";
import { session } from "./session.ts";

type Schemas = components["schemas"];

export type Login = Pick<Schemas["LoggedInBody"], "username" | "access" | "refresh">;
export type TokenPair = { access: string; refresh: string };
export type Role = Schemas["Role"];
export type Profile = Schemas["ProfileBody"];
export type Balance = Schemas["BalanceBody"];
export type Usage = Schemas["UsageBody"];
/** A chat without its texts: what a stream ends with. */
export type ToldChat = Schemas["ToldChatBody"];
export type Chat = Schemas["ChatBody"];
export type Conversation = Schemas["ConversationBody"];
/** The body of every error. */
export type ErrorBody = Schemas["Error"];

export interface Page<T> {
  data: T[];
  next_cursor: string | null;
}

/** What went wrong with a call. `errors.ts` says it to people. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;
  readonly code: string;
  readonly member: string | undefined;
  readonly requestId: string | undefined;
  /** How many seconds to wait before it is tried again. */
  readonly retryAfter: number | undefined;

  constructor(status: number, body: Partial<ErrorBody> & { code: string }, retryAfter?: number) {
    super(body.detail ?? body.code);
    this.status = status;
    this.code = body.code;
    this.member = body.member;
    this.requestId = body.request_id;
    this.retryAfter = retryAfter;
  }
}

export interface Options {
  body?: unknown;
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** The access token, for calls that are not made for the session. */
  access?: string;
  keepalive?: boolean;
}

export type Method = "GET" | "POST" | "PATCH" | "DELETE";

/** Where a path of the API is: below the page's own deployment, whatever stands before it. */
export function address(path: string, query: Options["query"] = {}): URL {
  const url = new URL(path.replace(/^\//, ""), document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url;
}

/** The answer to one request, whatever its status. Fails only if there is none. */
async function ask(method: Method, path: string, options: Options): Promise<Response> {
  const headers = new Headers({ Accept: "application/json", ...options.headers });
  if (options.access !== undefined) headers.set("Authorization", `Bearer ${options.access}`);
  if (options.body !== undefined) headers.set("Content-Type", "application/json");
  try {
    return await fetch(address(path, options.query), {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
      keepalive: options.keepalive ?? false,
      // Tokens are all that authenticates.
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, { code: navigator.onLine ? "unreachable" : "offline" });
  }
}

/** What an answer says went wrong. */
async function failure(response: Response): Promise<ApiError> {
  const wait = Number(response.headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(wait) ? wait : undefined;
  const body: unknown = await response.json().catch(() => null);
  const isError = typeof body === "object" && body !== null && "code" in body && typeof body.code === "string";
  return new ApiError(response.status, isError ? (body as ErrorBody) : { code: "unreadable" }, retryAfter);
}

async function read<T>(response: Response): Promise<T> {
  if (!response.ok) throw await failure(response);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch {
    // The connection broke in the middle of the answer.
    throw new ApiError(0, { code: "unreachable" });
  }
}

/** A call that needs no session. */
export async function open<T>(method: Method, path: string, options: Options = {}): Promise<T> {
  return read<T>(await ask(method, path, options));
}

/** How the API refuses a session. Whatever else is between here and there may say 401, too, and knows nothing of sessions. */
const ENDINGS = ["token_not_valid", "user_inactive", "not_authenticated", "bad_authorization_header"];

/**
 * A call for whom the page is shown for: its answer, if it is a success. It is never made for somebody else who has logged in meanwhile. An
 * access token that is not valid any more is traded for the next one, once, and the call made again. Where that fails the session ends, which
 * whoever listens to it hears.
 */
export async function respond(method: Method, path: string, options: Options = {}): Promise<Response> {
  let current = session.own();
  if (!current) throw new ApiError(401, { code: "not_authenticated" });
  let response = await ask(method, path, { ...options, access: current.access });
  if (response.ok) return response;
  let refused = await failure(response);
  if (refused.status === 401 && refused.code === "token_not_valid") {
    const next = await session.renew(current);
    if (!next) throw refused;
    current = next;
    response = await ask(method, path, { ...options, access: current.access });
    if (response.ok) return response;
    refused = await failure(response);
  }
  if (refused.status === 401 && ENDINGS.includes(refused.code)) session.end(refused.code, current);
  throw refused;
}

/** As `respond`, for an answer that is JSON or nothing. */
export async function call<T>(method: Method, path: string, options: Options = {}): Promise<T> {
  return read<T>(await respond(method, path, options));
}

export const api = {
  register: (username: string, password: string) => open<Schemas["RegisteredBody"]>("POST", "api/v1/users", { body: { username, password } }),
  login: (username: string, password: string) => open<Login>("POST", "api/v1/users/login", { body: { username, password } }),
  refresh: (refresh: string) => open<TokenPair>("POST", "api/v1/token/refresh", { body: { refresh } }),
  logout: (pair: TokenPair) =>
    open<unknown>("POST", "api/v1/users/logout", { body: { refresh: pair.refresh }, access: pair.access, keepalive: true }),
  profile: () => call<Profile>("GET", "api/v1/users/me"),
  balance: () => call<Balance>("GET", "api/v1/users/token-balance"),
};
