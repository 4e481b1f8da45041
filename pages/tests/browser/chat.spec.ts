import type { Page } from "@playwright/test";

import { account, enter, expect, test } from "../support.ts";

const box = (page: Page) => page.getByRole("textbox", { name: "Message" });

async function say(page: Page, text: string): Promise<void> {
  await box(page).fill(text);
  await box(page).press("Enter");
}

test("an answer comes word for word, and its cost and the balance with it", async ({ page, request }) => {
  await enter(page, await account(request));
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  const words = Array.from({ length: 40 }, (_, index) => `word${index}`).join(" ");
  await say(page, words);
  await expect(page.locator(".answer")).toContainText("AI Response to: word0");
  await expect(page.locator(".answer")).not.toContainText("word39");
  await expect(page.getByRole("button", { name: "Stop" })).toBeVisible();
  await expect(page.locator(".answer")).toContainText("word39");
  await expect(page.locator(".answer")).toContainText("100 tokens");
  await expect(page.getByText("3,900 tokens")).toBeVisible();
  await expect(page).toHaveURL(/\?c=/);
  await expect(page.getByRole("link", { name: "word0 word1" })).toHaveAttribute("aria-current", "page");
  await say(page, "and more");
  await expect(page.locator(".answer").nth(1)).toContainText("AI Response to: and more");
  await page.reload();
  await expect(page.locator(".answer")).toHaveCount(2);
});
