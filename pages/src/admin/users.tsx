/** The search for users, as one types. */

import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../lib/api.ts";
import { Field } from "../lib/ui.tsx";
import { useAnswer } from "./answer.ts";
import { admin, type ActiveFilter, type FoundUser } from "./calls.ts";
import { Time, UserLink, Zone } from "./format.tsx";
import { List, Records, type Column } from "./records.tsx";
import { replace } from "./route.ts";
import { ActiveBadge, RoleBadge } from "./badges.tsx";
import { say } from "./say.ts";

const DEBOUNCE_MILLISECONDS = 250;

const COLUMNS: Column<FoundUser>[] = [
  { name: "Name", cell: (user) => <UserLink name={user.username} /> },
  { name: "Role", cell: (user) => <RoleBadge role={user.role} /> },
  { name: "Status", cell: (user) => <ActiveBadge active={user.active} /> },
  { name: "Joined", cell: (user) => <Time time={user.date_joined} /> },
];

export function Users({ prefix, active, cursors }: { prefix: string; active: ActiveFilter; cursors: string[] }) {
  const [typed, setTyped] = useState(prefix);
  const pending = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const cursor = cursors.at(-1);
  const answer = useAnswer(JSON.stringify([prefix, active, cursor]), (signal) => admin.search(prefix, active, { cursor, signal }));

  // The way back may lead to another search.
  useEffect(() => {
    clearTimeout(pending.current);
    setTyped(prefix);
  }, [prefix]);
  useEffect(() => () => clearTimeout(pending.current), []);

  const type = (text: string) => {
    setTyped(text);
    clearTimeout(pending.current);
    pending.current = setTimeout(() => replace({ name: "users", prefix: text.trim(), active }), DEBOUNCE_MILLISECONDS);
  };
  // What no name can begin with is said at the field; nothing has failed.
  const impossible = answer.error instanceof ApiError && answer.error.member === "prefix" ? say(answer.error) : undefined;
  const found = impossible || !answer.data ? 0 : answer.data.data.length;
  const more = answer.data?.next_cursor ? ", and there are more" : "";

  return (
    <>
      <h1 tabIndex={-1}>Users</h1>
      <form class="search" role="search" onSubmit={(event) => event.preventDefault()}>
        <Field label="Name begins with" type="search" value={typed} onInput={type} error={impossible} maxLength={150} autocomplete="off" />
        <div class="field">
          <label for="active">Status</label>
          <select
            id="active"
            value={active}
            onChange={(event) => replace({ name: "users", prefix: typed.trim(), active: event.currentTarget.value as ActiveFilter })}
          >
            <option value="">All</option>
            <option value="true">Active</option>
            <option value="false">Inactive</option>
          </select>
        </div>
      </form>
      <p class="hint" role="status">
        {answer.busy || answer.error ? "" : `${found} ${found === 1 ? "user" : "users"} on this page${more}.`}
      </p>
      {!impossible && (
        <List answer={answer} cursors={cursors} what="users" empty={prefix || active ? "No user is like this." : "There are no users yet."}>
          {(rows) => <Records caption="Users" columns={COLUMNS} rows={rows} id={(user) => user.username} />}
        </List>
      )}
      <Zone />
    </>
  );
}
