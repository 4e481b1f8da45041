/** One conversation: what was said in it, what is being said, and where to say more. */

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, call, type Chat, type Conversation, type Page } from "../lib/api.ts";
import { useDraft, useTask } from "../lib/hooks.ts";
import { Button, Notice, Problem } from "../lib/ui.tsx";
import { Composer } from "./composer.tsx";
import { isRunning, type Exchange, type Exchanges } from "./exchanges.ts";
import { useReading } from "./scrolling.ts";
import { Live, Stored } from "./turn.tsx";

/** How many messages are asked for at once. */
const PAGE = 20;

export type Refusal = { exchange: Exchange; error: ApiError };

export interface Writing {
  /** What is written there now, and not sent. */
  typed: () => string;
  /** Puts a text back, unless something else is there by now, or nothing is shown to write in. Gives back whether it did. */
  takeBack: (exchange: Exchange) => boolean;
}

type Props = {
  username: string;
  slot: string;
  /** Nothing for a conversation that is not begun yet. */
  id: string | null;
  title: string;
  /** The newest conversation that is known, for a message that begins the next. */
  newestConversation: string;
  balance: number | undefined;
  exchanges: Exchanges;
  list: Exchange[];
  refusal: Refusal | null;
  /** What the page may ask of the place where messages are written. */
  writing: RefObject<Writing | null>;
  onSent: (exchange: Exchange) => void;
  onRefusalSeen: () => void;
  onFound: (conversation: Conversation) => void;
  /** What is shown before anything is said. */
  welcome: ComponentChildren;
};

const MOST_ANNOUNCED = 1000;
const STOPPED = "Stopped. The answer is finished all the same, and appears here.";
const SOUGHT = "The answer is looked for, and appears here if there is one.";
const STOPPED_UNHEARD = "Stopped. If the message has reached the server, it is answered all the same, and the answer appears here.";

/** What a screen reader is told: that an answer is on its way, and the answer, but not each word. */
function useAnnouncement(list: Exchange[]): string {
  const [text, setText] = useState("");
  const before = useRef(new Map<string, string>());
  useEffect(() => {
    for (const { key, state, chat, text: heard, isSought } of list) {
      const was = before.current.get(key);
      before.current.set(key, state);
      if (was === state) continue;
      if (state === "asking") setText("Sent. The answer is on its way.");
      // What was not heard of may not have been sent.
      if (state === "stopped") setText(isSought ? SOUGHT : heard !== "" ? STOPPED : STOPPED_UNHEARD);
      if (state === "done" && was !== undefined && chat) {
        const isLong = chat.response.length > MOST_ANNOUNCED;
        setText(`Answer: ${chat.response.slice(0, MOST_ANNOUNCED)}${isLong ? " … The answer goes on." : ""}`);
      }
    }
  }, [list]);
  return text;
}

/** What was refused, said so that one knows what to do. */
function Refused({ error, balance }: { error: ApiError; balance: number | undefined }) {
  if (error.code !== "insufficient_tokens") return <Problem error={error} />;
  return (
    <Notice kind="problem">
      <p>
        You do not have enough tokens for this message.
        {balance !== undefined && ` You have ${balance.toLocaleString("en")}.`} Whoever runs this service can add some. Your message is
        still here.
      </p>
    </Notice>
  );
}

