/** Something to read as it is, and to copy. */

import { Button, toast } from "../lib/ui.tsx";

/** A page that shows more would take long to do so. */
const MOST_CHARACTERS = 60_000;

async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    // Not allowed, or not served securely.
    toast("The browser does not let this page copy. Select the text instead.");
  }
}

export function Code({ text, label }: { text: string; label: string }) {
  const isLong = text.length > MOST_CHARACTERS;
  return (
    <div class="code">
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{isLong ? text.slice(0, MOST_CHARACTERS) : text}</code>
      </pre>
      {isLong && <p class="hint">This is not all: {(text.length - MOST_CHARACTERS).toLocaleString("en")} characters more are only copied.</p>}
      <Button kind="quiet" onClick={() => void copy(text)} label={`Copy: ${label}`}>
        Copy
      </Button>
    </div>
  );
}

/** JSON with a line for each member; any other text as it is. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
