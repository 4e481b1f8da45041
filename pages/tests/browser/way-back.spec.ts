import { account, enter, expect, logIn, test } from "../support.ts";

// Playwright turns off what keeps pages as they were left.
test.use({
  launchOptions: {
    ...(process.env.CHROMIUM ? { executablePath: process.env.CHROMIUM } : {}),
    args: ["--no-sandbox", "--disable-gpu"],
    ignoreDefaultArgs: ["--disable-back-forward-cache"],
  },
});

test("after a logout the way back shows nothing of who was there", async ({ page, request }) => {
  const [alice, bob] = [await account(request), await account(request)];
  await enter(page, alice);
  await expect(page.getByText(`You are logged in as ${alice.username}.`)).toBeVisible();
  await page.evaluate(() => Object.assign(window, { same: true }));
  await page.getByRole("link", { name: "API" }).click();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByRole("button", { name: "Log out" })).toHaveCount(0);
  await page.evaluate(() => history.back());
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  // It is the page as it was left, not one that was loaded anew.
  expect(await page.evaluate(() => "same" in window)).toBe(true);
  await expect(page.getByText(alice.username)).toHaveCount(0);
  await logIn(page, bob);
  await expect(page.getByText(`You are logged in as ${bob.username}.`)).toBeVisible();
});
