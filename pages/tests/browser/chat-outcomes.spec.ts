import { account, enter, expect, test } from "../support.ts";
import { STREAM, age, box, event, headersOf, keysOf, said, say, sayThere, words } from "../chat-support.ts";

test("what is refused while the next is written stays where it is, and can be changed", async ({ page, request }) => {
  await enter(page, await account(request));
  let answer = () => {};
  const isTyped = new Promise<void>((resolve) => (answer = resolve));
  await page.route(STREAM, async (route) => {
    await isTyped;
    await route.fulfill({ status: 402, json: { code: "insufficient_tokens", detail: "Insufficient tokens" } });
  });
  await say(page, "the first");
  await box(page).fill("the next");
  answer();
  await expect(page.getByRole("alert")).toContainText("You do not have enough tokens for this message.");
  await expect(page.locator(".said")).toContainText("the first");
  await expect(box(page)).toHaveValue("the next");
  await page.reload();
  await expect(page.locator(".said")).toContainText("the first");
  await page.getByRole("button", { name: "Edit the message" }).click();
  await expect(box(page)).toHaveValue("the first\n\nthe next");
  await expect(page.locator(".said")).toHaveCount(0);
});

test("what is refused while another conversation is looked at is told where it was said", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  const id = await sayThere(request, headers, "here", "new");
  await sayThere(request, headers, "there", "new");
  await enter(page, who, `./?c=${id}`);
  let answer = () => {};
  const isAway = new Promise<void>((resolve) => (answer = resolve));
  await page.route(STREAM, async (route) => {
    await isAway;
    await route.fulfill({ status: 422, json: { code: "invalid", detail: "This is not to be said", member: "message" } });
  });
  await expect(said(page)).toHaveCount(1);
  await say(page, "hello");
  await page.getByRole("link", { name: "there" }).click();
  await expect(page.locator(".said")).toContainText("there");
  const told = page.waitForResponse(STREAM);
  answer();
  await told;
  await expect(box(page)).toHaveValue("");
  await page.getByRole("link", { name: "here", exact: true }).click();
  await expect(page.getByRole("alert")).toContainText("This is not to be said.");
  await expect(page.locator(".said").last()).toContainText("hello");
});

test("an answer that comes after the page has given up is found after a reload, and the message is paid once", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  const id = await sayThere(request, headers, "before", "new");
  await enter(page, who, `./?c=${id}`);
  await expect(said(page)).toHaveCount(1);
  const keys = keysOf(page);
  await page.route(STREAM, (route) => (keys.length > 1 ? route.abort("connectionrefused") : route.fulfill({ contentType: "text/event-stream", body: event("message", { delta: "half of" }) })));
  await say(page, "hello");
  await expect(page.getByRole("alert")).toContainText("It is not known whether this was answered.", { timeout: 20_000 });
  await expect(page.getByText("not kept")).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Edit the message" })).toHaveCount(0);
  const sent = await request.post("api/v1/chats", { headers: { ...headers, "Idempotency-Key": keys[0] ?? "" }, data: { message: "hello", conversation_id: id } });
  expect(sent.status()).toBe(200);
  await page.reload();
  await expect(said(page)).toHaveCount(2);
  await expect(page.locator(".said")).toHaveCount(2);
  await expect(said(page).last()).toContainText("AI Response to: hello");
  await expect(page.getByText("3,800 tokens")).toBeVisible();
});

test("a message of a tab that was closed before it was sent is a draft again; one that was answered is not", async ({ page, request, context }) => {
  await enter(page, await account(request));
  await page.route(STREAM, (route) => route.abort("connectionrefused"));
  await say(page, "never sent");
  await expect(page.getByRole("alert")).toContainText("The server cannot be reached.");
  await age(page, 4);
  const second = await context.newPage();
  await second.goto("./");
  await expect(second.getByText("4,000 tokens")).toBeVisible();
  // The tab is still open, and the message is there.
  await expect(box(second)).toHaveValue("");
  await page.close();
  await second.reload();
  await expect(box(second)).toHaveValue("never sent");
  await box(second).fill("");
  await say(second, words(30));
  await expect(said(second)).toContainText("word3");
  await second.close();
  const third = await context.newPage();
  await third.goto("./");
  // It is being answered still: the page of a new tab knows nothing of it until it is stored.
  await expect(async () => {
    await third.reload();
    await expect(third.getByRole("link", { name: "word0 word1" })).toBeVisible({ timeout: 2_000 });
  }).toPass();
  await age(third, 4);
  await third.reload();
  await expect(third.getByText("3,900 tokens")).toBeVisible();
  await expect(third.getByRole("link", { name: "word0 word1" })).toBeVisible();
  await expect(box(third)).toHaveValue("");
});

test("what another tab types for a new conversation stays there when one begins here", async ({ page, request, context }) => {
  await enter(page, await account(request));
  await say(page, words(40));
  await expect(said(page)).toContainText("word1");
  const other = await context.newPage();
  await other.goto("./");
  await box(other).fill("typed elsewhere");
  await expect(page).toHaveURL(/\?c=/);
  await page.reload();
  await expect(said(page)).toContainText("word39");
  await expect(box(page)).toHaveValue("");
  await other.reload();
  await expect(box(other)).toHaveValue("typed elsewhere");
});

test("a balance that was asked for before an answer does not replace the one that comes with it", async ({ page, request }) => {
  const who = await account(request);
  let answer = () => {};
  const isAnswered = new Promise<void>((resolve) => (answer = resolve));
  await page.route("**/api/v1/users/me", async (route) => {
    const reply = await route.fetch();
    await isAnswered;
    await route.fulfill({ response: reply });
  });
  const asked = page.waitForResponse("**/api/v1/users/me");
  await enter(page, who);
  await say(page, "hello");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  answer();
  await asked;
  await page.getByRole("button", { name: "Account" }).click();
  await expect(page.locator(".account-facts")).toContainText("3,900");
  await expect(page.getByText("4,000")).toHaveCount(0);
});
