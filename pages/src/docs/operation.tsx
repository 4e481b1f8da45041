/** One operation: what it does, what it takes, what it answers, and a form to try it. */

import { Code } from "./code.tsx";
import { schemeOf } from "./credentials.ts";
import { describe } from "./shape.ts";
import { ShapeTree } from "./shape-tree.tsx";
import { resolve, type Media, type Operation, type Parameter, type Response, type Spec } from "./spec.ts";
import { Try } from "./try.tsx";
import { Inline, Words } from "./words.tsx";

const PLACES: Record<Parameter["in"], string> = { path: "in the path", query: "in the query", header: "as a header" };

function Parameters({ spec, parameters }: { spec: Spec; parameters: Parameter[] }) {
  return (
    <section aria-labelledby="parameters">
      <h2 id="parameters">Parameters</h2>
      <ul class="members">
        {parameters.map((one) => {
          const { description: _, ...shape } = describe(spec, one.schema);
          return (
            <li key={`${one.in}:${one.name}`}>
              <div class="member">
                <code>{one.name}</code> <span class="fact">{PLACES[one.in]}</span>
                {one.required && <strong class="required">required</strong>}
              </div>
              {one.description && <Words text={one.description} />}
              <ShapeTree shape={shape} name={one.name} />
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** What a body is made of, and an example of it. */
function Bodies({ spec, content, of }: { spec: Spec; content: Record<string, Media>; of: string }) {
  return (
    <>
      {Object.entries(content).map(([type, media]) => (
        <div key={type} class="body-of">
          <p class="hint">
            <code>{type}</code>
          </p>
          {media.schema && <ShapeTree shape={describe(spec, media.schema)} name="the body" />}
          {media.example !== undefined && (
            <details>
              <summary>Example ({type})</summary>
              <Code text={typeof media.example === "string" ? media.example : JSON.stringify(media.example, null, 2)} label={`Example of ${of}, ${type}`} />
            </details>
          )}
        </div>
      ))}
    </>
  );
}

function OneResponse({ spec, status, response }: { spec: Spec; status: string; response: Response }) {
  const headers = Object.entries(response.headers ?? {});
  const first = response.description.split("\n")[0] ?? "";
  // An error has as many codes as lines; what went well is said in one.
  const isList = first.startsWith("- ");
  const codes = response.description.split("\n").flatMap((line) => line.match(/^- `([^`]+)`/)?.[1] ?? []);
  return (
    <details class="response">
      <summary>
        <strong class={status < "400" ? "fine" : "refused"}>{status}</strong> {isList ? codes.map((code) => <code key={code}>{code}</code>) : <Inline text={first} />}
      </summary>
      {isList && <Words text={response.description} />}
      {headers.length > 0 && (
        <>
          <h3>Headers</h3>
          <ul class="members">
            {headers.map(([name, header]) => {
              const { description } = resolve<{ description?: string }>(spec, header as { $ref: string });
              return (
                <li key={name}>
                  <code>{name}</code> {description && <Inline text={description} />}
                </li>
              );
            })}
          </ul>
        </>
      )}
      {response.content && (
        <>
          <h3>Body</h3>
          <Bodies spec={spec} content={response.content} of={`the answer ${status}`} />
        </>
      )}
    </details>
  );
}

export function OneOperation({ spec, operation }: { spec: Spec; operation: Operation }) {
  const { method, path, summary, description, parameters = [], requestBody, responses, schemes, operationId } = operation;
  return (
    <article class="operation">
      <h1 tabIndex={-1}>{summary ?? operationId}</h1>
      <p class="call">
        <span class={`method ${method.toLowerCase()}`}>{method}</span> <code>{path}</code>
      </p>
      {description && <Words text={description} />}
      <p class="hint">
        Its id is <code>{operationId}</code>. {schemes.length === 0 ? "It needs no authorisation." : `Authorised by: ${schemes.map((one) => schemeOf(one).name).join(", ")}.`}
      </p>
      <div class="columns">
        <div>
          {parameters.length > 0 && <Parameters spec={spec} parameters={parameters} />}
          {requestBody && (
            <section aria-labelledby="body">
              <h2 id="body">Body</h2>
              <Bodies spec={spec} content={requestBody.content} of="the body" />
            </section>
          )}
        </div>
        <Try operation={operation} />
        <section aria-labelledby="answers">
          <h2 id="answers">Answers</h2>
          {responses.map(([status, response]) => (
            <OneResponse key={status} spec={spec} status={status} response={response} />
          ))}
        </section>
      </div>
    </article>
  );
}
