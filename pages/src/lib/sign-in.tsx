/** Where one logs in or signs up; every page shows it to who is not logged in. */

import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, api } from "./api.ts";
import { ending, sentence } from "./errors.ts";
import { useTask } from "./hooks.ts";
import { session, type Reason } from "./session.ts";
import { Button, Field, Notice, Problem } from "./ui.tsx";

type Mode = "log in" | "sign up";

/** What an error says of one of the fields. */
function about(error: unknown, member: "username" | "password"): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  if (error.code === "username_taken" && member === "username") return "This name is taken. Choose another, or log in if it is yours.";
  return error.code === "invalid" && error.member === member ? sentence(error) : undefined;
}

export function SignIn({ reason }: { reason: Reason }) {
  const [mode, setMode] = useState<Mode>("log in");
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [shown, setShown] = useState(false);
  const [missing, setMissing] = useState(false);
  const { busy, error, run, clear } = useTask();
  const form = useRef<HTMLFormElement>(null);
  const isSigningUp = mode === "sign up";
  const errors = {
    username: missing && !username ? "Enter a name." : about(error, "username"),
    password: missing && !password ? "Enter a password." : about(error, "password"),
  };
  const hasFieldError = Boolean(errors.username ?? errors.password);

  // The first thing to put right gets the focus.
  useEffect(() => {
    if (hasFieldError) form.current?.querySelector<HTMLInputElement>("[aria-invalid]")?.focus();
  }, [error, missing]);

  const submit = (event: Event) => {
    event.preventDefault();
    setMissing(false);
    if (!username || !password) {
      clear();
      // In the next turn, so that the same mistake is pointed at again.
      setTimeout(() => setMissing(true));
      return;
    }
    run(async () => {
      if (isSigningUp) await api.register(username, password);
      session.begin(await api.login(username, password));
    });
  };
  const change = (next: Mode) => {
    setMode(next);
    setMissing(false);
    clear();
  };

  return (
    <main id="main" class="sign-in" tabIndex={-1}>
      <h1>{isSigningUp ? "Sign up" : "Log in"}</h1>
      {reason !== undefined && !error && <Notice>{ending(reason)}</Notice>}
      <form ref={form} onSubmit={submit} noValidate>
        <Field
          label="Name"
          name="username"
          value={username}
          onInput={setUsername}
          error={errors.username}
          autocomplete="username"
          maxLength={150}
          required
        />
        <Field
          label="Password"
          name="password"
          type={shown ? "text" : "password"}
          value={password}
          onInput={setPassword}
          error={errors.password}
          {...(isSigningUp ? { hint: "At least 8 characters. A few words are easy to keep in mind." } : {})}
          autocomplete={isSigningUp ? "new-password" : "current-password"}
          required
        />
        <label class="check">
          <input type="checkbox" checked={shown} onChange={(event) => setShown(event.currentTarget.checked)} />
          Show the password
        </label>
        {!hasFieldError && <Problem error={error} />}
        <Button type="submit" kind="primary" busy={busy}>
          {isSigningUp ? "Sign up" : "Log in"}
        </Button>
      </form>
      <p>
        {isSigningUp ? "You have an account?" : "You have no account?"}{" "}
        <Button kind="quiet" onClick={() => change(isSigningUp ? "log in" : "sign up")}>
          {isSigningUp ? "Log in instead" : "Sign up instead"}
        </Button>
      </p>
    </main>
  );
}
