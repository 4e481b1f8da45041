import { readFileSync } from "node:fs";

import type { Page } from "@playwright/test";

import { bootstrap } from "../admin.ts";
import { LOOKS, PASSWORD, account, enter, expect, expectAccessible, expectNoSidewaysScrolling, picture, spoil, test, type Account } from "../support.ts";

interface Told {
  method: string;
  path: string;
  statuses: string[];
  isPublic: boolean;
}

/** The operations of the document by their ids. */
const OPERATIONS = new Map<string, Told>(
  Object.entries(JSON.parse(readFileSync(new URL("../../../docs/openapi.json", import.meta.url), "utf8")).paths as Record<string, Record<string, any>>).flatMap(
    ([path, item]) =>
      Object.entries(item).map(([method, one]): [string, Told] => [
        one.operationId as string,
        { method: method.toUpperCase(), path, statuses: Object.keys(one.responses as object), isPublic: !one.security?.length },
      ]),
  ),
);

/** What ends the session or the account with which it is tried. */
const ENDING = ["usersDelete", "usersPassword", "usersLogout"];

/** Sends what the form says, and gives the status that is shown. */
async function send(page: Page): Promise<string> {
  await page.getByRole("button", { name: "Send" }).click();
  const status = page.locator(".status");
  await expect(status).toContainText(/^\d{3} .*in [\d,]+ ms$/);
  return (await status.textContent())?.slice(0, 3) ?? "";
}

/** The documentation for somebody who is logged in. */
async function enterDocs(page: Page, who: Account, id = ""): Promise<void> {
  await enter(page, who, `docs#${id}`);
  await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
}

async function open(page: Page, id: string): Promise<void> {
  await page.goto(`docs#${id}`);
  await expect(page.locator(".operation").getByText(`Its id is ${id}.`)).toBeVisible();
}

test("every operation is shown, and its example is answered as the document says", async ({ page, request }) => {
  test.slow();
  expect(OPERATIONS.size).toBeGreaterThan(40);
  await request.post("api/v1/users", { data: { username: "grace", password: PASSWORD } });
  await enterDocs(page, await bootstrap(request));
  const answered: Record<string, string> = {};
  for (const [id, { method, path, statuses, isPublic }] of OPERATIONS) {
    if (ENDING.includes(id)) continue;
    await open(page, id);
    await expect(page.locator(".call")).toHaveText(`${method} ${path}`);
    await expect(page.locator(".response")).toHaveCount(statuses.length);
    if (isPublic) await expect(page.getByText("It needs no authorisation.").first()).toBeVisible();
    else await expect(page.getByLabel("Authorise by")).toHaveValue(/^(session|accessToken)$/);
    answered[id] = await send(page);
    expect(statuses, `${id}: ${answered[id]}`).toContain(answered[id]);
    await expect(page.getByText("The document does not know this status here.")).toHaveCount(0);
  }
  // What the examples name is not of this deployment, and not every deployment counts figures; all else works.
  const refused = Object.entries(answered).filter(([, status]) => status >= "400");
  expect(Object.fromEntries(refused.filter(([id]) => !/Refresh|Login|Register|Figures/i.test(id)))).toEqual({
    apiKeysRevoke: "404",
    chatsGet: "404",
    conversationsDelete: "404",
    conversationsGet: "404",
    conversationsUpdate: "404",
  });
});

for (const id of ENDING) {
  test(`the example of ${id} is answered as the document says`, async ({ page, request }) => {
    await enterDocs(page, await account(request));
    await open(page, id);
    expect(OPERATIONS.get(id)?.statuses).toContain(await send(page));
  });
}

