// Tests the pages: types, what needs no browser, then what does. `npm test -- unit` or `-- browser` does one part; what follows goes to
// Playwright.
//
// The browser is the machine's own Chromium: the one that CHROMIUM names, or one that is found. Without one, the tests that need it are
// skipped; with BROWSER=required that is a failure.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { buildSync } from "esbuild";

const pages = dirname(dirname(fileURLToPath(import.meta.url)));
const [part = "all", ...more] = process.argv.slice(2);

function run(...command) {
  const { status } = spawnSync(command[0], command.slice(1), { cwd: pages, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

const node = (...command) => run(process.execPath, ...command);

function chromium() {
  const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
  return process.env.CHROMIUM ?? places.find((place) => existsSync(place));
}

if (part === "all" || part === "unit") {
  node("node_modules/openapi-typescript/bin/cli.js", "../docs/openapi.json", "--output", "schema.d.ts");
  node("node_modules/typescript/bin/tsc");
  const out = join(pages, "node_modules/.cache/unit");
  mkdirSync(out, { recursive: true });
  const tests = readdirSync(join(pages, "tests/unit")).map((name) => join(pages, "tests/unit", name));
  buildSync({ entryPoints: tests, outdir: out, bundle: true, platform: "node", format: "esm", outExtension: { ".js": ".mjs" } });
  node("--test", ...tests.map((test) => join(out, test.split("/").at(-1).replace(/\.tsx?$/, ".mjs"))));
}

if (part === "all" || part === "browser") {
  const found = chromium();
  if (found) {
    process.env.CHROMIUM = found;
    node("node_modules/@playwright/test/cli.js", "test", "--config", "tests/playwright.config.ts", ...more);
  } else if (process.env.BROWSER === "required") {
    console.error("There is no Chromium. Install one, or name it: CHROMIUM=/path/to/chromium");
    process.exit(1);
  } else {
    console.warn("\nSKIPPED: the tests in a browser. There is no Chromium; install one, or name it: CHROMIUM=/path/to/chromium");
  }
}
