/** By what a call is authorised. */

import { Field } from "../lib/ui.tsx";
import { keep, paste, schemeOf, useCredentials, type Choice } from "./credentials.ts";

type Props = {
  schemes: string[];
  choice: Choice;
  /** Who is logged in in this browser. */
  username: string | null;
};

export function Authorise({ schemes, choice, username }: Props) {
  const { pasted } = useCredentials();
  if (schemes.length === 0) return <p class="hint">It needs no authorisation.</p>;
  const isPasted = choice !== "session" && choice !== "nothing";
  return (
    <>
      <div class="field">
        <label for="authorise">Authorise by</label>
        <select id="authorise" value={choice} onChange={(event) => keep({ choice: event.currentTarget.value })}>
          {username !== null && schemes.includes("accessToken") && <option value="session">{`My session (\u2068${username}\u2069)`}</option>}
          {schemes.map((scheme) => (
            <option key={scheme} value={scheme}>
              {schemeOf(scheme).name}
            </option>
          ))}
          <option value="nothing">Nothing</option>
        </select>
        {choice === "session" && <p class="hint">What ends sessions ends this one, too: then you have to log in again.</p>}
      </div>
      {isPasted && (
        <Field
          label={schemeOf(choice).name}
          type="password"
          value={pasted[choice] ?? ""}
          onInput={(value) => paste(choice, value.trim())}
          hint="It stays on this page until it is closed, and goes nowhere but to this deployment."
          autocomplete="off"
        />
      )}
    </>
  );
}
