/** Markdown, taken apart within bounds: whatever a text is, it is done in a moment, and what is too much of it stays plain text. */

import { Lexer, Tokenizer, type Token, type Tokens } from "marked";

/** Above this a text is shown as it is. */
export const MOST_CHARACTERS = 50_000;
/** Above this a paragraph is shown as it is: how long it takes grows faster than the text. */
const MOST_OF_PARAGRAPH = 10_000;
/** How deep quotes and lists go. Each level takes place on the stack and, below it, in the width of the page. */
const MOST_LEVELS = 12;
/** After this long all paragraphs that are left are shown as they are. */
const MOST_MILLISECONDS = 150;

class BoundedTokenizer extends Tokenizer {
  #level = 0;

  #within<T>(take: () => T | undefined): T | undefined {
    if (this.#level >= MOST_LEVELS) return undefined;
    this.#level++;
    try {
      return take();
    } finally {
      this.#level--;
    }
  }

  override blockquote(src: string): Tokens.Blockquote | undefined {
    return this.#within(() => super.blockquote(src));
  }

  override list(src: string): Tokens.List | undefined {
    return this.#within(() => super.list(src));
  }
}

const plain = (text: string): Token => ({ type: "text", raw: text, text });

/** The parts of a text; nothing if it is to be shown as it is. */
export function lex(text: string): Token[] | null {
  if (text.length > MOST_CHARACTERS) return null;
  try {
    const began = performance.now();
    const lexer = new Lexer({ gfm: true, breaks: true, tokenizer: new BoundedTokenizer() });
    const tokens = lexer.blockTokens(text.replace(/\r\n?/g, "\n"), lexer.tokens);
    for (const { src, tokens: parts } of lexer.inlineQueue) {
      const isTooMuch = src.length > MOST_OF_PARAGRAPH || performance.now() - began > MOST_MILLISECONDS;
      if (isTooMuch) parts.push(plain(src));
      else lexer.inlineTokens(src, parts);
    }
    return tokens;
  } catch {
    // The stack was used up.
    return null;
  }
}

/** Where links may lead. Everything else, such as `javascript:`, is text. */
const SCHEMES = ["http:", "https:", "mailto:"];

/** Where a link leads, if it may; `shown` is what a reader should know of that. */
export function destination(href: string): { href: string; shown: string } | null {
  try {
    // Without a base: what is relative would be an address of this page.
    const url = new URL(href);
    if (!SCHEMES.includes(url.protocol)) return null;
    return { href: url.href, shown: url.protocol === "mailto:" ? url.pathname : url.host };
  } catch {
    return null;
  }
}

/** Whether the text of a link says where it leads, as an address does: with the whole host, in its place, as it is written. */
export function saysWhere(text: string, to: { shown: string }): boolean {
  const [, host = ""] = /^(?:https?:\/\/|mailto:)?([^/?#]*)/i.exec(text) ?? [];
  // What stands elsewhere in an address is not where it leads, and what reorders it could put it in front.
  return host.toLowerCase() === to.shown.toLowerCase() && !/\s/.test(text) && byReordering(decoded(text)).length === 1;
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", hellip: "…", mdash: "—", ndash: "–" };

/** A text with the names and numbers of characters that Markdown takes from HTML. */
export function decoded(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,6}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? parseInt(decimal, 10) : parseInt(hex ?? "", 16);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : "\ufffd";
  });
}

/** Characters that change the order in which others are shown: in code they could hide what it does. */
const REORDERING = /([\u200e\u200f\u202a-\u202e\u2066-\u2069])/;

/** A text in parts; each odd one is a character that reorders. */
export function byReordering(text: string): string[] {
  return text.split(REORDERING);
}
