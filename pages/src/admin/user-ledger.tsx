/** What came to an account or left it other than by chats. */

import { useAnswer } from "./answer.ts";
import { Actor } from "./audit.tsx";
import { admin, type LedgerEntry } from "./calls.ts";
import { Time, number, signed } from "./format.tsx";
import { List, Records, type Column } from "./records.tsx";

const KINDS: Record<string, string> = {
  signup: "Grant at sign-up",
  adjustment: "Adjustment",
  correction: "Correction by the reconciliation",
  deletion: "Cost of deleted chats",
} satisfies Record<LedgerEntry["kind"], string>;

/** Who it was: the account's owner by signing up, an admin, or the operator. */
function Who({ entry }: { entry: LedgerEntry }) {
  if (entry.actor === null && (entry.kind === "signup" || entry.kind === "deletion")) return <>the user</>;
  return <Actor name={entry.actor} />;
}

const COLUMNS: Column<LedgerEntry>[] = [
  { name: "When", cell: (entry) => <Time time={entry.timestamp} /> },
  { name: "What", cell: (entry) => KINDS[entry.kind] ?? entry.kind },
  { name: "Tokens", cell: (entry) => signed(entry.amount), numeric: true },
  { name: "Balance after", cell: (entry) => (entry.balance_after === null ? <span class="none">not known</span> : number(entry.balance_after)), numeric: true },
  { name: "Who", cell: (entry) => <Who entry={entry} /> },
  { name: "Why", cell: (entry) => <bdi dir="auto">{entry.reason}</bdi> },
];

export function UserLedger({ username, cursors }: { username: string; cursors: string[] }) {
  const cursor = cursors.at(-1);
  const answer = useAnswer(cursor ?? "", (signal) => admin.ledger(username, { cursor, signal }));
  return (
    <>
      <p class="hint">The newest first, at last the grant at sign-up. What chats cost is with the chats.</p>
      <List answer={answer} cursors={cursors} what="entries" empty="There are no entries.">
        {(rows) => <Records caption="Ledger" columns={COLUMNS} rows={rows} id={(entry) => entry.id} />}
      </List>
    </>
  );
}
