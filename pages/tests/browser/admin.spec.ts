import type { Page } from "@playwright/test";

import { bootstrap, caller, figures, withRole, type Caller } from "../admin.ts";
import { PASSWORD, account, enter, expect, expectAccessible, freshName, logIn, picture, spoil, test, type Account } from "../support.ts";

/** An admin on the page, what the admin can do past it, and somebody whom it is done to. */
async function start(page: Page, path = "admin"): Promise<{ root: Account; by: Caller; who: Account }> {
  const root = await bootstrap(page.request);
  const who = await account(page.request);
  await enter(page, root, path.replace("WHO", who.username));
  return { root, by: await caller(page.request, root), who };
}

async function openAdjust(page: Page, amount: string, reason: string): Promise<void> {
  await page.getByRole("button", { name: "Adjust tokens" }).click();
  await page.getByLabel("Tokens", { exact: true }).fill(amount);
  await page.getByLabel("Reason").fill(reason);
}

const adjustments = async (by: Caller, who: Account): Promise<number[]> => {
  const { data } = await by.get(`admin/users/${who.username}/ledger`);
  return (data as { kind: string; amount: number }[]).filter(({ kind }) => kind === "adjustment").map(({ amount }) => amount);
};

test("who is neither staff nor admin is told so and finds the chat", async ({ page, request }) => {
  await enter(page, await account(request), "admin#users");
  await expect(page.getByText("This page is for staff and admins, and you are neither.")).toBeVisible();
  await expect(page.getByRole("navigation", { name: "Administration" })).toHaveCount(0);
  await expectAccessible(page);
  await page.getByRole("link", { name: "To the chat" }).click();
  await expect(page.getByRole("link", { name: "Chat" })).toHaveAttribute("aria-current", "page");
});

test("staff see everything and are offered no change", async ({ page, request }) => {
  const by = await caller(request, await bootstrap(request));
  const who = await account(request);
  await enter(page, await withRole(request, "staff", by), `admin#users/${who.username}`);
  await expect(page.getByRole("heading", { name: who.username })).toBeVisible();
  await expect(page.getByText("Only admins can change accounts.")).toBeVisible();
  await expect(page.getByRole("table", { name: "Ledger" })).toContainText("+4,000");
  for (const name of ["Adjust tokens", "Change role", "Deactivate"]) await expect(page.getByRole("button", { name })).toHaveCount(0);
  await page.getByRole("link", { name: "Audit trail" }).click();
  await expect(page.getByRole("table", { name: "Audit trail" })).toBeVisible();
});

test("views have addresses: reloads, the way back, titles and the focus follow them", async ({ page }) => {
  const { who } = await start(page, "admin#users");
  await expect(page).toHaveTitle("Users · Administration · AI Chat System");
  await page.getByLabel("Name begins with").fill(who.username);
  await expect(page).toHaveURL(new RegExp(`admin#users\\?prefix=${who.username}$`));
  await page.getByRole("link", { name: who.username }).click();
  const heading = page.getByRole("heading", { name: who.username });
  await expect(heading).toBeFocused();
  await expect(page).toHaveTitle(`\u2068${who.username}\u2069 · Ledger · Administration · AI Chat System`);
  await page.getByRole("link", { name: "Chats" }).click();
  await expect(page.getByRole("heading", { name: "Chats" })).toBeFocused();
  await expect(page.getByText("There are no chats.")).toBeVisible();
  await page.reload();
  await expect(page.getByText("There are no chats.")).toBeVisible();
  await expect(heading).toBeVisible();
  await page.goBack();
  await expect(page.getByRole("heading", { name: "Ledger" })).toBeVisible();
  await page.goBack();
  await expect(page.getByLabel("Name begins with")).toHaveValue(who.username);
  await expect(page.getByRole("row")).toHaveCount(2);
  await page.goForward();
  await expect(heading).toBeFocused();
  // Below its other address, too.
  await page.goto(`admin/#users/${who.username}/sessions`);
  await expect(page.getByRole("heading", { name: "Sessions and holds" })).toBeVisible();
  await page.evaluate(() => Object.assign(window, { same: true }));
  await page.getByRole("link", { name: "Audit trail" }).click();
  await expect(page.getByRole("heading", { name: "Audit trail" })).toBeFocused();
  expect(await page.evaluate(() => "same" in window)).toBe(true);
});

