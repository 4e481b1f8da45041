/** Where somebody is logged in, and what is held for messages that are being answered. */

import type { UserData } from "./calls.ts";
import { Time, tokens } from "./format.tsx";
import { Records, type Column } from "./records.tsx";

const SESSIONS: Column<UserData["sessions"][number]>[] = [
  { name: "Last refreshed", cell: (session) => <Time time={session.last_refresh} /> },
  { name: "Good until", cell: (session) => <Time time={session.expires_at} /> },
];

const HOLDS: Column<UserData["holds"][number]>[] = [
  { name: "Placed", cell: (hold) => <Time time={hold.placed_at} /> },
  { name: "Tokens", cell: (hold) => tokens(hold.cost), numeric: true },
  { name: "Given back, unless charged, after", cell: (hold) => <Time time={hold.lease_until} /> },
];

export function UserSessions({ user }: { user: UserData }) {
  return (
    <>
      <h3>Sessions</h3>
      {user.sessions.length === 0 ? (
        <p class="empty">Logged in nowhere.</p>
      ) : (
        <Records caption="Sessions" columns={SESSIONS} rows={user.sessions} id={(one) => one.last_refresh + one.expires_at} />
      )}
      <h3>Holds</h3>
      {user.holds.length === 0 ? (
        <p class="empty">No message is being answered.</p>
      ) : (
        <Records caption="Holds" columns={HOLDS} rows={user.holds} id={(one) => one.placed_at + one.lease_until} />
      )}
    </>
  );
}
