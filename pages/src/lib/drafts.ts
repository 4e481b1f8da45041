/** What somebody has typed and not sent yet. It outlives reloads and the end of a session, until it is sent or its owner logs out. */

const below = typeof document === "undefined" ? "/" : new URL(document.baseURI).pathname;
const prefix = (username: string): string => `ai-chat-system:${below}:draft:${username}:`;

export function draft(username: string, name: string): string {
  return localStorage.getItem(prefix(username) + name) ?? "";
}

export function keepDraft(username: string, name: string, text: string): void {
  try {
    if (text) localStorage.setItem(prefix(username) + name, text);
    else localStorage.removeItem(prefix(username) + name);
  } catch {
    // No room: the text is on the page still.
  }
}

/** Forgets everything that this person has typed: others may use the browser next. */
export function forgetDrafts(username: string): void {
  const own = Object.keys(localStorage).filter((key) => key.startsWith(prefix(username)));
  for (const key of own) localStorage.removeItem(key);
}
