/** What came back of a call. */

import { Code, pretty } from "./code.tsx";
import type { Exchange } from "./send.ts";
import type { Operation } from "./spec.ts";
import { Inline } from "./words.tsx";

/** So much is read as well on one line. */
const SHORT_CHARACTERS = 60;

const milliseconds = (value: number): string => `${Math.round(value).toLocaleString("en")} ms`;

/** What the document says of the code that an error has. */
function meaning(operation: Operation, exchange: Exchange): string | undefined {
  const response = operation.responses.find(([status]) => status === String(exchange.status))?.[1];
  if (!response) return "The document does not know this status here.";
  if (exchange.status < 400) return undefined;
  const code = exchange.body.match(/"code"\s*:\s*"([a-z_]+)"/)?.[1];
  return code && response.description.split("\n").find((line) => line.startsWith(`- \`${code}\``))?.slice(2);
}

/** When it was answered, and whether that is all. */
function course({ toHeaders, toEnd }: Exchange, isRunning: boolean): string {
  if (toEnd !== null) return `in ${milliseconds(toEnd)}`;
  return `after ${milliseconds(toHeaders)}, ${isRunning ? "and more is to come …" : "but not to its end."}`;
}

export function Answer({ operation, exchange, isRunning }: { operation: Operation; exchange: Exchange; isRunning: boolean }) {
  const { status, statusText, headers, body, events, toEnd } = exchange;
  const said = toEnd === null ? undefined : meaning(operation, exchange);
  return (
    <div class="answer">
      <p class={status < 400 ? "status fine" : "status refused"}>
        <strong>
          {status} {statusText}
        </strong>{" "}
        {course(exchange, isRunning)}
      </p>
      {said && (
        <p>
          <Inline text={said} />
        </p>
      )}
      {events ? (
        <ol class="events" aria-label="Events" tabIndex={0}>
          {events.map((event, index) => (
            <li key={index}>
              <strong>{event.name}</strong>
              <pre>
                <code>{event.data.length > SHORT_CHARACTERS ? pretty(event.data) : event.data}</code>
              </pre>
            </li>
          ))}
        </ol>
      ) : body ? (
        <Code text={pretty(body)} label="Body of the answer" />
      ) : (
        toEnd !== null && <p class="hint">There is no body.</p>
      )}
      <details>
        <summary>Headers of the answer</summary>
        <Code text={headers.map(([name, value]) => `${name}: ${value}`).join("\n")} label="Headers of the answer" />
      </details>
    </div>
  );
}
