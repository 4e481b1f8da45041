/** The conversations as far as they are known. */

import { useRef, useState } from "preact/hooks";

import { call, type Conversation, type Page } from "../lib/api.ts";
import { useTask } from "../lib/hooks.ts";

const PAGE = 30;

const page = (cursor?: string) => call<Page<Conversation>>("GET", "api/v1/conversations", { query: { limit: PAGE, cursor } });

/** Both, each once, the newest first: ids are in the order of time. What is in `newer` is newer knowledge. */
function merged(older: Conversation[], newer: Conversation[]): Conversation[] {
  const all = new Map([...older, ...newer].map((one) => [one.id, one]));
  return [...all.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
}

export interface Conversations {
  list: Conversation[];
  /** Those that are known without being of the list as far as it is loaded. */
  found: Conversation[];
  hasMore: boolean;
  busy: boolean;
  error: unknown;
  /** Loads the first page, for whoever shows what goes wrong. */
  load: () => Promise<void>;
  more: () => void;
  /** Looks for new ones, and says nothing if that fails. */
  refresh: () => void;
  learn: (conversation: Conversation) => void;
  forget: (id: string) => void;
  newest: () => string;
}

export function useConversations(): Conversations {
  const [list, setList] = useState<Conversation[]>([]);
  const [found, setFound] = useState<Conversation[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  const isLoaded = useRef(false);
  const latest = useRef(list);
  latest.current = list;
  const { busy, error, run } = useTask();

  const load = async () => {
    const first = await page();
    setList((known) => merged(known, first.data));
    if (!isLoaded.current) setCursor(first.next_cursor);
    isLoaded.current = true;
  };
  const more = () =>
    run(async () => {
      if (cursor === null) return;
      const next = await page(cursor);
      setList((known) => merged(known, next.data));
      setCursor(next.next_cursor);
    });
  const learn = (one: Conversation) => {
    const isListed = latest.current.some((other) => other.id === one.id);
    (isListed ? setList : setFound)((known) => merged(known, [one]));
  };
  const forget = (id: string) => {
    const without = (known: Conversation[]) => known.filter((one) => one.id !== id);
    setList(without);
    setFound(without);
  };
  return {
    list,
    found,
    hasMore: cursor !== null,
    busy,
    error,
    load,
    more,
    refresh: () => void load().catch(() => undefined),
    learn,
    forget,
    newest: () => latest.current[0]?.id ?? "",
  };
}
