import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, events, type Told } from "../../src/lib/stream.ts";

const parse = (...pieces: string[]): Told[] => {
  const parser = new EventParser();
  return pieces.flatMap((piece) => parser.push(piece));
};

const TEXT = ': hello\nretry: 10\nevent: done\ndata: {"a":\ndata:1}\nid: 7\n\ndata:x\n\n';
const EVENTS = [
  { name: "done", data: '{"a":\n1}' },
  { name: "message", data: "x" },
];

test("events are the same with every line end", () => {
  for (const end of ["\n", "\r\n", "\r"]) assert.deepEqual(parse(TEXT.replaceAll("\n", end)), EVENTS, JSON.stringify(end));
});

test("events are the same wherever the text is cut", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = TEXT.replaceAll("\n", end);
    for (let at = 0; at <= text.length; at++) assert.deepEqual(parse(text.slice(0, at), text.slice(at)), EVENTS, `${JSON.stringify(end)} ${at}`);
    assert.deepEqual(parse(...text), EVENTS);
    assert.deepEqual(parse(...[...text].flatMap((character) => [character, ""])), EVENTS);
  }
});

test("an event is told when it is complete, not before and not later", () => {
  const parser = new EventParser();
  assert.deepEqual(parser.push("data: x\n"), []);
  assert.deepEqual(parser.push("\n"), [{ name: "message", data: "x" }]);
  assert.deepEqual(parser.push("data: y\r\r"), [{ name: "message", data: "y" }]);
  assert.deepEqual(parser.push("\n: comment\n\nevent: nothing\n\n"), []);
});

test("fields are taken as the standard has them", () => {
  assert.deepEqual(parse("data\n\n"), [{ name: "message", data: "" }]);
  assert.deepEqual(parse("data:  two\n\n"), [{ name: "message", data: " two" }]);
  assert.deepEqual(parse("data: a:b: c\n\n"), [{ name: "message", data: "a:b: c" }]);
  assert.deepEqual(parse("other: x\ndata : y\n\n"), []);
  // A name is for one event.
  assert.deepEqual(parse("event: a\ndata: 1\n\ndata: 2\n\n"), [
    { name: "a", data: "1" },
    { name: "message", data: "2" },
  ]);
});

/** An answer whose bytes come one at a time. */
function byByte(text: string): Response {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, ++at));
      else controller.close();
    },
  });
  return new Response(body);
}

test("characters of several bytes are whole, wherever they are cut", async () => {
  const told: Told[] = [];
  for await (const event of events(byByte("data: é 漢 👩‍🚀\n\ndata: cut off"))) told.push(event);
  assert.deepEqual(told, [{ name: "message", data: "é 漢 👩‍🚀" }]);
});

test("who stops listening hangs up", async () => {
  let isCancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")),
    cancel: () => void (isCancelled = true),
  });
  for await (const _ of events(new Response(body))) break;
  assert.equal(isCancelled, true);
});

test("a line of a megabyte that comes in pieces takes no time", () => {
  const parser = new EventParser();
  const began = performance.now();
  parser.push("data: ");
  for (let piece = 0; piece < 1000; piece++) parser.push("x".repeat(1000));
  assert.equal(parser.push("\n\n")[0]?.data.length, 1_000_000);
  assert.ok(performance.now() - began < 1000);
});

test("a connection that says nothing any more has ended", async () => {
  const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")) });
  const told: Told[] = [];
  for await (const event of events(new Response(body), 50)) told.push(event);
  assert.equal(told.length, 1);
});