test("a search shows what was asked last, whatever comes in between", async ({ page, request }) => {
  await start(page, "admin#users");
  const stem = freshName();
  for (const name of [`${stem}a`, `${stem}b`]) await request.post("api/v1/users", { data: { username: name, password: PASSWORD } });
  await page.route(`**/api/v1/admin/users?prefix=${stem}a*`, async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue().catch(() => undefined);
  });
  const asked: string[] = [];
  page.on("request", (sent) => sent.url().includes("/admin/users?") && asked.push(new URL(sent.url()).searchParams.get("prefix") ?? ""));
  const field = page.getByLabel("Name begins with");
  await field.pressSequentially(`${stem}a`, { delay: 5 });
  await expect.poll(() => asked).toContain(`${stem}a`);
  await field.press("Backspace");
  await field.press("b");
  await expect(page.getByRole("link", { name: `${stem}b` })).toBeVisible();
  await page.waitForTimeout(2000);
  await expect(page.getByRole("link", { name: `${stem}b` })).toBeVisible();
  await expect(page.getByRole("link", { name: `${stem}a` })).toHaveCount(0);
  await expect(field).toBeFocused();
  expect(asked.length).toBeLessThan(stem.length);
  await field.fill("a b");
  await expect(field).toHaveAccessibleDescription("No username begins like this prefix.");
  await field.fill(`${stem}c`);
  await expect(page.getByText("No user is like this.")).toBeVisible();
  await field.fill(stem);
  await page.getByLabel("Status").selectOption("Inactive");
  await expect(page.getByText("No user is like this.")).toBeVisible();
  await page.getByLabel("Status").selectOption("Active");
  await expect(page.getByText("2 users on this page.")).toBeVisible();
});

test("lists are leafed through, forth and back, over reloads, too", async ({ page }) => {
  const { by, who } = await start(page, "admin#today");
  for (let amount = 1; amount <= 30; amount++) expect((await by.adjust(who.username, amount, "one of many")).status()).toBe(200);
  await page.goto(`admin#users/${who.username}`);
  const table = page.getByRole("table", { name: "Ledger" });
  await expect(table.getByRole("row")).toHaveCount(26);
  await expect(table.getByRole("row").nth(1)).toContainText("+30");
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("Page 2")).toBeVisible();
  await expect(table.getByRole("row")).toHaveCount(7);
  await expect(page.getByRole("group", { name: "entries, page 2" })).toBeFocused();
  await expect(page.getByRole("button", { name: "Next" })).toHaveAttribute("aria-disabled", "true");
  await page.reload();
  await expect(table.getByRole("row")).toHaveCount(7);
  await page.goBack();
  await expect(table.getByRole("row")).toHaveCount(26);
  await page.goForward();
  await page.getByRole("button", { name: "Previous" }).click();
  await expect(table.getByRole("row").nth(1)).toContainText("+30");
  await page.goto("admin#audit");
  const trail = page.getByRole("table", { name: "Audit trail" });
  await expect(trail.getByRole("row")).toHaveCount(26);
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("Page 2")).toBeVisible();
  await page.route("**/api/v1/admin/audit*", (route) =>
    route.fulfill({ status: 400, json: { code: "invalid", member: "cursor", detail: "Cursor is not valid" } }),
  );
  await page.reload();
  await expect(page.getByText("This page of the list is not there any more.")).toBeVisible();
  await page.unroute("**/api/v1/admin/audit*");
  await page.getByRole("button", { name: "To the first page" }).click();
  await expect(trail.getByRole("row")).toHaveCount(26);
});

test("users are leafed through", async ({ page, request }) => {
  const stem = freshName();
  const names = Array.from({ length: 26 }, (_, index) => `${stem}${String.fromCharCode(97 + index)}`);
  for (const username of names) expect((await request.post("api/v1/users", { data: { username, password: PASSWORD } })).status()).toBe(201);
  await start(page, `admin#users?prefix=${stem}`);
  const table = page.getByRole("table", { name: "Users" });
  await expect(table.getByRole("row")).toHaveCount(26);
  await expect(page.getByText("25 users on this page, and there are more.")).toBeVisible();
  await page.getByRole("button", { name: "Next" }).click();
  await expect(table.getByRole("rowheader")).toHaveText([`Name${stem}z`]);
  await page.getByRole("link", { name: `${stem}z` }).click();
  await expect(page.getByRole("heading", { name: `${stem}z` })).toBeFocused();
  await page.goBack();
  await expect(table.getByRole("rowheader")).toHaveText([`Name${stem}z`]);
  // Another search begins at its first page.
  await page.getByLabel("Name begins with").fill(`${stem}a`);
  await expect(table.getByRole("rowheader")).toHaveText([`Name${stem}a`]);
});

