/** The system that the tests run against: the one that BASE_URL names, or one of their own. */

import { spawn, type ChildProcess } from "node:child_process";
import { createServer, type AddressInfo } from "node:net";

const MINUTES = 60_000;

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Waits until it says that it is ready. What it says goes on to the terminal if it never does. */
function ready(system: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    // Building everything for the first time takes its time.
    const timer = setTimeout(() => reject(new Error(`the system does not get ready:\n${said}`)), 30 * MINUTES);
    system.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (!said.includes("\nready: ")) return;
      clearTimeout(timer);
      resolve();
    });
    system.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`the system ended with ${code}:\n${said}`));
    });
  });
}

export default async function start(): Promise<(() => Promise<void>) | undefined> {
  if (process.env.BASE_URL) {
    process.env.BASE_URL = process.env.BASE_URL.replace(/\/*$/, "/");
    return undefined;
  }
  const port = await freePort();
  const system = spawn("cargo", ["run", "--quiet", "-p", "local", "--", "--memory", "--port", String(port)], {
    cwd: new URL("../..", import.meta.url),
    stdio: ["ignore", "ignore", "pipe"],
    // Nobody here is slow enough to be a person.
    env: { ...process.env, SIGNUPS_PER_MINUTE: "60000", LOGINS_PER_MINUTE: "60000", REFRESHES_PER_MINUTE: "60000", ECHO_PACE_MILLISECONDS: "30" },
  });
  await ready(system);
  process.env.BASE_URL = `http://127.0.0.1:${port}/`;
  return async () => {
    if (system.exitCode !== null) return;
    const ended = new Promise((resolve) => system.once("exit", resolve));
    system.kill("SIGTERM");
    await ended;
  };
}
