/** A shape as a list of members, each with what it may be. */

import type { ComponentChildren } from "preact";

import type { Member, Shape } from "./shape.ts";
import { Inline, Words } from "./words.tsx";

/** What is inside a shape, folded away if it is deep inside. */
function Inside({ name, depth, children }: { name: string; depth: number; children: ComponentChildren }) {
  if (depth === 0) return <>{children}</>;
  return (
    <details class="inside">
      <summary>{name}</summary>
      {children}
    </details>
  );
}

function Branches({ shape, name, depth }: { shape: Shape; name: string; depth: number }) {
  return (
    <>
      {shape.values.length > 0 && (
        <ul class="values" aria-label={`Values of ${name}`}>
          {shape.values.map(({ value, description }) => (
            <li key={value}>
              <code>{value}</code>
              {description && (
                <>
                  {" "}
                  <Inline text={description} />
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {shape.members.length > 0 && (
        <Inside name={`Members of ${name}`} depth={depth}>
          <ul class="members">
            {shape.members.map((member) => (
              <OneMember key={member.name} member={member} depth={depth + 1} />
            ))}
          </ul>
        </Inside>
      )}
      {shape.choices.length > 0 && (
        <Inside name={`What ${name} can be`} depth={depth}>
          <ul class="members">
            {shape.choices.map((choice, index) => (
              <li key={index}>
                <ShapeTree shape={choice} name={name} depth={depth + 1} />
              </li>
            ))}
          </ul>
        </Inside>
      )}
      {shape.items && <Branches shape={shape.items} name={`each of ${name}`} depth={depth} />}
      {shape.content && <Branches shape={shape.content} name={`what is in ${name}`} depth={depth} />}
    </>
  );
}

function Facts({ shape, required }: { shape: Shape; required?: boolean }) {
  // What is true of each entry is said of the entries.
  const ofItems = shape.items?.facts.map((fact) => `each ${fact}`) ?? [];
  return (
    <>
      <span class="type">{shape.type}</span>
      {required && <strong class="required">required</strong>}
      {[...shape.facts, ...ofItems].map((fact) => (
        <span key={fact} class="fact">
          <Inline text={fact} />
        </span>
      ))}
    </>
  );
}

function OneMember({ member: { name, required, shape }, depth }: { member: Member; depth: number }) {
  return (
    <li>
      <div class="member">
        <code>{name}</code> <Facts shape={shape} required={required} />
      </div>
      {shape.description && <Words text={shape.description} />}
      <Branches shape={shape} name={name} depth={depth} />
    </li>
  );
}

/** A whole shape. */
export function ShapeTree({ shape, name, depth = 0 }: { shape: Shape; name: string; depth?: number }) {
  return (
    <div class="shape">
      <div class="member">
        <Facts shape={shape} />
      </div>
      {shape.description && <Words text={shape.description} />}
      <Branches shape={shape} name={name} depth={depth} />
    </div>
  );
}
