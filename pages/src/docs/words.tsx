/** Texts of the document: paragraphs and lists, with `code` in them. Nothing else of Markdown is used there, and nothing becomes markup. */

import type { ComponentChildren } from "preact";

/** A line, with what is between backquotes as code. */
export function Inline({ text }: { text: string }) {
  const parts = text.split(/(`[^`]+`)/);
  return <>{parts.map((part, index) => (index % 2 === 1 ? <code key={index}>{part.slice(1, -1)}</code> : part))}</>;
}

export function Words({ text }: { text: string }) {
  const blocks = text.split(/\n{2,}/);
  return (
    <>
      {blocks.map((block, index): ComponentChildren => {
        const lines = block.split("\n");
        return lines.every((line) => line.startsWith("- ")) ? (
          <ul key={index} class="codes">
            {lines.map((line) => (
              <li key={line}>
                <Inline text={line.slice(2)} />
              </li>
            ))}
          </ul>
        ) : (
          <p key={index}>
            <Inline text={block} />
          </p>
        );
      })}
    </>
  );
}
