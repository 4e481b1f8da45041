import assert from "node:assert/strict";
import { test } from "node:test";

import { idSince } from "../../src/chat/pending.ts";
import { newKey } from "../../src/lib/key.ts";

test("keys are such as the API takes, and each is new, also where the page is not served securely", () => {
  const secure = Array.from({ length: 100 }, newKey);
  const { randomUUID } = crypto;
  Object.assign(crypto, { randomUUID: undefined });
  const others = Array.from({ length: 100 }, newKey);
  Object.assign(crypto, { randomUUID });
  for (const key of [...secure, ...others]) assert.match(key, /^[!-~]{32,36}$/);
  assert.equal(new Set([...secure, ...others]).size, 200);
});

test("ids can be told from those of before", () => {
  const id = "01JGXQ0000000000000000000A";
  const at = [..."01JGXQ0000"].reduce((sum, digit) => sum * 32n + BigInt("0123456789ABCDEFGHJKMNPQRSTVWXYZ".indexOf(digit)), 0n);
  assert.ok(id > idSince(Number(at)));
  assert.ok(id > idSince(Number(at) - 1));
  assert.ok(id < idSince(Number(at) + 1));
  assert.equal(idSince(0), "0000000000");
});