test("what is held is told, and until when", async ({ page, request }) => {
  const by = await caller(request, await bootstrap(request));
  const who = await account(request);
  const { user } = await by.get(`admin/users/${who.username}`);
  const holds = [100, 300].map((cost, index) => ({ cost, placed_at: `2026-11-25T03:0${index}:00.000Z`, lease_until: `2026-11-25T03:1${index}:00.000Z` }));
  await page.route(`**/api/v1/admin/users/${who.username}`, (route) =>
    route.fulfill({ json: { user: { ...(user as object), token_balance: 3600, held_tokens: 400, holds, email: "ada@example.com" } } }),
  );
  await start(page, `admin#users/${who.username}/sessions`);
  await expect(page.getByText("400 tokens in 2 holds")).toBeVisible();
  await expect(page.getByText("ada@example.com")).toBeVisible();
  await expect(page.getByRole("table", { name: "Holds" }).getByRole("row")).toHaveCount(3);
  await expect(page.getByText("Logged in nowhere.")).toBeVisible();
});

test("tokens are put on a balance and taken off, and the ledger and the trail tell it", async ({ page }) => {
  const { root, who } = await start(page, "admin#users/WHO");
  await openAdjust(page, "500", "a gift");
  const dialog = page.getByRole("dialog", { name: "Adjust tokens" });
  await expect(dialog.getByText(`${who.username}: 4,000 → 4,500 tokens`)).toBeVisible();
  await dialog.getByRole("button", { name: "Adjust by +500" }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByRole("button", { name: "Adjust tokens" })).toBeFocused();
  await expect(page.getByText(`${who.username}: 4,000 → 4,500 tokens.`)).toBeVisible();
  await expect(page.getByText("4,500 tokens", { exact: true })).toBeVisible();
  const newest = page.getByRole("table", { name: "Ledger" }).getByRole("row").nth(1);
  await expect(newest).toContainText("a gift");
  await expect(newest).toContainText("+500");
  await expect(newest).toContainText(root.username);

  await openAdjust(page, "4,501", "all of it");
  await dialog.getByLabel("Take off").check();
  await dialog.getByRole("button", { name: "Adjust by −4,501" }).click();
  await expect(dialog.getByLabel("Tokens", { exact: true })).toBeFocused();
  await expect(dialog.getByLabel("Tokens", { exact: true })).toHaveAccessibleDescription("The balance is 4,500 tokens: no more than that can be taken off.");
  await dialog.getByLabel("Tokens", { exact: true }).fill("4500");
  await dialog.getByRole("button", { name: "Adjust by −4,500" }).click();
  await expect(page.getByText(`${who.username}: 4,500 → 0 tokens.`)).toBeVisible();

  await page.getByRole("link", { name: "Audit trail" }).click();
  const first = page.getByRole("row").filter({ hasText: who.username }).first();
  await expect(first).toContainText("Balance: 4,500 → 0");
  await expect(first).toContainText("all of it");
  await first.getByRole("link", { name: who.username }).click();
  await expect(page.getByRole("heading", { name: who.username })).toBeFocused();
});

test("what cannot be an adjustment is not sent", async ({ page }) => {
  const { by, who } = await start(page, "admin#users/WHO");
  await openAdjust(page, "", "");
  const dialog = page.getByRole("dialog");
  for (const wrong of ["", "0", "-5", "1.5", "1,5", "five", "9007199254740992", "1e3"]) {
    await dialog.getByLabel("Tokens", { exact: true }).fill(wrong);
    await dialog.getByRole("button", { name: /^Adjust/ }).click();
    await expect(dialog.getByLabel("Tokens", { exact: true })).toHaveAccessibleDescription("Enter a whole number of tokens, such as 500.");
  }
  await expect(dialog.getByLabel("Reason")).toHaveAccessibleDescription(/Say why\./);
  await dialog.getByLabel("Tokens", { exact: true }).fill("5");
  await dialog.getByRole("button", { name: "Adjust by +5" }).click();
  await expect(dialog.getByLabel("Reason")).toBeFocused();
  expect(await adjustments(by, who)).toEqual([]);
});

