/** On narrow screens the conversations are in a drawer, which is a dialog for keyboards and screen readers. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import { Button, useModal } from "../lib/ui.tsx";

const WIDE = "(min-width: 52rem)";

export function useIsWide(): boolean {
  const [isWide, set] = useState(() => matchMedia(WIDE).matches);
  useEffect(() => {
    const query = matchMedia(WIDE);
    const change = () => set(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  return isWide;
}

export function Drawer({ open, onClose, children }: { open: boolean; onClose: () => void; children: ComponentChildren }) {
  const dialog = useModal(open);
  return (
    // A click beside it is one on the dialog itself: all that is inside is in its children.
    <dialog ref={dialog} class="drawer" aria-label="Conversations" onClose={onClose} onClick={(event) => event.target === dialog.current && event.currentTarget.close()}>
      <div class="drawer-inside">
        {open && (
          <>
            <Button kind="quiet" label="Close" onClick={() => dialog.current?.close()}>
              ✕
            </Button>
            {children}
          </>
        )}
      </div>
    </dialog>
  );
}
