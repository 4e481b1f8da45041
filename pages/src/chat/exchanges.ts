/**
 * Messages on their way and their answers: what is said of them, and what is done until the outcome is known. They go on while another
 * conversation is looked at.
 */

import type { components } from "../../schema.d.ts";
import { ApiError, call, respond, type Chat, type ErrorBody, type Page } from "../lib/api.ts";
import { newKey } from "../lib/key.ts";
import { events } from "../lib/stream.ts";
import { verdict } from "./outcomes.ts";
import { backoff, pause } from "./pause.ts";
import { forgetPending, hold, idSince, ifNobodyHolds, isForgotten, keepPending, pending, type Pending } from "./pending.ts";

type Done = components["schemas"]["DoneBody"];

/**
 * `asking`: nothing was heard yet; `answering`: words come; `waiting`: it is being answered, and will be told as a whole; `stopped`: the
 * reader does not wait, the answer is looked for; `lost`: it is not known what became of it; `failed`: nothing did, and `error` says why;
 * `done`: `chat` is it.
 */
export type State = "asking" | "answering" | "waiting" | "stopped" | "lost" | "failed" | "done";

export interface Exchange extends Pending {
  /** Where on the page it is shown: a new conversation has no id yet. */
  slot: string;
  state: State;
  /** What was heard of the answer. */
  text: string;
  /** It was lost, and its sender has it looked for. */
  isSought?: boolean;
  error?: unknown;
  chat?: Chat;
}

export const isRunning = ({ state }: Exchange): boolean => state === "asking" || state === "answering" || state === "waiting";

export interface Listener {
  changed: (list: Exchange[]) => void;
  /** What can be spent now; nothing if that has to be asked for. */
  balance: (tokens: number | undefined) => void;
  answered: (exchange: Exchange, chat: Chat) => void;
  /** It was refused for what it is: sending it again as it is would be of no use. Gives back whether its text is where it was written. */
  refused: (exchange: Exchange, error: ApiError) => boolean;
}

/** After this long a message is not sent again by itself: it may not be wanted any more. */
const FRESH_MILLISECONDS = 10 * 60_000;
/** After this long a message is not being answered any more, if it ever was. */
const ORPHANED_MILLISECONDS = 3 * 60_000;
/** By how much the clocks of browsers and servers may differ. */
const CLOCKS_DIFFER_MILLISECONDS = 2 * 60_000;
/** For how long an answer is waited or looked for: longer than any function runs. */
const PATIENCE_MILLISECONDS = 180_000;
/** How often a server that cannot be reached is tried, while the browser says that it has one. */
const MOST_TRIES = 4;
/** How many chats the API tells at once. */
const MOST_CHATS = 100;
/** Tells which chat is what became of a message: one with its text, where it was said, that is newer than what was known then. */
function answers({ message, conversation, newest }: Pending): (chat: Chat) => boolean {
  return (chat) => {
    const its = chat.conversation_id ?? "";
    return chat.message === message && (conversation === "new" ? its > newest : its === conversation && chat.id > newest);
  };
}

export class Exchanges {
  #list: Exchange[] = [];
  #running = new Map<string, AbortController>();
  /** How each message that is here is let go of. */
  #held = new Map<string, () => void>();
  #frame = 0;
  #username: string;
  #listener: Listener;

  constructor(username: string, listener: Listener) {
    this.#username = username;
    this.#listener = listener;
  }

  /** Sends a message. */
  send(slot: string, conversation: string, message: string, newest: string): Exchange {
    const at = Date.now();
    // Where nothing is known yet, the clock tells roughly what is new.
    const since = newest || idSince(at - CLOCKS_DIFFER_MILLISECONDS);
    const exchange: Exchange = { key: newKey(), slot, conversation, message, newest: since, at, state: "asking", text: "" };
    this.#add(exchange);
    this.#start(exchange, false);
    return exchange;
  }