test("a balance that has changed meanwhile is refused by the server and told anew", async ({ page }) => {
  const { by, who } = await start(page, "admin#users/WHO");
  await expect(page.getByRole("table", { name: "Ledger" })).toBeVisible();
  const looked = page.waitForResponse((reply) => reply.url().endsWith(who.username));
  await openAdjust(page, "3000", "too late");
  await page.getByLabel("Take off").check();
  await looked;
  await by.adjust(who.username, -3500, "first");
  await page.getByRole("button", { name: "Adjust by −3,000" }).click();
  await expect(page.getByLabel("Tokens", { exact: true })).toHaveAccessibleDescription("The balance is 500 tokens: no more than that can be taken off.");
  expect(await adjustments(by, who)).toEqual([-3500]);
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByText("500 tokens", { exact: true })).toBeVisible();
  await openAdjust(page, "1", "so it is");
  await expect(page.getByText(`${who.username}: 500 → 501 tokens`)).toBeVisible();
});

test("an adjustment whose answer is lost is tried again and made once", async ({ page }) => {
  const { by, who } = await start(page, "admin#users/WHO");
  const keys: string[] = [];
  page.on("request", (sent) => sent.url().endsWith("/tokens") && keys.push(sent.headers()["idempotency-key"] ?? ""));
  await page.route("**/tokens", async (route) => {
    await route.fetch();
    await route.abort("connectionreset");
  });
  await openAdjust(page, "500", "a gift");
  await page.getByRole("button", { name: "Adjust by +500" }).click();
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByRole("alert")).toContainText("The server cannot be reached.");
  await expect(dialog.getByText("It may have been done already.")).toBeVisible();
  await expect(dialog.getByLabel("Tokens", { exact: true })).toHaveAttribute("readonly");
  await expectAccessible(page);
  await picture(page, "desk-light/admin-lost");
  await page.unroute("**/tokens");
  await dialog.getByRole("button", { name: "Try again" }).click();
  await expect(page.getByText(`${who.username}: 4,000 → 4,500 tokens.`)).toBeVisible();
  expect(keys).toHaveLength(2);
  expect(new Set(keys).size).toBe(1);
  expect(await adjustments(by, who)).toEqual([500]);
  // The next dialog is another deed.
  await openAdjust(page, "500", "a gift");
  await page.getByRole("button", { name: "Adjust by +500" }).click();
  await expect(page.getByText(`${who.username}: 4,500 → 5,000 tokens.`)).toBeVisible();
  expect(await adjustments(by, who)).toEqual([500, 500]);
  expect(keys[2]).not.toBe(keys[0]);
});

test("an adjustment that is left without an answer is looked up", async ({ page }) => {
  await start(page, "admin#users/WHO");
  await page.route("**/tokens", async (route) => {
    await route.fetch();
    await route.fulfill({ status: 503, json: { code: "outcome_unknown", detail: "It may or may not have been done" } });
  });
  await openAdjust(page, "500", "a gift");
  await page.getByRole("button", { name: "Adjust by +500" }).click();
  await expect(page.getByRole("alert")).toContainText("It may or may not have been done. Trying again does not do it twice.");
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
  await expect(page.getByText("4,500 tokens", { exact: true })).toBeVisible();
  await expect(page.getByRole("table", { name: "Ledger" }).getByRole("row").nth(1)).toContainText("+500");
});

test("a dialog that is closed too early does not hide what came of it", async ({ page }) => {
  const { who } = await start(page, "admin#users/WHO");
  await page.route("**/tokens", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await route.continue();
  });
  await openAdjust(page, "500", "a gift");
  await page.getByRole("button", { name: "Adjust by +500" }).click();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(page.getByText(`${who.username}: 4,000 → 4,500 tokens.`)).toBeVisible();
});

const REFUSALS = [
  [422, "idempotency_mismatch", "Something else was sent from this dialog before, and has been done. Close it and look at the ledger."],
  [409, "idempotency_in_progress", "The same adjustment is being made right now."],
  [503, "busy", "The service is busy."],
  [429, "too_many_requests", "That was too fast."],
  [404, "user_not_found", "There is no such user."],
] as const;

