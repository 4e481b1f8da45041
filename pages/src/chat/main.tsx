/** The page to chat on. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { api, type Conversation, type Profile } from "../lib/api.ts";
import { draft, keepDraft } from "../lib/drafts.ts";
import { Frame, Gate, show } from "../lib/frame.tsx";
import { useTask } from "../lib/hooks.ts";
import type { Session } from "../lib/session.ts";
import { Button, Problem, toast } from "../lib/ui.tsx";
import { Account } from "./account.tsx";
import { AllMessages } from "./all.tsx";
import { ConversationList, ConversationOptions } from "./conversations.tsx";
import { Drawer, useIsWide } from "./drawer.tsx";
import { Exchanges, type Exchange } from "./exchanges.ts";
import { existing, fresh, go, kept, viewOf, type View } from "./route.ts";
import { Thread, type Refusal, type Writing } from "./thread.tsx";
import { shownTitle } from "./titles.ts";
import { useConversations } from "./use-conversations.ts";
// After that of all pages, which it goes on from.
import "./chat.css";
import "./messages.css";
import "./account.css";

/** What is typed before a conversation has an id is kept under this name. */
const NEW = "chat:new";

function Chat({ current }: { current: Session }) {
  const [profile, setProfile] = useState<Profile | null>(null);
  const [balance, setBalance] = useState<number | undefined>(undefined);
  const [view, setView] = useState(() => viewOf(location));
  const [list, setList] = useState<Exchange[]>([]);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [options, setOptions] = useState<Conversation | null>(null);
  const [isDrawerOpen, setDrawerOpen] = useState(false);
  const [isAccountOpen, setAccountOpen] = useState(false);
  const isWide = useIsWide();
  const conversations = useConversations();
  const { error, run } = useTask();
  const writing = useRef<Writing | null>(null);
  const shown = useRef(view);
  shown.current = view;

  // Answers come in any order; one that was asked for before the newest that is known is older.
  const balances = useRef({ asked: 0, known: 0 });
  /** Asks for what can be spent from now on. Gives back what takes the answer. */
  const newBalance = () => {
    const turn = ++balances.current.asked;
    return (tokens: number) => {
      if (turn < balances.current.known) return;
      balances.current.known = turn;
      setBalance(tokens);
    };
  };
  const refreshBalance = () => {
    const take = newBalance();
    api.balance().then((told) => take(told.token_balance), () => undefined);
  };

  /** Shows something else, and says so to the browser's history. */
  const open = (next: View, how: "push" | "replace" = "push") => {
    setDrawerOpen(false);
    const isNew = (one: View) => one.kind === "conversation" && one.id === null;
    // Nothing is said here yet: this is a new one.
    if (isNew(next) && isNew(view) && !list.some((one) => one.slot === view.slot)) return;
    setRefusal(null);
    setView(next);
    go(next, how);
    window.scrollTo(0, 0);
  };

  const exchanges = useMemo(
    () =>
      new Exchanges(current.username, {
        changed: setList,
        balance: (tokens) => (tokens === undefined ? refreshBalance() : newBalance()(tokens)),
        answered: ({ slot }, { conversation_id }) => {
          const now = shown.current;
          if (now.slot === slot && now.kind === "conversation" && now.id === null && conversation_id) {
            // It has begun, and is the same on the page. What was typed here meanwhile is for it; what is kept may be another tab's.
            const typed = writing.current?.typed() ?? "";
            keepDraft(current.username, `chat:${conversation_id}`, typed);
            if (draft(current.username, NEW) === typed) keepDraft(current.username, NEW, "");
            const begun: View = { kind: "conversation", id: conversation_id, slot };
            setView(begun);
            go(begun, "replace");
          }
          conversations.refresh();
        },
        refused: (exchange, refused) => {
          if (!writing.current?.takeBack(exchange)) return false;
          setRefusal({ exchange, error: refused });
          return true;
        },
      }),
    [],
  );

  const load = () =>
    run(async () => {
      const take = newBalance();
      const [told] = await Promise.all([api.profile(), conversations.load()]);
      setProfile(told);
      take(told.token_balance);
    });
  useEffect(() => {
    load();
    const { keys = [] } = kept();
    if (keys.length > 0) exchanges.resume(view.slot, (one) => keys.includes(one.key));
    const restore = (message: string): boolean => {
      const now = shown.current;
      const isNew = now.kind === "conversation" && now.id === null;
      // Where something was sent and nothing is written, what will be is for that.
      if (draft(current.username, NEW) !== "" || (isNew && kept().keys)) return false;
      keepDraft(current.username, NEW, message);
      if (draft(current.username, NEW) !== message) return false;
      if (isNew) setView(fresh());
      return true;
    };
    exchanges.leftover(restore).catch(() => undefined);
    const look = () => {
      if (document.visibilityState !== "visible") return;
      // Other tabs and programs spend and speak, too.
      refreshBalance();
      conversations.refresh();
    };
    document.addEventListener("visibilitychange", look);
    const back = () => {
      setRefusal(null);
      // What began here may still be going on, or have become a conversation meanwhile.
      const begun = exchanges.find(kept().keys ?? []);
      if (!begun) return setView(viewOf(location));
      const { slot, conversation } = begun;
      const next: View = conversation === "new" ? { kind: "conversation", id: null, slot } : existing(conversation);
      setView(next);
      go(next, "replace", kept());
    };
    window.addEventListener("popstate", back);
    return () => {
      window.removeEventListener("popstate", back);
      document.removeEventListener("visibilitychange", look);
      exchanges.close();
    };
  }, []);

  const title = (id: string | null): string => {
    if (id === null) return "New conversation";
    const known = conversations.list.find((one) => one.id === id) ?? conversations.found.find((one) => one.id === id);
    return known ? shownTitle(known.title) : "Conversation";
  };
  const heading = view.kind === "all" ? "All messages" : title(view.id);
  useEffect(() => {
    document.title = `${heading} · AI Chat System`;
  }, [heading]);

  const welcome = (
    <div class="welcome">
      <p>You are logged in as <bdi>{current.username}</bdi>.</p>
      <p class="faint">Write a message below. Each answer costs tokens; how many is told with it.</p>
    </div>
  );
  const side = (
    <ConversationList
      list={conversations.list}
      hasMore={conversations.hasMore}
      busy={conversations.busy}
      error={conversations.error}
      view={view}
      onMore={conversations.more}
      onOpen={open}
      onOptions={setOptions}
    />
  );
  return (
    <Frame
      page="chat"
      current={current}
      isStaff={profile !== null && profile.role !== "user"}
      extra={
        <div class="purse">
          {balance !== undefined && <span>{balance.toLocaleString("en")} tokens</span>}
          <Button kind="quiet" onClick={() => setAccountOpen(true)}>
            Account
          </Button>
        </div>
      }
    >
      <div class="chat">
        {isWide ? (
          <aside>{side}</aside>
        ) : (
          <>
            <div class="bar">
              <Button onClick={() => setDrawerOpen(true)}>Conversations</Button>
              <Button onClick={() => open(fresh())}>New conversation</Button>
            </div>
            <Drawer open={isDrawerOpen} onClose={() => setDrawerOpen(false)}>
              {side}
            </Drawer>
          </>
        )}
        <div class="content-column">
          <Problem error={error} onRetry={load} />
          {view.kind === "all" ? (
            <AllMessages onOpen={open} />
          ) : (
            <Thread
              key={view.slot}
              username={current.username}
              slot={view.slot}
              id={view.id}
              title={title(view.id)}
              newestConversation={conversations.newest()}
              balance={balance}
              exchanges={exchanges}
              list={list}
              refusal={refusal}
              writing={writing}
              onSent={(exchange) => {
                if (view.id === null) go(view, "replace", { keys: [...(kept().keys ?? []), exchange.key] });
              }}
              onRefusalSeen={() => setRefusal(null)}
              onFound={conversations.learn}
              welcome={welcome}
            />
          )}
        </div>
      </div>
      <ConversationOptions
        conversation={options}
        onClose={() => setOptions(null)}
        onRenamed={(renamed) => {
          setOptions(null);
          conversations.learn(renamed);
          toast("The conversation is renamed.");
        }}
        onDeleted={(id) => {
          setOptions(null);
          conversations.forget(id);
          toast("The conversation is deleted.");
          if (view.kind === "conversation" && view.id === id) open(fresh(), "replace");
        }}
      />
      <Account current={current} profile={profile} balance={balance} open={isAccountOpen} onClose={() => setAccountOpen(false)} />
    </Frame>
  );
}

show(<Gate page="chat">{(current) => <Chat key={current.username} current={current} />}</Gate>);
