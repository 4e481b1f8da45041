/** What the API is, before one looks at single operations. */

import { schemeOf } from "./credentials.ts";
import { specAddress, type Spec } from "./spec.ts";
import { Inline, Words } from "./words.tsx";

export function Overview({ spec }: { spec: Spec }) {
  const { info, components, tags = [] } = spec;
  return (
    <article>
      <h1 tabIndex={-1}>API documentation</h1>
      <p>
        <strong>
          {info.title} {info.version}
        </strong>
        . {info.summary}
      </p>
      {info.description && <Words text={info.description} />}
      <p>
        All of it is in one OpenAPI {spec.openapi} document: <a href="openapi.json">{specAddress()}</a>
      </p>
      <h2>What there is</h2>
      <dl class="terms">
        {tags.map(({ name, description }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{description && <Inline text={description} />}</dd>
          </div>
        ))}
      </dl>
      <h2>How calls are authorised</h2>
      <dl class="terms">
        {Object.entries(components.securitySchemes ?? {}).map(([name, { description }]) => (
          <div key={name}>
            <dt>{schemeOf(name).name}</dt>
            <dd>{description && <Inline text={description} />}</dd>
          </div>
        ))}
      </dl>
      <p>Each operation has a form to try it. Whoever is logged in in this browser can use that session there.</p>
    </article>
  );
}
