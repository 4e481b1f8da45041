/** What the page shows, as its address says. */

import { address } from "../lib/api.ts";

/** Something that is shown: a conversation, one that is not begun yet (`id` is null), or all messages. */
export type View = { kind: "conversation"; id: string | null; slot: string } | { kind: "all"; slot: "all" };

let count = 0;

/** A conversation that begins with its first message. The slot is its own: what is in it goes on when it gets an id. */
export function fresh(): View {
  return { kind: "conversation", id: null, slot: `new-${count++}` };
}

export function existing(id: string): View {
  return { kind: "conversation", id, slot: id };
}

export const ALL: View = { kind: "all", slot: "all" };

export function hrefOf(view: View): string {
  if (view.kind === "all") return "./?all";
  return view.id === null ? "./" : `./?c=${encodeURIComponent(view.id)}`;
}

export function viewOf(location: Location): View {
  const query = new URLSearchParams(location.search);
  if (query.has("all")) return ALL;
  const id = query.get("c");
  return id ? existing(id) : fresh();
}

/** What the browser keeps with an entry of its history: the messages that began a conversation whose id is not known yet. */
export interface Kept {
  keys?: string[];
}

export function kept(): Kept {
  return (history.state as Kept | null) ?? {};
}

export function go(view: View, how: "push" | "replace", keep: Kept = {}): void {
  const url = address(hrefOf(view));
  if (how === "push") history.pushState(keep, "", url);
  else history.replaceState(keep, "", url);
}

/** Whether a click on a link means this page: not a new tab or window. */
export function isPlain(event: MouseEvent): boolean {
  return event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
}
