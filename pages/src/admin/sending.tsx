/** How a change is sent from a dialog: as often as it takes, and its outcome is told even if the dialog is closed meanwhile. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../lib/api.ts";
import { session } from "../lib/session.ts";
import { Button, Field, Problem, toast } from "../lib/ui.tsx";
import { useConsole } from "./answer.ts";
import type { UserData } from "./calls.ts";
import { isolated } from "./format.tsx";
import { isUncertain, say } from "./say.ts";

export type FormProps = {
  user: UserData;
  /** The dialog is to be closed. */
  onClose: () => void;
  /** What was done; nothing if what is shown may not be so any more, whatever was done. */
  onOutcome: (told?: ComponentChildren) => void;
};

export interface Sending {
  busy: boolean;
  error: unknown;
  /** Whether it may have been done, so that what is sent again must be the same. */
  uncertain: boolean;
  send: () => void;
}

type Kept = {
  /** Whether the dialog takes up what was sent from one before it. */
  isResumed: boolean;
  /** It is known whether it was done. */
  settle: () => void;
};

export function useSending(change: () => Promise<ComponentChildren>, { user, onClose, onOutcome }: FormProps, kept?: Kept): Sending {
  const { me } = useConsole();
  const [state, set] = useState<{ busy: boolean; error: unknown; uncertain: boolean }>({ busy: false, error: null, uncertain: kept?.isResumed ?? false });
  const running = useRef(false);
  const isOpen = useRef(true);
  const hasFailed = useRef(false);
  const outcome = useRef(onOutcome);
  outcome.current = onOutcome;
  useEffect(
    () => () => {
      isOpen.current = false;
      // Left without an answer, or refused for what somebody else has changed meanwhile.
      if (hasFailed.current) outcome.current();
    },
    [],
  );
  const send = () => {
    if (running.current) return;
    running.current = true;
    set((before) => ({ ...before, busy: true, error: null }));
    change()
      .then(
        (told) => {
          kept?.settle();
          hasFailed.current = false;
          if (isOpen.current) onClose();
          outcome.current(told);
        },
        (error: unknown) => {
          const uncertain = isUncertain(error, state.uncertain);
          if (!uncertain) kept?.settle();
          if (isOpen.current) {
            hasFailed.current = true;
            set({ busy: false, error, uncertain });
            // The account is not what the dialog says.
            if (error instanceof ApiError && error.code === "invalid") outcome.current();
          } else {
            const end = uncertain ? " It may have been done." : "";
            if (session.still(me)) toast(`${isolated(user.username)}: ${say(error)}${end}`);
            outcome.current();
          }
        },
      )
      .finally(() => {
        running.current = false;
      });
  };
  return { ...state, send };
}

/** What is wrong with one of the members of a change. */
export function about(error: unknown, member: string): string | undefined {
  return error instanceof ApiError && error.code === "invalid" && error.member === member ? say(error) : undefined;
}

export const REASON_CHARACTERS = 500;

/** Why something is done: for the audit trail. */
export function ReasonField({ value, onInput, error, required, locked }: { value: string; onInput: (text: string) => void; error: string | undefined; required: boolean; locked: boolean }) {
  return (
    <Field
      label={required ? "Reason" : "Reason (may be left out)"}
      hint="Everybody who sees the audit trail sees it."
      value={value}
      onInput={onInput}
      error={error}
      required={required}
      maxLength={REASON_CHARACTERS}
      readonly={locked}
      autocomplete="off"
    />
  );
}

type EndProps = { sending: Sending; text: ComponentChildren; danger?: boolean; onClose: () => void; isFieldError: boolean };

/** The end of every form: what went wrong, and the buttons. */
export function End({ sending, text, danger = false, onClose, isFieldError }: EndProps) {
  const { busy, error, uncertain } = sending;
  return (
    <>
      {!isFieldError && <Problem error={error} say={say} />}
      {uncertain && !busy && <p class="hint">It may have been done already. “Try again” sends the very same, which is not done twice.</p>}
      <div class="actions">
        <Button type="submit" kind={danger ? "danger" : "primary"} busy={busy}>
          {uncertain ? "Try again" : text}
        </Button>
        <Button onClick={onClose}>{uncertain ? "Close" : "Cancel"}</Button>
      </div>
    </>
  );
}

/** Brings the focus to what is wrong in a form, each time something is. */
export function useFirstMistake(...reasons: unknown[]) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLElement>("[aria-invalid]")?.focus(), reasons);
  return form;
}
