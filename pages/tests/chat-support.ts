/** What the tests of the chat page share. */

import type { APIRequestContext, Page, Request } from "@playwright/test";

import { expect, type Account } from "./support.ts";

export const FENCE = "```";

export const box = (page: Page) => page.getByRole("textbox", { name: "Message" });

/** Writes a message and sends it. */
export async function say(page: Page, text: string): Promise<void> {
  await box(page).fill(text);
  await box(page).press("Enter");
}

/** A text of so many words, each of which the echo takes a moment for. */
export const words = (count: number): string => Array.from({ length: count }, (_, index) => `word${index}`).join(" ");

export async function headersOf(request: APIRequestContext, who: Account): Promise<Record<string, string>> {
  const reply = await request.post("api/v1/users/login", { data: who });
  expect(reply.status()).toBe(200);
  const { access } = (await reply.json()) as { access: string };
  return { Authorization: `Bearer ${access}` };
}

/** Says something through the API. Gives back the conversation that it is in. */
export async function sayThere(request: APIRequestContext, headers: Record<string, string>, message: string, conversation?: string): Promise<string> {
  const data = conversation === undefined ? { message } : { message, conversation_id: conversation };
  const reply = await request.post("api/v1/chats", { data, headers });
  expect(reply.status()).toBe(200);
  const { chat } = (await reply.json()) as { chat: { conversation_id?: string } };
  return chat.conversation_id ?? "";
}

/** What messages are sent to. */
export const STREAM = "**/api/v1/chats/stream";

/** The keys under which messages are sent from now on. */
export function keysOf(page: Page): string[] {
  const keys: string[] = [];
  page.on("request", (sent: Request) => {
    if (sent.url().endsWith("/chats/stream")) keys.push(sent.headers()["idempotency-key"] ?? "none");
  });
  return keys;
}

/** The answers. */
export const said = (page: Page) => page.locator(".answer");
/** One event of a stream. */
export const event = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

/** Makes the messages that are on their way older than they are. */
export async function age(page: Page, minutes: number): Promise<void> {
  await page.evaluate((milliseconds) => {
    for (const name of Object.keys(localStorage).filter((key) => key.endsWith(":pending"))) {
      const list = JSON.parse(localStorage.getItem(name) ?? "[]") as { at: number }[];
      localStorage.setItem(name, JSON.stringify(list.map((one) => ({ ...one, at: one.at - milliseconds }))));
    }
  }, minutes * 60_000);
}