test("each refusal of an adjustment is said in a sentence", async ({ page, request }) => {
  await start(page, "admin#users");
  for (const [status, code, sentence] of REFUSALS) {
    // What may have been done is sent again before anything else is; so each is another account's.
    const { username } = await account(request);
    await page.goto(`admin#users/${username}`);
    await expect(page.getByRole("heading", { name: username })).toBeVisible();
    await page.route("**/tokens", (route) => route.fulfill({ status, headers: { "Retry-After": "1" }, json: { code, detail: "x" } }));
    await openAdjust(page, "1", "a test");
    await page.getByRole("button", { name: "Adjust by +1" }).click();
    await expect(page.getByRole("dialog").getByRole("alert")).toContainText(sentence);
    await page.unroute("**/tokens");
    await page.keyboard.press("Escape");
  }
});

const UNKNOWN = "An adjustment was sent, and it is not known whether it was made.";

for (const how of ["closed before the answer was lost", "closed after it", "gone with a reload"] as const) {
  test(`an adjustment whose dialog was ${how} is taken up and made once`, async ({ page }) => {
    const { by, who } = await start(page, "admin#users/WHO");
    const keys: string[] = [];
    page.on("request", (sent) => sent.url().endsWith("/tokens") && keys.push(sent.headers()["idempotency-key"] ?? ""));
    let answer = () => {};
    const isAnswered = new Promise<void>((resolve) => (answer = resolve));
    await page.route("**/tokens", async (route) => {
      await route.fetch();
      await isAnswered;
      await route.abort("connectionreset").catch(() => undefined);
    });
    await openAdjust(page, "500", "a gift");
    await page.getByRole("dialog").getByLabel("Take off").check();
    await page.getByRole("button", { name: "Adjust by −500" }).click();
    await expect.poll(() => adjustments(by, who)).toEqual([-500]);
    const dialog = page.getByRole("dialog");
    if (how === "gone with a reload") {
      await page.reload();
      answer();
    } else if (how === "closed after it") {
      answer();
      await expect(dialog.getByRole("alert")).toContainText("The server cannot be reached.");
      await page.keyboard.press("Escape");
    } else {
      await page.keyboard.press("Escape");
      await expect(page.getByText(UNKNOWN)).toBeVisible();
      answer();
      await expect(page.getByText(`\u2068${who.username}\u2069: The server cannot be reached. Check your connection. It may have been done.`)).toBeVisible();
    }
    await expect(page.getByText(UNKNOWN)).toBeVisible();
    await page.unroute("**/tokens");
    await page.getByRole("button", { name: "Adjust tokens" }).click();
    await expect(dialog.getByText("It may have been done already.")).toBeVisible();
    await expect(dialog.getByLabel("Tokens", { exact: true })).toHaveValue("500");
    await expect(dialog.getByLabel("Tokens", { exact: true })).toHaveAttribute("readonly");
    await expect(dialog.getByLabel("Take off")).toBeChecked();
    await expect(dialog.getByLabel("Reason")).toHaveValue("a gift");
    await expectAccessible(page);
    await dialog.getByRole("button", { name: "Try again" }).click();
    await expect(page.getByText(`${who.username}: 4,000 → 3,500 tokens.`)).toBeVisible();
    await expect(page.getByText(UNKNOWN)).toHaveCount(0);
    expect(keys).toHaveLength(2);
    expect(keys[1]).toBe(keys[0]);
    expect(await adjustments(by, who)).toEqual([-500]);
    // The next dialog is another deed.
    await page.getByRole("button", { name: "Adjust tokens" }).click();
    await expect(dialog.getByLabel("Tokens", { exact: true })).toHaveValue("");
  });
}

