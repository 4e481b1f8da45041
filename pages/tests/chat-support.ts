/** What the tests of the chat page share. */

import type { APIRequestContext, Page } from "@playwright/test";

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
