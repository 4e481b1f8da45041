import { LOOKS, PASSWORD, account, enter, expect, expectAccessible, expectNoSidewaysScrolling, freshName, logIn, picture, sessionKey, slipIn, spoil, test } from "../support.ts";

const loggedIn = (username: string) => `You are logged in as ${username}.`;

test("somebody signs up and is logged in", async ({ page }) => {
  const username = freshName();
  await page.goto("./");
  await page.getByRole("button", { name: "Sign up instead" }).click();
  await page.getByLabel("Name").fill(username);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign up", exact: true }).click();
  await expect(page.getByText(loggedIn(username))).toBeVisible();
  await expect(page.getByText("4,000 tokens")).toBeVisible();
});

test("somebody logs in with the keyboard alone and still is after a reload", async ({ page, request }) => {
  const who = await account(request);
  await page.goto("./");
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await expect(page.getByLabel("Name")).toBeFocused();
  await page.keyboard.type(who.username);
  await page.keyboard.press("Tab");
  await page.keyboard.type(who.password);
  await page.keyboard.press("Enter");
  await expect(page.getByText(loggedIn(who.username))).toBeVisible();
  await page.reload();
  await expect(page.getByText(loggedIn(who.username))).toBeVisible();
});

test("a wrong password is told, and what was typed stays", async ({ page, request }) => {
  const who = await account(request);
  await page.goto("./");
  await logIn(page, { ...who, password: "not the password" });
  await expect(page.getByRole("alert")).toHaveText("The name or the password is wrong.");
  await expect(page.getByLabel("Name")).toHaveValue(who.username);
  await expectAccessible(page);
  await logIn(page, who);
  await expect(page.getByText(loggedIn(who.username))).toBeVisible();
});

test("what is wrong with a field is told at the field, which gets the focus", async ({ page, request }) => {
  const who = await account(request);
  await page.goto("./");
  await page.getByRole("button", { name: "Sign up instead" }).click();
  const signUp = page.getByRole("button", { name: "Sign up", exact: true });
  await signUp.click();
  await expect(page.getByLabel("Name")).toBeFocused();
  await expect(page.getByLabel("Name")).toHaveAccessibleDescription("Enter a name.");
  await page.getByLabel("Name").fill(who.username);
  await page.getByLabel("Password", { exact: true }).fill("short");
  await signUp.click();
  await expect(page.getByLabel("Password", { exact: true })).toBeFocused();
  await expect(page.getByLabel("Password", { exact: true })).toHaveAccessibleDescription(/must be at least 8 bytes long\./);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await signUp.click();
  await expect(page.getByLabel("Name")).toBeFocused();
  await expect(page.getByLabel("Name")).toHaveAccessibleDescription(/This name is taken/);
  await expectAccessible(page);
});

test("too fast is told with the time to wait", async ({ page }) => {
  await page.route("**/api/v1/users/login", (route) =>
    route.fulfill({ status: 429, headers: { "Retry-After": "2" }, json: { code: "too_many_requests", detail: "Too many requests" } }),
  );
  await page.goto("./");
  await logIn(page, { username: "ada", password: PASSWORD });
  await expect(page.getByText("Try again in 2 seconds.")).toBeVisible();
  await expect(page.getByText("You can try again now.")).toBeVisible();
});

test("an access token that has expired is traded for the next", async ({ page, request }) => {
  const who = await account(request);
  await enter(page, who);
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await spoil(page, "access");
  const refreshes: string[] = [];
  page.on("request", (sent) => sent.url().endsWith("/token/refresh") && refreshes.push(sent.url()));
  await page.reload();
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  expect(refreshes).toHaveLength(1);
  await page.reload();
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  expect(refreshes).toHaveLength(1);
});

test("of two tabs one trades the tokens and both go on", async ({ context, page, request }) => {
  const who = await account(request);
  await enter(page, who);
  const other = await context.newPage();
  await other.goto("./");
  await expect(other.getByText("4,000 tokens")).toBeVisible();
  await spoil(page, "access");
  const refreshes: string[] = [];
  context.on("request", (sent) => sent.url().endsWith("/token/refresh") && refreshes.push(sent.url()));
  await Promise.all([page.reload(), other.reload()]);
  for (const tab of [page, other]) await expect(tab.getByText("4,000 tokens")).toBeVisible();
  expect(refreshes).toHaveLength(1);
});

test("a session that has ended leads to the login, which says so", async ({ page, request }) => {
  const who = await account(request);
  await enter(page, who);
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await spoil(page, "access", "refresh");
  await page.reload();
  await expect(page.getByText("Your session has ended. Log in again.")).toBeVisible();
  await expectAccessible(page);
  await logIn(page, who);
  await expect(page.getByText(loggedIn(who.username))).toBeVisible();
});

