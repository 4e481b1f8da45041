/** Where messages are written. */

import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { Button } from "../lib/ui.tsx";

/** As many characters as a message has at the most, unless the deployment says otherwise: then its answer tells. */
const USUAL_LIMIT = 8000;
/** From here on the count is shown. */
const NEAR = 7200;

type Props = {
  text: string;
  onInput: (text: string) => void;
  onSend: () => void;
  onStop: () => void;
  /** Whether an answer is on its way, which can be stopped. */
  isRunning: boolean;
  /** Why nothing can be sent now, if it cannot. */
  blocked: string | undefined;
  box: RefObject<HTMLTextAreaElement | null>;
};

/** Characters as the API counts them. */
function count(text: string): number {
  let characters = 0;
  for (const _ of text) characters++;
  return characters;
}

/** With a keyboard on the screen, Enter is for new lines. */
const isTouched = () => matchMedia("(hover: none) and (pointer: coarse)").matches;

function Count({ text }: { text: string }) {
  if (text.length < NEAR) return null;
  const characters = count(text);
  const isOver = characters > USUAL_LIMIT;
  return (
    <span id="message-count" class={isOver ? "error" : undefined}>
      {characters.toLocaleString("en")} of {USUAL_LIMIT.toLocaleString("en")} characters{isOver && ": too long"}
    </span>
  );
}

export function Composer({ text, onInput, onSend, onStop, isRunning, blocked, box }: Props) {
  const isStoppable = useRef(isRunning);

  // As high as what is written, up to the limit that the style sets.
  useLayoutEffect(() => {
    const area = box.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
  }, [text]);

  // The button to stop goes with the answer; the focus does not go with it.
  useEffect(() => {
    if (isStoppable.current && !isRunning && document.activeElement === document.body) box.current?.focus();
    isStoppable.current = isRunning;
  }, [isRunning]);

  const send = () => {
    if (!isRunning && blocked === undefined && text.trim() !== "") onSend();
    box.current?.focus();
  };
  const press = (event: KeyboardEvent) => {
    // While a word is composed, Enter ends it; 229 is what some browsers tell then.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229 || isTouched()) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <label for="message" class="for-readers">
        Message
      </label>
      <textarea
        id="message"
        ref={box}
        rows={1}
        dir="auto"
        value={text}
        placeholder="Write a message"
        aria-describedby="message-hint"
        enterkeyhint={isTouched() ? "enter" : "send"}
        onInput={(event) => onInput(event.currentTarget.value)}
        onKeyDown={press}
      />
      {isRunning ? (
        <Button
          key="stop"
          onClick={() => {
            onStop();
            box.current?.focus();
          }}
        >
          Stop
        </Button>
      ) : (
        <Button key="send" type="submit" kind="primary" disabled={text.trim() === "" || blocked !== undefined}>
          Send
        </Button>
      )}
      <p id="message-hint" class="hint">
        <span>{blocked ?? (isTouched() ? "" : isRunning ? "Escape stops waiting for the answer." : "Enter sends, Shift and Enter begin a new line.")}</span>
        <Count text={text} />
      </p>
    </form>
  );
}
