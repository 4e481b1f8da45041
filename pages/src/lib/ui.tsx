/** The parts that pages are made of. */

import type { ComponentChildren, InputHTMLAttributes, RefObject } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

import { sentence, wait } from "./errors.ts";
import { useCountdown } from "./hooks.ts";

type ButtonProps = {
  children: ComponentChildren;
  kind?: "primary" | "plain" | "danger" | "quiet";
  type?: "button" | "submit";
  /** What it does is being done. */
  busy?: boolean;
  disabled?: boolean;
  onClick?: (event: MouseEvent) => void;
  label?: string;
  pressed?: boolean;
  /** Who gets the focus if this goes away while it has it. */
  heir?: (button: HTMLButtonElement) => HTMLElement | null | undefined;
};

/** A button. While it is busy or disabled it does nothing and says so, but keeps the focus: who uses the keyboard is not thrown out. */
export function Button({ children, kind = "plain", type = "button", busy = false, disabled = false, onClick, label, pressed, heir }: ButtonProps) {
  const own = useRef<HTMLButtonElement>(null);
  // In the layout phase: by that of other effects it is gone already.
  useLayoutEffect(() => {
    const button = own.current;
    return () => {
      if (button && document.activeElement === button) heir?.(button)?.focus({ preventScroll: true });
    };
  }, []);
  const click = (event: MouseEvent) => {
    if (busy || disabled) event.preventDefault();
    else onClick?.(event);
  };
  return (
    <button
      ref={own}
      type={type}
      class={`button ${kind}`}
      aria-disabled={busy || disabled ? "true" : undefined}
      aria-busy={busy ? "true" : undefined}
      aria-label={label}
      aria-pressed={pressed === undefined ? undefined : pressed ? "true" : "false"}
      onClick={click}
    >
      {children}
    </button>
  );
}

type FieldProps = {
  label: string;
  value: string;
  onInput: (value: string) => void;
  error?: string | undefined;
  hint?: string;
  type?: "text" | "password" | "number" | "search" | "date";
  name?: string;
  autocomplete?: InputHTMLAttributes<HTMLInputElement>["autocomplete"];
  required?: boolean;
  inputRef?: RefObject<HTMLInputElement | null>;
  min?: number | string;
  max?: number | string;
  maxLength?: number;
  inputmode?: "numeric";
  readonly?: boolean;
};

/** A field with its label, a hint and what is wrong with it. */
export function Field({ label, value, onInput, error, hint, type = "text", inputRef, ...rest }: FieldProps) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        {...rest}
        id={id}
        ref={inputRef}
        // Which of them it is decides nothing else here.
        type={type as "text"}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
        aria-invalid={error ? "true" : undefined}
        aria-describedby={described || undefined}
        autocapitalize="none"
        spellcheck={false}
      />
      {hint && (
        <p id={`${id}-hint`} class="hint">
          {hint}
        </p>
      )}
      {error && (
        <p id={`${id}-error`} class="error">
          {error}
        </p>
      )}
    </div>
  );
}

/** A box that says something; `problem` is told at once by screen readers. */
export function Notice({ kind = "note", children }: { kind?: "note" | "problem" | "success"; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role={kind === "problem" ? "alert" : "status"}>
      {children}
    </div>
  );
}

/** The content of what a button is in: of a dialog that is its first control, as what is behind it cannot have the focus. */
const contentOf = (button: HTMLButtonElement) => button.closest("dialog")?.querySelector<HTMLElement>("button") ?? document.getElementById("main");

type ProblemProps = {
  error: unknown;
  onRetry?: (() => void) | undefined;
  /** How it is said, where the general words do not fit. */
  say?: (error: unknown) => string;
};

/** What went wrong, for how long it makes no sense to try again, and a button for then. */
export function Problem({ error, onRetry, say = sentence }: ProblemProps) {
  const left = useCountdown(wait(error), error);
  if (!error) return null;
  return (
    <Notice kind="problem">
      <p>{say(error)}</p>
      {wait(error) !== undefined && (
        // A count that is read out each second would drown everything else.
        <p aria-live="off">{left > 0 ? `Try again in ${left} ${left === 1 ? "second" : "seconds"}.` : "You can try again now."}</p>
      )}
      {onRetry && (
        <Button onClick={onRetry} disabled={left > 0} heir={contentOf}>
          Try again
        </Button>
      )}
    </Notice>
  );
}

/** A dialog that is modal while `open`. The browser keeps the focus in it, and gives it back. */
export function useModal(open: boolean): RefObject<HTMLDialogElement | null> {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    if (!element || element.open === open) return;
    if (open) element.showModal();
    else element.close();
  }, [open]);
  return dialog;
}

type DialogProps = {
  title: string;
  children: ComponentChildren;
  open: boolean;
  /** It was closed: by its button, by Escape, or by what is in it. */
  onClose: () => void;
};

/** A modal dialog. */
export function Dialog({ title, children, open, onClose }: DialogProps) {
  const dialog = useModal(open);
  const id = useId();
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby={id} onClose={onClose}>
      {open && (
        <>
          <div class="dialog-head">
            <h2 id={id}>{title}</h2>
            <Button kind="quiet" label="Close" onClick={() => dialog.current?.close()}>
              ✕
            </Button>
          </div>
          {children}
        </>
      )}
    </dialog>
  );
}

type Toast = { id: number; text: ComponentChildren };
const toasts: { list: Toast[]; next: number; show: ((list: Toast[]) => void) | null } = { list: [], next: 0, show: null };
const TOAST_MILLISECONDS = 8000;

/** Tells something in passing, also to screen readers. What must not be missed belongs on the page. */
export function toast(text: ComponentChildren): void {
  const id = toasts.next++;
  const set = (list: Toast[]) => {
    toasts.list = list;
    toasts.show?.(list);
  };
  set([...toasts.list, { id, text }]);
  setTimeout(() => set(toasts.list.filter((one) => one.id !== id)), TOAST_MILLISECONDS);
}

/** Where toasts are shown; once on a page, from its beginning, so that screen readers know it. */
export function Toasts() {
  const [list, set] = useState(toasts.list);
  useEffect(() => {
    toasts.show = set;
    return () => {
      toasts.show = null;
    };
  }, []);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {list.map((one) => (
        <p key={one.id}>{one.text}</p>
      ))}
    </div>
  );
}

export type Column<T> = { name: string; cell: (row: T) => ComponentChildren; numeric?: boolean };

/** A table that scrolls by itself where it is too wide, also with the keyboard. */
export function Table<T>({ caption, columns, rows, id }: { caption: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string }) {
  return (
    <div class="table" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption class="for-readers">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={column.numeric ? "numeric" : undefined}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((column) => (
                <td key={column.name} class={column.numeric ? "numeric" : undefined}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

type PagerProps = { page: number; hasNext: boolean; busy?: boolean; onPrevious: () => void; onNext: () => void; label: string };

/** Leafs through a list whose pages are told by cursors: one forth or back. */
export function Pager({ page, hasNext, busy = false, onPrevious, onNext, label }: PagerProps) {
  return (
    <nav class="pager" aria-label={label}>
      <Button onClick={onPrevious} disabled={page <= 1} busy={busy}>
        Previous
      </Button>
      <span>Page {page}</span>
      <Button onClick={onNext} disabled={!hasNext} busy={busy}>
        Next
      </Button>
    </nav>
  );
}
