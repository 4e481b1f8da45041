/** A button that copies a text. */

import { useEffect, useState } from "preact/hooks";

import { Button, toast } from "../lib/ui.tsx";

/** Pages that are not served securely have no clipboard, but can copy what is selected. */
function copySelected(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  area.className = "for-readers";
  // In a dialog only what is in it can be selected.
  const place = document.querySelector("dialog[open]") ?? document.body;
  const focused = document.activeElement;
  place.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

const SHOWN_MILLISECONDS = 2000;

export function Copy({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(0);
  useEffect(() => {
    if (done === 0) return;
    const timer = setTimeout(() => setDone(0), SHOWN_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [done]);
  const click = async () => {
    if (await copy(text)) setDone((times) => times + 1);
    else toast("This browser does not let the page copy. Select the text and copy it yourself.");
  };
  return (
    <>
      <Button kind="quiet" label={`Copy ${what}`} onClick={() => void click()}>
        {done > 0 ? "Copied" : "Copy"}
      </Button>
      <span class="for-readers" role="status">
        {done > 0 ? `Copied ${what}.` : ""}
      </span>
    </>
  );
}
