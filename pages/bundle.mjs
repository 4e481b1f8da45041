// Bundles the pages: node bundle.mjs DIRECTORY. Writes there the files that browsers load, the pages that load them, and pages.rs, which
// has all of it as Rust.
//
// Each page is one script and one style, nothing is shared between files: while a deployment rolls out, a page may get its script from the
// version before or after its own, and a script could not use parts of another version.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
const PAGES = { chat: "Chat", admin: "Administration", docs: "API documentation" };
const MEDIA_TYPES = {
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  txt: "text/plain; charset=utf-8",
};

const digest = (text) => createHash("sha256").update(text).digest("hex").slice(0, 16);

const bundled = await build({
  absWorkingDir: here,
  entryPoints: Object.fromEntries(Object.keys(PAGES).map((page) => [page, `src/${page}/main.tsx`])),
  entryNames: "[name]-[hash]",
  outdir: out,
  write: false,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  metafile: true,
  legalComments: "none",
  banner: { js: "/* Licences of what is bundled: assets/licenses-all.txt */" },
  logLevel: "warning",
});

/** The licences of the packages that are part of what browsers get. */
function licenses() {
  const inputs = Object.keys(bundled.metafile.inputs).filter((input) => input.includes("node_modules/"));
  const packages = new Set(inputs.map((input) => input.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)[0]));
  const texts = [...packages].sort().map((directory) => {
    const file = readdirSync(join(here, directory)).find((name) => /^licen[cs]e/i.test(name));
    return `${basename(directory)}\n\n${readFileSync(join(here, directory, file), "utf8").trim()}\n`;
  });
  return texts.join("\n----\n\n");
}

mkdirSync(out, { recursive: true });
const files = bundled.outputFiles.map((file) => [basename(file.path), file.text]);
files.push([`licenses-${digest(licenses())}.txt`, licenses()]);

const text = JSON.stringify;
let rust = "";
const assets = {};
for (const [file, content] of files.sort()) {
  const [, name, extension] = file.match(/^(.+)-[^-.]+\.(\w+)$/);
  assets[`${name}.${extension}`] = file;
  writeFileSync(join(out, file), content);
  rust += `Asset { file: ${text(file)}, media_type: ${text(MEDIA_TYPES[extension])}, text: include_str!(${text(file)}) },\n`;
}
rust = `/// Every file that pages load.\npub const ASSETS: &[Asset] = &[\n${rust}];\n`;

const shell = readFileSync(join(here, "src/shell.html"), "utf8");
for (const [page, title] of Object.entries(PAGES)) {
  const values = { title, script: assets[`${page}.js`], style: assets[`${page}.css`] };
  // The base is for Rust: it depends on the request.
  const html = shell.replace(/\{(title|script|style)\}/g, (_, name) => values[name]);
  writeFileSync(join(out, `${page}.html`), html);
  rust += `/// ${title}.\npub const ${page.toUpperCase()}: Page = Page { html: include_str!("${page}.html"), version: ${text(digest(html))} };\n`;
}
writeFileSync(join(out, "pages.rs"), rust);
