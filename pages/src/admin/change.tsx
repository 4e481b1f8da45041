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
  // A dialog keeps the name under which it was opened, should the account change meanwhile.
  const opened = useRef<{ change: Change | null; title: string }>({ change: null, title: "" });
  if (opened.current.change !== change) opened.current = { change, title: change ? title(change, user) : "" };
  const Form = change && FORMS[change];
  return (
    <Dialog title={opened.current.title} open={change !== null} onClose={onClose}>
      {Form && <Form user={user} onClose={onClose} onOutcome={onOutcome} />}
    </Dialog>
  );
}
