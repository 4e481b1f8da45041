import { account, enter, expect, expectNoSidewaysScrolling, picture, test } from "../support.ts";
import { FENCE, box, headersOf, say, sayThere, words } from "../chat-support.ts";

test("an answer comes word for word, and its cost and the balance with it", async ({ page, request }) => {
  await enter(page, await account(request));
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await say(page, words(40));
  await expect(page.locator(".answer")).toContainText("AI Response to: word0");
  await expect(page.locator(".answer")).not.toContainText("word39");
  await expect(page.getByRole("button", { name: "Stop" })).toBeVisible();
  await expect(page.locator(".answer")).toContainText("word39");
  await expect(page.locator(".facts")).toContainText("echo");
  await expect(page.locator(".facts")).toContainText("100 tokens");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  await expect(page).toHaveURL(/\?c=/);
  await expect(page.getByRole("link", { name: "word0 word1" })).toHaveAttribute("aria-current", "page");
  await say(page, "and more");
  await expect(page.locator(".answer").nth(1)).toContainText("AI Response to: and more");
  await page.reload();
  await expect(page.locator(".answer")).toHaveCount(2);
});

test("screen readers hear that an answer comes and the answer, not each word", async ({ page, request }) => {
  await enter(page, await account(request));
  const status = page.locator("main > .for-readers[role=status]");
  await page.evaluate(() => {
    const told: string[] = [];
    Object.assign(window, { told });
    const place = document.querySelector("main > .for-readers[role=status]");
    if (place) new MutationObserver(() => told.push(place.textContent ?? "")).observe(place, { childList: true, subtree: true, characterData: true });
  });
  await say(page, words(20));
  await expect(status).toHaveText(/^Answer: AI Response to: word0 .* word19$/);
  const told = await page.evaluate(() => (window as unknown as { told: string[] }).told);
  expect(told.filter((text) => text !== "").map((text) => text.slice(0, 6))).toEqual(["Sent. ", "Answer"]);
});

test("Enter sends, Shift and Enter begin a line, and a word that is composed is not sent", async ({ page, request }) => {
  await enter(page, await account(request));
  await box(page).fill("one");
  await box(page).press("Shift+Enter");
  await page.keyboard.type("two");
  await expect(box(page)).toHaveValue("one\ntwo");
  await box(page).evaluate((area) => {
    area.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true }));
    area.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true, cancelable: true }));
  });
  await expect(box(page)).toHaveValue("one\ntwo");
  await box(page).press("Enter");
  await expect(box(page)).toHaveValue("");
  await expect(page.locator(".said")).toHaveText("You saidone\ntwo");
  await expect(box(page)).toBeFocused();
});

test("what is typed is kept for each conversation", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  const first = await sayThere(request, headers, "first", "new");
  await enter(page, who, `./?c=${first}`);
  await box(page).fill("for the first");
  await page.getByRole("button", { name: "New conversation" }).click();
  await expect(box(page)).toHaveValue("");
  await box(page).fill("for a new one");
  await page.reload();
  await expect(box(page)).toHaveValue("for a new one");
  await page.getByRole("link", { name: "first", exact: true }).click();
  await expect(box(page)).toHaveValue("for the first");
  await page.goBack();
  await expect(box(page)).toHaveValue("for a new one");
});

test("what is typed while a conversation begins is for that conversation", async ({ page, request }) => {
  await enter(page, await account(request));
  await say(page, words(20));
  await box(page).fill("the next");
  await expect(page.locator(".facts")).toBeVisible();
  await expect(box(page)).toHaveValue("the next");
  await page.reload();
  await expect(box(page)).toHaveValue("the next");
});

