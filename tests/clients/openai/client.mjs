// OpenAI's SDK for Node against any server that speaks its API, one scenario at a time.
//
//     OPENAI_BASE_URL=… OPENAI_API_KEY=… CLIENT_MODEL=… node client.mjs <scenario>
//
// Prints one line of JSON about what came, with the number of HTTP requests that the SDK made of it; exits with 1 if it is not what a
// program could rely on. `client.py` does the same with the SDK for Python.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { env } = process;
const MODEL = env.CLIENT_MODEL;
const MESSAGE = env.CLIENT_MESSAGE ?? "Say hello.";
const MAX_TOKENS = Number(env.CLIENT_MAX_TOKENS ?? 24);
const LONG = "word ".repeat(Number(env.CLIENT_WORDS ?? 3000));

const sent = [];

// The SDK as it is; its fetch only counts.
function client(more = {}) {
  const counting = (url, options) => {
    sent.push(new Headers(options.headers).get("x-stainless-retry-count"));
    return fetch(url, options);
  };
  return new OpenAI({ fetch: counting, ...more });
}

function ask(more = {}, by = client(), options = {}) {
  const request = { model: MODEL, messages: [{ role: "user", content: MESSAGE }], max_tokens: MAX_TOKENS, ...more };
  return by.chat.completions.create(request, options);
}

function checkUsage(usage) {
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0, JSON.stringify(usage));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  return { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens };
}

function checkAnswer(answer) {
  const text = JSON.stringify(answer);
  assert.ok(answer.id && answer.object === "chat.completion" && answer.created > 0, text);
  assert.equal(answer.choices.length, 1, text);
  const [choice] = answer.choices;
  assert.ok(choice.index === 0 && choice.message.role === "assistant" && choice.message.content, text);
  assert.ok(["stop", "length"].includes(choice.finish_reason), text);
  const said = { id: answer.id, model: answer.model, text: choice.message.content, finish: choice.finish_reason };
  return { ...said, ...checkUsage(answer.usage) };
}

async function checkStream(stream, withUsage) {
  const [texts, finishes, usages, roles, pauses] = [[], [], [], [], []];
  const [ids, models] = [new Set(), new Set()];
  let last = performance.now();
  for await (const chunk of stream) {
    const text = JSON.stringify(chunk);
    assert.equal(chunk.object, "chat.completion.chunk");
    ids.add(chunk.id);
    models.add(chunk.model);
    if (chunk.usage) {
      assert.ok(chunk.choices.length === 0 && usages.length === 0, `usage comes once, after everything else: ${text}`);
      usages.push(chunk.usage);
    }
    for (const choice of chunk.choices) {
      assert.equal(finishes.length, 0, `nothing follows the finish reason: ${text}`);
      assert.equal(choice.index, 0);
      if (choice.delta.role) roles.push(choice.delta.role);
      if (choice.delta.content) {
        texts.push(choice.delta.content);
        pauses.push(Math.round(performance.now() - last));
        last = performance.now();
      }
      if (choice.finish_reason) finishes.push(choice.finish_reason);
    }
  }
  assert.ok(ids.size === 1 && models.size === 1, JSON.stringify([[...ids], [...models]]));
  assert.ok(texts.length > 0 && ["stop", "length"].includes(finishes[0]), JSON.stringify([texts, finishes]));
  assert.ok(roles.every((role) => role === "assistant"));
  assert.equal(usages.length, withUsage ? 1 : 0);
  const said = { id: [...ids][0], model: [...models][0], text: texts.join(""), pieces: texts.length, finish: finishes[0] };
  return { ...said, pauses_ms: pauses, ...(withUsage ? checkUsage(usages[0]) : {}) };
}

async function refused(kind, status, code, call = ask) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    assert.deepEqual([error.constructor.name, error.status, error.code], [kind.name, status, code], String(error));
    assert.ok(error.message && error.type && error.requestID, JSON.stringify({ ...error }));
    assert.deepEqual(sent, ["0"], "sent again although nothing else can come of it");
    return { status, code, message: error.message, type: error.type };
  }
  assert.fail("it was not refused");
}

