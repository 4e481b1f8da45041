/** All operations by what they are about, with a search. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import { Field } from "../lib/ui.tsx";
import { search, type Operation, type Spec } from "./spec.ts";

/** As in the styles: where there is room for the menu beside the text. */
const WIDE = "(min-width: 60rem)";

function useWide(): boolean {
  const [wide, set] = useState(() => matchMedia(WIDE).matches);
  useEffect(() => {
    const query = matchMedia(WIDE);
    const look = () => set(query.matches);
    query.addEventListener("change", look);
    return () => query.removeEventListener("change", look);
  }, []);
  return wide;
}

function Folded({ children, current }: { children: ComponentChildren; current: string | null }) {
  const [open, setOpen] = useState(false);
  // Whoever has chosen wants to see what was chosen.
  useEffect(() => setOpen(false), [current]);
  return (
    <details class="menu-fold" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>All operations</summary>
      {children}
    </details>
  );
}

export function Menu({ spec, all, current }: { spec: Spec; all: Operation[]; current: string | null }) {
  const [text, setText] = useState("");
  const wide = useWide();
  const found = search(all, text);
  const tags = [...new Set(found.map((one) => one.tag))];
  const inside = (
    <>
      <Field label="Search operations" type="search" value={text} onInput={setText} autocomplete="off" />
      <p class="hint" role="status">
        {text && `${found.length} of ${all.length} operations.`}
      </p>
      <a class="item" href="docs#" aria-current={current === null ? "page" : undefined}>
        Overview
      </a>
      {tags.map((tag) => (
        <div key={tag}>
          <p class="group" id={`tag-${tag}`} title={spec.tags?.find((one) => one.name === tag)?.description}>
            {tag}
          </p>
          <ul aria-labelledby={`tag-${tag}`}>
            {found
              .filter((one) => one.tag === tag)
              .map((one) => (
                <li key={one.operationId}>
                  <a class="item" href={`docs#${one.operationId}`} aria-current={one.operationId === current ? "page" : undefined}>
                    <span>{one.summary ?? one.operationId}</span>
                    <span class="address">
                      <span class={`method ${one.method.toLowerCase()}`}>{one.method}</span> {one.path}
                    </span>
                  </a>
                </li>
              ))}
          </ul>
        </div>
      ))}
    </>
  );
  return (
    <nav class="menu" aria-label="Operations">
      {wide ? inside : <Folded current={current}>{inside}</Folded>}
    </nav>
  );
}
