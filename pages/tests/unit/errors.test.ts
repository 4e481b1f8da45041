import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ApiError } from "../../src/lib/api.ts";
import { CODES, sentence, wait } from "../../src/lib/errors.ts";

/** What the page itself finds out: there was no answer, or none of ours. */
const OWN = ["offline", "unreachable", "unreadable"];

test("every code of the API and of its gateway has a sentence, and there is no other", () => {
  const rust = readFileSync("../shared/src/error.rs", "utf8");
  const body = rust.slice(rust.indexOf("pub const fn code"), rust.indexOf("pub fn text"));
  const codes = [...body.matchAll(/=> "([a-z_]+)"/g)].map(([, code]) => code ?? "");
  assert.ok(codes.length > 40, `${codes.length} codes`);
  const template = readFileSync("../template.yaml", "utf8");
  codes.push(...[...template.matchAll(/"code": "([a-z_]+)"/g)].map(([, code]) => code ?? ""));
  assert.deepEqual([...CODES].sort(), [...new Set([...codes, ...OWN])].sort());
});

test("sentences are sentences", () => {
  for (const code of CODES) {
    const text = sentence(new ApiError(400, { code, detail: "Password is too common" }));
    assert.match(text, /^[A-Z].*\.$/, code);
  }
});

test("what the page does not know it says in the API's words", () => {
  assert.equal(sentence(new ApiError(400, { code: "brand_new", detail: "The moon is full" })), "The moon is full.");
  assert.equal(sentence(new ApiError(400, { code: "invalid", detail: "Password is too common" })), "Password is too common.");
  assert.match(sentence(new ApiError(500, { code: "internal", request_id: "r-1" })), /report the request r-1\.$/);
  assert.match(sentence(new TypeError("x is undefined")), /Reload/);
});

test("only what passes by waiting says how long", () => {
  assert.equal(wait(new ApiError(429, { code: "too_many_requests" }, 7)), 7);
  assert.equal(wait(new ApiError(503, { code: "model_busy" }, 3)), 3);
  assert.equal(wait(new ApiError(402, { code: "insufficient_tokens" }, 3)), undefined);
  assert.equal(wait(new Error()), undefined);
});
