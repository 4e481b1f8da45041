/** The page to chat on. */

import { useEffect, useState } from "preact/hooks";

import "./chat.css";
import { api, type Profile } from "../lib/api.ts";
import { Frame, Gate, show } from "../lib/frame.tsx";
import { useTask } from "../lib/hooks.ts";
import type { Session } from "../lib/session.ts";
import { Problem } from "../lib/ui.tsx";

function Chat({ current }: { current: Session }) {
  const [profile, setProfile] = useState<Profile | null>(null);
  const { error, run } = useTask();
  const load = () => run(async () => setProfile(await api.profile()));
  useEffect(load, []);
  return (
    <Frame
      page="chat"
      current={current}
      isStaff={profile !== null && profile.role !== "user"}
      extra={profile && <span>{profile.token_balance.toLocaleString("en")} tokens</span>}
    >
      <main id="main" class="content" tabIndex={-1}>
        <h1>Chat</h1>
        <p>You are logged in as {current.username}.</p>
        <Problem error={error} onRetry={load} />
      </main>
    </Frame>
  );
}

show(<Gate page="chat">{(current) => <Chat key={current.username} current={current} />}</Gate>);
