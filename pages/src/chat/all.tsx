/** Every message, also those that belong to no conversation: programs and older clients send such. */

import { useEffect, useRef, useState } from "preact/hooks";

import { call, type Chat, type Page } from "../lib/api.ts";
import { useTask } from "../lib/hooks.ts";
import { Button, Problem } from "../lib/ui.tsx";
import { existing, hrefOf, isPlain, type View } from "./route.ts";
import { Stored } from "./turn.tsx";

const PAGE = 20;

export function AllMessages({ onOpen }: { onOpen: (view: View) => void }) {
  const [chats, setChats] = useState<Chat[]>([]);
  // Empty before the first page, nothing after the last.
  const [cursor, setCursor] = useState<string | null>("");
  const { busy, error, run } = useTask();
  const turns = useRef<HTMLOListElement>(null);
  const load = (byHand = false) =>
    run(async () => {
      const page = await call<Page<Chat>>("GET", "api/v1/chats", { query: { limit: PAGE, cursor: cursor || undefined } });
      setChats((newer) => [...newer, ...page.data]);
      setCursor(page.next_cursor);
      // The button goes, and the focus was on it.
      if (byHand && page.next_cursor === null) turns.current?.focus({ preventScroll: true });
    });
  useEffect(() => load(), []);

  const open = (event: MouseEvent, view: View) => {
    if (!isPlain(event)) return;
    event.preventDefault();
    onOpen(view);
  };
  return (
    <main id="main" class="thread all-messages" tabIndex={-1}>
      <h1>All messages</h1>
      <p>The newest first, also those of your programs and API keys.</p>
      <ol class="turns" ref={turns} tabIndex={-1}>
        {chats.map((chat) => {
          const view = chat.conversation_id ? existing(chat.conversation_id) : null;
          return (
            <li key={chat.id}>
              <Stored chat={chat} />
              {view && (
                <p class="where">
                  <a href={hrefOf(view)} onClick={(event) => open(event, view)}>
                    Go to its conversation
                  </a>
                </p>
              )}
            </li>
          );
        })}
      </ol>
      {cursor === null && chats.length === 0 && <p class="faint">There is none yet.</p>}
      <Problem error={error} onRetry={() => load()} />
      {cursor !== null && error === null && (
        <div class="earlier">
          <Button onClick={() => load(true)} busy={busy}>
            Earlier messages
          </Button>
        </div>
      )}
    </main>
  );
}
