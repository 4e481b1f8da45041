import { account, enter, expect, expectAccessible, logIn, picture, spoil, test } from "../support.ts";
import { STREAM, age, box, event, headersOf, keysOf, said, say, sayThere, words } from "../chat-support.ts";

for (const way of ["the button", "Escape"]) {
  test(`an answer that is stopped with ${way} is told honestly, found and paid once`, async ({ page, request }) => {
    const who = await account(request);
    await enter(page, who);
    const keys = keysOf(page);
    await say(page, words(60));
    await expect(said(page)).toContainText("word3");
    if (way === "Escape") await page.keyboard.press("Escape");
    else await page.getByRole("button", { name: "Stop" }).click();
    await expect(page.getByText("You stopped waiting.")).toBeVisible();
    await expect(box(page)).toBeFocused();
    await expect(said(page)).not.toContainText("word59");
    await expectAccessible(page);
    await picture(page, "chat-stopped");
    await expect(said(page)).toContainText("word59");
    await expect(page.getByText("3,900 tokens")).toBeVisible();
    await expect(page).toHaveURL(/\?c=/);
    expect(keys).toHaveLength(1);
    await say(page, "on");
    await expect(page.getByText("3,800 tokens")).toBeVisible();
    await expect(said(page)).toHaveCount(2);
  });
}

test("what is stopped in a conversation that goes on is found there, not in what was said before", async ({ page, request }) => {
  const who = await account(request);
  // Long enough for a page that loads slowly.
  const text = words(120);
  const id = await sayThere(request, await headersOf(request, who), text, "new");
  await enter(page, who, `./?c=${id}`);
  await expect(said(page)).toHaveCount(1);
  await say(page, text);
  await expect(said(page).nth(1)).toContainText("word1");
  await page.keyboard.press("Escape");
  await expect(page.getByText("You stopped waiting.")).toBeVisible();
  await page.reload();
  await expect(page.getByText("You stopped waiting.")).toBeVisible();
  await expect(said(page).nth(1)).toContainText("word119");
  await expect(said(page)).toHaveCount(2);
  await expect(page.getByText("3,800 tokens")).toBeVisible();
});

for (const begins of [true, false]) {
  test(`a reload in mid-answer shows the answer ${begins ? "that begins a conversation" : "in its conversation"}, paid once`, async ({ page, request }) => {
    const who = await account(request);
    const id = begins ? "" : await sayThere(request, await headersOf(request, who), "before", "new");
    await enter(page, who, begins ? "./" : `./?c=${id}`);
    const balance = begins ? "3,900 tokens" : "3,800 tokens";
    const keys = keysOf(page);
    await say(page, words(60));
    await expect(said(page).last()).toContainText("word3");
    await page.reload();
    await expect(page.getByText("Being answered.")).toBeVisible();
    await expect(page.locator(".said").last()).toContainText("word59");
    await expect(said(page).last()).toContainText("word59");
    await expect(page.getByText(balance)).toBeVisible();
    await expect(page).toHaveURL(/\?c=/);
    expect(new Set(keys).size).toBe(1);
    await page.reload();
    await expect(said(page)).toHaveCount(begins ? 1 : 2);
    await expect(page.getByText(balance)).toBeVisible();
  });
}

test("another tab on the same conversation shows the same answer", async ({ page, request, context }) => {
  const who = await account(request);
  const id = await sayThere(request, await headersOf(request, who), "before", "new");
  await enter(page, who, `./?c=${id}`);
  await say(page, words(60));
  await expect(said(page).nth(1)).toContainText("word3");
  const other = await context.newPage();
  await other.goto(`./?c=${id}`);
  await expect(other.getByText("Being answered.")).toBeVisible();
  for (const tab of [page, other]) await expect(said(tab).nth(1)).toContainText("word59");
  for (const tab of [page, other]) await expect(tab.getByText("3,800 tokens")).toBeVisible();
});

