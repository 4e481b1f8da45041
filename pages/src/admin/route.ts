/**
 * Which view is shown: the fragment of the address says it, so that links, reloads and the way back work. The pages of a list are steps in
 * the browser's history, too; their cursors are long and mean nothing to people, so they are kept beside the address.
 */

import { useEffect, useState } from "preact/hooks";

import { onPlace } from "../lib/fragment.ts";
import type { ActiveFilter } from "./calls.ts";

export const PARTS = ["ledger", "chats", "sessions"] as const;
export type Part = (typeof PARTS)[number];

export type View =
  | { name: "today" }
  | { name: "users"; prefix: string; active: ActiveFilter }
  | { name: "user"; username: string; part: Part }
  | { name: "audit" }
  | { name: "unknown" };

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** The view that a fragment names. */
export function parse(hash: string): View {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?", 2);
  const [section, name, part, ...more] = path.split("/");
  if (more.length > 0) return { name: "unknown" };
  if ((section === "" || section === "today") && name === undefined) return { name: "today" };
  if (section === "audit" && name === undefined) return { name: "audit" };
  if (section !== "users") return { name: "unknown" };
  if (!name) {
    const wanted = new URLSearchParams(query);
    const active = wanted.get("active");
    return { name: "users", prefix: wanted.get("prefix") ?? "", active: active === "true" || active === "false" ? active : "" };
  }
  const username = decode(name);
  const shown = PARTS.find((one) => one === (part ?? "ledger"));
  return username && shown ? { name: "user", username, part: shown } : { name: "unknown" };
}

/** The fragment of a view. */
export function fragment(view: View): string {
  switch (view.name) {
    case "users": {
      const query = new URLSearchParams();
      if (view.prefix) query.set("prefix", view.prefix);
      if (view.active) query.set("active", view.active);
      return query.size > 0 ? `users?${query}` : "users";
    }
    case "user":
      return `users/${encodeURIComponent(view.username)}${view.part === "ledger" ? "" : `/${view.part}`}`;
    case "unknown":
      return "today";
    default:
      return view.name;
  }
}

/** The address of a view. It names the page: a fragment alone would be one of the base. */
export const href = (view: View): string => `admin#${fragment(view)}`;

/** The cursors of the pages before the one that is shown, and its own. */
function cursors(): string[] {
  const kept = (history.state as { cursors?: unknown } | null)?.cursors;
  return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
}

interface Place {
  view: View;
  cursors: string[];
}

const here = (): Place => ({ view: parse(location.hash), cursors: cursors() });
const listeners = new Set<() => void>();

function tell(): void {
  for (const listener of listeners) listener();
}

/** Says that another view is shown now, without a step in the history: what somebody types changes the view with each letter. */
export function replace(view: View): void {
  history.replaceState(null, "", new URL(href(view), document.baseURI));
  tell();
}

/** Goes to another page of the list that is shown. */
export function turn(to: string[]): void {
  history.pushState({ cursors: to }, "", location.href);
  tell();
}

/** What the address says, as it changes. */
export function usePlace(): Place {
  const [place, set] = useState(here);
  useEffect(() => {
    const look = () => set(here());
    look();
    listeners.add(look);
    const stop = onPlace("admin", look);
    return () => {
      listeners.delete(look);
      stop();
    };
  }, []);
  return place;
}