test("a server out of reach ends no session", async ({ page, request }) => {
  const who = await account(request);
  await enter(page, who);
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await spoil(page, "access");
  await page.route("**/api/v1/token/refresh", (route) => route.abort("connectionfailed"));
  await page.reload();
  await expect(page.getByText("The server cannot be reached.")).toBeVisible();
  await page.unroute("**/api/v1/token/refresh");
  await page.getByRole("button", { name: "Try again" }).click();
  await expect(page.getByText("4,000 tokens")).toBeVisible();
});

for (const [status, what] of [
  [401, "call"],
  [401, "refresh"],
  [400, "refresh"],
] as const) {
  test(`a ${status} to a ${what} that is not the API's ends no session`, async ({ page, request }) => {
    const who = await account(request);
    await enter(page, who);
    await expect(page.getByText("4,000 tokens")).toBeVisible();
    if (what === "refresh") await spoil(page, "access");
    const address = what === "refresh" ? "**/api/v1/token/refresh" : "**/api/v1/users/me";
    await page.route(address, (route) => route.fulfill({ status, contentType: "text/html", body: "<p>Accept the terms of this network first.</p>" }));
    await page.reload();
    await expect(page.getByText("The server gave an answer that the page does not understand.").first()).toBeVisible();
    await expect(page.getByText(loggedIn(who.username))).toBeVisible();
    await page.unroute(address);
    await page.getByRole("button", { name: "Try again" }).first().click();
    await expect(page.getByText("4,000 tokens")).toBeVisible();
  });
}

test("who logs out in one tab is logged out in all, and at the server", async ({ context, page, request }) => {
  const who = await account(request);
  await enter(page, who);
  const other = await context.newPage();
  await other.goto("admin");
  await expect(other.getByText(loggedIn(who.username))).toBeVisible();
  const key = await sessionKey(page);
  const { refresh } = JSON.parse((await page.evaluate((name) => localStorage.getItem(name), key)) ?? "{}") as { refresh: string };
  const told = page.waitForResponse("**/api/v1/users/logout");
  await page.getByRole("button", { name: "Log out" }).click();
  for (const tab of [page, other]) await expect(tab.getByRole("heading", { name: "Log in" })).toBeVisible();
  expect((await told).status()).toBe(200);
  const reply = await request.post("api/v1/token/refresh", { data: { refresh } });
  expect(reply.status()).toBe(401);
});

for (const event of ["pageshow", "visibilitychange"]) {
  test(`a page that has slept hears at ${event} that somebody else is logged in`, async ({ page, request }) => {
    const [alice, bob] = [await account(request), await account(request)];
    await enter(page, alice);
    await expect(page.getByText(loggedIn(alice.username))).toBeVisible();
    await slipIn(page, bob);
    await page.evaluate((name) => {
      if (name === "pageshow") window.dispatchEvent(new PageTransitionEvent(name, { persisted: true }));
      else document.dispatchEvent(new Event(name));
    }, event);
    await expect(page.getByText(loggedIn(bob.username))).toBeVisible();
    await expect(page.getByText(alice.username)).toHaveCount(0);
  });
}

test("what somebody does on their page is never done for another one", async ({ page, request }) => {
  const [alice, bob] = [await account(request), await account(request)];
  await enter(page, alice);
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  await slipIn(page, bob);
  const sent: string[] = [];
  page.on("request", (one) => one.method() === "POST" && sent.push(one.url()));
  await page.getByRole("textbox", { name: "Message" }).fill("for my eyes only");
  await page.keyboard.press("Enter");
  await expect(page.getByText(loggedIn(bob.username))).toBeVisible();
  await expect(page.getByText("for my eyes only")).toHaveCount(0);
  await expect(page.getByRole("textbox", { name: "Message" })).toHaveValue("");
  expect(sent).toEqual([]);
});

test("who is offline is told so", async ({ context, page }) => {
  await page.goto("./");
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await context.setOffline(true);
  await expect(page.getByText("You are offline.")).toBeVisible();
  await context.setOffline(false);
  await expect(page.getByText("You are offline.")).toBeHidden();
});

for (const { name, ...look } of LOOKS) {
  test.describe(name, () => {
    test.use(look);

    for (const path of ["./", "admin", "docs"]) {
      test(`the page ${path} is accessible to everybody`, async ({ page, request }) => {
        await page.goto(path);
        await expect(page.locator("h1")).toBeVisible();
        await expectAccessible(page);
        await expectNoSidewaysScrolling(page);
        const file = path === "./" ? "chat" : path;
        await picture(page, `${name}/${file}-logged-out`);
        await enter(page, await account(request), path);
        await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
        await expectAccessible(page);
        await expectNoSidewaysScrolling(page);
        await picture(page, `${name}/${file}`);
      });
    }
  });
}