test("the limit is told when it is near, and the API has the last word", async ({ page, request }) => {
  await enter(page, await account(request));
  await box(page).fill("é".repeat(7950));
  await expect(page.getByText("7,950 of 8,000 characters")).toBeVisible();
  await say(page, "é".repeat(8001));
  await expect(page.getByRole("alert")).toContainText("at most 8000 characters");
  await expect(box(page)).toHaveValue("é".repeat(8001));
  await expect(page.getByText("8,001 of 8,000 characters: too long")).toBeVisible();
  await expect(page.getByText("4,000 tokens")).toBeVisible();
});

test("hostile answers are text", async ({ page, request }) => {
  const who = await account(request);
  await enter(page, who);
  const requests: string[] = [];
  page.on("request", (sent) => requests.push(sent.url()));
  const evil = [
    "<script>alert(1)</script>",
    "",
    "<img src=x onerror=alert(1)> <b onclick=alert(1)>bold</b> <iframe src=//evil.example></iframe>",
    "",
    "[run](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>) [here](/admin) <javascript:alert(1)>",
    "",
    "![picture](https://evil.example/pixel.png) [bank](https://bank.example@evil.example/)",
    "",
    `${FENCE}html"onload=alert(1)`,
    "a = 1; // \u202e } ;2 = b",
    FENCE,
    "",
    "| <script> | ![x](http://evil.example/y) |",
    "|---|---|",
    "| <style>*{display:none}</style> | ok |",
  ].join("\n");
  await say(page, evil);
  await expect(page.locator(".facts")).toBeVisible();
  const answer = page.locator(".answer");
  await expect(answer).toContainText("<script>alert(1)</script>");
  await expect(answer).toContainText("<img src=x onerror=alert(1)>");
  await expect(answer.locator("img, script, iframe, style, b")).toHaveCount(0);
  const links = await answer.locator("a").evaluateAll((all) => all.map((one) => [one.getAttribute("href"), one.getAttribute("rel"), one.getAttribute("target"), one.nextSibling?.textContent]));
  expect(links.map(([href]) => href)).toEqual(["https://evil.example/pixel.png", "https://bank.example@evil.example/", "http://evil.example/y"]);
  for (const [, rel, target, shown] of links) expect([rel, target, shown]).toEqual(["noopener noreferrer nofollow", "_blank", " (evil.example)"]);
  await expect(answer.locator(".hidden-character")).toHaveText("U+202E");
  await picture(page, "chat-hostile");
  expect(requests.filter((url) => url.includes("evil"))).toEqual([]);
});

test("links at which letters and hosts look alike tell where they lead", async ({ page, request }) => {
  await enter(page, await account(request));
  await say(page, "x [https://bank.example](https://evil.example/) https://plain.example/a");
  await expect(page.locator(".facts")).toBeVisible();
  await expect(page.locator(".answer .host")).toHaveText([" (evil.example)"]);
});

test("texts of any size and depth leave the page alive", async ({ page, request }) => {
  test.setTimeout(120_000);
  await enter(page, await account(request));
  await page.evaluate(() => {
    let last = performance.now();
    const gap = { longest: 0 };
    Object.assign(window, { gap });
    setInterval(() => {
      const now = performance.now();
      gap.longest = Math.max(gap.longest, now - last);
      last = now;
    }, 10);
  });
  let count = 0;
  for (const text of [">".repeat(10_000), "[".repeat(10_000), "- ".repeat(5_000), "a".repeat(1_000_000), "*a _b ".repeat(100_000), "a\n".repeat(500_000), "|a".repeat(10_000)]) {
    const pieces = text.match(/[^]{1,20000}/g) ?? [];
    const chat = { id: `01JGXQ000000000000000000${String(count).padStart(2, "0")}`, timestamp: new Date().toISOString(), model: "echo", finish_reason: "stop", usage: null, cost: 1 };
    const body = [
      ...pieces.map((delta) => `event: message\ndata: ${JSON.stringify({ delta })}\n\n`),
      `event: done\ndata: ${JSON.stringify({ chat, token_balance: 1000 + count, replayed: false })}\n\n`,
    ].join("");
    await page.route("**/api/v1/chats/stream", (route) => route.fulfill({ contentType: "text/event-stream", body }));
    await page.getByRole("button", { name: "New conversation" }).click();
    await say(page, `text ${count}`);
    await expect(page.getByText(`${(1000 + count).toLocaleString("en")} tokens`)).toBeVisible();
    await expect(page.locator(".facts")).toBeVisible();
    await expectNoSidewaysScrolling(page);
    await page.unroute("**/api/v1/chats/stream");
    count++;
  }
  const { longest } = await page.evaluate(() => (window as unknown as { gap: { longest: number } }).gap);
  expect(longest).toBeLessThan(2_000);
});

