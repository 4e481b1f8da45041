/** What the tests in a browser share: a page that may not complain, accounts, and a look at what is accessible. */

import AxeBuilder from "@axe-core/playwright";
import { expect, test as base, type APIRequestContext, type Page } from "@playwright/test";

export { expect };

export interface Account {
  username: string;
  password: string;
}

export const PASSWORD = "correct horse battery";

/** A test whose pages fail it by any complaint in the console: errors of scripts, files that do not load, breaches of the policy. */
export const test = base.extend({
  context: async ({ context }, use) => {
    const complaints: string[] = [];
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    context.on("weberror", (error) => complaints.push(String(error.error().stack)));
    context.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      // Errors of the API are part of the tests, and the browser reports each; so are connections that a test has cut.
      const isOfCall = /\/(api|v1)\/|\/openapi\.json$/.test(message.location().url) && message.text().startsWith("Failed to load resource");
      if (!isOfCall) complaints.push(`${message.text()} (${message.location().url})`);
    });
    await use(context);
    expect(complaints).toEqual([]);
  },
});

let count = 0;

/** A name that nobody has. */
export function freshName(): string {
  return `t${Date.now().toString(36)}${process.pid.toString(36)}${count++}`;
}

/** An account, made through the API. */
export async function account(request: APIRequestContext): Promise<Account> {
  const made = { username: freshName(), password: PASSWORD };
  // All tests sign up from one network, which may have to wait for its turn.
  await expect(async () => expect((await request.post("api/v1/users", { data: made })).status()).toBe(201)).toPass({ timeout: 15_000 });
  return made;
}

/** Logs in through the page that is shown. */
export async function logIn(page: Page, { username, password }: Account): Promise<void> {
  await page.getByLabel("Name").fill(username);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
}

/** Logs somebody in behind the page's back: through the API, which is faster. The page hears nothing of it. */
export async function slipIn(page: Page, who: Account): Promise<void> {
  const reply = await page.request.post("api/v1/users/login", { data: who });
  expect(reply.status()).toBe(200);
  const { username, access, refresh } = (await reply.json()) as Record<string, string>;
  await page.evaluate(
    ([name, value]) => localStorage.setItem(name, value),
    [await sessionKey(page), JSON.stringify({ username, access, refresh })] as const,
  );
}

/** A page of somebody who is logged in. */
export async function enter(page: Page, who: Account, path = "./"): Promise<void> {
  await page.goto("docs");
  await slipIn(page, who);
  // From one view of a page to another no page is loaded, and the one that is there has not heard of the session.
  await page.goto("about:blank");
  await page.goto(path);
}

export async function sessionKey(page: Page): Promise<string> {
  return page.evaluate(() => `ai-chat-system:${new URL(document.baseURI).pathname}:session`);
}

/** Changes what the browser keeps of the session, as time would: what is not valid any more. */
export async function spoil(page: Page, ...members: ("access" | "refresh")[]): Promise<void> {
  const key = await sessionKey(page);
  await page.evaluate(
    ([name, spoiled]) => {
      const session = JSON.parse(localStorage.getItem(name) ?? "{}") as Record<string, string>;
      for (const member of spoiled) session[member] += "x";
      localStorage.setItem(name, JSON.stringify(session));
    },
    [key, members] as const,
  );
}

/** Nothing of WCAG 2.2 A and AA that a machine can see is wrong with the page as it is. */
export async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]).analyze();
  const found = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`);
  expect(found).toEqual([]);
}

/** Nothing is cut off or has to be scrolled to sideways. */
export async function expectNoSidewaysScrolling(page: Page): Promise<void> {
  const beyond = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(beyond).toBeLessThanOrEqual(0);
}

/** A picture to look at, in test-results/. */
export async function picture(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: new URL(`../test-results/${name}.png`, import.meta.url).pathname });
}

/** The sizes and schemes that pages are looked at in. */
export const LOOKS = [
  { name: "desk-light", colorScheme: "light", viewport: { width: 1280, height: 800 } },
  { name: "desk-dark", colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  { name: "phone-light", colorScheme: "light", viewport: { width: 360, height: 740 } },
  { name: "phone-dark", colorScheme: "dark", viewport: { width: 360, height: 740 } },
] as const;
