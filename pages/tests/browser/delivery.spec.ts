import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";

import { account, enter, expect, test } from "../support.ts";

/** A gateway with a stage before its paths, as API Gateway has: what is below /prod, and the base that a function would tell there. */
async function gatewayWithStage(target: string): Promise<Server> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const path = request.url?.match(/^\/prod(\/.*|)$/)?.[1];
      if (path === undefined) return response.writeHead(403).end();
      const headers = new Headers();
      for (const name of ["authorization", "content-type"]) {
        const value = request.headers[name];
        if (typeof value === "string") headers.set(name, value);
      }
      const hasBody = !["GET", "HEAD"].includes(request.method ?? "");
      const reply = await fetch(new URL(path.slice(1), target), {
        method: request.method ?? "GET",
        headers,
        body: hasBody ? Buffer.concat(chunks) : null,
      });
      const text = (await reply.text()).replace('<base href="/">', '<base href="/prod/">');
      const told = Object.fromEntries(["content-type", "content-security-policy"].flatMap((name) => (reply.headers.has(name) ? [[name, reply.headers.get(name) ?? ""]] : [])));
      response.writeHead(reply.status, told).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

test("pages work below a stage, with and without a slash at the end", async ({ browser, baseURL, request }) => {
  const server = await gatewayWithStage(baseURL ?? "");
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const context = await browser.newContext({ baseURL: `${origin}/prod/` });
  const refused: string[] = [];
  context.on("response", (reply) => reply.status() === 403 && refused.push(reply.url()));
  const page = await context.newPage();
  const who = await account(request);
  await enter(page, who);
  for (const path of ["/prod", "/prod/", "/prod/admin", "/prod/admin/", "/prod/docs/"]) {
    await page.goto(path);
    await expect(page.locator("h1")).toBeVisible();
    await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
  }
  await page.getByRole("link", { name: "Chat", exact: true }).click();
  await expect(page).toHaveURL(`${origin}/prod/`);
  await expect(page.getByText("4,000 tokens")).toBeVisible();
  expect(refused).toEqual([]);
  await context.close();
  server.close();
});

test("a page is asked for again and its parts are not", async ({ page, request }) => {
  await page.goto("./");
  const parts = await page.evaluate(() => [...document.querySelectorAll("link[rel=stylesheet], script")].map((one) => one.getAttribute("href") ?? one.getAttribute("src")));
  expect(parts).toHaveLength(2);
  for (const part of parts) {
    const reply = await request.get(part ?? "");
    expect(reply.headers()["cache-control"]).toBe("public, max-age=31536000, immutable");
    const other = await request.get((part ?? "").replace(/-[^-.]+\./, "-AAAAAAAA."));
    expect(other.status()).toBe(200);
    expect(other.headers()["cache-control"]).toBe("no-store");
    expect(await other.text()).toBe(await reply.text());
  }
  const first = await request.get("./");
  expect(first.headers()["cache-control"]).toBe("no-cache");
  const again = await request.get("./", { headers: { "If-None-Match": first.headers().etag ?? "" } });
  expect(again.status()).toBe(304);
  expect((await again.body()).length).toBe(0);
  const nothing = await request.get("assets/nothing-AAAAAAAA.js");
  expect(nothing.status()).toBe(404);
  expect(((await nothing.json()) as { code: string }).code).toBe("not_found");
});

test("the first load of a page is light", async ({ page, request }) => {
  for (const path of ["./", "admin"]) {
    await page.goto(path);
    const parts = await page.evaluate(() => [...document.querySelectorAll("link[rel=stylesheet], script")].map((one) => one.getAttribute("href") ?? one.getAttribute("src")));
    const bodies = await Promise.all([path, ...parts].map(async (part) => (await request.get(part ?? "")).body()));
    // As the gateway compresses it, which the local one does not.
    const bytes = bodies.reduce((sum, body) => sum + gzipSync(body).length, 0);
    console.log(`${path}: ${bytes} bytes compressed`);
    expect(bytes).toBeLessThanOrEqual(150_000);
  }
});
