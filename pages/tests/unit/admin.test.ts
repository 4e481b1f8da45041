import assert from "node:assert/strict";
import { test } from "node:test";

import { axisEnd } from "../../src/admin/axis.ts";
import { mixedScripts } from "../../src/admin/names.ts";
import { fragment, parse, type View } from "../../src/admin/route.ts";
import { wholeNumber } from "../../src/admin/whole-number.ts";

test("every view has a fragment of its own", () => {
  const views: View[] = [
    { name: "today" },
    { name: "audit" },
    { name: "users", prefix: "", active: "" },
    { name: "users", prefix: "a+b&c=d#e", active: "false" },
    { name: "user", username: "a.b@c+d-Ünï", part: "ledger" },
    { name: "user", username: "../x?y#z%", part: "chats" },
  ];
  for (const view of views) assert.deepEqual(parse(`#${fragment(view)}`), view);
  assert.deepEqual(parse(""), { name: "today" });
  for (const hash of ["#nothing", "#users/ada/keys", "#users/%", "#today/x", "#users/a/chats/b", "#audit/1"]) {
    assert.deepEqual(parse(hash), { name: "unknown" }, hash);
  }
});

test("a number of tokens is one, or nothing", () => {
  const numbers: [string, number][] = [["5", 5], [" 500 ", 500], ["1,000", 1000], ["12 345 678", 12_345_678], ["9007199254740991", Number.MAX_SAFE_INTEGER]];
  for (const [text, value] of numbers) assert.equal(wholeNumber(text), value, text);
  for (const text of ["", "0", "-1", "+1", "1.5", "1,5", "1,0000", ",100", "1e3", "0x10", "٣", "9007199254740992", "1 2"]) {
    assert.equal(wholeNumber(text), null, text);
  }
});

test("an axis ends at a round number whose half is whole", () => {
  for (const [most, end] of [[0, 2], [1, 2], [2, 2], [3, 4], [5, 10], [11, 20], [41, 100], [4100, 10_000]] as const) assert.equal(axisEnd(most), end);
});

test("a name of several scripts is noticed, one of one script is not", () => {
  assert.deepEqual(mixedScripts("\u0430dmin"), ["Latin", "Cyrillic"]);
  for (const name of ["admin", "админ", "Ünï-1", "שלום1", "日本", "42"]) assert.deepEqual(mixedScripts(name), [], name);
});
