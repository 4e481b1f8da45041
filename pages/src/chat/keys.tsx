/** API keys: those that there are, and one that is made. */

import { useEffect, useRef, useState } from "preact/hooks";

import type { components } from "../../schema.d.ts";
import { ApiError, call } from "../lib/api.ts";
import { sentence } from "../lib/errors.ts";
import { useTask } from "../lib/hooks.ts";
import { Button, Field, Notice, Problem } from "../lib/ui.tsx";
import { Copy } from "./copy.tsx";
import { baseUrl, snippets } from "./snippets.ts";

type Key = components["schemas"]["ApiKeyData"];
export type Made = components["schemas"]["MadeApiKeyData"];
type Models = components["schemas"]["ModelsBody"];

const DAY_SECONDS = 24 * 60 * 60;
/** How long a key may be valid; never ending is chosen, not left over. */
const TERMS = [
  { text: "7 days", seconds: 7 * DAY_SECONDS },
  { text: "30 days", seconds: 30 * DAY_SECONDS },
  { text: "90 days", seconds: 90 * DAY_SECONDS },
  { text: "1 year", seconds: 365 * DAY_SECONDS },
  { text: "Never", seconds: null },
];

const day = (text: string): string => new Date(text).toLocaleDateString("en", { dateStyle: "medium" });

/** A key that was just made. It cannot be shown again. */
function MadeKey({ made, model, onDone }: { made: Made; model: string; onDone: () => void }) {
  const base = baseUrl();
  const section = useRef<HTMLElement>(null);
  useEffect(() => section.current?.focus(), []);
  const [chosen, choose] = useState("Python");
  const all = snippets(base, made.key, model);
  const snippet = all.find((one) => one.name === chosen);
  return (
    <section aria-label="The new key" class="made-key" ref={section} tabIndex={-1}>
      <Notice kind="success">
        <p>
          The key “<bdi>{made.name}</bdi>” is made. Copy it now: it is not shown again.
        </p>
      </Notice>
      <div class="secret">
        <code tabIndex={0}>{made.key}</code>
        <Copy text={made.key} what="the key" />
      </div>
      <p>
        Libraries for OpenAI's API take it, with the base URL <code>{base}</code>:
      </p>
      <div class="choices" role="group" aria-label="Language of the example">
        {all.map(({ name }) => (
          <Button key={name} pressed={name === chosen} onClick={() => choose(name)}>
            {name}
          </Button>
        ))}
      </div>
      {snippet && (
        <figure class="code">
          <figcaption>
            <span>{snippet.name}</span>
            <Copy text={snippet.text} what="the example" />
          </figcaption>
          <pre tabIndex={0} role="group" aria-label={`Example, ${snippet.name}`}>
            <code>{snippet.text}</code>
          </pre>
        </figure>
      )}
      <Button kind="primary" onClick={onDone}>
        I have copied the key
      </Button>
    </section>
  );
}

function MakeKey({ models, onMade }: { models: string[]; onMade: (made: Made) => void }) {
  const [name, setName] = useState("");
  const [term, setTerm] = useState(2);
  const [cap, setCap] = useState("");
  const [chosen, setChosen] = useState<string[]>([]);
  const { busy, error, run } = useTask();
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const at = (member: string) => (error instanceof ApiError && error.code === "invalid" && error.member === member ? sentence(error) : undefined);
  const errors = { name: at("name"), cap: at("cap") };
  const submit = (event: Event) => {
    event.preventDefault();
    run(async () => {
      const body = {
        name,
        expires_in_seconds: TERMS[term]?.seconds ?? null,
        cap: cap.trim() === "" ? null : Number(cap),
        models: chosen.length > 0 ? chosen : null,
      };
      const { api_key } = await call<{ api_key: Made }>("POST", "api/v1/api-keys", { body });
      onMade(api_key);
    });
  };
  return (
    <form onSubmit={submit}>
      <Field inputRef={first} label="Name of the key" value={name} onInput={setName} maxLength={100} error={errors.name} hint="For you, to tell it from others." required />
      <div class="field">
        <label for="key-term">It ends after</label>
        <select id="key-term" value={String(term)} onChange={(event) => setTerm(Number(event.currentTarget.value))}>
          {TERMS.map(({ text }, index) => (
            <option key={text} value={String(index)}>
              {text}
            </option>
          ))}
        </select>
      </div>
      <Field label="Most tokens that it may spend" type="number" min={0} value={cap} onInput={setCap} error={errors.cap} hint="Empty for as many as you have." />
      {models.length > 1 && (
        <fieldset>
          <legend>Models that it may ask</legend>
          <p class="hint">None ticked: all.</p>
          {models.map((model) => (
            <label class="check" key={model}>
              <input
                type="checkbox"
                checked={chosen.includes(model)}
                onChange={(event) => setChosen(event.currentTarget.checked ? [...chosen, model] : chosen.filter((one) => one !== model))}
              />
              {model}
            </label>
          ))}
        </fieldset>
      )}
      {!errors.name && !errors.cap && <Problem error={error} />}
      <Button type="submit" kind="primary" busy={busy}>
        Make the key
      </Button>
    </form>
  );
}

