/** Somebody gets another role. */

import { useState } from "preact/hooks";

import type { Role } from "../lib/api.ts";
import { roleName } from "./badges.tsx";
import { admin } from "./calls.ts";
import { Name } from "./format.tsx";
import { about, End, ReasonField, useFirstMistake, useSending, type FormProps } from "./sending.tsx";

const ROLES: { role: Role; text: string }[] = [
  { role: "user", text: "chats, and sees their own account." },
  { role: "staff", text: "may also see everybody's account, chats and ledger, here." },
  { role: "admin", text: "may also change accounts: activate, deactivate, adjust tokens, give roles." },
];

export function RoleForm(props: FormProps) {
  const { user, onClose } = props;
  const [role, setRole] = useState<Role>(user.role);
  const [reason, setReason] = useState("");
  const [attempts, setAttempts] = useState(0);
  const sending = useSending(async () => {
    const changed = await admin.update(user.username, { role, ...(reason.trim() ? { reason: reason.trim() } : {}) });
    return (
      <>
        <Name name={changed.username} />: {roleName(user.role)} → {roleName(changed.role)}.
      </>
    );
  }, props);
  const { busy, error, uncertain } = sending;
  const locked = busy || uncertain;
  const isSame = role === user.role;
  const form = useFirstMistake(attempts, error);
  const submit = (event: Event) => {
    event.preventDefault();
    setAttempts(attempts + 1);
    if (!isSame) sending.send();
  };
  return (
    <form ref={form} onSubmit={submit} noValidate>
      <fieldset class="choices" aria-describedby={attempts > 0 && isSame ? "same-role" : undefined}>
        <legend>Role</legend>
        {ROLES.map((one) => (
          <label key={one.role} class="check">
            <input
              type="radio"
              name="role"
              checked={role === one.role}
              disabled={locked && role !== one.role}
              onChange={() => setRole(one.role)}
            />
            <span>
              <strong>{roleName(one.role)}</strong> {one.text}
            </span>
          </label>
        ))}
        {attempts > 0 && isSame && (
          <p id="same-role" class="error" role="alert">
            That is the role already. Choose another one.
          </p>
        )}
      </fieldset>
      <ReasonField value={reason} onInput={setReason} error={about(error, "reason")} locked={locked} required={false} />
      <p class="preview" role="status">
        <Name name={user.username} />: {roleName(user.role)} → {isSame ? "…" : roleName(role)}
      </p>
      <p class="hint">It counts from their next request on.</p>
      <End sending={sending} text={isSame ? "Change" : `Make ${roleName(role).toLowerCase()}`} onClose={onClose} isFieldError={Boolean(about(error, "reason"))} />
    </form>
  );
}
