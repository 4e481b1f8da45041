/** An account is deactivated, or activated again. */

import { useState } from "preact/hooks";

import { admin } from "./calls.ts";
import { Name, number } from "./format.tsx";
import { about, End, ReasonField, useFirstMistake, useSending, type FormProps } from "./sending.tsx";

/** How many sessions end, in words. */
function ending(sessions: number): string {
  if (sessions === 0) return "There are no sessions that would end.";
  return sessions === 1 ? "Their 1 session ends at once." : `All their ${number(sessions)} sessions end at once.`;
}

export function ActiveForm(props: FormProps) {
  const { user, onClose } = props;
  const [reason, setReason] = useState("");
  // What the dialog was opened for, even if somebody else does it meanwhile.
  const [active] = useState(!user.active);
  const sending = useSending(async () => {
    const changed = await admin.update(user.username, { active, ...(reason.trim() ? { reason: reason.trim() } : {}) });
    return (
      <>
        <Name name={changed.username} /> is {changed.active ? "active" : "inactive"} now
        {changed.active ? "." : changed.sessions.length === 0 ? ", and logged in nowhere." : `, with ${number(changed.sessions.length)} sessions left.`}
      </>
    );
  }, props);
  const { busy, error, uncertain } = sending;
  const form = useFirstMistake(error);
  const submit = (event: Event) => {
    event.preventDefault();
    sending.send();
  };
  return (
    <form ref={form} onSubmit={submit} noValidate>
      <p class="preview">
        <Name name={user.username} />: {user.active ? "active" : "inactive"} → {active ? "active" : "inactive"}
      </p>
      {active ? (
        <p>They can log in again, with the password and the tokens they had. Sessions and API keys that have ended do not come back.</p>
      ) : (
        <p>
          {ending(user.sessions.length)} They cannot log in any more, and all their API keys end for good. Tokens, chats and ledger stay, and the account
          can be activated again.
        </p>
      )}
      <ReasonField value={reason} onInput={setReason} error={about(error, "reason")} locked={busy || uncertain} required={false} />
      <End sending={sending} text={active ? "Activate" : "Deactivate"} danger={!active} onClose={onClose} isFieldError={Boolean(about(error, "reason"))} />
    </form>
  );
}
