/** Server-sent events, as they come. */

export interface SentEvent {
  type: string;
  data: string;
}

/** Takes a stream apart: each call gives the events that the text so far completes. What is not complete waits for more. */
export function eventReader(): (text: string) => SentEvent[] {
  let rest = "";
  return (text) => {
    // A line may end in the middle of its two characters.
    rest = (rest + text).replace(/\r\n/g, "\n").replace(/\r(?=[^\n])/g, "\n");
    const blocks = rest.split("\n\n");
    rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      let type = "message";
      const data: string[] = [];
      for (const line of block.split("\n")) {
        const [, name, value = ""] = line.match(/^([^:]*)(?:: ?(.*))?$/) ?? [];
        if (name === "event") type = value;
        else if (name === "data") data.push(value);
      }
      return data.length > 0 ? [{ type, data: data.join("\n") }] : [];
    });
  };
}