/** Asks before a key is revoked. The focus comes to the answer that changes nothing. */
function Revoke({ one, onDone, onKeep }: { one: Key; onDone: () => void; onKeep: () => void }) {
  const { busy, error, run } = useTask();
  const actions = useRef<HTMLDivElement>(null);
  useEffect(() => actions.current?.querySelector("button")?.focus(), []);
  const revoke = () =>
    run(async () => {
      try {
        await call("DELETE", `api/v1/api-keys/${one.id}`);
      } catch (failed) {
        // Somebody was faster.
        if (!(failed instanceof ApiError) || failed.status !== 404) throw failed;
      }
      onDone();
    });
  return (
    <div class="question">
      <p>Programs that use this key stop working at once.</p>
      <Problem error={error} />
      <div class="actions" ref={actions}>
        <Button onClick={onKeep}>Keep it</Button>
        <Button kind="danger" busy={busy} onClick={revoke}>
          Revoke it
        </Button>
      </div>
    </div>
  );
}

function KeyEntry({ one, onRevoked }: { one: Key; onRevoked: () => void }) {
  const [isAsked, setAsked] = useState(false);
  const place = useRef<HTMLLIElement>(null);
  const wasAsked = useRef(false);
  useEffect(() => {
    if (wasAsked.current && !isAsked) place.current?.querySelector("button")?.focus();
    wasAsked.current = isAsked;
  }, [isAsked]);
  const isOver = one.expires_at !== null && new Date(one.expires_at) < new Date();
  const ends = one.expires_at === null ? "never ends" : `${isOver ? "ended" : "ends"} ${day(one.expires_at)}`;
  const spent = one.spent.toLocaleString("en") + (one.cap === null ? "" : ` of ${one.cap.toLocaleString("en")}`);
  return (
    <li ref={place}>
      <div class="key">
        <div>
          <strong>
            <bdi>{one.name}</bdi>
          </strong>{" "}
          <code>{one.prefix}</code>
          <p class="faint">
            {ends}, {one.last_used_at === null ? "not used yet" : `last used ${day(one.last_used_at)}`}, {spent} tokens spent
            {one.models && `, for ${one.models.join(", ")}`}
          </p>
        </div>
        {!isAsked && (
          <Button kind="danger" label={`Revoke ${one.name}`} onClick={() => setAsked(true)}>
            Revoke
          </Button>
        )}
      </div>
      {isAsked && <Revoke one={one} onKeep={() => setAsked(false)} onDone={onRevoked} />}
    </li>
  );
}

/** `made` was just made, and its owner has not said that it is copied. */
export function ApiKeys({ made, onMade }: { made: Made | null; onMade: (made: Made | null) => void }) {
  const [keys, setKeys] = useState<Key[] | null>(null);
  const [models, setModels] = useState<string[]>([]);
  const [isMaking, setMaking] = useState(false);
  const [news, setNews] = useState("");
  const heading = useRef<HTMLHeadingElement>(null);
  const { error, run } = useTask();
  const load = () =>
    run(async () => {
      const [listed, served] = await Promise.all([call<{ data: Key[] }>("GET", "api/v1/api-keys"), call<Models>("GET", "v1/models")]);
      setKeys(listed.data);
      setModels(served.data.map(({ id }) => id));
    });
  useEffect(load, []);

  // What had the focus is gone with what it was for.
  const settle = (told: string) => {
    setNews(told);
    heading.current?.focus();
    load();
  };
  const title = (
    <h3 ref={heading} tabIndex={-1}>
      API keys
    </h3>
  );
  if (made) {
    const done = () => {
      onMade(null);
      settle("");
    };
    return (
      <>
        {title}
        <MadeKey made={made} model={made.models?.[0] ?? models[0] ?? ""} onDone={done} />
      </>
    );
  }
  return (
    <>
      {title}
      {news && <Notice kind="success">{news}</Notice>}
      <p>A key lets a program ask for answers with your tokens.</p>
      <Problem error={error} onRetry={load} />
      {keys?.length === 0 && <p class="faint">You have none.</p>}
      <ul class="keys">
        {keys?.map((one) => (
          <KeyEntry key={one.id} one={one} onRevoked={() => settle(`The key “${one.name}” is revoked.`)} />
        ))}
      </ul>
      {isMaking ? (
        <MakeKey
          models={models}
          onMade={(one) => {
            setMaking(false);
            onMade(one);
          }}
        />
      ) : (
        keys && (
          <Button
            onClick={() => {
              setNews("");
              setMaking(true);
            }}
          >
            Make an API key
          </Button>
        )
      )}
    </>
  );
}
