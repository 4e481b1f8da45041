// README's session, by a client that is generated from the OpenAPI document: what the document says compiles, and is what happens.
//
// Usage: node session.ts <base URL>
import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.d.ts";

const baseUrl = process.argv[2];
assert(baseUrl, "say where the API is");
const client = createClient<paths>({ baseUrl });
const credentials = { username: `ada${process.pid}`, password: "correct horse battery" };

const signedUp = await client.POST("/api/v1/users", { body: credentials });
assert.equal(signedUp.response.status, 201);
const granted: number | undefined = signedUp.data?.data.token;
assert(granted !== undefined);

// A refusal has a type too: its codes are those of this operation.
const again = await client.POST("/api/v1/users", { body: credentials });
assert(again.error && "code" in again.error);
assert.equal(again.error.code satisfies components["schemas"]["Error"]["code"], "username_taken");

const login = await client.POST("/api/v1/users/login", { body: credentials });
assert(login.data);
const headers = { Authorization: `Bearer ${login.data.access}` };

const sent = await client.POST("/api/v1/chats", { body: { message: "Hello AI" }, headers });
assert(sent.data);
const chat: components["schemas"]["ChatBody"] = sent.data.chat;
assert.equal(chat.message, "Hello AI");

const balance = await client.GET("/api/v1/users/token-balance", { headers });
assert.equal(balance.data?.token_balance, granted - chat.cost);

const history = await client.GET("/api/v1/chats", { params: { query: { limit: 1 } }, headers });
assert.equal(history.data?.data[0]?.id, chat.id);
const one = await client.GET("/api/v1/chats/{id}", { params: { path: { id: chat.id } }, headers });
assert.deepEqual(one.data?.chat, chat);

// A message with a key is answered and charged once.
const once = { body: { message: "Once" }, headers, params: { header: { "Idempotency-Key": "session-1" } } };
await client.POST("/api/v1/chats", once);
const replayed = await client.POST("/api/v1/chats", once);
assert.equal(replayed.response.headers.get("Idempotency-Replayed"), "true");
assert.equal(replayed.data?.token_balance, granted - 2 * chat.cost);

// Heard as it comes.
const streamed = await client.POST("/api/v1/chats/stream", { body: { message: "Hello AI" }, headers, parseAs: "text" });
const events = (streamed.data ?? "").split("\n\n").filter((event) => event.includes("data: "));
const data = (event: string | undefined): unknown => JSON.parse(event?.split("data: ")[1] ?? "null");
const delta = data(events[0]) as components["schemas"]["DeltaBody"];
const done = data(events.at(-1)) as components["schemas"]["DoneBody"];
assert(delta.delta.length > 0);
assert.equal(done.token_balance, granted - 3 * chat.cost);

// As a program, by the door for clients of OpenAI's API.
const made = await client.POST("/api/v1/api-keys", { body: { name: "my laptop" }, headers });
assert(made.data);
const program = { Authorization: `Bearer ${made.data.api_key.key}` };
const models = await client.GET("/v1/models", { headers: program });
const model = models.data?.data[0]?.id;
assert(model);
const messages = [{ role: "user" as const, content: "Hello AI" }];
const completion = await client.POST("/v1/chat/completions", { body: { model, messages }, headers: program });
assert(completion.data && typeof completion.data === "object");
assert.equal(completion.data.choices[0]?.message.content, chat.response);

const logout = await client.POST("/api/v1/users/logout", { body: { refresh: login.data.refresh }, headers });
assert.equal(logout.data?.status, "success");
const refused = await client.GET("/api/v1/users/me", { headers });
assert(refused.error && "code" in refused.error);
assert.equal(refused.error.code, "token_not_valid");

console.log(`${credentials.username} signed up, chatted for ${4 * chat.cost} of ${granted} tokens and left`);
