/** The call that a form describes. */

import { address } from "../lib/api.ts";
import type { Operation } from "./spec.ts";

export interface Call {
  method: string;
  url: string;
  /** Without what authorises. */
  headers: [string, string][];
  body: string | null;
}

/** The call of an operation with these values of its parameters; empty ones are left out. */
export function build(operation: Operation, values: Record<string, string>, body: string | null, mediaType: string | null): Call {
  const given = (operation.parameters ?? []).filter(({ name, in: place }) => (values[`${place}:${name}`] ?? "") !== "");
  const value = (place: string, name: string) => values[`${place}:${name}`] ?? "";
  const path = operation.path.replace(/\{([^}]+)\}/g, (_, name: string) => encodeURIComponent(value("path", name)));
  const query = Object.fromEntries(given.filter((one) => one.in === "query").map(({ name }) => [name, value("query", name)]));
  const headers: [string, string][] = given.filter((one) => one.in === "header").map(({ name }) => [name, value("header", name)]);
  if (body !== null && mediaType) headers.unshift(["Content-Type", mediaType]);
  return { method: operation.method, url: address(path, query).href, headers, body };
}

/** A text as one word of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The same for a shell. What authorises is a variable, so that it does not get into the shell's history. */
export function curl({ method, url, headers, body }: Call, authorization: { word: string; variable: string } | null, isStream: boolean): string {
  const lines = [`curl -i${isStream ? "N" : ""}${method === "GET" ? "" : ` -X ${method}`} ${quoted(url)}`];
  if (authorization) lines.push(`-H "Authorization: ${authorization.word} $${authorization.variable}"`);
  for (const [name, value] of headers) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (body !== null) lines.push(`--data-raw ${quoted(body)}`);
  return lines.join(" \\\n  ");
}
