/** Who did what to whose account. */

import type { components } from "../../schema.d.ts";
import { useAnswer } from "./answer.ts";
import { admin, type AuditEntry } from "./calls.ts";
import { number, Time, UserLink, Zone } from "./format.tsx";
import { List, Records, type Column } from "./records.tsx";

const ACTIONS: Record<string, string> = {
  user_changed: "Account changed",
  balance_adjusted: "Balance adjusted",
  admin_made: "Admin made",
  balance_corrected: "Balance corrected",
} satisfies Record<components["schemas"]["Action"], string>;

const MEMBERS: Record<string, string> = { token_balance: "Balance", role: "Role", active: "Active", password: "Password" };

/** A value of a member: numbers of tokens as everywhere, yes and no as words. */
function value(member: string, text: string | null): string {
  if (text === null) return "none";
  if (member === "token_balance" && /^\d+$/.test(text)) return number(Number(text));
  if (member === "active") return text === "true" ? "yes" : "no";
  return text;
}

function Changes({ entry }: { entry: AuditEntry }) {
  return (
    <ul class="plain">
      {entry.changes.map(({ member, from, to }) => (
        <li key={member}>
          {MEMBERS[member] ?? member}: {from !== null && `${value(member, from)} → `}
          {value(member, to)}
        </li>
      ))}
    </ul>
  );
}

/** Somebody, or the deployment's operator, who has no account. */
export function Actor({ name }: { name: string | null }) {
  return name === null ? <>the operator</> : <UserLink name={name} />;
}

const COLUMNS: Column<AuditEntry>[] = [
  { name: "When", cell: (entry) => <Time time={entry.timestamp} /> },
  { name: "Who", cell: (entry) => <Actor name={entry.actor} /> },
  { name: "What", cell: (entry) => ACTIONS[entry.action] ?? entry.action },
  { name: "Whom", cell: (entry) => <UserLink name={entry.target} /> },
  { name: "Changes", cell: (entry) => <Changes entry={entry} /> },
  { name: "Why", cell: (entry) => (entry.reason === null ? <span class="none">no reason given</span> : <bdi dir="auto">{entry.reason}</bdi>) },
];

export function Audit({ cursors }: { cursors: string[] }) {
  const cursor = cursors.at(-1);
  const answer = useAnswer(cursor ?? "", (signal) => admin.audit({ cursor, signal }));
  return (
    <>
      <h1 tabIndex={-1}>Audit trail</h1>
      <p>Every change of an account by somebody else than its owner, the newest first. Nobody can change what is written here.</p>
      <List answer={answer} cursors={cursors} what="deeds" empty="Nothing has been changed yet.">
        {(rows) => <Records caption="Audit trail" columns={COLUMNS} rows={rows} id={(entry) => entry.id} />}
      </List>
      <Zone />
    </>
  );
}