test("an operation is found by what it is about", async ({ page }) => {
  await page.goto("docs");
  const menu = page.getByRole("navigation", { name: "Operations" });
  await expect(menu.getByRole("listitem")).toHaveCount(OPERATIONS.size);
  await menu.getByLabel("Search operations").fill("post HEAR comes");
  await expect(menu.getByRole("listitem")).toHaveCount(1);
  await expect(menu.getByText(`1 of ${OPERATIONS.size} operations.`)).toBeVisible();
  await menu.getByRole("link", { name: "/api/v1/chats/stream" }).click();
  await expect(page.locator("main h1")).toBeFocused();
  await expect(page).toHaveURL(/docs#chatsStream$/);
  await expect(page).toHaveTitle(/ · API documentation · AI Chat System$/);
  await page.reload();
  await expect(page.locator(".call")).toHaveText("POST /api/v1/chats/stream");
  await menu.getByRole("link", { name: "Overview" }).click();
  await expect(page.getByRole("heading", { name: "API documentation" })).toBeFocused();
  await page.goBack();
  await expect(page.locator(".call")).toHaveText("POST /api/v1/chats/stream");
  await page.goto("docs/#nothing");
  await expect(page.getByText("There is no such operation.")).toBeVisible();
});

test("limits, values and codes of an operation can be read", async ({ page }) => {
  await open(page, "adminUpdate");
  const body = page.getByRole("region", { name: "Body", exact: true });
  await expect(body).toContainText("needs active or role");
  await expect(body).toContainText("1 to 500 characters");
  await expect(body.getByRole("list", { name: "Values of role" })).toContainText(`"staff" May also look at users, chats and ledgers.`);
  await page.locator(".response > summary").filter({ hasText: "own_rights" }).click();
  await expect(page.getByText("own_rights: You cannot deactivate yourself")).toBeVisible();
  await open(page, "completionsCreate");
  await expect(page.getByRole("region", { name: "Body", exact: true })).toContainText("with stream_options it needs stream");
  await expect(page.getByRole("region", { name: "Body", exact: true })).toContainText("no other members");
});

test("a stream is shown as it comes", async ({ page, request }) => {
  await enterDocs(page, await account(request), "chatsStream");
  await page.getByRole("textbox", { name: "Body" }).fill(`{"message": "one two three four five"}`);
  expect(await send(page)).toBe("200");
  const events = page.getByRole("list", { name: "Events" }).getByRole("listitem");
  await expect(events.last()).toContainText("done");
  await expect(events.first()).toContainText(`"delta"`);
  await expectAccessible(page);
  // What has come is there before the rest, and stays if that is not waited for.
  await page.getByRole("textbox", { name: "Body" }).fill(JSON.stringify({ message: "word ".repeat(400) }));
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator(".status")).toContainText("and more is to come …");
  await expect(events.nth(3)).toBeVisible();
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(page.locator(".status")).toContainText("but not to its end.");
  await expect(page.getByRole("button", { name: "Send" })).toBeFocused();
  await expect(page.getByRole("alert")).toHaveCount(0);
  await expect(events.nth(3)).toBeVisible();
  await open(page, "completionsCreate");
  await page.getByRole("textbox", { name: "Body" }).fill(`{"model": "echo", "stream": true, "messages": [{"role": "user", "content": "hello"}]}`);
  expect(await send(page)).toBe("200");
  await expect(page.getByRole("list", { name: "Events" }).getByRole("listitem").last()).toContainText("[DONE]");
});

test("calls are authorised by any of the schemes, and curl says the same", async ({ page, request }) => {
  const who = await account(request);
  const login = (await (await request.post("api/v1/users/login", { data: who })).json()) as { access: string };
  const classic = (await (await request.post("api/login", { data: who })).json()) as { token: string };
  const headers = { Authorization: `Bearer ${login.access}` };
  const made = (await (await request.post("api/v1/api-keys", { headers, data: { name: "a test" } })).json()) as { api_key: { key: string } };
  await open(page, "usersBalance");
  await expect(page.getByLabel("Authorise by")).toHaveValue("nothing");
  expect(await send(page)).toBe("401");
  for (const [scheme, label, value, word] of [
    ["accessToken", "Access token", login.access, "Bearer $ACCESS_TOKEN"],
    ["authKey", "Key of a classic login (Token)", classic.token, "Token $AUTH_KEY"],
    ["apiKey", "API key", made.api_key.key, "Bearer $API_KEY"],
  ] as const) {
    await page.getByLabel("Authorise by").selectOption(scheme);
    await page.getByLabel(label, { exact: true }).fill(value);
    expect(await send(page)).toBe("200");
    await expect(page.getByRole("region", { name: "Body of the answer" })).toContainText(`"token_balance": 4000`);
    const curl = page.getByRole("region", { name: "The call with curl" });
    await expect(curl).toContainText(`-H "Authorization: ${word}"`);
    await expect(curl).not.toContainText(value);
  }
  // It goes on to other operations, but not over a reload.
  await open(page, "usersProfile");
  await expect(page.getByLabel("Authorise by")).toHaveValue("apiKey");
  expect(await send(page)).toBe("200");
  await page.reload();
  await expect(page.getByLabel("Authorise by")).toHaveValue("nothing");
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).not.toContain(made.api_key.key);
});

