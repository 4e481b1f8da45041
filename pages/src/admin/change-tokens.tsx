/** Tokens are put on a balance or taken off. */

import { useRef, useState } from "preact/hooks";

import { newKey } from "../lib/key.ts";
import { Field } from "../lib/ui.tsx";
import { useConsole } from "./answer.ts";
import { admin } from "./calls.ts";
import { Name, number, signed, tokens } from "./format.tsx";
import { about, End, ReasonField, useFirstMistake, useSending, type FormProps } from "./sending.tsx";
import { keepUnsettled, settle, unsettled } from "./unsettled.ts";
import { wholeNumber } from "./whole-number.ts";

const WAYS = [
  { sign: 1, text: "Add" },
  { sign: -1, text: "Take off" },
] as const;

export function TokensForm(props: FormProps) {
  const { user, onClose } = props;
  const { me } = useConsole();
  // What was sent before and may have been done: it can only be sent again.
  const [resumed] = useState(() => unsettled(me.username, user.username));
  const [sign, setSign] = useState<1 | -1>(resumed && resumed.amount < 0 ? -1 : 1);
  const [typed, setTyped] = useState(resumed ? String(Math.abs(resumed.amount)) : "");
  const [reason, setReason] = useState(resumed?.reason ?? "");
  const [attempts, setAttempts] = useState(0);
  // One for the whole dialog: however often this is sent, it is done once.
  const [key] = useState(() => resumed?.key ?? newKey());
  const since = useRef(resumed?.at);
  const whole = wholeNumber(typed);
  const amount = whole === null ? null : sign * whole;
  const after = amount === null ? null : user.token_balance + amount;

  const kept = { isResumed: resumed !== null, settle: () => settle(me.username, user.username, key) };
  const sending = useSending(
    async () => {
      const sent = { key, amount: amount ?? 0, reason: reason.trim(), at: (since.current ??= Date.now()) };
      keepUnsettled(me.username, user.username, sent);
      const { entry } = await admin.adjust(user.username, sent.amount, sent.reason, key);
      const now = entry.balance_after;
      return (
        <>
          <Name name={user.username} />: {now === null ? signed(entry.amount) : `${number(now - entry.amount)} → ${number(now)}`} tokens.
        </>
      );
    },
    props,
    kept,
  );
  const { busy, error, uncertain } = sending;
  const locked = busy || uncertain;

  const wrong = () => {
    if (whole === null) return "Enter a whole number of tokens, such as 500.";
    if (after !== null && after < 0) return `The balance is ${tokens(user.token_balance)}: no more than that can be taken off.`;
    if (after !== null && !Number.isSafeInteger(after)) return "No balance can hold that much.";
    return undefined;
  };
  // What is sent again is the very same, whatever the balance is by now.
  const mistakes = {
    amount: (attempts > 0 && !locked ? wrong() : undefined) ?? about(error, "amount"),
    reason: (attempts > 0 && !reason.trim() ? "Say why." : undefined) ?? about(error, "reason"),
  };
  const form = useFirstMistake(attempts, error);

  const submit = (event: Event) => {
    event.preventDefault();
    setAttempts(attempts + 1);
    if (uncertain || (wrong() === undefined && reason.trim())) sending.send();
  };
  return (
    <form ref={form} onSubmit={submit} noValidate>
      <fieldset class="choices inline">
        <legend>What to do</legend>
        {WAYS.map((way) => (
          <label key={way.sign} class="check">
            <input
              type="radio"
              name="sign"
              checked={sign === way.sign}
              disabled={locked && sign !== way.sign}
              onChange={() => setSign(way.sign)}
            />
            {way.text}
          </label>
        ))}
      </fieldset>
      <Field label="Tokens" value={typed} onInput={setTyped} error={mistakes.amount} inputmode="numeric" readonly={locked} required autocomplete="off" />
      <ReasonField value={reason} onInput={setReason} error={mistakes.reason} locked={locked} required />
      <p class="preview" role="status">
        {/* After an attempt whose outcome nobody knows there is no saying what the balance was before it. */}
        <Name name={user.username} />: {uncertain ? `${signed(amount ?? 0)} ` : `${number(user.token_balance)} → ${after === null ? "…" : number(after)} `}
        tokens
      </p>
      <End
        sending={sending}
        text={amount === null ? "Adjust" : `Adjust by ${signed(amount)}`}
        onClose={onClose}
        isFieldError={Boolean(about(error, "amount") ?? about(error, "reason"))}
      />
    </form>
  );
}
