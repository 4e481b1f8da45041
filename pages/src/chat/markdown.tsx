/** Markdown as a part of the page. Everything becomes text or one of the elements below: no HTML, no addresses that are loaded. */

import type { MarkedToken, Token, Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Button } from "../lib/ui.tsx";
import { Copy } from "./copy.tsx";
import { byReordering, decoded, destination, lex, saysWhere } from "./lex.ts";

/** A token is one of these; its own type has room for those of extensions, which are not used. */
type Known = MarkedToken;

function Link({ href, title, text, children }: { href: string; title?: string | null | undefined; text: string; children: ComponentChildren }) {
  const to = destination(href);
  // The reader sees what it says and that it leads nowhere.
  if (!to) return <>{children}</>;
  return (
    <>
      <a href={to.href} title={title ? `${title} (${to.href})` : to.href} target="_blank" rel="noopener noreferrer nofollow">
        {children}
      </a>
      {!saysWhere(text, to) && <span class="host"> ({to.shown})</span>}
    </>
  );
}

/** Code, with the characters that would reorder it shown for what they are. */
function Code({ text, lang }: { text: string; lang?: string | undefined }) {
  const language = lang?.match(/^\S{1,30}/)?.[0];
  const parts = byReordering(text);
  return (
    <figure class="code" dir="ltr">
      <figcaption>
        <span>{language ?? "Code"}</span>
        <Copy text={text} what="the code" />
      </figcaption>
      <pre tabIndex={0} aria-label={language ? `Code, ${language}` : "Code"} role="group">
        <code>
          {parts.length === 1
            ? text
            : parts.map((part, index) => (index % 2 === 0 ? part : <span class="hidden-character">U+{part.charCodeAt(0).toString(16).toUpperCase()}</span>))}
        </code>
      </pre>
    </figure>
  );
}

function List({ list }: { list: Tokens.List }) {
  const items = list.items.map((item) => <li class={item.task ? "task" : undefined}>{each(item.tokens)}</li>);
  return list.ordered ? <ol start={list.start === "" ? 1 : list.start}>{items}</ol> : <ul>{items}</ul>;
}

function Grid({ table }: { table: Tokens.Table }) {
  const align = (cell: Tokens.TableCell) => (cell.align ? `align-${cell.align}` : undefined);
  return (
    <div class="table" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {table.header.map((cell) => (
              <th scope="col" class={align(cell)} dir="auto">
                {each(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row) => (
            <tr>
              {row.map((cell) => (
                <td class={align(cell)} dir="auto">
                  {each(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Headings of an answer are below those of the page. */
function Heading({ depth, children }: { depth: number; children: ComponentChildren }) {
  const Tag = `h${Math.min(6, depth + 2)}` as "h3";
  return <Tag dir="auto">{children}</Tag>;
}

function one(token: Known): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      return <Heading depth={token.depth}>{each(token.tokens)}</Heading>;
    case "paragraph":
      return <p dir="auto">{each(token.tokens)}</p>;
    case "blockquote":
      return <blockquote>{each(token.tokens)}</blockquote>;
    case "list":
      return <List list={token} />;
    case "list_item":
      return each(token.tokens);
    case "checkbox":
      // Nobody can tick it, so it is no control.
      return (
        <span class="tick" role="img" aria-label={token.checked ? "Done:" : "To do:"}>
          {token.checked ? "☑" : "☐"}
        </span>
      );
    case "code":
      return <Code text={token.text} lang={token.lang} />;
    case "table":
      return <Grid table={token} />;
    case "hr":
      return <hr />;
    case "br":
      return <br />;
    case "strong":
      return <strong>{each(token.tokens)}</strong>;
    case "em":
      return <em>{each(token.tokens)}</em>;
    case "del":
      return <del>{each(token.tokens)}</del>;
    case "codespan":
      return <code dir="ltr">{token.text}</code>;
    case "link":
      return (
        <Link href={token.href} title={token.title} text={token.text}>
          {each(token.tokens)}
        </Link>
      );
    case "image":
      // Loading it would tell its server who reads this, and when.
      return (
        <Link href={token.href} title={token.title} text="">
          [image{token.text && `: ${decoded(token.text)}`}]
        </Link>
      );
    case "html":
      return token.block ? <p class="as-is">{token.text.trimEnd()}</p> : token.text;
    case "text":
      return token.tokens ? each(token.tokens) : decoded(token.text);
    case "escape":
      return token.text;
    default:
      return (token as Token).raw;
  }
}

function each(tokens: Token[]): ComponentChildren[] {
  return tokens.map((token) => one(token as Known));
}

/** How much of a text that is shown as it is is shown at once: browsers take long for a million characters. */
const AT_ONCE = 20_000;

/** A text as its writer wrote it. */
export function AsIs({ text }: { text: string }): VNode {
  const [most, setMost] = useState(AT_ONCE);
  return (
    <>
      <div class="as-is" dir="auto">
        {text.slice(0, most)}
      </div>
      {text.length > most && (
        <p class="faint">
          {(text.length - most).toLocaleString("en")} more characters.{" "}
          <Button kind="quiet" onClick={() => setMost(most + AT_ONCE)}>
            Show more
          </Button>
        </p>
      )}
    </>
  );
}

/** A text that is complete. */
export function Markdown({ text }: { text: string }): VNode {
  const tokens = useMemo(() => lex(text), [text]);
  return tokens ? <div class="markdown">{each(tokens)}</div> : <AsIs text={text} />;
}

/** How much of the time may go into taking apart a text that grows: one part in this many. */
const SHARE = 8;

/** A text that grows until it is whole. It is taken apart anew with each word, so the longer that takes, the less often. */
export function GrowingMarkdown({ text, isWhole }: { text: string; isWhole: boolean }): VNode {
  const [shown, setShown] = useState(text);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const latest = useRef(text);
  const cost = useRef(0);
  latest.current = text;
  useEffect(() => {
    if (isWhole || timer.current !== undefined || latest.current === shown) return;
    timer.current = setTimeout(() => {
      timer.current = undefined;
      const began = performance.now();
      setShown(latest.current);
      // Once this is drawn, it is known how long it took.
      requestAnimationFrame(() => (cost.current = performance.now() - began));
    }, Math.min(cost.current > 25 ? cost.current * SHARE : 0, 3000));
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  return <Markdown text={isWhole ? text : shown} />;
}
