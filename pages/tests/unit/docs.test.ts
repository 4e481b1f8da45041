import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { curl } from "../../src/docs/request.ts";
import { describe } from "../../src/docs/shape.ts";
import { operations, search, type Schema, type Spec } from "../../src/docs/spec.ts";

const spec = JSON.parse(readFileSync("../docs/openapi.json", "utf8")) as Spec;
const type = (schema: Schema) => describe(spec, schema).type;
const facts = (schema: Schema) => describe(spec, schema).facts;

test("a schema is told in words", () => {
  assert.equal(type({ type: ["string", "null"], format: "date-time" }), "string (date-time) or null");
  assert.equal(type({ anyOf: [{ $ref: "#/components/schemas/Amount" }, { type: "null" }] }), "integer or null");
  assert.equal(type({ type: "array", items: { type: "string" } }), "array of string");
  assert.equal(type({}), "anything");
  assert.equal(type({ type: "null" }), "null");
  assert.deepEqual(facts({ minLength: 1, maxLength: 500 }), ["1 to 500 characters"]);
  assert.deepEqual(facts({ minimum: 16, maximum: 16 }), ["exactly 16"]);
  assert.deepEqual(facts({ default: 50, not: { const: 0 } }), ["50 unless it is given", "not 0"]);
  assert.deepEqual(describe(spec, { enum: [1, null] }).values, [{ value: "1" }, { value: "null" }]);
  assert.equal(describe(spec, { $ref: "#/components/schemas/Role" }).values.length, 3);
});

test("what both of two schemas say holds, and what is within itself ends", () => {
  const one = describe(spec, { allOf: [{ $ref: "#/components/schemas/Error" }, { properties: { code: { enum: ["busy"] } } }] });
  const code = one.members.find(({ name }) => name === "code");
  assert.equal(code?.required, true);
  assert.deepEqual(code.shape.values, [{ value: '"busy"' }]);
  assert.equal(code.shape.description, "What went wrong, for programs.");
  const circle = { ...spec, components: { schemas: { Node: { type: "object", properties: { next: { $ref: "#/components/schemas/Node" } } } } } } as Spec;
  assert.deepEqual(describe(circle, { $ref: "#/components/schemas/Node" }).members[0]?.shape.facts, ["as above"]);
});

test("every schema of the document is told, and none is empty", () => {
  for (const [name, schema] of Object.entries(spec.components.schemas ?? {})) assert.ok(describe(spec, schema as Schema).type, name);
});

test("operations are found by all words of a search", () => {
  const all = operations(spec);
  assert.equal(search(all, "").length, all.length);
  assert.deepEqual(search(all, "HEAR post").map((one) => one.operationId), ["chatsStream"]);
  assert.deepEqual(search(all, "no such thing"), []);
});

test("a call is quoted for a shell", () => {
  const call = { method: "POST", url: "http://h/a?b=c&d", headers: [["X-A", "it's"]] as [string, string][], body: `{"a": "$(x) 'y'"}` };
  assert.equal(
    curl(call, { word: "Bearer", variable: "API_KEY" }, true),
    `curl -iN -X POST 'http://h/a?b=c&d' \\\n  -H "Authorization: Bearer $API_KEY" \\\n  -H 'X-A: it'\\''s' \\\n  --data-raw '{"a": "$(x) '\\''y'\\''"}'`,
  );
});
