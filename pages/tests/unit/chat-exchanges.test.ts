import assert from "node:assert/strict";
import { mock, test, type TestContext } from "node:test";

import { Exchanges, type Exchange } from "../../src/chat/exchanges.ts";
import { idSince } from "../../src/chat/pending.ts";
import { session } from "../../src/lib/session.ts";

const SECOND = 1000;
const HOUR = 3600 * SECOND;
const BEGIN = Date.parse("2026-01-01T12:00:00Z");

type Reply = () => Response | Promise<Response>;

const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const stream = (...events: string[]) => new Response(events.join(""), { headers: { "Content-Type": "text/event-stream" } });
const refusal = (status: number, code: string) => Response.json({ code, detail: code }, { status });
const unreachable = () => Promise.reject(new TypeError("Failed to fetch"));
const toldChat = { id: `${idSince(BEGIN + HOUR)}AAAAAAAAAAAAAAAA`, conversation_id: "C1", timestamp: "", model: "echo", finish_reason: "stop", usage: null, cost: 100 };
const done = () => stream(event("message", { delta: "yes" }), event("done", { chat: toldChat, token_balance: 1, replayed: false }));
const storedChat = { ...toldChat, message: "hello", response: "yes" };

/** A browser in which time passes when it is told to, and a server that says what it is told to. */
function browser(t: TestContext) {
  const kept = new Map<string, string>();
  const localStorage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, text: string) => kept.set(key, text), removeItem: (key: string) => kept.delete(key) };
  const line = { onLine: true };
  const held = new Map<string, number>();
  const window = new EventTarget();
  const sent: string[] = [];
  const server: { post: Reply; chats: unknown[] } = { post: done, chats: [] };
  const locks = {
    request: async (name: string, options: { mode?: string; ifAvailable?: boolean }, task: (lock: object | null) => unknown) => {
      if (options.ifAvailable && held.has(name)) return task(null);
      held.set(name, (held.get(name) ?? 0) + 1);
      await task({});
      const rest = (held.get(name) ?? 1) - 1;
      if (rest > 0) held.set(name, rest);
      else held.delete(name);
    },
  };
  const fetch = async (_: URL, { method, headers }: { method: string; headers: Headers }) => {
    if (method === "GET") return Response.json({ data: server.chats, next_cursor: null });
    sent.push(`${headers.get("Idempotency-Key")}`);
    return server.post();
  };
  const globals = { localStorage, window, document: { baseURI: "http://here/" }, fetch, requestAnimationFrame: (task: () => void) => setTimeout(task), cancelAnimationFrame: clearTimeout };
  for (const [name, value] of Object.entries({ ...globals, navigator: Object.assign(line, { locks }) })) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: BEGIN });
  t.after(() => mock.timers.reset());
  session.begin({ username: "me", access: "a", refresh: "r" } as Parameters<typeof session.begin>[0]);
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const open = (takesBack = false) => {
    const seen: { list: Exchange[]; refused: number } = { list: [], refused: 0 };
    const exchanges = new Exchanges("me", {
      changed: (list) => (seen.list = list),
      balance: () => {},
      answered: () => {},
      refused: () => {
        seen.refused++;
        return takesBack;
      },
    });
    t.after(() => exchanges.close());
    return { exchanges, seen, state: () => seen.list.at(-1)?.state };
  };
  return {
    server,
    sent,
    open,
    settle,
    pending: () => JSON.parse(kept.get("ai-chat-system:/:draft:me:pending") ?? "[]") as { key: string; message: string }[],
    async pass(milliseconds: number) {
      for (let left = milliseconds; left > 0; left -= 5 * SECOND) {
        mock.timers.tick(Math.min(left, 5 * SECOND));
        await settle();
      }
    },
    /** As a computer that sleeps, or a browser without a connection: time passes and nothing is done. */
    async skip(milliseconds: number) {
      mock.timers.setTime(Date.now() + milliseconds);
      await settle();
    },
    connect(isOnline: boolean) {
      line.onLine = isOnline;
      if (isOnline) window.dispatchEvent(new Event("online"));
    },
  };
}

test("what is refused stays until its text really is where it was written", async (t) => {
  for (const [status, code] of [[402, "insufficient_tokens"], [422, "invalid"], [404, "conversation_not_found"]] as const) {
    for (const takesBack of [false, true]) {
      const { server, open, settle, pending } = browser(t);
      server.post = () => refusal(status, code);
      const { exchanges, seen, state } = open(takesBack);
      exchanges.send("s", "C1", "hello", "");
      await settle();
      assert.equal(seen.refused, 1);
      assert.equal(state(), takesBack ? undefined : "failed");
      assert.equal(pending().length, takesBack ? 0 : 1);
      mock.timers.reset();
    }
  }
});

test("a connection that breaks and does not come back leaves the outcome open, and the key is kept", async (t) => {
  const { server, sent, open, pass, pending } = browser(t);
  server.post = () => (sent.length === 1 ? stream(event("message", { delta: "half" })) : unreachable());
  const { exchanges, seen, state } = open(true);
  const { key } = exchanges.send("s", "C1", "hello", "");
  await pass(60 * SECOND);
  assert.equal(state(), "lost");
  assert.equal(sent.length, 5);
  server.post = done;
  exchanges.retry(key);
  await pass(SECOND);
  assert.equal(state(), "done");
  assert.deepEqual(new Set(sent), new Set([key]));
  assert.equal(seen.list.length, 1);
  assert.deepEqual(pending(), []);
});

