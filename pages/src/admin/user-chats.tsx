/** What somebody has written to the model, and its answers: as text, whatever is in them. */

import { useState } from "preact/hooks";

import type { Chat } from "../lib/api.ts";
import { Button } from "../lib/ui.tsx";
import { useAnswer } from "./answer.ts";
import { admin } from "./calls.ts";
import { Time, number, tokens } from "./format.tsx";
import { List } from "./records.tsx";

/** So much of a text is shown at first. */
const BRIEF_CHARACTERS = 600;

const FINISHES: Record<string, string> = {
  stop: "complete",
  length: "cut at its greatest length",
  content_filter: "stopped by the provider's filter",
  deadline: "cut when its time was over",
  interrupted: "broke off",
} satisfies Record<Chat["finish_reason"], string>;

function LongText({ text, of }: { text: string; of: string }) {
  const [whole, setWhole] = useState(false);
  // By characters, so that none is cut in two.
  const letters = text.length > BRIEF_CHARACTERS ? [...text] : [];
  const isLong = letters.length > BRIEF_CHARACTERS;
  const shown = isLong && !whole ? `${letters.slice(0, BRIEF_CHARACTERS).join("")} …` : text;
  return (
    <>
      <p class="said" dir="auto">
        {shown}
      </p>
      {isLong && (
        <Button kind="quiet" onClick={() => setWhole(!whole)}>
          {whole ? `Show less of the ${of}` : `Show the whole ${of}`}
        </Button>
      )}
    </>
  );
}

function OneChat({ chat }: { chat: Chat }) {
  const { usage } = chat;
  return (
    <li class="chat">
      <h3>
        <Time time={chat.timestamp} />
      </h3>
      <dl class="exchange">
        <dt>Message</dt>
        <dd>
          <LongText text={chat.message} of="message" />
        </dd>
        <dt>Answer</dt>
        <dd>{chat.response === "" ? <span class="none">none</span> : <LongText text={chat.response} of="answer" />}</dd>
      </dl>
      <p class="hint">
        <bdi>{chat.model}</bdi> · {tokens(chat.cost)} · {FINISHES[chat.finish_reason] ?? chat.finish_reason}
        {usage && ` · the model read ${number(usage.input_tokens)} and wrote ${number(usage.output_tokens)}`}
      </p>
    </li>
  );
}

export function UserChats({ username, cursors }: { username: string; cursors: string[] }) {
  const cursor = cursors.at(-1);
  const answer = useAnswer(cursor ?? "", (signal) => admin.chats(username, { cursor, signal }));
  return (
    <List answer={answer} cursors={cursors} what="chats" empty="There are no chats.">
      {(rows) => (
        <ol class="chats">
          {rows.map((chat) => (
            <OneChat key={chat.id} chat={chat} />
          ))}
        </ol>
      )}
    </List>
  );
}
