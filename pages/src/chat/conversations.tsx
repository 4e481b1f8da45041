/** The conversations: the list of them, and what can be done with one. */

import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, call, type Conversation } from "../lib/api.ts";
import { sentence } from "../lib/errors.ts";
import { useTask } from "../lib/hooks.ts";
import { Button, Dialog, Field, Notice, Problem } from "../lib/ui.tsx";
import { ALL, existing, fresh, hrefOf, isPlain, type View } from "./route.ts";
import { shownTitle } from "./titles.ts";

type ListProps = {
  list: Conversation[];
  hasMore: boolean;
  busy: boolean;
  error: unknown;
  view: View;
  onMore: () => void;
  onOpen: (view: View) => void;
  onOptions: (conversation: Conversation) => void;
};

function Entry({ to, text, isCurrent, onOpen }: { to: View; text: string; isCurrent: boolean; onOpen: (view: View) => void }) {
  const click = (event: MouseEvent) => {
    if (!isPlain(event)) return;
    event.preventDefault();
    onOpen(to);
  };
  return (
    <a href={hrefOf(to)} onClick={click} aria-current={isCurrent ? "page" : undefined} dir="auto" title={text}>
      {text}
    </a>
  );
}

export function ConversationList({ list, hasMore, busy, error, view, onMore, onOpen, onOptions }: ListProps) {
  const shown = view.kind === "conversation" ? view.id : undefined;
  const place = useRef<HTMLUListElement>(null);
  const hadMore = useRef(hasMore);
  // The button for more goes with the last of them; who has pressed it goes on in the list.
  useEffect(() => {
    if (hadMore.current && !hasMore && document.activeElement === document.body) place.current?.focus({ preventScroll: true });
    hadMore.current = hasMore;
  }, [hasMore]);
  return (
    <nav class="conversations" aria-label="Conversations">
      <Button kind="primary" onClick={() => onOpen(fresh())}>
        New conversation
      </Button>
      <ul ref={place} tabIndex={-1}>
        {list.map((one) => (
          <li key={one.id} class={one.id === shown ? "current" : undefined}>
            <Entry to={existing(one.id)} text={shownTitle(one.title)} isCurrent={one.id === shown} onOpen={onOpen} />
            <Button kind="quiet" label={`Rename or delete: ${shownTitle(one.title)}`} onClick={() => onOptions(one)}>
              ⋯
            </Button>
          </li>
        ))}
      </ul>
      {list.length === 0 && !busy && !error && <p class="faint">Your conversations will be listed here.</p>}
      <Problem error={error} onRetry={onMore} />
      {hasMore && !error && (
        <Button onClick={onMore} busy={busy}>
          More conversations
        </Button>
      )}
      <p class="all">
        <Entry to={ALL} text="All messages" isCurrent={view.kind === "all"} onOpen={onOpen} />
      </p>
    </nav>
  );
}

type OptionsProps = {
  conversation: Conversation | null;
  onClose: () => void;
  onRenamed: (conversation: Conversation) => void;
  onDeleted: (id: string) => void;
};

/** Renames or deletes a conversation. */
export function ConversationOptions({ conversation, onClose, onRenamed, onDeleted }: OptionsProps) {
  const [title, setTitle] = useState("");
  const [isDeleting, setDeleting] = useState(false);
  const { busy, error, run, clear } = useTask();
  const keep = useRef<HTMLDivElement>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    setTitle(conversation?.title ?? "");
    setDeleting(false);
    clear();
  }, [conversation]);
  // The question is put where the focus is; the answer that changes nothing comes first.
  useEffect(() => {
    if (isDeleting) keep.current?.querySelector("button")?.focus();
    else field.current?.select();
  }, [isDeleting, conversation]);

  const address = `api/v1/conversations/${conversation?.id ?? ""}`;
  const rename = (event: Event) => {
    event.preventDefault();
    run(async () => {
      const renamed = await call<{ conversation: Conversation }>("PATCH", address, { body: { title } });
      onRenamed(renamed.conversation);
    });
  };
  const remove = () =>
    run(async () => {
      try {
        await call("DELETE", address);
      } catch (failed) {
        // Gone before, or gone but for the cleaning up.
        if (!(failed instanceof ApiError) || !["conversation_not_found", "deletion_continues"].includes(failed.code)) throw failed;
      }
      if (conversation) onDeleted(conversation.id);
    });
  const close = () => {
    clear();
    setDeleting(false);
  };
  return (
    <Dialog title={isDeleting ? "Delete the conversation?" : "Conversation"} open={conversation !== null} onClose={onClose}>
      {isDeleting ? (
        <>
          <p>
            “<bdi>{shownTitle(conversation?.title ?? "")}</bdi>” is deleted with all its messages, for good. What they cost stays spent.
          </p>
          <Problem error={error} />
          <div class="actions" ref={keep}>
            <Button onClick={close}>Keep it</Button>
            <Button kind="danger" busy={busy} onClick={remove}>
              Delete it
            </Button>
          </div>
        </>
      ) : (
        <form onSubmit={rename}>
          <Field inputRef={field} label="Title" value={title} onInput={setTitle} maxLength={200} error={title.trim() === "" ? "Enter a title." : undefined} />
          {error !== null && <Notice kind="problem">{sentence(error)}</Notice>}
          <div class="actions">
            <Button type="submit" kind="primary" busy={busy} disabled={title.trim() === ""}>
              Rename
            </Button>
            <Button kind="danger" onClick={() => setDeleting(true)}>
              Delete…
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
