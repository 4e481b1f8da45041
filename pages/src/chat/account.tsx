/** The account: who one is, and what one can change of that. */

import { useState } from "preact/hooks";

import { ApiError, api, call, type Profile } from "../lib/api.ts";
import { sentence } from "../lib/errors.ts";
import { useTask } from "../lib/hooks.ts";
import { session, type Session } from "../lib/session.ts";
import { Button, Dialog, Field, Notice, Problem, toast } from "../lib/ui.tsx";
import { ApiKeys, type Made } from "./keys.tsx";

function Facts({ profile, balance }: { profile: Profile; balance: number | undefined }) {
  return (
    <dl class="account-facts">
      <dt>Name</dt>
      <dd>
        <bdi>{profile.username}</bdi>
      </dd>
      <dt>E-mail</dt>
      <dd>{profile.email ? <bdi>{profile.email}</bdi> : "None was given"}</dd>
      <dt>Here since</dt>
      <dd>{new Date(profile.date_joined).toLocaleDateString("en", { dateStyle: "long" })}</dd>
      {profile.role !== "user" && (
        <>
          <dt>Role</dt>
          <dd>{profile.role}</dd>
        </>
      )}
      <dt>Balance</dt>
      <dd>{(balance ?? profile.token_balance).toLocaleString("en")}</dd>
    </dl>
  );
}

/** What an error says of a field of a form; the rest of the errors are the form's. */
function errorAt(error: unknown, member: string, code?: string): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  return (error.code === "invalid" && error.member === member) || (code !== undefined && error.code === code) ? sentence(error) : undefined;
}

/** Tells password managers whose password it is. */
function Owner({ username }: { username: string }) {
  return <input class="for-readers" type="text" autocomplete="username" value={username} readOnly tabIndex={-1} aria-hidden="true" />;
}

function ChangePassword({ current }: { current: Session }) {
  const [before, setBefore] = useState("");
  const [after, setAfter] = useState("");
  const [isDone, setDone] = useState(false);
  const { busy, error, run } = useTask();
  const errors = { before: errorAt(error, "old", "wrong_password"), after: errorAt(error, "new") };
  const submit = (event: Event) => {
    event.preventDefault();
    setDone(false);
    run(async () => {
      await call("POST", "api/v1/users/password", { body: { old: before, new: after } });
      setBefore("");
      setAfter("");
      // This session has ended with all others; it is begun again for who has just proved who they are.
      const login = await api.login(current.username, after).catch(() => null);
      const ended = session.still(current);
      // Another tab has logged out meanwhile, or somebody else in: so it stays.
      if (!ended) return;
      if (login) session.begin(login);
      else session.end("token_not_valid", ended);
      setDone(true);
    });
  };
  return (
    <form onSubmit={submit}>
      <Owner username={current.username} />
      <p>You are logged out everywhere but here. All your API keys end, too: programs that use them need new ones.</p>
      <Field label="Password until now" type="password" autocomplete="current-password" value={before} onInput={setBefore} error={errors.before} required />
      <Field
        label="New password"
        type="password"
        autocomplete="new-password"
        value={after}
        onInput={setAfter}
        error={errors.after}
        hint="Several words are easy to keep in mind."
        required
      />
      {!errors.before && !errors.after && <Problem error={error} />}
      {isDone && <Notice kind="success">The password is changed. You are logged out everywhere but here.</Notice>}
      <Button type="submit" kind="primary" busy={busy}>
        Change the password
      </Button>
    </form>
  );
}

function DeleteAccount({ current }: { current: Session }) {
  const [password, setPassword] = useState("");
  const [isSure, setSure] = useState(false);
  const [isMissing, setMissing] = useState(false);
  const { busy, error, run } = useTask();
  const wrong = errorAt(error, "password", "wrong_password");
  const submit = (event: Event) => {
    event.preventDefault();
    setMissing(!isSure);
    if (!isSure) return;
    run(async () => {
      try {
        await call("DELETE", "api/v1/users/me", { body: { password } });
      } catch (failed) {
        // It is closed; only the cleaning up goes on.
        if (!(failed instanceof ApiError) || failed.code !== "deletion_continues") throw failed;
      }
      // Somebody else may be reading this by now.
      toast(`The account \u2068${current.username}\u2069 is deleted.`);
      // The server has ended the session already, and says so.
      await session.leave(current).catch(() => undefined);
    });
  };
  return (
    <form onSubmit={submit}>
      <Owner username={current.username} />
      <p>Your profile, your tokens, your API keys and all your messages are deleted for good. Nobody can bring them back.</p>
      <Field label="Your password" type="password" autocomplete="current-password" value={password} onInput={setPassword} error={wrong} required />
      <label class="check">
        <input
          type="checkbox"
          checked={isSure}
          aria-describedby={isMissing ? "sure-error" : undefined}
          aria-invalid={isMissing ? "true" : undefined}
          onChange={(event) => {
            setSure(event.currentTarget.checked);
            setMissing(false);
          }}
        />
        Delete everything for good
      </label>
      {isMissing && (
        <p class="error" id="sure-error" role="alert">
          Tick the box if you are sure.
        </p>
      )}
      {!wrong && <Problem error={error} />}
      <Button type="submit" kind="danger" busy={busy}>
        Delete my account
      </Button>
    </form>
  );
}

type Props = { current: Session; profile: Profile | null; balance: number | undefined; open: boolean; onClose: () => void };

export function Account({ current, profile, balance, open, onClose }: Props) {
  // It outlives the dialog: nobody can show it again.
  const [made, setMade] = useState<Made | null>(null);
  const close = () => {
    if (made) toast("Your new API key is still under Account, until you have copied it or leave this page.");
    onClose();
  };
  return (
    <Dialog title="Account" open={open} onClose={close}>
      {profile ? <Facts profile={profile} balance={balance} /> : <Notice>Your profile is not loaded yet.</Notice>}
      <ApiKeys made={made} onMade={setMade} />
      <details>
        <summary>Change the password</summary>
        <ChangePassword current={current} />
      </details>
      <details>
        <summary>Delete the account</summary>
        <DeleteAccount current={current} />
      </details>
    </Dialog>
  );
}
