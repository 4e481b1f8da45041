/** The page for staff and admins. */

import "./admin.css";
import { Frame, Gate, show } from "../lib/frame.tsx";
import type { Session } from "../lib/session.ts";

function Admin({ current }: { current: Session }) {
  return (
    <Frame page="admin" current={current}>
      <main id="main" class="content" tabIndex={-1}>
        <h1>Administration</h1>
        <p>You are logged in as {current.username}.</p>
      </main>
    </Frame>
  );
}

show(<Gate page="admin">{(current) => <Admin key={current.username} current={current} />}</Gate>);
