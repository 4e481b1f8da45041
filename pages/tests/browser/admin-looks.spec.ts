import type { Page } from "@playwright/test";

import { bootstrap, caller, figures } from "../admin.ts";
import { LOOKS, account, enter, expect, expectAccessible, expectNoSidewaysScrolling, picture, test } from "../support.ts";

async function look(page: Page, name: string): Promise<void> {
  await expect(page.locator("[aria-busy]")).toHaveCount(0);
  await expectAccessible(page);
  await expectNoSidewaysScrolling(page);
  await picture(page, name);
}

for (const { name, ...options } of LOOKS) {
  test.describe(name, () => {
    test.use(options);

    test("every view of the console is accessible to everybody", async ({ page, request }) => {
      test.slow();
      const root = await bootstrap(request);
      const who = await account(request);
      const by = await caller(request, root);
      const ada = await caller(request, who);
      await ada.chat("Hello AI\n\nwith two lines <b>and no markup</b>");
      await ada.chat(`A long one: ${"and so on ".repeat(100)}`);
      await by.adjust(who.username, 500, "a gift for the trouble of last week");
      await by.adjust(who.username, -1234, "taken back");
      await page.route("**/api/v1/admin/figures", (route) => route.fulfill({ json: figures() }));

      await enter(page, root, "admin");
      await expect(page.getByRole("heading", { name: "Messages per hour" })).toBeVisible();
      await look(page, `${name}/admin-today`);
      await page.getByText("The same as a table").click();
      await look(page, `${name}/admin-today-table`);

      await page.getByRole("link", { name: "Users" }).click();
      await expect(page.getByRole("table", { name: "Users" })).toBeVisible();
      await look(page, `${name}/admin-users`);

      await page.goto(`admin#users/${who.username}`);
      await expect(page.getByRole("table", { name: "Ledger" })).toBeVisible();
      await look(page, `${name}/admin-user`);
      await page.getByRole("link", { name: "Chats" }).click();
      await expect(page.getByText("and no markup").first()).toBeVisible();
      await look(page, `${name}/admin-chats`);
      await page.getByRole("link", { name: "Sessions and holds" }).click();
      await expect(page.getByRole("table", { name: "Sessions" })).toBeVisible();
      await look(page, `${name}/admin-sessions`);

      await page.getByRole("button", { name: "Adjust tokens" }).click();
      await page.getByLabel("Tokens", { exact: true }).fill("500");
      await look(page, `${name}/admin-adjust`);
      await page.getByLabel("Tokens", { exact: true }).fill("x");
      await page.getByRole("button", { name: "Adjust", exact: true }).click();
      await look(page, `${name}/admin-adjust-wrong`);
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Change role" }).click();
      await page.getByLabel("Staff may also see").check();
      await look(page, `${name}/admin-role`);
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Deactivate" }).click();
      await look(page, `${name}/admin-deactivate`);
      await page.getByRole("dialog").getByRole("button", { name: "Deactivate" }).click();
      await expect(page.getByText("and logged in nowhere.")).toBeVisible();
      await look(page, `${name}/admin-deactivated`);

      await page.getByRole("link", { name: "Audit trail" }).click();
      await expect(page.getByRole("table", { name: "Audit trail" })).toBeVisible();
      await look(page, `${name}/admin-audit`);

      await page.goto("admin#elsewhere");
      await expect(page.getByRole("heading", { name: "Not found" })).toBeVisible();
      await look(page, `${name}/admin-not-found`);
    });
  });
}

test("nothing is beyond the edge at 400 % of a small screen", async ({ page, request }) => {
  await page.setViewportSize({ width: 320, height: 256 });
  const root = await bootstrap(request);
  await page.route("**/api/v1/admin/figures", (route) => route.fulfill({ json: figures() }));
  await enter(page, root, "admin");
  await expect(page.getByRole("heading", { name: "Messages per hour" })).toBeVisible();
  await expectNoSidewaysScrolling(page);
  for (const path of ["users", "audit", `users/${root.username}`, `users/${root.username}/chats`, `users/${root.username}/sessions`]) {
    await page.goto(`admin#${path}`);
    await expect(page.locator("h1")).toBeVisible();
    await expect(page.locator(".waiting")).toHaveCount(0);
    await expectNoSidewaysScrolling(page);
  }
  await page.getByRole("button", { name: "Adjust tokens" }).click();
  await expect(page.getByRole("dialog")).toBeVisible();
  await expectNoSidewaysScrolling(page);
});
