/** What a view has asked for: the newest answer, and none that came too late. */

import { createContext } from "preact";
import { useCallback, useContext, useEffect, useRef, useState } from "preact/hooks";

import { ApiError, type Profile } from "../lib/api.ts";

export interface Console {
  me: Profile;
  /** Whether there are buttons that change something. */
  canChange: boolean;
  /** Looks again who this is: the role may have changed. */
  recheck: () => void;
}

export const ConsoleContext = createContext<Console | null>(null);

export function useConsole(): Console {
  const console = useContext(ConsoleContext);
  if (!console) throw new Error("outside of the console");
  return console;
}

export interface Answer<T> {
  /** The newest answer; while another one is waited for, that is the one before. Where asking for something else failed there is none. */
  data: T | null;
  error: unknown;
  busy: boolean;
  reload: () => void;
}

/** `of` is the key of what `data` tells. */
type State<T> = { data: T | null; of: string; error: unknown; busy: boolean };

/** The answer to what `key` names. Another key asks anew and drops what the one before has not told yet. */
export function useAnswer<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Answer<T> {
  const { recheck } = useConsole();
  const [state, set] = useState<State<T>>({ data: null, of: key, error: null, busy: true });
  const [round, setRound] = useState(0);
  const ask = useRef(load);
  ask.current = load;
  useEffect(() => {
    const controller = new AbortController();
    set((before) => ({ ...before, busy: true, error: null }));
    ask.current(controller.signal).then(
      (data) => {
        if (!controller.signal.aborted) set({ data, of: key, error: null, busy: false });
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        set((before) => ({ data: before.of === key ? before.data : null, of: key, error, busy: false }));
        if (error instanceof ApiError && error.code === "permission_denied") recheck();
      },
    );
    return () => controller.abort();
  }, [key, round]);
  const { data, error, busy } = state;
  return { data, error, busy, reload: useCallback(() => setRound((before) => before + 1), []) };
}
