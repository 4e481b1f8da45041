/** The dialog in which an admin changes an account, whichever change it is. */

import { useRef } from "preact/hooks";

import { Dialog } from "../lib/ui.tsx";
import type { UserData } from "./calls.ts";
import { ActiveForm } from "./change-active.tsx";
import { RoleForm } from "./change-role.tsx";
import { TokensForm } from "./change-tokens.tsx";
import type { FormProps } from "./sending.tsx";

export type Change = "tokens" | "role" | "active";

const FORMS = { tokens: TokensForm, role: RoleForm, active: ActiveForm };

function title(change: Change, user: UserData): string {
  if (change === "tokens") return "Adjust tokens";
  if (change === "role") return "Change the role";
  return user.active ? "Deactivate the account" : "Activate the account";
}

export function ChangeDialog({ change, user, onClose, onOutcome }: FormProps & { change: Change | null }) {
  // What is asked stays what was asked when the dialog was opened, should the account change meanwhile; only a balance is told as it is.
  const opened = useRef<{ change: Change | null; user: UserData }>({ change: null, user });
  if (opened.current.change !== change) opened.current = { change, user };
  const asked = change === "tokens" ? user : opened.current.user;
  const Form = change && FORMS[change];
  return (
    <Dialog title={change ? title(change, asked) : ""} open={change !== null} onClose={onClose}>
      {Form && <Form user={asked} onClose={onClose} onOutcome={onOutcome} />}
    </Dialog>
  );
}