test("a connection that breaks in mid-answer is taken up again, and the message is paid once", async ({ page, request }) => {
  await enter(page, await account(request));
  const keys = keysOf(page);
  let times = 0;
  await page.route(STREAM, (route) => {
    if (times++ > 0) return route.continue();
    return route.fulfill({ contentType: "text/event-stream", body: event("message", { delta: "half of" }) });
  });
  await say(page, "hello");
  await expect(said(page)).toContainText("AI Response to: hello");
  await expect(said(page)).not.toContainText("half of");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  expect(keys).toHaveLength(2);
  expect(new Set(keys).size).toBe(1);
});

test("without enough tokens the page says so, and the text stays", async ({ page, request }) => {
  test.setTimeout(120_000);
  const who = await account(request);
  const headers = await headersOf(request, who);
  for (let count = 0; count < 40; count++) await sayThere(request, headers, "spend");
  await enter(page, who);
  await expect(page.getByText("0 tokens", { exact: true })).toBeVisible();
  await say(page, "one more");
  await expect(page.getByRole("alert")).toContainText("You do not have enough tokens for this message. You have 0.");
  await expect(page.getByRole("alert")).toContainText("can add some");
  await expect(box(page)).toHaveValue("one more");
  await expect(page.locator(".said")).toHaveCount(0);
  await expectAccessible(page);
  await picture(page, "chat-402");
  await page.reload();
  await expect(box(page)).toHaveValue("one more");
  await expect(page.locator(".said")).toHaveCount(0);
});

test("too fast is counted down, and then the same message is sent under the same key", async ({ page, request }) => {
  await enter(page, await account(request));
  const keys = keysOf(page);
  await page.route(STREAM, (route) => route.fulfill({ status: 429, headers: { "Retry-After": "9" }, json: { code: "too_many_requests", detail: "Too many requests" } }));
  await say(page, "hello");
  await expect(page.getByText(/^Try again in [5-9] seconds\.$/)).toBeVisible();
  await expect(page.getByRole("button", { name: "Try again" })).toHaveAttribute("aria-disabled", "true");
  await expectAccessible(page);
  await picture(page, "chat-429");
  await expect(page.getByText("You can try again now.")).toBeVisible();
  await page.unroute(STREAM);
  await page.getByRole("button", { name: "Try again" }).click();
  await expect(said(page)).toContainText("AI Response to: hello");
  expect(keys).toHaveLength(2);
  expect(new Set(keys).size).toBe(1);
});

for (const [status, code, sentence] of [
  [503, "model_busy", "The model is busy."],
  [502, "model_failed", "The model failed; nothing was charged."],
  [504, "model_timed_out", "The model did not answer in time."],
] as const) {
  test(`${code} is told, outlives a reload, and the message can be sent again or changed`, async ({ page, request }) => {
    await enter(page, await account(request));
    await page.route(STREAM, (route) => route.fulfill({ status, json: { code, detail: "The model failed; nothing was charged" } }));
    await say(page, "hello");
    await expect(page.getByRole("alert")).toContainText(sentence);
    await page.reload();
    await expect(page.getByText("This message was not answered.")).toBeVisible();
    await page.getByRole("button", { name: "Try again" }).click();
    await expect(page.getByRole("alert")).toContainText(sentence);
    await page.unroute(STREAM);
    if (status === 502) {
      await page.getByRole("button", { name: "Edit the message" }).click();
      await expect(box(page)).toHaveValue("hello");
      await expect(page.locator(".said")).toHaveCount(0);
      await say(page, "hello you");
      await expect(said(page)).toContainText("AI Response to: hello you");
    } else {
      await page.getByRole("button", { name: "Try again" }).click();
      await expect(said(page)).toContainText("AI Response to: hello");
    }
    await expect(page.getByText("3,900 tokens")).toBeVisible();
  });
}

