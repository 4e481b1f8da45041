/** A message and its answer. */

import { useMemo } from "preact/hooks";

import type { Chat } from "../lib/api.ts";
import { sentence } from "../lib/errors.ts";
import { useOnline } from "../lib/hooks.ts";
import { Button, Notice, Problem } from "../lib/ui.tsx";
import { Copy } from "./copy.tsx";
import type { Exchange, Exchanges } from "./exchanges.ts";
import { AsIs, GrowingMarkdown, Markdown } from "./markdown.tsx";
import { isForgotten } from "./pending.ts";

/** Why an answer is not whole. */
const ENDINGS: Partial<Record<Chat["finish_reason"], string>> = {
  length: "The answer has reached the length that it may have.",
  deadline: "The time for the answer was over.",
  content_filter: "The model's provider did not let it go on.",
  interrupted: "The model failed in the middle of the answer. What came of it is kept.",
};

const tokens = (amount: number): string => `${amount.toLocaleString("en")} ${amount === 1 ? "token" : "tokens"}`;

function Said({ message }: { message: string }) {
  return (
    <div class="said">
      <h2 class="for-readers">You said</h2>
      <div class="words">
        <AsIs text={message} />
      </div>
    </div>
  );
}

function Facts({ chat }: { chat: Chat }) {
  const at = new Date(chat.timestamp);
  const ending = ENDINGS[chat.finish_reason];
  return (
    <>
      {chat.response === "" && <p class="faint">The model said nothing.</p>}
      {ending && <p class="faint">{ending}</p>}
      <div class="facts">
        <span>
          <bdi>{chat.model}</bdi>
        </span>
        <span>{tokens(chat.cost)}</span>
        <time dateTime={chat.timestamp}>{at.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" })}</time>
        {chat.response !== "" && <Copy text={chat.response} what="the answer" />}
      </div>
    </>
  );
}

/** A message with the answer that is stored. It does not change, so it is drawn once. */
export function Stored({ chat }: { chat: Chat }) {
  return useMemo(
    () => (
      <>
        <Said message={chat.message} />
        <div class="answer">
          <h2 class="for-readers">Answer</h2>
          <Markdown text={chat.response} />
          <Facts chat={chat} />
        </div>
      </>
    ),
    [chat],
  );
}

type Props = {
  exchange: Exchange;
  exchanges: Exchanges;
  /** Takes the message back to where messages are written. */
  onEdit: (exchange: Exchange) => void;
  /** What was pressed goes with what it was for, so the focus has to go elsewhere. */
  onGone: () => void;
};

type LeaveProps = Pick<Props, "exchange" | "onEdit" | "onGone"> & { onRemove: () => void };

/** What one can do with a message that one does not wait for. */
function Leave({ exchange, onEdit, onRemove, onGone }: LeaveProps) {
  const remove = () => {
    onRemove();
    onGone();
  };
  return (
    <div class="actions">
      <Button onClick={() => onEdit(exchange)}>Edit the message</Button>
      <Button onClick={remove}>Remove it</Button>
    </div>
  );
}

function Progress({ exchange, exchanges, onEdit, onGone }: Props) {
  const isOnline = useOnline();
  const { key, state, text, isSought } = exchange;
  if (state === "stopped" && text !== "" && !isSought) {
    return (
      <p class="faint">
        You stopped waiting. The model finishes its answer all the same, and it is paid for. It appears here once it is there.
      </p>
    );
  }
  if (state === "stopped") {
    // Whether it was sent at all is not known.
    return (
      <>
        <p class="faint">
          {isSought ? "The answer is looked for." : "You stopped waiting."} If the message has reached the server, it is answered and paid for all the same, and
          appears here.
        </p>
        <Leave exchange={exchange} onEdit={onEdit} onRemove={() => exchanges.remove(key)} onGone={onGone} />
      </>
    );
  }
  if (!isOnline) return <p class="faint">You are offline. This goes on when you are connected.</p>;
  if (state === "waiting") return <p class="faint working">Being answered. The whole answer appears here.</p>;
  // With words coming, the dot alone says that there are more.
  return text === "" ? <p class="faint working">Waiting for the first words</p> : <p class="working" aria-hidden="true" />;
}

function Outcome({ exchange, exchanges, onEdit, onGone }: Props) {
  const { key, state, text, error } = exchange;
  const then = (act: (key: string) => void) => () => {
    act.call(exchanges, key);
    onGone();
  };
  if (state === "lost") {
    const isOld = isForgotten(exchange);
    return (
      <Notice kind={error ? "problem" : "note"}>
        {error !== undefined && <p>{sentence(error)}</p>}
        {isOld ? (
          <p>It is not known whether this was answered, and it is too long ago to be asked for. Look for the answer first: sent anew, it is charged anew.</p>
        ) : (
          <p>It is not known whether this was answered. Asking again is safe: it is charged once, and not at all if there is no answer.</p>
        )}
        <div class="actions">
          <Button onClick={then(exchanges.lookAgain)}>Look for the answer</Button>
          {isOld ? <Button onClick={() => onEdit(exchange)}>Edit the message</Button> : <Button onClick={then(exchanges.retry)}>Ask again</Button>}
          <Button onClick={then(exchanges.remove)}>Remove it</Button>
        </div>
      </Notice>
    );
  }
  return (
    <>
      {text !== "" && <p class="faint">The answer ended here. This part of it is not kept.</p>}
      {error ? (
        <Problem error={error} onRetry={then(exchanges.retry)} />
      ) : (
        <Notice>
          <p>This message was not answered.</p>
          <Button onClick={then(exchanges.retry)}>Try again</Button>
        </Notice>
      )}
      <Leave exchange={exchange} onEdit={onEdit} onRemove={() => exchanges.remove(key)} onGone={onGone} />
    </>
  );
}

/** A message that is on its way, or that came back. Once it is answered it stays as it is: somebody may be marking its words. */
export function Live(props: Props) {
  const { exchange } = props;
  const { chat } = exchange;
  const isOver = exchange.state === "failed" || exchange.state === "lost";
  return (
    <>
      <Said message={exchange.message} />
      <div class="answer">
        <h2 class="for-readers">Answer</h2>
        {exchange.text !== "" && <GrowingMarkdown text={exchange.text} isWhole={chat !== undefined || isOver} />}
        {chat ? <Facts chat={chat} /> : isOver ? <Outcome {...props} /> : <Progress {...props} />}
      </div>
    </>
  );
}