test("what came of an adjustment is told wherever the admin is by then", async ({ page }) => {
  const { by, who } = await start(page, "admin#users/WHO");
  await page.route("**/tokens", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  await openAdjust(page, "500", "a gift");
  await page.getByRole("button", { name: "Adjust by +500" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Audit trail" }).click();
  await expect(page.getByRole("heading", { name: "Audit trail" })).toBeVisible();
  await expect(page.getByText(`${who.username}: 4,000 → 4,500 tokens.`)).toBeVisible();
  expect(await adjustments(by, who)).toEqual([500]);
});

test("somebody gets another role", async ({ page }) => {
  const { by, who } = await start(page, "admin#users/WHO");
  await page.getByRole("button", { name: "Change role" }).click();
  await page.getByRole("button", { name: "Change", exact: true }).click();
  await expect(page.getByText("That is the role already. Choose another one.")).toBeVisible();
  await page.getByLabel("Staff may also see").check();
  await page.getByLabel("Reason").fill("joined the team");
  await expect(page.getByText(`${who.username}: User → Staff`)).toBeVisible();
  await page.getByRole("button", { name: "Make staff" }).click();
  await expect(page.getByText(`${who.username}: User → Staff.`)).toBeVisible();
  await expect(page.locator(".badges")).toContainText("Staff");
  const { user } = await by.get(`admin/users/${who.username}`);
  expect((user as { role: string }).role).toBe("staff");
});

test("who is deactivated is logged out at once, and can come back", async ({ page, browser, baseURL }) => {
  const { who } = await start(page, "admin#users/WHO");
  const context = await browser.newContext(baseURL ? { baseURL } : {});
  const other = await context.newPage();
  await enter(other, who, "admin");
  await expect(other.getByText("This page is for staff and admins")).toBeVisible();
  await page.getByRole("button", { name: "Deactivate" }).click();
  const dialog = page.getByRole("dialog", { name: "Deactivate the account" });
  await expect(dialog).toContainText(`${who.username}: active → inactive`);
  await expect(dialog).toContainText("Their 1 session ends at once.");
  await dialog.getByLabel("Reason").fill("spam");
  await dialog.getByRole("button", { name: "Deactivate" }).click();
  await expect(page.getByText(`${who.username} is inactive now, and logged in nowhere.`)).toBeVisible();
  await other.reload();
  await expect(other.getByText("This account has been deactivated.")).toBeVisible();
  await logIn(other, who);
  await expect(other.getByRole("alert")).toHaveText("The name or the password is wrong.");
  await page.getByRole("button", { name: "Activate" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Activate" }).click();
  await expect(page.getByText(`${who.username} is active now.`)).toBeVisible();
  await logIn(other, who);
  await expect(other.getByText("This page is for staff and admins")).toBeVisible();
  await context.close();
});

test("admins are not offered to take their own rights, and are told if they try", async ({ page }) => {
  const { root, who } = await start(page, "admin#users");
  await page.goto(`admin#users/${root.username}`);
  await expect(page.getByText("This is you.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Adjust tokens" })).toBeVisible();
  for (const name of ["Change role", "Deactivate"]) await expect(page.getByRole("button", { name })).toHaveCount(0);
  await page.route("**/api/v1/admin/users/*", (route) =>
    route.request().method() === "PATCH" ? route.fulfill({ status: 409, json: { code: "own_rights", detail: "x" } }) : route.continue(),
  );
  await page.goto(`admin#users/${who.username}`);
  await page.getByRole("button", { name: "Deactivate" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Deactivate" }).click();
  await expect(page.getByRole("alert")).toHaveText("You cannot deactivate yourself or change your own role. Another administrator can.");
});

test("who has lost the role meanwhile is told, and the buttons go", async ({ page, request }) => {
  const by = await caller(request, await bootstrap(request));
  const me = await withRole(request, "admin", by);
  const who = await account(request);
  await enter(page, me, `admin#users/${who.username}`);
  await openAdjust(page, "1", "a test");
  await by.patch(me.username, { role: "staff" });
  await page.getByRole("button", { name: "Adjust by +1" }).click();
  await expect(page.getByRole("alert")).toHaveText("Your role does not allow this. If it did before, an administrator has changed it.");
  await page.keyboard.press("Escape");
  await expect(page.getByText("Only admins can change accounts.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Adjust tokens" })).toHaveCount(0);
  await by.patch(me.username, { role: "user" });
  // Not by its link, which is gone already if the page has just looked up the role by itself.
  await page.goto("admin#audit");
  await expect(page.getByText("This page is for staff and admins, and you are neither.")).toBeVisible();
});

test("a session that ends in the middle begins again where it was", async ({ page }) => {
  const { root, who } = await start(page, "admin#users/WHO");
  await expect(page.getByRole("heading", { name: who.username })).toBeVisible();
  await spoil(page, "access");
  await page.getByRole("link", { name: "Chats" }).click();
  await expect(page.getByText("There are no chats.")).toBeVisible();
  await spoil(page, "access", "refresh");
  await page.getByRole("link", { name: "Ledger" }).click();
  await expect(page.getByText("Your session has ended. Log in again.")).toBeVisible();
  await logIn(page, root);
  await expect(page.getByRole("heading", { name: who.username })).toBeVisible();
  await expect(page.getByRole("table", { name: "Ledger" })).toBeVisible();
});

test("a failure is told with a way to try again", async ({ context, page }) => {
  const { who } = await start(page, "admin#users/WHO");
  await expect(page.getByRole("table", { name: "Ledger" })).toBeVisible();
  await context.setOffline(true);
  await page.getByRole("link", { name: "Chats" }).click();
  await expect(page.getByRole("alert").getByText("You are offline. This will work again when you are connected.")).toBeVisible();
  await context.setOffline(false);
  await page.getByRole("button", { name: "Try again" }).click();
  await expect(page.getByText("There are no chats.")).toBeVisible();
  // The button is gone; who uses the keyboard goes on from the content.
  await expect(page.getByRole("main")).toBeFocused();
  await page.route("**/api/v1/admin/users?*", (route) =>
    route.fulfill({ status: 503, headers: { "Retry-After": "1" }, json: { code: "busy", detail: "x" } }),
  );
  await page.getByRole("link", { name: "Users", exact: true }).click();
  await expect(page.getByText("The service is busy.")).toBeVisible();
  await page.unroute("**/api/v1/admin/users?*");
  await expect(page.getByText("You can try again now.")).toBeVisible();
  await page.getByRole("button", { name: "Try again" }).click();
  await expect(page.getByRole("table", { name: "Users" })).toBeVisible();
  await page.goto(`admin#users/${who.username}x`);
  await expect(page.getByText("There is no user of this name.")).toBeVisible();
});

test("what does not come is not shown as what came before it", async ({ page, request }) => {
  const stem = freshName();
  const names = Array.from({ length: 26 }, (_, index) => `${stem}${String.fromCharCode(97 + index)}`);
  for (const username of names) expect((await request.post("api/v1/users", { data: { username, password: PASSWORD } })).status()).toBe(201);
  await start(page, `admin#users?prefix=${stem}`);
  const table = page.getByRole("table", { name: "Users" });
  await expect(table.getByRole("row")).toHaveCount(26);
  const fails = (address: string) => page.route(address, (route) => route.fulfill({ status: 503, json: { code: "busy", detail: "x" } }));
  await fails("**/api/v1/admin/users?*cursor=*");
  await page.getByRole("button", { name: "Next" }).click();
  await expect(page.getByText("The service is busy.")).toBeVisible();
  await expect(table).toHaveCount(0);
  await page.getByRole("button", { name: "Previous" }).click();
  await expect(table.getByRole("row")).toHaveCount(26);
  await fails(`**/api/v1/admin/users?prefix=${stem}b*`);
  await page.getByLabel("Name begins with").fill(`${stem}b`);
  await expect(page.getByText("The service is busy.")).toBeVisible();
  await expect(table).toHaveCount(0);
});

test("the day's figures are tiles, bars and a table", async ({ page }) => {
  await page.route("**/api/v1/admin/figures", (route) => route.fulfill({ json: figures() }));
  await start(page);
  await expect(page.getByRole("radio", { name: "Messages 456" })).toBeChecked();
  await expect(page.locator("svg rect.bar")).toHaveCount(24);
  await page.keyboard.press("Tab");
  await page.getByRole("radio", { name: "Messages" }).focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.getByRole("heading", { name: "Tokens charged per hour" })).toBeVisible();
  await page.locator("label").filter({ hasText: "Errors" }).click();
  await expect(page.getByText(/Errors per hour: the most were 3, in the hour from/)).toBeVisible();
  await page.getByText("The same as a table").click();
  await expect(page.getByRole("table", { name: "Figures per hour" }).getByRole("row")).toHaveCount(25);
  await expect(page.getByText("2 requests ended without it.")).toBeVisible();
  await expect(page.getByText(/Times are those of your time zone, /)).toBeVisible();
  await page.unroute("**/api/v1/admin/figures");
  await page.route("**/api/v1/admin/figures", (route) =>
    route.fulfill({ status: 503, headers: { "Retry-After": "1" }, json: { code: "busy", detail: "x" } }),
  );
  await page.getByRole("button", { name: "Refresh" }).click();
  await expect(page.getByText("The service is busy.")).toBeVisible();
  await expect(page.getByRole("radio", { name: "Messages 456" })).toBeVisible();
  await page.unroute("**/api/v1/admin/figures");
  await page.route("**/api/v1/admin/figures", (route) => route.fulfill({ status: 404, json: { code: "metrics_not_collected", detail: "x" } }));
  await page.reload();
  await expect(page.getByText("This server collects no metrics")).toBeVisible();
});

test("the figures are the system's own", async ({ page }) => {
  const { by } = await start(page);
  const told = async () => ((await by.get("admin/figures")).totals as { sign_ups: number }).sign_ups;
  // Lines are counted after the answers; in a deployment by minutes.
  await expect.poll(told).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Refresh" }).click();
  await expect(page.getByRole("radio", { name: /^Sign-ups [1-9]/ })).toBeVisible();
});

test.describe("far from the server's zone", () => {
  test.use({ timezoneId: "Asia/Kolkata" });
  test("times are those of the viewer", async ({ page }) => {
    const at = { start: "2026-11-25T03:00:00.000Z", sign_ups: 1, messages: 2, tokens_charged: 3, requests: 4, errors: 0 };
    const { start: _, ...totals } = at;
    await page.route("**/api/v1/admin/figures", (route) =>
      route.fulfill({ json: { from: at.start, to: "2026-11-25T03:20:00.000Z", hours: [at], totals, holds_open: 0 } }),
    );
    await start(page);
    await expect(page.getByText("the most were 2, in the hour from 08:30.")).toBeVisible();
    await expect(page.getByText("Times are those of your time zone, Asia/Calcutta (UTC+05:30).")).toBeVisible();
  });
});

test("names, messages and reasons are shown as they are and do nothing", async ({ page, request }) => {
  const { root, by } = await start(page);
  const markup = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`;
  const latinAndCyrillic = `\u0430dmin${freshName()}`;
  const hebrew = `שלום${freshName()}`;
  for (const username of [latinAndCyrillic, hebrew]) await request.post("api/v1/users", { data: { username, password: PASSWORD } });
  const ada = await caller(request, { username: latinAndCyrillic, password: PASSWORD });
  await ada.chat(`${markup}\u202e reversed [link](javascript:alert(1))`);
  await by.adjust(latinAndCyrillic, 1, `\u202e${markup}`);

  await page.goto(`admin#users/${encodeURIComponent(latinAndCyrillic)}`);
  await expect(page.getByText("This name mixes letters of several scripts (Latin, Cyrillic).")).toBeVisible();
  const reason = page.getByRole("table", { name: "Ledger" }).locator("bdi").filter({ hasText: "onerror" });
  await expect(reason).toHaveText(`\u202e${markup}`);
  await page.getByRole("link", { name: "Chats" }).click();
  await expect(page.locator(".said").first()).toContainText("<script>document.title='taken'</script>");
  await page.goto("admin#audit");
  await expect(page.locator("bdi").filter({ hasText: "onerror" }).first()).toBeVisible();
  await page.goto(`admin#users/${encodeURIComponent(hebrew)}`);
  const name = page.locator("h1 bdi");
  await expect(name).toHaveText(hebrew);
  await expect(name).toHaveCSS("unicode-bidi", "isolate");
  expect(await page.locator("main img, main script, main a[href^=javascript]").count()).toBe(0);

  // What no account can be called today an older one may be.
  const strange = `../x?y#z%"><img src=x>`;
  await page.route("**/api/v1/admin/users?*", (route) =>
    route.fulfill({ json: { data: [{ username: strange, role: "user", active: true, date_joined: "2026-11-25T03:00:00.000Z" }], next_cursor: null } }),
  );
  await page.goto("admin#users");
  const asked = page.waitForRequest((sent) => sent.url().includes("/api/v1/admin/users/"));
  await page.getByRole("link", { name: strange }).click();
  expect((await asked).url()).toMatch(/\/api\/v1\/admin\/users\/\.\.%2Fx%3Fy%23z%25%22%3E%3Cimg%20src%3Dx%3E(\/ledger.*)?$/);
  await expect(page).not.toHaveTitle(/^taken/);
  expect(root.username).toMatch(/^root-/);
});
