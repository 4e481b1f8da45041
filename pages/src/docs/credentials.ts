/**
 * By what calls of this page are authorised. What somebody pastes is kept in the page alone, until it is closed or loaded anew: it is not the
 * session of this browser.
 */

import { useEffect, useState } from "preact/hooks";

/** The session of this browser, nothing, or the name of a scheme of the document. */
export type Choice = "session" | "nothing" | string;

interface Kept {
  choice: Choice | null;
  pasted: Record<string, string>;
}

let kept: Kept = { choice: null, pasted: {} };
const listeners = new Set<() => void>();

export function keep(change: Partial<Kept>): void {
  kept = { ...kept, ...change };
  for (const listener of listeners) listener();
}

export const paste = (scheme: string, value: string): void => keep({ pasted: { ...kept.pasted, [scheme]: value } });

export function useCredentials(): Kept {
  const [now, set] = useState(kept);
  useEffect(() => {
    const look = () => set(kept);
    look();
    listeners.add(look);
    return () => {
      listeners.delete(look);
    };
  }, []);
  return now;
}

/** How a scheme of the document writes what authorises, and what that is called in a shell. */
const SCHEMES: Record<string, { name: string; word: string; variable: string }> = {
  accessToken: { name: "Access token", word: "Bearer", variable: "ACCESS_TOKEN" },
  authKey: { name: "Key of a classic login (Token)", word: "Token", variable: "AUTH_KEY" },
  apiKey: { name: "API key", word: "Bearer", variable: "API_KEY" },
};

export function schemeOf(choice: Choice): { name: string; word: string; variable: string } {
  return SCHEMES[choice === "session" ? "accessToken" : choice] ?? { name: choice, word: "Bearer", variable: "TOKEN" };
}

/** What is chosen for an operation that allows these schemes: what was chosen last, or the session, or nothing. */
export function choose(schemes: string[], choice: Choice | null, hasSession: boolean): Choice {
  if (schemes.length === 0) return "nothing";
  const isPossible = choice === "nothing" || (choice === "session" && hasSession) || (choice !== null && schemes.includes(choice));
  if (choice !== null && isPossible) return choice;
  return hasSession && schemes.includes("accessToken") ? "session" : "nothing";
}
