import { LOOKS, account, enter, expect, expectAccessible, expectNoSidewaysScrolling, picture, test } from "../support.ts";
import { FENCE, say } from "../chat-support.ts";

const RICH = `# A heading
Some **strong** and *gentle* text with \`code\`, [a link](https://example.com/a) and ~~what is gone~~.

- one
- two
  - nested
- [x] done
- [ ] to do

| name | amount |
|---|--:|
| ada | 4,000 |
| bob | 100 |

> said before

${FENCE}python
def hello(name): return f"Hello {name}, this line is so long that it has to be scrolled to the side in any window"
${FENCE}
`;

for (const { name, ...look } of LOOKS) {
  test.describe(name, () => {
    test.use(look);

    test("every state is accessible to everybody", async ({ page, request }) => {
      await enter(page, await account(request));
      await expect(page.getByText("4,000 tokens")).toBeVisible();
      await picture(page, `${name}/chat-new`);
      await say(page, RICH);
      await expect(page.locator(".working")).toBeVisible();
      await expectAccessible(page);
      await expect(page.locator(".facts")).toBeVisible();
      await expectAccessible(page);
      await expectNoSidewaysScrolling(page);
      await picture(page, `${name}/chat-answer`);
      await page.evaluate(() => window.scrollTo(0, 0));
      await expect(page.getByRole("button", { name: "Latest" })).toBeVisible();
      await expectAccessible(page);
      await picture(page, `${name}/chat-answer-top`);

      if (name.startsWith("phone")) {
        await page.getByRole("button", { name: "Conversations" }).click();
        await expect(page.getByRole("link", { name: "# A heading" })).toBeVisible();
        await expectAccessible(page);
        await picture(page, `${name}/chat-drawer`);
      }
      await page.getByRole("button", { name: /^Rename or delete/ }).click();
      await expect(page.getByLabel("Title")).toBeVisible();
      await expectAccessible(page);
      await picture(page, `${name}/chat-rename`);
      await page.getByRole("button", { name: "Delete…" }).click();
      await expectAccessible(page);
      await picture(page, `${name}/chat-delete`);
      await page.getByRole("button", { name: "Keep it" }).click();
      await page.keyboard.press("Escape");
      if (name.startsWith("phone")) await page.keyboard.press("Escape");

      await page.getByRole("button", { name: "Account" }).click();
      await expect(page.getByText("You have none.")).toBeVisible();
      await expectAccessible(page);
      await picture(page, `${name}/chat-account`);
      await page.getByRole("button", { name: "Make an API key" }).click();
      await page.getByLabel("Name of the key").fill("my laptop");
      await expectAccessible(page);
      await picture(page, `${name}/chat-key-form`);
      await page.getByRole("button", { name: "Make the key" }).click();
      await expect(page.getByText("it is not shown again")).toBeVisible();
      await expectAccessible(page);
      await picture(page, `${name}/chat-key-made`);
      await page.getByRole("button", { name: "I have copied the key" }).click();
      await page.getByRole("button", { name: "Revoke my laptop" }).click();
      await expectAccessible(page);
      await picture(page, `${name}/chat-key-revoke`);
      await page.getByRole("button", { name: "Keep it" }).click();
      await page.locator("summary", { hasText: "Change the password" }).click();
      await page.locator("summary", { hasText: "Delete the account" }).click();
      await page.getByRole("button", { name: "Delete my account" }).scrollIntoViewIfNeeded();
      await expectAccessible(page);
      await expectNoSidewaysScrolling(page);
      await picture(page, `${name}/chat-account-forms`);
      await page.keyboard.press("Escape");

      if (name.startsWith("phone")) await page.getByRole("button", { name: "Conversations" }).click();
      await page.getByRole("link", { name: "All messages" }).click();
      await expect(page.getByRole("link", { name: "Go to its conversation" })).toBeVisible();
      await expectAccessible(page);
      await expectNoSidewaysScrolling(page);
      await picture(page, `${name}/chat-all`);
    });
  });
}