test("an answer of somebody in between says nothing of the outcome", async (t) => {
  const portal = () => new Response("<h1>Not here</h1>", { status: 404, headers: { "Content-Type": "text/html" } });
  for (const post of [() => refusal(502, "gateway_error"), () => new Response("", { status: 504 }), () => refusal(500, "internal"), portal, () => new Response("<p>Log in")]) {
    const { server, open, pass, pending } = browser(t);
    server.post = post;
    const { exchanges, seen, state } = open(true);
    exchanges.send("s", "C1", "hello", "");
    await pass(60 * SECOND);
    assert.deepEqual([state(), seen.refused, pending().length], ["lost", 0, 1]);
    mock.timers.reset();
  }
});

test("what is refused after an attempt whose outcome is open is not known to be unanswered", async (t) => {
  for (const [status, code] of [[403, "blocked"], [402, "insufficient_tokens"]] as const) {
    const { server, sent, open, pass, pending } = browser(t);
    server.post = () => (sent.length === 1 ? unreachable() : refusal(status, code));
    const { exchanges, seen, state } = open(true);
    exchanges.send("s", "C1", "hello", "");
    await pass(10 * SECOND);
    assert.deepEqual([state(), seen.refused, pending().length, sent.length], ["lost", 0, 1, 2]);
    mock.timers.reset();
  }
});

test("a model that fails fails all that was asked under the key", async (t) => {
  const { server, sent, open, pass } = browser(t);
  server.post = () => (sent.length === 1 ? unreachable() : sent.length === 2 ? refusal(429, "too_many_requests") : refusal(502, "model_failed"));
  const { exchanges, state } = open();
  exchanges.send("s", "C1", "hello", "");
  await pass(20 * SECOND);
  assert.deepEqual([state(), sent.length], ["failed", 3]);
});

test("streams that never come to an end are not asked for for ever", async (t) => {
  const { server, sent, open, pass } = browser(t);
  server.post = () => stream(": nothing\n\n");
  const { exchanges, state } = open();
  exchanges.send("s", "C1", "hello", "");
  await pass(250 * SECOND);
  assert.equal(state(), "lost");
  const count = sent.length;
  await pass(60 * SECOND);
  assert.equal(sent.length, count);
});

test("after a long time without a connection nothing is sent again by itself; after a day nothing is under the old key", async (t) => {
  const { server, sent, open, pass, skip, connect } = browser(t);
  server.post = () => unreachable();
  const { exchanges, state } = open();
  connect(false);
  const { key } = exchanges.send("s", "C1", "hello", "");
  await pass(5 * SECOND);
  await skip(HOUR);
  connect(true);
  await pass(10 * SECOND);
  assert.deepEqual([state(), sent.length], ["lost", 1]);
  // Its author may.
  exchanges.retry(key);
  await pass(SECOND);
  assert.equal(sent.length, 2);
  await skip(24 * HOUR);
  await pass(10 * SECOND);
  assert.deepEqual([state(), sent.length], ["lost", 2]);
  exchanges.retry(key);
  assert.equal(state(), "stopped");
  server.chats = [storedChat];
  await pass(10 * SECOND);
  assert.deepEqual([state(), sent.length], ["done", 2]);
});

test("what is found among the chats that are loaded is answered, whatever was known of it", async (t) => {
  const { server, open, settle, pending } = browser(t);
  server.post = () => refusal(502, "model_failed");
  const before = open();
  before.exchanges.send("C1", "C1", "hello", "");
  await settle();
  assert.equal(before.state(), "failed");
  // After a reload.
  const after = open();
  after.exchanges.resume("C1", () => true, [storedChat] as never);
  assert.deepEqual([after.seen.list, pending()], [[], []]);
  before.exchanges.resume("C1", () => true, [storedChat] as never);
  assert.equal(before.state(), "done");
});

test("of what closed tabs have left, only what was answered or became the draft is forgotten", async (t) => {
  const { server, open, settle, pass, pending } = browser(t);
  server.post = () => unreachable();
  const tabs = ["one", "two", "hello", "open"].map((message) => {
    const tab = open();
    tab.exchanges.send("s", "new", message, "");
    return tab;
  });
  await pass(240 * SECOND);
  for (const tab of tabs.slice(0, 3)) tab.exchanges.close();
  await settle();
  server.chats = [storedChat];
  const left = () => pending().map((one) => one.message);
  const drafts: string[] = [];
  const fresh = open();
  await fresh.exchanges.leftover(() => false);
  assert.deepEqual(left(), ["one", "two", "open"]);
  const restore = (message: string) => drafts.length === 0 && drafts.push(message) > 0;
  await fresh.exchanges.leftover(restore);
  assert.deepEqual([drafts, left()], [["two"], ["one", "open"]]);
  drafts.length = 0;
  await fresh.exchanges.leftover(restore);
  await fresh.exchanges.leftover(() => true);
  assert.deepEqual([drafts, left()], [["one"], ["open"]]);
});