test("an error in mid-answer leaves what was said, and says that it is not kept", async ({ page, request }) => {
  await enter(page, await account(request));
  const body = event("message", { delta: "half of it" }) + event("error", { code: "busy", detail: "The service is busy; try again" });
  await page.route(STREAM, (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await say(page, "hello");
  await expect(page.getByRole("alert")).toContainText("The service is busy.");
  await expect(said(page)).toContainText("half of it");
  await expect(said(page)).toContainText("This part of it is not kept.");
  await expectAccessible(page);
  await picture(page, "chat-error-midway");
  await page.unroute(STREAM);
  await page.getByRole("button", { name: "Try again" }).click();
  await expect(said(page)).toContainText("AI Response to: hello");
});

test("an answer that the model breaks off says so", async ({ page, request }) => {
  await enter(page, await account(request));
  const chat = { id: "01JGXQ0000000000000000000A", conversation_id: null, timestamp: "2025-01-06T12:34:56.789Z", model: "echo", finish_reason: "interrupted", usage: null, cost: 0 };
  const body = event("message", { delta: "half of it" }) + event("done", { chat, token_balance: 4000, replayed: false });
  await page.route(STREAM, (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await say(page, "hello");
  await expect(said(page)).toContainText("The model failed in the middle of the answer.");
  await expect(said(page)).toContainText("0 tokens");
});

test("who is offline keeps the text, and it is sent when the connection is back", async ({ page, request, context }) => {
  await enter(page, await account(request));
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  const keys = keysOf(page);
  await context.setOffline(true);
  await say(page, "hello");
  await expect(page.getByText("This goes on when you are connected.")).toBeVisible();
  await expect(page.locator(".said")).toContainText("hello");
  await expectAccessible(page);
  await picture(page, "chat-offline");
  await context.setOffline(false);
  await expect(said(page)).toContainText("AI Response to: hello");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  expect(new Set(keys).size).toBe(1);
});

test("a server out of reach is tried again, and then it is left to the reader", async ({ page, request }) => {
  await enter(page, await account(request));
  const keys = keysOf(page);
  await page.route(STREAM, (route) => route.abort("connectionrefused"));
  await say(page, "hello");
  await expect(page.getByRole("alert")).toContainText("The server cannot be reached.");
  await expect(page.getByRole("alert")).toContainText("It is not known whether this was answered.");
  expect(keys).toHaveLength(4);
  await expectAccessible(page);
  await page.unroute(STREAM);
  await page.getByRole("button", { name: "Ask again" }).click();
  await expect(said(page)).toContainText("AI Response to: hello");
  expect(new Set(keys).size).toBe(1);
});

test("an access token that expires is traded before a message, which is sent once more", async ({ page, request }) => {
  await enter(page, await account(request));
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await spoil(page, "access");
  await say(page, "hello");
  await expect(said(page)).toContainText("AI Response to: hello");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
});

test("a message into a session that has ended is answered after the next login", async ({ page, request }) => {
  const who = await account(request);
  const id = await sayThere(request, await headersOf(request, who), "before", "new");
  await enter(page, who, `./?c=${id}`);
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  await box(page).fill("hello");
  await spoil(page, "access", "refresh");
  await box(page).press("Enter");
  await expect(page.getByText("Your session has ended. Log in again.")).toBeVisible();
  await logIn(page, who);
  await expect(said(page).nth(1)).toContainText("AI Response to: hello");
  await expect(page.getByText("3,800 tokens")).toBeVisible();
});

test("who logs out leaves no message behind", async ({ page, request }) => {
  await enter(page, await account(request));
  await page.route(STREAM, (route) => route.fulfill({ status: 502, json: { code: "model_failed", detail: "The model failed" } }));
  await say(page, "a secret");
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain("secret");
});

test("a conversation that another tab has deleted takes no message, and the text stays", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  const id = await sayThere(request, headers, "before", "new");
  await enter(page, who, `./?c=${id}`);
  await expect(said(page)).toHaveCount(1);
  expect((await request.delete(`api/v1/conversations/${id}`, { headers })).status()).toBe(204);
  await say(page, "hello");
  await expect(page.getByRole("alert")).toContainText("This conversation is not there any more.");
  await expect(box(page)).toHaveValue("hello");
});

test("what was sent long ago is not sent again by itself", async ({ page, request }) => {
  await enter(page, await account(request));
  const keys = keysOf(page);
  await page.route(STREAM, () => undefined);
  await say(page, "hello");
  await expect(page.getByText("Waiting for the first words")).toBeVisible();
  await age(page, 11);
  await page.unroute(STREAM);
  await page.reload();
  await expect(page.getByText("It is not known whether this was answered.")).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Look for the answer" }).click();
  await expect(page.getByText("The answer is looked for. If the message has reached the server")).toBeVisible();
  await page.reload();
  await expect(page.getByText("It is not known whether this was answered.")).toBeVisible();
  expect(keys).toHaveLength(1);
  await page.getByRole("button", { name: "Ask again" }).click();
  await expect(said(page)).toContainText("AI Response to: hello");
  expect(new Set(keys).size).toBe(1);
});

test("an answer that is not one of the server is told", async ({ page, request }) => {
  await enter(page, await account(request));
  await page.route(STREAM, (route) => route.fulfill({ contentType: "text/html", body: "<h1>Log in to the network</h1>" }));
  await say(page, "hello");
  await expect(page.getByRole("alert")).toContainText("The server gave an answer that the page does not understand.");
});

test("where the outcome is open it is asked for, under the same key", async ({ page, request }) => {
  await enter(page, await account(request));
  const keys = keysOf(page);
  let times = 0;
  await page.route(STREAM, (route) => {
    times++;
    const error = { code: "outcome_unknown", detail: "It may or may not have been done" };
    if (times === 1) return route.fulfill({ status: 503, json: error });
    if (times === 2) return route.fulfill({ contentType: "text/event-stream", body: event("message", { delta: "half of it" }) + event("error", error) });
    return route.continue();
  });
  await say(page, "hello");
  await expect(said(page)).toContainText("AI Response to: hello");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  expect(keys).toHaveLength(3);
  expect(new Set(keys).size).toBe(1);
});

test("what somebody presses leaves the focus where they go on", async ({ page, request }) => {
  const who = await account(request);
  await sayThere(request, await headersOf(request, who), "before", "new");
  await enter(page, who);
  await page.route(STREAM, (route) => route.fulfill({ status: 502, json: { code: "model_failed", detail: "The model failed" } }));
  for (const name of ["Try again", "Remove it"]) {
    await say(page, "hello");
    await expect(page.getByRole("alert")).toBeVisible();
    await page.getByRole("button", { name }).press("Enter");
    await expect(box(page)).toBeFocused();
    if (name === "Try again") await page.getByRole("button", { name: "Remove it" }).press("Enter");
    await expect(page.locator(".said")).toHaveCount(0);
  }
  await page.getByRole("button", { name: "Rename or delete: before" }).press("Enter");
  await expect(page.getByLabel("Title")).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Rename or delete: before" })).toBeFocused();
  // No person opens it again before the page has noticed that it is closed.
  await expect(page.getByLabel("Title")).toHaveCount(0);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Delete…" }).press("Enter");
  await expect(page.getByRole("button", { name: "Keep it" })).toBeFocused();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(page.getByText("Your conversations will be listed here.")).toBeVisible();
});

test("what was stopped before it was heard of can be changed", async ({ page, request, context }) => {
  await enter(page, await account(request));
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await context.setOffline(true);
  await say(page, "hello");
  await page.keyboard.press("Escape");
  await expect(page.getByText("If the message has reached the server, it is answered and paid for all the same")).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Edit the message" }).click();
  await expect(box(page)).toHaveValue("hello");
  await context.setOffline(false);
  await expect(page.getByText("You are offline.")).toBeHidden();
  await box(page).press("Enter");
  await expect(said(page)).toContainText("AI Response to: hello");
  await expect(said(page)).toHaveCount(1);
  await expect(page.getByText("3,900 tokens")).toBeVisible();
});
