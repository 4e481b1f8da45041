// For work on the pages: npm run dev. Serves them as they are in src/ now, bundled anew at each load, and hands everything else on to a
// system that runs: the one that BASE_URL names, or the one that `cargo run -p local` starts. PORT is 9100 unless it is given.

import { spawnSync } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = (process.env.BASE_URL ?? "http://127.0.0.1:9000/").replace(/\/*$/, "");
const port = Number(process.env.PORT ?? 9100);
const out = mkdtempSync(join(tmpdir(), "pages-"));
const PAGES = { "/": "chat.html", "/admin": "admin.html", "/docs": "docs.html" };
// Of a connection, not of an answer; and fetch has undone the encoding.
const HOP = ["connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"];

async function answer(request, response) {
  const url = new URL(request.url, target);
  const page = PAGES[url.pathname.replace(/(.)\/$/, "$1")];
  const asset = url.pathname.startsWith("/assets/") && join(out, basename(url.pathname));
  const headers = { ...request.headers };
  for (const name of [...HOP, "host", "expect"]) delete headers[name];
  if (page) delete headers["if-none-match"];
  const hasBody = !["GET", "HEAD"].includes(request.method);
  const reply = await fetch(new URL(url.pathname + url.search, target), {
    method: request.method,
    headers,
    ...(hasBody ? { body: Readable.toWeb(request), duplex: "half" } : {}),
  });
  // The headers are those of the system that runs, so that the policy is the real one.
  const told = Object.fromEntries([...reply.headers].filter(([name]) => !HOP.includes(name)));
  if (page && reply.ok) {
    const bundled = spawnSync(process.execPath, [join(here, "bundle.mjs"), out], { encoding: "utf8" });
    if (bundled.status !== 0) return response.writeHead(500, { "content-type": "text/plain" }).end(bundled.stderr);
    delete told.etag;
    return response.writeHead(200, told).end(readFileSync(join(out, page), "utf8").replace("{base}", "/"));
  }
  if (asset && existsSync(asset)) {
    response.writeHead(200, told);
    return createReadStream(asset).pipe(response);
  }
  response.writeHead(reply.status, told);
  if (!reply.body) return response.end();
  const body = Readable.fromWeb(reply.body).on("error", () => response.destroy());
  response.on("close", () => body.destroy());
  return body.pipe(response);
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (response.headersSent) response.destroy();
    else response.writeHead(502, { "content-type": "text/plain" }).end(`${target}: ${error.cause ?? error}`);
  });
}).listen(port, "127.0.0.1", () => console.log(`the pages as they are now: http://127.0.0.1:${port}/ (the rest from ${target})`));
