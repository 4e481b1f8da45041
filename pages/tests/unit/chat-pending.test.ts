import assert from "node:assert/strict";
import { test } from "node:test";

import { newKey } from "../../src/chat/pending.ts";

test("keys are such as the API takes, and each is new, also where the page is not served securely", () => {
  const secure = Array.from({ length: 100 }, newKey);
  const { randomUUID } = crypto;
  Object.assign(crypto, { randomUUID: undefined });
  const others = Array.from({ length: 100 }, newKey);
  Object.assign(crypto, { randomUUID });
  for (const key of [...secure, ...others]) assert.match(key, /^[!-~]{32,36}$/);
  assert.equal(new Set([...secure, ...others]).size, 200);
});
