/** What components of every page need to know. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { draft, keepDraft } from "./drafts.ts";
import { session, type Reason, type Session } from "./session.ts";

/** The session of this browser, and why there is none. */
export function useSession(): { current: Session | null; reason: Reason } {
  const now = () => ({ current: session.current(), reason: session.reason() });
  const [state, set] = useState(now);
  useEffect(() => {
    // It may have changed between the first look and now.
    set(now());
    return session.listen((current, reason) => set({ current, reason }));
  }, []);
  return state;
}

export function useOnline(): boolean {
  const [online, set] = useState(() => navigator.onLine);
  useEffect(() => {
    const change = () => set(navigator.onLine);
    window.addEventListener("online", change);
    window.addEventListener("offline", change);
    return () => {
      window.removeEventListener("online", change);
      window.removeEventListener("offline", change);
    };
  }, []);
  return online;
}

/** The seconds that are left until then, counted down to 0. A new count begins with a new reason. */
export function useCountdown(seconds: number | undefined, reason: unknown): number {
  const [left, set] = useState(seconds ?? 0);
  useEffect(() => {
    set(seconds ?? 0);
    if (!seconds) return;
    const end = Date.now() + seconds * 1000;
    const timer = setInterval(() => {
      const rest = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      set(rest);
      if (rest === 0) clearInterval(timer);
    }, 250);
    return () => clearInterval(timer);
  }, [seconds, reason]);
  return left;
}

/** A text that somebody types, kept until it is sent. */
export function useDraft(username: string, name: string): [string, (text: string) => void] {
  const [text, set] = useState(() => draft(username, name));
  useEffect(() => set(draft(username, name)), [username, name]);
  const keep = useCallback(
    (next: string) => {
      set(next);
      keepDraft(username, name, next);
    },
    [username, name],
  );
  return [text, keep];
}

/** Runs one task at a time: whether one runs, what the last one failed with, and how to start one. */
export function useTask(): { busy: boolean; error: unknown; run: (task: () => Promise<void>) => void; clear: () => void } {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const running = useRef(false);
  const run = useCallback((task: () => Promise<void>) => {
    if (running.current) return;
    running.current = true;
    setBusy(true);
    setError(null);
    task()
      .catch(setError)
      .finally(() => {
        running.current = false;
        setBusy(false);
      });
  }, []);
  return { busy, error, run, clear: useCallback(() => setError(null), []) };
}
