import { PASSWORD, account, enter, expect, expectAccessible, logIn, sessionKey, slipIn, test } from "../support.ts";
import { headersOf, say } from "../chat-support.ts";

test("an API key is made, shown once, works, and is revoked", async ({ page, request, context, baseURL }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await enter(page, await account(request));
  await page.getByRole("button", { name: "Account" }).click();
  await page.getByRole("button", { name: "Make an API key" }).click();
  await page.getByLabel("Name of the key").fill("my laptop");
  await page.getByLabel("It ends after").selectOption("30 days");
  await page.getByLabel("Most tokens that it may spend").fill("100");
  await page.getByRole("button", { name: "Make the key" }).click();
  await page.getByRole("button", { name: "Copy the key" }).click();
  const key = await page.evaluate(() => navigator.clipboard.readText());
  expect(key).toMatch(/^sk-/);
  for (const language of ["Python", "JavaScript", "curl"]) {
    await page.getByRole("button", { name: language, exact: true }).click();
    await expect(page.locator(".made-key pre")).toContainText(`${baseURL}v1`);
    await expect(page.locator(".made-key pre")).toContainText(key);
  }
  const ask = () =>
    request.post("v1/chat/completions", {
      headers: { Authorization: `Bearer ${key}` },
      data: { model: "echo", messages: [{ role: "user", content: "Hello AI" }] },
    });
  const reply = await ask();
  expect(reply.status()).toBe(200);
  expect(JSON.stringify(await reply.json())).toContain("AI Response to: Hello AI");
  expect((await ask()).status()).toBe(402);
  await page.getByRole("button", { name: "I have copied the key" }).click();
  await expect(page.locator(".keys")).toContainText("100 of 100 tokens spent");
  await expect(page.getByText(key)).toHaveCount(0);
  await page.getByRole("button", { name: "Revoke my laptop" }).click();
  await expect(page.getByRole("button", { name: "Keep it" })).toBeFocused();
  await page.getByRole("button", { name: "Revoke it" }).click();
  await expect(page.getByText("You have none.")).toBeVisible();
  expect((await ask()).status()).toBe(401);
});

test("a key that was just made is there until its owner has copied it, also if the dialog is closed", async ({ page, request }) => {
  await enter(page, await account(request));
  await page.getByRole("button", { name: "Account" }).click();
  await page.getByRole("button", { name: "Make an API key" }).click();
  await page.getByLabel("Name of the key").fill("my laptop");
  await page.getByRole("button", { name: "Make the key" }).click();
  const key = (await page.locator(".secret code").textContent()) ?? "";
  expect(key).toMatch(/^sk-/);
  await page.keyboard.press("Escape");
  await expect(page.getByText("Your new API key is still under Account")).toBeVisible();
  await expect(page.getByText(key)).toHaveCount(0);
  await page.getByRole("button", { name: "Account" }).click();
  await expect(page.locator(".secret code")).toHaveText(key);
  await page.getByRole("button", { name: "I have copied the key" }).click();
  await expect(page.locator(".keys")).toContainText("my laptop");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Account" }).click();
  await expect(page.locator(".keys")).toContainText("my laptop");
  await expect(page.locator(".secret")).toHaveCount(0);
});

test("the example for curl is one that a shell can run", async ({ page, request }) => {
  await enter(page, await account(request));
  await page.getByRole("button", { name: "Account" }).click();
  await page.getByRole("button", { name: "Make an API key" }).click();
  await page.getByLabel("Name of the key").fill("shell");
  await page.getByRole("button", { name: "Make the key" }).click();
  await page.getByRole("button", { name: "curl", exact: true }).click();
  const text = (await page.locator(".made-key pre").textContent()) ?? "";
  const { spawnSync } = await import("node:child_process");
  const { stdout, status } = spawnSync("sh", ["-c", text], { encoding: "utf8" });
  expect(status).toBe(0);
  expect(stdout).toContain("AI Response to: Hello AI");
});

test("what is wrong with a key is told at its field", async ({ page, request }) => {
  await enter(page, await account(request));
  await page.getByRole("button", { name: "Account" }).click();
  await page.getByRole("button", { name: "Make an API key" }).click();
  await page.getByLabel("Name of the key").fill(" ");
  await page.getByRole("button", { name: "Make the key" }).click();
  await expect(page.getByLabel("Name of the key")).toHaveAttribute("aria-invalid", "true");
  await expectAccessible(page);
});

test("the password is changed: other sessions end, this one goes on", async ({ page, request, browser }) => {
  const who = await account(request);
  await enter(page, who);
  const elsewhere = await (await browser.newContext({ baseURL: new URL("./", page.url()).href })).newPage();
  await elsewhere.goto("./");
  await logIn(elsewhere, who);
  await expect(elsewhere.getByText("4,000 tokens")).toBeVisible();
  await page.getByRole("button", { name: "Account" }).click();
  await page.locator("summary", { hasText: "Change the password" }).click();
  const before = page.getByLabel("Password until now");
  await before.fill("not the password");
  await page.getByLabel("New password").fill("another horse battery");
  await page.getByRole("button", { name: "Change the password" }).click();
  await expect(before).toHaveAccessibleDescription("The password is wrong.");
  await before.fill(PASSWORD);
  await page.getByLabel("New password").fill("short");
  await page.getByRole("button", { name: "Change the password" }).click();
  await expect(page.getByLabel("New password")).toHaveAccessibleDescription(/at least 8/);
  await expectAccessible(page);
  await page.getByLabel("New password").fill("another horse battery");
  await page.getByRole("button", { name: "Change the password" }).click();
  await expect(page.getByText("The password is changed.")).toBeVisible();
  await page.keyboard.press("Escape");
  await say(page, "still here");
  await expect(page.locator(".answer")).toContainText("AI Response to: still here");
  await elsewhere.reload();
  await expect(elsewhere.getByText("Your session has ended. Log in again.")).toBeVisible();
  await logIn(elsewhere, { ...who, password: "another horse battery" });
  await expect(elsewhere.getByText("3,900 tokens")).toBeVisible();
  await elsewhere.context().close();
});