  /** Takes up what was sent before the page was loaded, if it is not here already; `chats` are known, and may answer it. */
  resume(slot: string, isWanted: (one: Pending) => boolean, chats: Chat[] = []): void {
    for (const one of this.#list.filter((one) => (one.state === "lost" || one.state === "failed") && isWanted(one))) {
      const answer = this.#answerIn(chats, one);
      if (answer) this.#finish(one.key, answer, undefined);
    }
    for (const one of pending(this.#username).filter(isWanted)) {
      if (this.#list.some((other) => other.key === one.key)) continue;
      if (this.#answerIn(chats, one)) {
        forgetPending(this.#username, one.key);
        this.#listener.balance(undefined);
        continue;
      }
      const isOld = Date.now() - one.at > FRESH_MILLISECONDS;
      const state = one.failed ? "failed" : one.stopped ? "stopped" : isOld ? "lost" : "waiting";
      const exchange: Exchange = { ...one, slot, state, text: "" };
      this.#add(exchange);
      if (state === "stopped") this.#look(exchange);
      else if (state === "waiting") this.#start(exchange, true);
      else this.#tell();
    }
  }

  /**
   * Messages that were to begin a conversation, in tabs that were closed before they were answered. They are not sent again by themselves:
   * `restore` makes one a draft, and gives back whether it did. What is neither answered nor a draft now is left for the next time.
   */
  async leftover(restore: (message: string) => boolean): Promise<void> {
    const isOrphan = (one: Pending) => one.conversation === "new" && Date.now() - one.at > ORPHANED_MILLISECONDS;
    if (!pending(this.#username).some(isOrphan)) return;
    const { data } = await call<Page<Chat>>("GET", "api/v1/chats", { query: { limit: MOST_CHATS } });
    for (const one of pending(this.#username).filter(isOrphan).reverse()) {
      if (this.#list.some((other) => other.key === one.key)) continue;
      await ifNobodyHolds(one.key, () => {
        // Another tab may have been faster.
        if (!pending(this.#username).some((other) => other.key === one.key)) return;
        if (this.#answerIn(data, one) || restore(one.message)) forgetPending(this.#username, one.key);
      });
    }
  }

  /** The newest of these that is on the page. */
  find(keys: string[]): Exchange | undefined {
    return this.#list.filter((one) => keys.includes(one.key)).at(-1);
  }

  /** The reader does not wait any more. The answer is given, kept and paid for all the same, so it is looked for. */
  stop(key: string): void {
    const exchange = this.#list.find((one) => one.key === key);
    if (!exchange || !isRunning(exchange)) return;
    this.#running.get(key)?.abort();
    this.#look({ ...exchange, stopped: true });
  }

  /** Sends it once more, under the same key, for as long as that says that it is the same. */
  retry(key: string): void {
    const exchange = this.#list.find((one) => one.key === key);
    if (!exchange) return;
    const { error: _, failed: __, stopped: ___, ...rest } = exchange;
    const again: Exchange = { ...rest, state: "asking", text: "", isSought: false };
    // Of what failed nothing is left, so that it may be as old as it is.
    if (exchange.state === "failed") this.#start({ ...again, at: Date.now() }, false);
    else if (isForgotten(exchange)) this.lookAgain(key);
    else this.#start(again, true);
  }

  lookAgain(key: string): void {
    const exchange = this.#list.find((one) => one.key === key);
    if (exchange) this.#look({ ...exchange, isSought: true });
  }

  remove(key: string): void {
    this.#running.get(key)?.abort();
    this.#forget(key);
    this.#list = this.#list.filter((one) => one.key !== key);
    this.#tell();
  }

  /** Hangs up everywhere. What was sent stays known, for the next time. */
  close(): void {
    this.#listener = { changed: () => {}, balance: () => {}, answered: () => {}, refused: () => false };
    for (const one of this.#running.values()) one.abort();
    for (const release of this.#held.values()) release();
    cancelAnimationFrame(this.#frame);
  }

  #tell(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#listener.changed(this.#list);
  }

  #set(key: string, change: Partial<Exchange>): void {
    this.#list = this.#list.map((one) => (one.key === key ? { ...one, ...change } : one));
    this.#tell();
  }

  /** As `set`, shown with the next picture that the browser draws: words may come faster than these. */
  #hear(key: string, text: string): void {
    this.#list = this.#list.map((one) => (one.key === key ? { ...one, text, state: "answering" } : one));
    this.#frame ||= requestAnimationFrame(() => this.#tell());
  }

  #add(exchange: Exchange): void {
    this.#list = [...this.#list, exchange];
    this.#held.set(exchange.key, hold(exchange.key));
  }

  #forget(key: string): void {
    forgetPending(this.#username, key);
    this.#held.get(key)?.();
    this.#held.delete(key);
  }

  #keep({ key, message, conversation, at, newest, stopped, failed }: Exchange): void {
    const flags = { ...(stopped ? { stopped } : {}), ...(failed ? { failed } : {}) };
    keepPending(this.#username, { key, message, conversation, at, newest, ...flags });
  }

  #begin(exchange: Exchange): AbortSignal {
    const controller = new AbortController();
    this.#running.set(exchange.key, controller);
    this.#keep(exchange);
    this.#list = this.#list.map((one) => (one.key === exchange.key ? exchange : one));
    this.#tell();
    return controller.signal;
  }

  #start(exchange: Exchange, isOpen: boolean): void {
    const signal = this.#begin(exchange);
    this.#run(exchange, isOpen, signal).catch((error: unknown) => {
      if (!signal.aborted) this.#lose(exchange.key, error);
    });
  }

  /** Asks until there is an outcome, or too long. The key makes it one message, however often that is, as long as it is remembered. */
  async #run(exchange: Exchange, isOpen: boolean, signal: AbortSignal): Promise<void> {
    const { key, message, conversation } = exchange;
    const began = Date.now();
    let connected = began;
    let unreached = 0;
    for (let attempt = 0; ; attempt++) {
      let error: unknown;
      try {
        if (await this.#ask(key, message, conversation, signal)) return;
        // It ended in mid-answer: the connection broke, or whoever answered did.
      } catch (failed) {
        signal.throwIfAborted();
        error = failed;
      }
      const what = error === undefined ? "open" : verdict(error, isOpen);
      if (what === "refused" || what === "failed" || what === "ended") return this.#fail(exchange, error as ApiError, what);
      unreached = what === "unreached" ? unreached + (navigator.onLine ? 1 : 0) : 0;
      const isLong = navigator.onLine && Date.now() - connected > PATIENCE_MILLISECONDS;
      if (what === "unknown" || unreached >= MOST_TRIES || isLong) return this.#lose(key, what === "open" ? undefined : error);
      isOpen = true;
      // Of what was not reached it is not known that it answers.
      if (what === "open") this.#set(key, { state: "waiting" });
      if (await pause(backoff(attempt), signal)) connected = Date.now();
      // There may have been no connection for hours, or the computer was asleep.
      if (Date.now() - began > FRESH_MILLISECONDS || isForgotten(exchange)) return this.#lose(key);
    }
  }

  /** Asks once and listens. Gives back whether that came to an end. */
  async #ask(key: string, message: string, conversation: string, signal: AbortSignal): Promise<boolean> {
    const response = await respond("POST", "api/v1/chats/stream", {
      body: { message, conversation_id: conversation },
      headers: { "Idempotency-Key": key, Accept: "text/event-stream" },
      signal,
    });
    // What is between here and there may answer in the place of the server.
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new ApiError(response.status, { code: "unreadable" });
    let text = "";
    try {
      for await (const { name, data } of events(response)) {
        if (name === "message") {
          text += (JSON.parse(data) as { delta: string }).delta;
          this.#hear(key, text);
        } else if (name === "done") {
          const { chat, token_balance, replayed } = JSON.parse(data) as Done;
          // What is told again has the balance of then.
          this.#finish(key, { ...chat, message, response: text }, replayed ? undefined : token_balance);
          return true;
        } else if (name === "error") {
          throw new ApiError(response.status, JSON.parse(data) as ErrorBody);
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ApiError || error instanceof SyntaxError) throw error;
    }
    return false;
  }

  #finish(key: string, chat: Chat, balance: number | undefined): void {
    this.#forget(key);
    this.#running.delete(key);
    this.#set(key, { state: "done", chat, text: chat.response, ...(chat.conversation_id ? { conversation: chat.conversation_id } : {}) });
    this.#listener.balance(balance);
    const exchange = this.#list.find((one) => one.key === key);
    if (exchange) this.#listener.answered(exchange, chat);
  }

  #fail(exchange: Exchange, error: ApiError, why: "refused" | "failed" | "ended"): void {
    const now = this.#list.find((one) => one.key === exchange.key) ?? exchange;
    this.#running.delete(exchange.key);
    this.#listener.balance(undefined);
    if (why === "refused" && !now.text && this.#listener.refused(now, error)) return this.remove(exchange.key);
    // With the session ended, it is asked for after the next login.
    if (why !== "ended") this.#keep({ ...now, failed: true });
    this.#set(exchange.key, { state: "failed", error, failed: true });
  }

  /** It may be answered or not. It stays what it is under its key, which alone keeps it from being paid for twice. */
  #lose(key: string, error?: unknown): void {
    this.#running.delete(key);
    this.#listener.balance(undefined);
    this.#set(key, { state: "lost", error });
  }

  #look(exchange: Exchange): void {
    const signal = this.#begin({ ...exchange, state: "stopped" });
    this.#find(exchange, signal).catch((error: unknown) => {
      if (!signal.aborted) this.#lose(exchange.key, error);
    });
  }

  /** Looks for the answer among the newest chats, which asks nobody anything again. */
  async #find(exchange: Exchange, signal: AbortSignal): Promise<void> {
    let connected = Date.now();
    for (let attempt = 0; Date.now() - connected < PATIENCE_MILLISECONDS; attempt++) {
      if (await pause(backoff(attempt), signal)) connected = Date.now();
      try {
        // Much may have been said since it was sent; but not since the last look.
        const { data } = await call<Page<Chat>>("GET", "api/v1/chats", { query: { limit: attempt === 0 ? MOST_CHATS : 10 }, signal });
        const found = this.#answerIn(data, exchange);
        if (found) return this.#finish(exchange.key, found, undefined);
      } catch (error) {
        // Whatever it is, it may be over the next time; who is logged out hears of it from the session.
        if (signal.aborted || !(error instanceof ApiError) || error.status === 401) throw error;
      }
    }
    this.#lose(exchange.key);
  }

  /** The one of these chats that is what became of a message. */
  #answerIn(chats: Chat[], one: Pending): Chat | undefined {
    return chats.filter(answers(one)).find(({ id }) => !this.#list.some(({ chat }) => chat?.id === id));
  }
}
