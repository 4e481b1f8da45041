/** What one sees of an account at a glance. Words, not colours, say it. */

import type { Role } from "../lib/api.ts";

const ROLES: Record<string, string> = { user: "User", staff: "Staff", admin: "Admin" };

export const roleName = (role: string): string => ROLES[role] ?? role;

export function RoleBadge({ role }: { role: Role }) {
  return <span class={`badge role-${role}`}>{roleName(role)}</span>;
}

export function ActiveBadge({ active }: { active: boolean }) {
  return <span class={`badge ${active ? "is-active" : "is-inactive"}`}>{active ? "Active" : "Inactive"}</span>;
}