test("an account is deleted, when that is really wanted", async ({ page, request }) => {
  const who = await account(request);
  await enter(page, who);
  await page.getByRole("button", { name: "Account" }).click();
  await page.locator("summary", { hasText: "Delete the account" }).click();
  const submit = page.getByRole("button", { name: "Delete my account" });
  await page.getByLabel("Your password").fill("not the password");
  await submit.click();
  await expect(page.getByRole("alert")).toHaveText("Tick the box if you are sure.");
  await page.getByLabel("Delete everything for good").check();
  await submit.click();
  await expect(page.getByLabel("Your password")).toHaveAccessibleDescription("The password is wrong.");
  await page.getByLabel("Your password").fill(who.password);
  await submit.click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect(page.getByText(`The account \u2068${who.username}\u2069 is deleted.`)).toBeVisible();
  expect((await request.post("api/v1/users/login", { data: who })).status()).toBe(401);
});

test("an administrator is told why the account cannot be deleted", async ({ page, request }) => {
  const who = await account(request);
  await enter(page, who);
  await page.route("**/api/v1/users/me", (route) =>
    route.request().method() === "DELETE" ? route.fulfill({ status: 409, json: { code: "admin_account", detail: "An admin's account cannot be deleted" } }) : route.continue(),
  );
  await page.getByRole("button", { name: "Account" }).click();
  await page.locator("summary", { hasText: "Delete the account" }).click();
  await page.getByLabel("Your password").fill(who.password);
  await page.getByLabel("Delete everything for good").check();
  await page.getByRole("button", { name: "Delete my account" }).click();
  await expect(page.getByRole("alert")).toContainText("Another administrator must take the role from it first.");
  expect((await request.get("api/v1/users/me", { headers: await headersOf(request, who) })).status()).toBe(200);
});

test("who tries again within a dialog with the keyboard stays in it", async ({ page, request }) => {
  await enter(page, await account(request));
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await page.route("**/api/v1/api-keys*", (route) => route.abort("connectionfailed"));
  await page.getByRole("button", { name: "Account" }).click();
  const again = page.getByRole("dialog").getByRole("button", { name: "Try again" });
  await expect(again).toBeVisible();
  await page.unroute("**/api/v1/api-keys*");
  await again.press("Enter");
  await expect(page.getByText("You have none.")).toBeVisible();
  await expect(page.getByRole("dialog").getByRole("button", { name: "Close" })).toBeFocused();
});

const DEEDS = [
  { name: "the password is changed", summary: "Change the password", button: "Change the password", address: "**/api/v1/users/password" },
  { name: "the account is deleted", summary: "Delete the account", button: "Delete my account", address: "**/api/v1/users/me" },
] as const;

for (const { name, summary, button, address } of DEEDS) {
  for (const next of ["somebody else is logged in", "nobody is logged in"] as const) {
    test(`while ${name} in one tab, ${next} in another: so it stays`, async ({ page, request, context }) => {
      const [alice, bob] = [await account(request), await account(request)];
      const other = await context.newPage();
      await enter(page, alice);
      await other.goto("docs");
      await expect(other.getByRole("button", { name: "Log out" })).toBeVisible();
      await page.getByRole("button", { name: "Account" }).click();
      await page.locator("summary", { hasText: summary }).click();
      if (button === "Delete my account") {
        await page.getByLabel("Your password").fill(PASSWORD);
        await page.getByLabel("Delete everything for good").check();
      } else {
        await page.getByLabel("Password until now").fill(PASSWORD);
        await page.getByLabel("New password").fill("another horse battery");
      }
      let answer = () => {};
      const isAnswered = new Promise<void>((resolve) => (answer = resolve));
      let done = () => {};
      const isDone = new Promise<void>((resolve) => (done = resolve));
      await page.route(address, async (route) => {
        if (route.request().method() === "GET") return route.continue();
        const response = await route.fetch();
        done();
        await isAnswered;
        await route.fulfill({ response });
      });
      const answered = page.waitForResponse((reply) => reply.request().method() !== "GET" && new RegExp(address.slice(2)).test(reply.url()));
      await page.getByRole("button", { name: button }).click();
      await isDone;
      await other.getByRole("button", { name: "Log out" }).click();
      await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
      const key = await sessionKey(other);
      const draft = key.replace(/session$/, `draft:${bob.username}:chat:new`);
      if (next === "somebody else is logged in") {
        await slipIn(other, bob);
        await other.evaluate((own) => localStorage.setItem(own, "what Bob types"), draft);
        await expect(page.getByText(`You are logged in as ${bob.username}.`)).toBeVisible();
      }
      const loggedIn = page.waitForResponse("**/api/v1/users/login", { timeout: 3000 }).catch(() => null);
      answer();
      expect((await answered).ok()).toBe(true);
      await loggedIn;
      // Whatever follows the answers follows at once.
      await page.waitForTimeout(500);
      const kept = JSON.parse((await other.evaluate((own) => localStorage.getItem(own), key)) ?? "null") as { username: string } | null;
      if (next === "somebody else is logged in") {
        expect(kept?.username).toBe(bob.username);
        expect(await other.evaluate((own) => localStorage.getItem(own), draft)).toBe("what Bob types");
        await expect(page.getByText(`You are logged in as ${bob.username}.`)).toBeVisible();
      } else {
        expect(kept).toBeNull();
        await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
      }
    });
  }
}