// Asks until the SDK had to send one of its requests again.
async function retried(stream) {
  const began = performance.now();
  let [calls, said] = [0, {}];
  while (sent.length === calls && calls < 5) {
    calls += 1;
    said = stream ? await checkStream(await ask({ stream: true }), false) : checkAnswer(await ask());
  }
  assert.ok(sent.length > calls, "nothing was refused");
  return { ...said, calls, seconds: Math.round((performance.now() - began) / 10) / 100 };
}

async function broken(call) {
  try {
    await call();
  } catch (error) {
    assert.deepEqual(sent, ["0"], "a stream that has begun was asked for again");
    // A connection that is lost in a stream is not wrapped: it is the platform's own TypeError.
    assert.ok(error instanceof OpenAI.APIError || (error instanceof TypeError && error.message === "terminated"), error.stack);
    return { error: error.constructor.name, code: error.code ?? null, message: error.message };
  }
  assert.fail("the stream ended well");
}

// Takes the first piece of a long answer and goes.
async function leave() {
  const stream = await ask({ stream: true, max_tokens: Number(env.CLIENT_MAX_TOKENS ?? 500) });
  for await (const chunk of stream) {
    const text = chunk.choices[0]?.delta.content;
    if (text) {
      stream.controller.abort();
      return { text };
    }
  }
  assert.fail("it said nothing");
}

async function models() {
  const listed = [];
  for await (const model of client().models.list()) listed.push(model);
  assert.ok(listed.every((model) => model.object === "model" && model.id && model.created), JSON.stringify(listed));
  assert.ok(listed.some((model) => model.id === MODEL), JSON.stringify(listed));
  if (env.CLIENT_RETRIEVES) assert.equal((await client().models.retrieve(MODEL)).id, MODEL);
  return { models: listed.map((model) => model.id) };
}

function history() {
  const said = [["system", "You answer in one word."], ["user", "Hello."], ["assistant", "Hello."], ["user", MESSAGE]];
  return ask({ messages: said.map(([role, content]) => ({ role, content })) }).then(checkAnswer);
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const stranger = () => client({ apiKey: "sk-nobody-has-this-key" });
const impatient = () => client({ timeout: 1000 * Number(env.CLIENT_TIMEOUT ?? 1) });
const keyed = { headers: { "Idempotency-Key": env.CLIENT_KEY ?? "a-key-of-the-clients-own" } };
const { AuthenticationError, APIError, BadRequestError, NotFoundError } = OpenAI;
const SCENARIOS = {
  models,
  chat: () => ask().then(checkAnswer),
  history,
  stream: async () => checkStream(await ask({ stream: true }), false),
  "stream-usage": async () => checkStream(await ask({ stream: true, stream_options: { include_usage: true } }), true),
  "bad-key": () => refused(AuthenticationError, 401, "invalid_api_key", () => ask({}, stranger())),
  "bad-key-stream": () => refused(AuthenticationError, 401, "invalid_api_key", () => ask({ stream: true }, stranger())),
  "no-balance": () => refused(APIError, 402, "insufficient_quota"),
  "no-balance-stream": () => refused(APIError, 402, "insufficient_quota", () => ask({ stream: true })),
  "too-long": () =>
    refused(BadRequestError, 400, "context_length_exceeded", () => ask({ messages: [{ role: "user", content: LONG }] })),
  "unknown-model": () => refused(NotFoundError, 404, "model_not_found", () => ask({ model: "no-such-model" })),
  // Whoever prepares the server says how often it refuses, or drops the connection, before it answers.
  retried: () => retried(false),
  "retried-stream": () => retried(true),
  "retried-keyed": () => ask({}, client(), keyed).then(checkAnswer),
  // The client does not wait as long as the server takes, and asks again while it is still being answered.
  impatient: () => ask({}, impatient()).then(checkAnswer),
  "impatient-stream": async () => checkStream(await ask({ stream: true }, impatient()), false),
  // What the SDK for Python sends again: once there are headers, this one does not.
  "broken-answer": () => broken(ask),
  "broken-stream": () => broken(async () => all(await ask({ stream: true }))),
  leave,
};

const scenario = process.argv[2];
let said;
try {
  said = await SCENARIOS[scenario]();
} catch (error) {
  said = { failed: error.stack };
  process.exitCode = 1;
}
console.log(JSON.stringify({ sdk: "node", scenario, requests: sent.length, ...said }));
