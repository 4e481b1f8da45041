import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST_CHARACTERS, byReordering, decoded, destination, lex, saysWhere } from "../../src/chat/lex.ts";

test("only addresses that may be visited are links", () => {
  for (const href of [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "\u0001javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "blob:https://example.com/x",
    "file:///etc/passwd",
    "//example.com",
    "/admin",
    "#top",
    "?c=1",
    "",
    "http://",
  ]) {
    assert.equal(destination(href), null, JSON.stringify(href));
  }
  assert.deepEqual(destination("https://example.com/a"), { href: "https://example.com/a", shown: "example.com" });
  assert.deepEqual(destination("mailto:ada@example.com"), { href: "mailto:ada@example.com", shown: "ada@example.com" });
});

test("a host is shown for what it is", () => {
  // What is before the @ is a name, and a letter that looks like another has its own spelling.
  assert.equal(destination("https://bank.example@evil.example/")?.shown, "evil.example");
  assert.equal(destination("https://еxample.com/")?.shown, "xn--xample-2of.com");
  assert.equal(destination("https://example.com:8443/")?.shown, "example.com:8443");
});

const types = (text: string): string[] => (lex(text) ?? []).map((token) => token.type);

test("HTML is a token that is shown, not markup", () => {
  assert.deepEqual(types("<script>alert(1)</script>"), ["html"]);
  assert.deepEqual(types("<img src=x onerror=alert(1)>"), ["html"]);
  assert.deepEqual(types("# a\n\n- b\n\n> c\n\n```\nd\n```"), ["heading", "space", "list", "space", "blockquote", "space", "code"]);
});

/** Texts that keep a careless program busy, or fill its stack. */
const HOSTILE = ["> ", ">", "[", "![", "[a](", "![a](", "*a ", "**a ", "_a ", "*a_ ", "<a ", "<", "`a``", "|a", "- ", "1. ", "* ", "+ ", "~a~~", "\\", "&a;", "http://a.", "a@a.", "[a]: b\n", "|a|\n|-|\n", "* a\n  ", "> a\n- ", "<!--", "```\n", "=\n", "a\n=\n", "#", "# ", "(", "\t", " ", "\n", "\r", "a", "*", "_", "~", "\u202e", "[a][", "<a@", "www.a", "- [ ] ", "\0"];

test("nothing takes long, and nothing fails", () => {
  for (const part of HOSTILE) {
    for (const size of [1_000, 10_000, MOST_CHARACTERS, 1_000_000]) {
      const text = part.repeat(Math.ceil(size / part.length)).slice(0, size);
      const began = performance.now();
      lex(text);
      lex(`a\n\n${text}\n\n${text}`);
      const took = performance.now() - began;
      assert.ok(took < 2_000, `${JSON.stringify(part)} ${size}: ${took} ms`);
    }
  }
  const stairs = Array.from({ length: 300 }, (_, level) => `${" ".repeat(2 * level)}- a`).join("\n");
  const began = performance.now();
  lex(stairs.slice(0, MOST_CHARACTERS));
  assert.ok(performance.now() - began < 2_000);
});

test("quotes and lists are as deep as they may be", () => {
  const depth = (tokens: ReturnType<typeof lex>): number =>
    Math.max(0, ...(tokens ?? []).map((token) => 1 + depth("items" in token ? token.items : (("tokens" in token && token.tokens) || []))));
  assert.ok(depth(lex("> ".repeat(10_000))) < 60);
  assert.ok(depth(lex("- ".repeat(10_000))) < 60);
});

test("what is too long is left as it is", () => {
  assert.equal(lex("a".repeat(MOST_CHARACTERS + 1)), null);
  assert.notEqual(lex("a ".repeat(100)), null);
});

test("names and numbers of characters are read", () => {
  assert.equal(decoded("&lt;b&gt; &amp;amp; &#65;&#x42; &nosuch; &#0; &#xd800; &#x110000;"), "<b> &amp; AB &nosuch; \ufffd \ufffd \ufffd");
});

test("characters that reorder others are told apart", () => {
  assert.deepEqual(byReordering("a\u202eb\u2066"), ["a", "\u202e", "b", "\u2066", ""]);
  assert.deepEqual(byReordering("שלום"), ["שלום"]);
});

test("a link says where it leads only if its text is an address with that very host", () => {
  const says = (text: string, href: string) => {
    const to = destination(href);
    return to !== null && saysWhere(text, to);
  };
  for (const [text, href] of [
    ["https://example.org/a", "https://example.org/b"],
    ["HTTP://Example.org", "http://example.org/"],
    ["www.example.org/a", "http://www.example.org/a"],
    ["me@example.org", "mailto:me@example.org"],
    ["https://example.org:8080/", "https://example.org:8080/"],
  ] as const) {
    assert.ok(says(text, href), text);
  }
  for (const [text, href] of [
    ["https://accounts.google.com/login/evil.example", "https://evil.example/x"],
    ["https://accounts.google.com/?evil.example", "https://evil.example/x"],
    ["https://evil.example.google.com/", "https://evil.example/x"],
    ["https://google.com@evil.example/", "https://google.com@evil.example/"],
    ["https://google.com\\@evil.example/", "https://evil.example/"],
    ["https://evil.example/\u202emoc.elgoog", "https://evil.example/"],
    ["https://evil.example/&#x202e;moc.elgoog", "https://evil.example/"],
    ["https://\u0430pple.com/", "https://\u0430pple.com/"],
    ["**evil.example**", "https://evil.example/"],
    ["evil.example or google.com", "https://evil.example/"],
    ["here", "https://evil.example/"],
  ] as const) {
    assert.ok(!says(text, href), text);
  }
});
