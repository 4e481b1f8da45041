/** The documentation of the API. Nobody needs to be logged in to read it. */

import "./docs.css";
import { Frame, show } from "../lib/frame.tsx";
import { useSession } from "../lib/hooks.ts";

function Docs() {
  const { current } = useSession();
  return (
    <Frame page="docs" current={current}>
      <main id="main" class="content" tabIndex={-1}>
        <h1>API documentation</h1>
      </main>
    </Frame>
  );
}

show(<Docs />);
