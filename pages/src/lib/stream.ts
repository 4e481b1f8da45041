/** Server-sent events, as an answer to `fetch` brings them: in pieces that end anywhere. */

export interface Told {
  name: string;
  data: string;
}

/** Takes text as it comes and gives the events that are complete by then (WHATWG HTML, 9.2.6). */
export class EventParser {
  #line = "";
  #name = "";
  #data: string[] = [];
  #endedWithReturn = false;

  push(text: string): Told[] {
    const events: Told[] = [];
    // A line feed after a carriage return is of the same line end, also if it comes with the next piece.
    let from = this.#endedWithReturn && text.startsWith("\n") ? 1 : 0;
    if (text) this.#endedWithReturn = text.endsWith("\r");
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = from;
    for (let end = ends.exec(text); end; end = ends.exec(text)) {
      const event = this.#take(this.#line + text.slice(from, end.index));
      if (event) events.push(event);
      this.#line = "";
      from = ends.lastIndex;
    }
    this.#line += text.slice(from);
    return events;
  }

  #take(line: string): Told | undefined {
    if (line === "") {
      const event = { name: this.#name || "message", data: this.#data.join("\n") };
      const isEmpty = this.#data.length === 0;
      this.#name = "";
      this.#data = [];
      return isEmpty ? undefined : event;
    }
    const [, field = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
    // The rest is comments, and fields that are of no use here, such as `retry`.
    return undefined;
  }
}

/** Longer than a model may be silent. After that the connection is gone, whether or not the browser has noticed. */
const MOST_SILENCE_MILLISECONDS = 60_000;

/** Waits for something, but not for longer than this; then for nothing. */
async function within<T>(milliseconds: number, what: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), milliseconds);
  });
  try {
    return await Promise.race([what, over]);
  } finally {
    clearTimeout(timer);
  }
}

/** The events of an answer, as they come. What is not complete when it ends is left out, as it has to be. */
export async function* events(response: Response, silence = MOST_SILENCE_MILLISECONDS): AsyncGenerator<Told> {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const read = await within(silence, reader.read());
      if (!read || read.done) return;
      yield* parser.push(decoder.decode(read.value, { stream: true }));
    }
  } finally {
    // Whoever stops listening hangs up.
    reader.cancel().catch(() => undefined);
  }
}
