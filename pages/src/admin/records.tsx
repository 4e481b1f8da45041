/** Lists of what there is, page by page. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { ApiError, type Page } from "../lib/api.ts";
import { Button, Notice, Pager, Problem } from "../lib/ui.tsx";
import type { Answer } from "./answer.ts";
import { turn } from "./route.ts";
import { say } from "./say.ts";

export type Column<T> = { name: string; cell: (row: T) => ComponentChildren; numeric?: boolean };

/**
 * A table; on a narrow screen each row is a card that says the name of each column. The roles are written out because styles that make cards
 * of rows take them away. The first column names the row.
 */
export function Records<T>({ caption, columns, rows, id }: { caption: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string }) {
  return (
    <table class="records" role="table">
      <caption class="for-readers">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <th key={column.name} role="columnheader" scope="col" class={column.numeric ? "numeric" : undefined}>
              {column.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row) => (
          <tr key={id(row)} role="row">
            {columns.map((column, index) => {
              const inside = (
                <>
                  <span class="label" aria-hidden="true">
                    {column.name}
                  </span>
                  <div class="value">{column.cell(row)}</div>
                </>
              );
              const kind = column.numeric ? "numeric" : undefined;
              return index === 0 ? (
                <th key={column.name} role="rowheader" scope="row" class={kind}>
                  {inside}
                </th>
              ) : (
                <td key={column.name} role="cell" class={kind}>
                  {inside}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

type ListProps<T> = {
  answer: Answer<Page<T>>;
  /** The cursors up to the page that is shown; none on the first. */
  cursors: string[];
  /** What is listed, such as "users". */
  what: string;
  empty: ComponentChildren;
  children: (rows: T[]) => ComponentChildren;
};

/** One page of a list: what is on it, that there is nothing, or what went wrong; and the way to the other pages. */
export function List<T>({ answer, cursors, what, empty, children }: ListProps<T>) {
  const { data, error, busy, reload } = answer;
  const page = cursors.length + 1;
  const top = useRef<HTMLDivElement>(null);
  const shown = useRef(page);
  // Another page begins at its beginning, for eyes and for the keyboard.
  useEffect(() => {
    if (busy || !data || shown.current === page) return;
    shown.current = page;
    top.current?.focus();
  }, [busy, data, page]);

  if (error instanceof ApiError && error.member === "cursor") {
    return (
      <Notice kind="problem">
        <p>This page of the list is not there any more.</p>
        <Button onClick={() => turn([])}>To the first page</Button>
      </Notice>
    );
  }
  return (
    <div ref={top} class="list" tabIndex={-1} role="group" aria-label={`${what}, page ${page}`} aria-busy={busy ? "true" : undefined}>
      <Problem error={error} onRetry={reload} say={say} />
      {!data && busy && <p class="waiting">Loading {what} …</p>}
      {data && (data.data.length > 0 ? children(data.data) : <p class="empty">{page > 1 ? "There is nothing more." : empty}</p>)}
      {/* Also from a page that did not come there is a way back. */}
      {(data || error) && (page > 1 || data?.next_cursor) && (
        <Pager
          label={`Pages of ${what}`}
          page={page}
          busy={busy}
          hasNext={Boolean(data?.next_cursor)}
          onPrevious={() => turn(cursors.slice(0, -1))}
          onNext={() => data?.next_cursor && turn([...cursors, data.next_cursor])}
        />
      )}
    </div>
  );
}
