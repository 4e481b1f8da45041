import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../src/lib/api.ts";
import { forgetDrafts } from "../../src/lib/drafts.ts";
import { isUncertain } from "../../src/admin/say.ts";
import { keepUnsettled, settle, unsettled } from "../../src/admin/unsettled.ts";

const HOUR = 3_600_000;

/** As much of `localStorage` as is used. */
class Kept {
  getItem(name: string): string | null {
    return Object.hasOwn(this, name) ? (this as unknown as Record<string, string>)[name] ?? null : null;
  }
  setItem(name: string, value: string): void {
    Object.assign(this, { [name]: value });
  }
  removeItem(name: string): void {
    delete (this as unknown as Record<string, string>)[name];
  }
}

test("what was sent for somebody is kept until its outcome is known, and no longer than the API knows its key", () => {
  Object.assign(globalThis, { localStorage: new Kept() });
  const one = { key: "k1", amount: -5, reason: "why", at: Date.now() - 22 * HOUR };
  keepUnsettled("root", "ada", one);
  assert.deepEqual(unsettled("root", "ada"), one);
  assert.equal(unsettled("root", "bob"), null);
  assert.equal(unsettled("other", "ada"), null);
  settle("root", "ada", "another");
  assert.deepEqual(unsettled("root", "ada"), one);
  settle("root", "ada", "k1");
  assert.equal(unsettled("root", "ada"), null);
  keepUnsettled("root", "ada", { ...one, at: Date.now() - 23 * HOUR - 1 });
  assert.equal(unsettled("root", "ada"), null);
  keepUnsettled("root", "ada", one);
  forgetDrafts("root");
  assert.equal(unsettled("root", "ada"), null);
});

test("what may have been done is only settled by an answer that knows", () => {
  const uncertain = (before: boolean, status: number, code: string) => isUncertain(new ApiError(status, { code }), before);
  for (const before of [false, true]) {
    assert.ok(isUncertain(new TypeError("x is undefined"), before));
    for (const [status, code] of [[0, "unreachable"], [503, "outcome_unknown"], [504, "gateway_error"], [401, "unreadable"], [409, "idempotency_in_progress"]] as const) {
      assert.ok(uncertain(before, status, code), code);
    }
    for (const [status, code] of [[400, "invalid"], [404, "user_not_found"], [422, "idempotency_mismatch"]] as const) {
      assert.ok(!uncertain(before, status, code), code);
    }
    for (const [status, code] of [[401, "token_not_valid"], [403, "permission_denied"], [429, "too_many_requests"]] as const) {
      assert.equal(uncertain(before, status, code), before, code);
    }
  }
});
