/** What the tests of the console share: admins and staff, and what is done behind the page's back. */

import type { APIRequestContext, APIResponse } from "@playwright/test";

import { account, expect, freshName, type Account } from "./support.ts";

/** An admin, made as operators make the first one. */
export async function bootstrap(request: APIRequestContext): Promise<Account> {
  const username = `root-${freshName()}`;
  const reply = await request.post("2015-03-31/functions/admin-bootstrap/invocations", { data: { username } });
  const made = (await reply.json()) as { username: string; password: string };
  expect(made.username).toBe(username);
  return { username, password: made.password };
}

export interface Caller {
  get: (path: string) => Promise<Record<string, any>>;
  patch: (username: string, change: object) => Promise<APIResponse>;
  adjust: (username: string, amount: number, reason: string) => Promise<APIResponse>;
  chat: (message: string) => Promise<APIResponse>;
}

/** Calls for somebody, past the page. */
export async function caller(request: APIRequestContext, who: Account): Promise<Caller> {
  const reply = await request.post("api/v1/users/login", { data: who });
  expect(reply.status()).toBe(200);
  const { access } = (await reply.json()) as { access: string };
  const headers = { Authorization: `Bearer ${access}` };
  const of = (username: string) => `api/v1/admin/users/${encodeURIComponent(username)}`;
  return {
    get: async (path) => (await (await request.get(`api/v1/${path}`, { headers })).json()) as Record<string, any>,
    patch: (username, change) => request.patch(of(username), { headers, data: change }),
    adjust: (username, amount, reason) => request.post(`${of(username)}/tokens`, { headers, data: { amount, reason } }),
    chat: (message) => request.post("api/v1/chats", { headers, data: { message } }),
  };
}

/** Somebody with a role that an admin gave them. */
export async function withRole(request: APIRequestContext, role: "staff" | "admin", by: Caller): Promise<Account> {
  const who = await account(request);
  expect((await by.patch(who.username, { role })).status()).toBe(200);
  return who;
}

const HOUR = 3_600_000;

/** Figures of a day, as the API tells them. */
export function figures(): object {
  const now = Date.now();
  const running = now - (now % HOUR);
  const hours = Array.from({ length: 24 }, (_, index) => ({
    start: new Date(running - (23 - index) * HOUR).toISOString(),
    sign_ups: index % 5,
    messages: (index * 7) % 41,
    tokens_charged: ((index * 7) % 41) * 100,
    requests: 200 + index * 13,
    errors: index === 12 ? 3 : 0,
  }));
  const total = (name: "sign_ups" | "messages" | "tokens_charged" | "requests" | "errors") => hours.reduce((sum, one) => sum + one[name], 0);
  return {
    status: "success",
    message: "Figures",
    from: hours[0]?.start,
    to: new Date(now).toISOString(),
    hours,
    totals: {
      sign_ups: total("sign_ups"),
      messages: total("messages"),
      tokens_charged: total("tokens_charged"),
      requests: total("requests"),
      errors: total("errors"),
    },
    holds_open: 2,
  };
}