export function Thread(props: Props) {
  const { username, slot, id, title, newestConversation, balance, exchanges, list, refusal, writing, onSent, onRefusalSeen, onFound, welcome } = props;
  const [chats, setChats] = useState<Chat[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  const [isLoaded, setLoaded] = useState(id === null);
  const [isGone, setGone] = useState(false);
  const { busy, error, run } = useTask();
  const [draft, setDraft] = useDraft(username, `chat:${id ?? "new"}`);
  const turns = useRef<HTMLOListElement>(null);
  const box = useRef<HTMLTextAreaElement>(null);
  const earlier = useRef<HTMLDivElement>(null);
  const { isAway, toEnd, hold } = useReading(turns);

  const isOwn = (one: Exchange) => one.slot === slot || (id !== null && one.conversation === id);
  const own = list.filter(isOwn);
  const stored = new Set(chats.map((chat) => chat.id));
  const live = own.filter((one) => !one.chat || !stored.has(one.chat.id));
  const running = own.find(isRunning);
  const announcement = useAnnouncement(own);

  const load = (from: string | null, byHand = false) =>
    run(async () => {
      if (id === null) return;
      try {
        const query = { limit: PAGE, cursor: from ?? undefined };
        const page = await call<Page<Chat> & { conversation: Conversation }>("GET", `api/v1/conversations/${encodeURIComponent(id)}`, { query });
        if (from !== null) hold();
        setChats((later) => [...page.data.reverse(), ...later]);
        setCursor(page.next_cursor);
        // The button has gone, and the focus was on it.
        if (byHand && page.next_cursor === null) turns.current?.focus({ preventScroll: true });
        setLoaded(true);
        onFound(page.conversation);
        exchanges.resume(slot, (one) => one.conversation === id, page.data);
      } catch (failed) {
        if (!(failed instanceof ApiError) || failed.status !== 404) throw failed;
        setGone(true);
      }
    });
  useEffect(() => load(null), []);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) box.current?.focus({ preventScroll: true });
  }, []);

  // What is earlier is asked for as one comes there. After a failure one asks for it oneself.
  useEffect(() => {
    if (!earlier.current || cursor === null || busy || error !== null) return;
    const watch = new IntersectionObserver((seen) => {
      if (seen.some((one) => one.isIntersecting)) load(cursor);
    });
    watch.observe(earlier.current);
    return () => watch.disconnect();
  }, [cursor, busy, error]);

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing || !running || document.querySelector("dialog[open]")) return;
      exchanges.stop(running.key);
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [running?.key]);

  writing.current = {
    typed: () => box.current?.value ?? "",
    takeBack: (exchange) => {
      if (!isOwn(exchange) || !box.current || box.current.value.trim() !== "") return false;
      setDraft(exchange.message);
      return true;
    },
  };

  /** Where one goes on after something has gone. On a screen that is touched, the keyboard would come up. */
  const goOn = () => {
    const place = matchMedia("(hover: hover)").matches ? box.current : document.getElementById("main");
    place?.focus({ preventScroll: true });
  };
  const send = () => {
    const newest = [...own.flatMap((one) => one.chat?.id ?? []), chats.at(-1)?.id ?? ""].sort().at(-1) ?? "";
    const message = draft;
    setDraft("");
    onRefusalSeen();
    toEnd();
    onSent(exchanges.send(slot, id ?? "new", message, id === null ? newestConversation : newest));
  };
  const edit = (exchange: Exchange) => {
    exchanges.remove(exchange.key);
    setDraft(draft.trim() === "" ? exchange.message : `${exchange.message}\n\n${draft}`);
    box.current?.focus();
  };

  if (isGone) {
    return (
      <main id="main" class="thread" tabIndex={-1}>
        <h1>This conversation is not there any more</h1>
        <p>It was deleted, or it belongs to somebody else.</p>
        <p>
          <a href="./">Begin a new conversation</a>
        </p>
      </main>
    );
  }
  const isEmpty = isLoaded && chats.length === 0 && live.length === 0;
  // A second message could not say which conversation it is for.
  const first = id === null ? live.find((one) => one.state !== "done") : undefined;
  const isBack = first?.state === "failed" || first?.state === "lost";
  const ofFirst = isBack ? "Try the first message again, edit it or remove it." : "The first message of a conversation has to be answered first.";
  const blocked = first ? ofFirst : undefined;
  return (
    <main id="main" class="thread" tabIndex={-1}>
      <h1 dir="auto">{title}</h1>
      {isEmpty && welcome}
      {cursor !== null && (
        <div class="earlier" ref={earlier}>
          <Button onClick={() => load(cursor, true)} busy={busy}>
            Earlier messages
          </Button>
        </div>
      )}
      {!isLoaded && busy && (
        <p class="faint working" role="status">
          Loading
        </p>
      )}
      <Problem error={error} onRetry={() => load(cursor)} />
      <ol class="turns" ref={turns} tabIndex={-1}>
        {chats.map((chat) => (
          <li key={chat.id}>
            <Stored chat={chat} />
          </li>
        ))}
        {live.map((exchange) => (
          <li key={exchange.key} aria-busy={isRunning(exchange) ? "true" : undefined}>
            <Live exchange={exchange} exchanges={exchanges} onEdit={edit} onGone={goOn} />
          </li>
        ))}
      </ol>
      <p class="for-readers" role="status">
        {announcement}
      </p>
      <div class="bottom">
        {isAway && (
          <div class="jump">
            <Button
              onClick={() => {
                toEnd();
                goOn();
              }}
            >
              ↓ Latest
            </Button>
          </div>
        )}
        {refusal && <Refused error={refusal.error} balance={balance} />}
        <Composer
          text={draft}
          onInput={setDraft}
          onSend={send}
          onStop={() => running && exchanges.stop(running.key)}
          isRunning={running !== undefined}
          blocked={running ? undefined : blocked}
          box={box}
        />
      </div>
    </main>
  );
}