test("the session goes on where its access token has expired", async ({ page, request }) => {
  const who = await account(request);
  await enterDocs(page, who, "usersProfile");
  await expect(page.getByLabel("Authorise by")).toHaveValue("session");
  await spoil(page, "access");
  await page.reload();
  expect(await send(page)).toBe("200");
  await expect(page.getByRole("region", { name: "Body of the answer" })).toContainText(who.username);
});

test("what cannot be sent, or is not answered, is told", async ({ context, page, request }) => {
  await enterDocs(page, await account(request), "chatsGet");
  const id = page.getByLabel("id", { exact: true });
  await id.fill("");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(id).toHaveAccessibleDescription("This is part of the path: it cannot be left out.");
  await open(page, "chatsSend");
  await page.getByRole("textbox", { name: "Body" }).fill("{");
  await expect(page.getByText("This is not JSON, but can be sent to see what happens.")).toBeVisible();
  expect(await send(page)).toBe("400");
  await expect(page.getByText("malformed: What is wrong with the request").first()).toBeVisible();
  await page.getByLabel(/^Idempotency-Key/).fill("ключ");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("alert")).toContainText("non ISO-8859-1");
  await page.getByLabel(/^Idempotency-Key/).fill("");
  await context.setOffline(true);
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("alert").getByText("You are offline. This will work again when you are connected.")).toBeVisible();
  await context.setOffline(false);
});

test("a document that does not come can be asked for again", async ({ page }) => {
  await page.route("**/openapi.json", (route) => route.fulfill({ status: 503, json: { code: "busy", detail: "x" } }));
  await page.goto("docs").catch(() => undefined);
  await expect(page.getByText("The service is busy.")).toBeVisible();
  await page.unroute("**/openapi.json");
  await page.getByRole("button", { name: "Try again" }).click();
  await expect(page.getByRole("heading", { name: "What there is" })).toBeVisible();
});

test("answers are text, whatever is in them", async ({ page, request }) => {
  await enterDocs(page, await account(request), "chatsSend");
  const markup = `<img src=x onerror="document.title='taken'">`;
  await page.getByRole("textbox", { name: "Body" }).fill(JSON.stringify({ message: markup }));
  expect(await send(page)).toBe("200");
  await expect(page.getByRole("region", { name: "Body of the answer" })).toContainText("<img src=x");
  await expect(page.locator("main img")).toHaveCount(0);
  await expect(page).not.toHaveTitle("taken");
});

for (const { name, ...look } of LOOKS) {
  test.describe(name, () => {
    test.use(look);
    test("the documentation is accessible to everybody", async ({ page, request }) => {
      test.slow();
      await page.goto("docs");
      await expect(page.getByRole("heading", { name: "What there is" })).toBeVisible();
      await expectAccessible(page);
      await expectNoSidewaysScrolling(page);
      await picture(page, `${name}/docs-overview`);
      await enterDocs(page, await account(request), "chatsStream");
      await expect(page.getByRole("button", { name: "Send" })).toBeVisible();
      await picture(page, `${name}/docs-operation`);
      await send(page);
      for (const one of await page.locator("main details:not([open]) > summary").all()) if (await one.isVisible()) await one.click();
      await expectAccessible(page);
      await expectNoSidewaysScrolling(page);
      await page.locator(".status").scrollIntoViewIfNeeded();
      await picture(page, `${name}/docs-answer`);
      for (const id of ["completionsCreate", "adminUpdate", "usersDelete"]) {
        await open(page, id);
        for (const one of await page.locator("main details:not([open]) > summary").all()) if (await one.isVisible()) await one.click();
        await expectAccessible(page);
        await expectNoSidewaysScrolling(page);
        await picture(page, `${name}/docs-${id}`);
      }
      await page.setViewportSize({ width: 320, height: 640 });
      await expectNoSidewaysScrolling(page);
    });
  });
}
