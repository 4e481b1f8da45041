/** The form in which one fills in a call and sends it. */

import { useEffect, useId, useRef, useState } from "preact/hooks";

import { useSession, useTask } from "../lib/hooks.ts";
import { Button, Field, Problem } from "../lib/ui.tsx";
import { Answer } from "./answer.tsx";
import { Authorise } from "./authorise.tsx";
import { Code } from "./code.tsx";
import { choose, schemeOf, useCredentials } from "./credentials.ts";
import { build, curl } from "./request.ts";
import { send, type Exchange } from "./send.ts";
import type { Operation, Parameter } from "./spec.ts";

const keyOf = (parameter: Parameter): string => `${parameter.in}:${parameter.name}`;

/** The examples of the parameters that there must be; whatever else is left out at first. */
function examples(operation: Operation): Record<string, string> {
  const known = (operation.parameters ?? []).filter((one) => one.example !== undefined);
  return Object.fromEntries(known.map((one) => [keyOf(one), String(one.example)]));
}

function ParameterField({ parameter, value, onInput, missing }: { parameter: Parameter; value: string; onInput: (value: string) => void; missing: boolean }) {
  const id = useId();
  const label = `${parameter.name}${parameter.required ? "" : " (may be left out)"}`;
  if (parameter.schema.type === "boolean") {
    return (
      <div class="field">
        <label for={id}>{label}</label>
        <select id={id} value={value} onChange={(event) => onInput(event.currentTarget.value)}>
          <option value="" />
          <option>true</option>
          <option>false</option>
        </select>
      </div>
    );
  }
  return (
    <Field
      label={label}
      value={value}
      onInput={onInput}
      error={missing ? "This is part of the path: it cannot be left out." : undefined}
      {...(parameter.schema.default === undefined ? {} : { hint: `${String(parameter.schema.default)} unless it is given.` })}
      autocomplete="off"
      required={parameter.required ?? false}
    />
  );
}

/** What is wrong with a text as JSON; nothing if nothing is. */
function mistake(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return `This is not JSON, but can be sent to see what happens. ${(error as Error).message}`;
  }
}

function BodyField({ value, onInput }: { value: string; onInput: (value: string) => void }) {
  const id = useId();
  const wrong = mistake(value);
  return (
    <div class="field body">
      <label for={id}>Body</label>
      <textarea
        id={id}
        value={value}
        rows={Math.min(20, value.split("\n").length + 1)}
        onInput={(event) => onInput(event.currentTarget.value)}
        spellcheck={false}
        aria-describedby={`${id}-hint`}
      />
      {/* Not told at once: with each letter it says something else. */}
      <p id={`${id}-hint`} class="hint">
        {wrong}
      </p>
    </div>
  );
}

export function Try({ operation }: { operation: Operation }) {
  const { current } = useSession();
  const { choice: last, pasted } = useCredentials();
  const types = Object.entries(operation.requestBody?.content ?? {});
  const [mediaType, setMediaType] = useState(types[0]?.[0] ?? null);
  const example = (type: string | null) => JSON.stringify(operation.requestBody?.content[type ?? ""]?.example ?? {}, null, 2);
  const [values, setValues] = useState(() => examples(operation));
  const [body, setBody] = useState(() => example(mediaType));
  const [exchange, setExchange] = useState<Exchange | null>(null);
  const [attempted, setAttempted] = useState(false);
  const { busy, error, run } = useTask();
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);

  const choice = choose(operation.schemes, last, current !== null);
  const isPublic = operation.schemes.length === 0;
  const scheme = choice === "nothing" ? null : schemeOf(choice);
  const call = build(operation, values, types.length > 0 ? body : null, mediaType);
  const missing = (operation.parameters ?? []).filter((one) => one.in === "path" && !values[keyOf(one)]);
  const hasStream = operation.responses.some(([, response]) => "text/event-stream" in (response.content ?? {}));

  const submit = (event: Event) => {
    event.preventDefault();
    setAttempted(true);
    if (missing.length > 0) return;
    setExchange(null);
    run(async () => {
      const controller = new AbortController();
      stop.current = controller;
      const value = choice === "session" ? "session" : scheme && pasted[choice] ? `${scheme.word} ${pasted[choice]}` : null;
      try {
        await send(call, value, controller.signal, setExchange);
      } catch (failure) {
        if (!controller.signal.aborted) throw failure;
      }
    });
  };
  return (
    <section class="trial" aria-labelledby="try">
      <h2 id="try">Try it</h2>
      {operation.method !== "GET" && <p class="hint">It is sent to this very deployment, and does what it says.</p>}
      <form class="try" onSubmit={submit} noValidate>
        <Authorise schemes={isPublic ? [] : operation.schemes} choice={choice} username={current?.username ?? null} />
        {(operation.parameters ?? []).map((parameter) => (
          <ParameterField
            key={keyOf(parameter)}
            parameter={parameter}
            value={values[keyOf(parameter)] ?? ""}
            onInput={(value) => setValues({ ...values, [keyOf(parameter)]: value })}
            missing={attempted && missing.includes(parameter)}
          />
        ))}
        {types.length > 1 && (
          <div class="field">
            <label for="media">Type of the body</label>
            <select
              id="media"
              value={mediaType ?? ""}
              onChange={(event) => {
                setMediaType(event.currentTarget.value);
                setBody(example(event.currentTarget.value));
              }}
            >
              {types.map(([type]) => (
                <option key={type}>{type}</option>
              ))}
            </select>
          </div>
        )}
        {types.length > 0 && <BodyField value={body} onInput={setBody} />}
        <div class="actions">
          <Button type="submit" kind={operation.method === "DELETE" ? "danger" : "primary"} busy={busy}>
            Send
          </Button>
          {busy && (
            <Button onClick={() => stop.current?.abort()} heir={(button) => button.form?.querySelector<HTMLElement>("[type=submit]")}>
              Stop
            </Button>
          )}
        </div>
      </form>
      <p class="for-readers" role="status">
        {exchange && (exchange.toEnd !== null || !busy) ? `Answered: ${exchange.status} ${exchange.statusText}` : busy ? "Sent." : ""}
      </p>
      <Problem error={error} />
      {exchange && <Answer operation={operation} exchange={exchange} isRunning={busy} />}
      <h3>The same with curl</h3>
      {scheme && <p class="hint">What authorises is read from the variable {scheme.variable}, so that the shell's history does not keep it.</p>}
      <Code text={curl(call, scheme, hasStream)} label="The call with curl" />
    </section>
  );
}
