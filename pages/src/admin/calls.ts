/** What the console asks of the API, and the shapes of the answers. */

import type { components } from "../../schema.d.ts";
import { call, type Chat, type Page, type Role } from "../lib/api.ts";

type Schemas = components["schemas"];

export type FoundUser = Schemas["FoundUserBody"];
export type UserData = Schemas["UserData"];
export type LedgerEntry = Schemas["LedgerEntryBody"];
export type AuditEntry = Schemas["AuditEntryBody"];
export type Adjusted = Schemas["AdjustedBody"];

/** What is counted per hour. */
export type Counts = Schemas["CountsBody"];
/** The figures of the last 24 hours. The hours are the oldest first; the last one is still running. */
export type Figures = Schemas["FiguresBody"];

const PAGE_SIZE = 25;
const USERS = "api/v1/admin/users";
const below = (username: string, rest = "") => `${USERS}/${encodeURIComponent(username)}${rest}`;

type Paged = { cursor: string | undefined; signal: AbortSignal };

export type ActiveFilter = "" | "true" | "false";

export const admin = {
  figures: (signal: AbortSignal) => call<Figures>("GET", "api/v1/admin/figures", { signal }),

  search: (prefix: string, active: ActiveFilter, { cursor, signal }: Paged) =>
    call<Page<FoundUser>>("GET", USERS, { query: { prefix: prefix || undefined, active: active || undefined, cursor, limit: PAGE_SIZE }, signal }),

  user: (username: string, signal: AbortSignal) =>
    call<Schemas["UserBody"]>("GET", below(username), { signal }).then((answer) => answer.user),

  chats: (username: string, { cursor, signal }: Paged) =>
    call<Page<Chat>>("GET", below(username, "/chats"), { query: { cursor, limit: PAGE_SIZE }, signal }),

  ledger: (username: string, { cursor, signal }: Paged) =>
    call<Page<LedgerEntry>>("GET", below(username, "/ledger"), { query: { cursor, limit: PAGE_SIZE }, signal }),

  audit: ({ cursor, signal }: Paged) => call<Page<AuditEntry>>("GET", "api/v1/admin/audit", { query: { cursor, limit: PAGE_SIZE }, signal }),

  /** Sets what it names; the same again changes nothing. */
  update: (username: string, change: { active?: boolean; role?: Role; reason?: string }) =>
    call<Schemas["UserBody"]>("PATCH", below(username), { body: change }).then((answer) => answer.user),

  /** Adjusts a balance, once for each key, however often it is sent. */
  adjust: (username: string, amount: number, reason: string, key: string) =>
    call<Adjusted>("POST", below(username, "/tokens"), { body: { amount, reason }, headers: { "Idempotency-Key": key } }),
};