test("code can be copied", async ({ page, request, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await enter(page, await account(request));
  await say(page, `see\n\n${FENCE}js\nlet a = 1;\n${FENCE}`);
  await expect(page.locator(".facts")).toBeVisible();
  await page.getByRole("button", { name: "Copy the code" }).click();
  await expect(page.getByRole("button", { name: "Copy the code" })).toHaveText("Copied");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe("let a = 1;");
});

test("conversations are renamed, opened, left and deleted", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  const first = await sayThere(request, headers, "first", "new");
  await sayThere(request, headers, "second", "new");
  await enter(page, who);
  const list = page.getByRole("navigation", { name: "Conversations" });
  await expect(list.getByRole("listitem")).toHaveText([/^second/, /^first/]);
  await list.getByRole("link", { name: "first" }).click();
  await expect(page).toHaveURL(new RegExp(`\\?c=${first}$`));
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("first");
  await page.getByRole("button", { name: "Rename or delete: first" }).click();
  const evil = "\u202e<b>evil</b>";
  await page.getByLabel("Title").fill(evil);
  await page.getByRole("button", { name: "Rename", exact: true }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(evil);
  await expect(page).toHaveTitle(`${evil} · AI Chat System`);
  await page.getByRole("button", { name: /^Rename or delete: .*evil/ }).click();
  await page.getByRole("button", { name: "Delete…" }).click();
  await expect(page.getByRole("button", { name: "Keep it" })).toBeFocused();
  await page.getByRole("button", { name: "Delete it" }).click();
  await expect(list.getByRole("listitem")).toHaveText([/^second/]);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("New conversation");
  await page.goto(`./?c=${first}`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("This conversation is not there any more");
  await page.getByRole("link", { name: "Begin a new conversation" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("New conversation");
});

test("back and forward go through conversations, and so does a link in another tab", async ({ page, request, context }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  for (const message of ["first", "second"]) await sayThere(request, headers, message, "new");
  await enter(page, who);
  const h1 = page.getByRole("heading", { level: 1 });
  await page.getByRole("link", { name: "first" }).click();
  await page.getByRole("link", { name: "second" }).click();
  await expect(h1).toHaveText("second");
  await page.goBack();
  await expect(h1).toHaveText("first");
  await expect(page.locator(".said")).toContainText("first");
  await page.goForward();
  await expect(h1).toHaveText("second");
  const opened = context.waitForEvent("page");
  await page.getByRole("link", { name: "first" }).click({ modifiers: ["ControlOrMeta"] });
  await expect((await opened).getByRole("heading", { level: 1 })).toHaveText("first");
});

test("many conversations are listed page by page", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  for (let count = 0; count < 33; count++) await sayThere(request, headers, `number ${count}`, "new");
  await enter(page, who);
  const entries = page.getByRole("navigation", { name: "Conversations" }).getByRole("listitem");
  await expect(entries).toHaveCount(30);
  await page.getByRole("button", { name: "More conversations" }).press("Enter");
  await expect(entries).toHaveCount(33);
  await expect(page.getByRole("button", { name: "More conversations" })).toBeHidden();
});

test("what is earlier is loaded as one comes there, and moves nothing", async ({ page, request }) => {
  test.setTimeout(120_000);
  const who = await account(request);
  const headers = await headersOf(request, who);
  const id = await sayThere(request, headers, "message 0", "new");
  for (let count = 1; count < 35; count++) await sayThere(request, headers, `message ${count}`, id);
  await enter(page, who, `./?c=${id}`);
  await expect(page.locator(".said")).toHaveCount(20);
  await expect(page.locator(".said").last()).toBeInViewport();
  const oldest = page.locator(".said").getByText("message 15", { exact: true });
  await page.locator(".said").first().evaluate((one) => window.scrollTo(0, one.getBoundingClientRect().top + window.scrollY - 300));
  await expect(page.locator(".said")).toHaveCount(35);
  await expect(oldest).toBeInViewport();
  await expect(page.getByRole("button", { name: "Earlier messages" })).toBeHidden();
  // New words do not take the reader away from there.
  await expect(page.getByRole("button", { name: "Latest" })).toBeVisible();
  const before = await page.evaluate(() => window.scrollY);
  await sayThere(request, headers, "aside", id);
  expect(await page.evaluate(() => window.scrollY)).toBe(before);
  await page.getByRole("button", { name: "Latest" }).click();
  await expect(page.locator(".said").last()).toBeInViewport();
  await expect(page.getByRole("button", { name: "Latest" })).toBeHidden();
});

test("a long answer stays in view for who is at its end, and leaves in peace who is not", async ({ page, request }) => {
  await enter(page, await account(request));
  await say(page, Array.from({ length: 90 }, (_, index) => `line${index}\n\n`).join(" "));
  const last = page.locator(".answer p").last();
  await expect(page.locator(".answer")).toContainText("line40");
  await expect(last).toBeInViewport();
  await page.mouse.move(700, 300);
  await page.mouse.wheel(0, -600);
  await expect(page.getByRole("button", { name: "Latest" })).toBeVisible();
  const at = await page.evaluate(() => window.scrollY);
  await expect(page.locator(".facts")).toBeVisible();
  expect(await page.evaluate(() => window.scrollY)).toBe(at);
});

test("all messages are listed, also those of no conversation", async ({ page, request }) => {
  const who = await account(request);
  const headers = await headersOf(request, who);
  await sayThere(request, headers, "alone");
  await sayThere(request, headers, "together", "new");
  await enter(page, who, "./?all");
  await expect(page.locator(".said")).toHaveText(["You saidtogether", "You saidalone"]);
  await expect(page.getByRole("link", { name: "All messages" })).toHaveAttribute("aria-current", "page");
  await page.getByRole("link", { name: "Go to its conversation" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("together");
});

test("an answer goes on while another conversation is looked at", async ({ page, request }) => {
  const who = await account(request);
  await sayThere(request, await headersOf(request, who), "other", "new");
  await enter(page, who);
  await say(page, words(40));
  await expect(page.locator(".answer")).toContainText("word0");
  await page.getByRole("link", { name: "other" }).click();
  await expect(page.locator(".answer")).toHaveText(/AI Response to: other/);
  await page.goBack();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("New conversation");
  await expect(page.locator(".answer")).toContainText("word5");
  await page.goForward();
  await expect(page.getByRole("link", { name: "word0 word1" })).toBeVisible();
  await page.goBack();
  await expect(page).toHaveURL(/\?c=/);
  await expect(page.locator(".answer")).toContainText("word39");
  await expect(page.getByText("3,800 tokens")).toBeVisible();
});

test("at 400 % nothing has to be scrolled sideways and everything is within reach", async ({ page, request }) => {
  await page.setViewportSize({ width: 320, height: 256 });
  await enter(page, await account(request));
  await say(page, `${words(30)} ${"long".repeat(60)}\n\n|a|b|\n|-|-|\n|${"x".repeat(80)}|y|`);
  await expect(page.locator(".facts")).toBeVisible();
  await expectNoSidewaysScrolling(page);
  await picture(page, "chat-zoomed");
  await box(page).scrollIntoViewIfNeeded();
  await expect(box(page)).toBeInViewport();
});
