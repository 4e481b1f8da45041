/** The documentation of the API, on which every call can be tried. Nobody needs to be logged in to read it. */

import { useEffect, useRef, useState } from "preact/hooks";

import "./docs.css";
import { api } from "../lib/api.ts";
import { onPlace } from "../lib/fragment.ts";
import { Frame, show } from "../lib/frame.tsx";
import { useSession, useTask } from "../lib/hooks.ts";
import { Problem } from "../lib/ui.tsx";
import { Menu } from "./menu.tsx";
import { OneOperation } from "./operation.tsx";
import { Overview } from "./overview.tsx";
import { loadSpec, operations, type Operation, type Spec } from "./spec.ts";

const TITLE = "API documentation · AI Chat System";

/** The operation that the address names. */
function useChosen(): string | null {
  const read = () => location.hash.slice(1) || null;
  const [chosen, set] = useState(read);
  useEffect(() => onPlace("docs", () => set(read())), []);
  return chosen;
}

function Shown({ spec, all, chosen }: { spec: Spec; all: Operation[]; chosen: string | null }) {
  const operation = all.find((one) => one.operationId === chosen);
  const title = operation?.summary ?? operation?.operationId;
  // The title of the page, and the focus, go with what is chosen.
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = title ? `${title} · ${TITLE}` : TITLE;
    if (!isFirst.current) {
      document.querySelector<HTMLElement>("main h1")?.focus();
      window.scrollTo(0, 0);
    }
    isFirst.current = false;
  }, [chosen]);
  if (operation) return <OneOperation key={operation.operationId} spec={spec} operation={operation} />;
  if (chosen === null) return <Overview spec={spec} />;
  return (
    <>
      <h1 tabIndex={-1}>Not found</h1>
      <p>There is no such operation. All that there are are in the list.</p>
    </>
  );
}

function Docs() {
  const { current } = useSession();
  const [spec, setSpec] = useState<Spec | null>(null);
  const [isStaff, setIsStaff] = useState(false);
  const { busy, error, run } = useTask();
  const chosen = useChosen();
  const load = () => run(async () => setSpec(await loadSpec()));
  useEffect(load, []);
  const username = current?.username;
  useEffect(() => {
    setIsStaff(false);
    // Only for the way to the page for staff: without an answer there is none.
    if (username !== undefined) api.profile().then(({ role }) => setIsStaff(role !== "user"), () => undefined);
  }, [username]);
  const all = spec ? operations(spec) : [];
  return (
    <Frame page="docs" current={current} isStaff={isStaff}>
      <div class="docs">
        {spec && <Menu spec={spec} all={all} current={chosen} />}
        <main id="main" class="content" tabIndex={-1}>
          {spec ? (
            <Shown spec={spec} all={all} chosen={chosen} />
          ) : (
            <>
              <h1>API documentation</h1>
              {busy && <p class="hint">Loading the document …</p>}
              <Problem error={error} onRetry={load} />
            </>
          )}
        </main>
      </div>
    </Frame>
  );
}

show(<Docs />);
