/** The OpenAPI document of the deployment, as far as this page reads it. */

import { address, open } from "../lib/api.ts";

/** A schema as JSON Schema has it; what is read of it is looked at where it is read. */
export type Schema = Record<string, unknown>;

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  description?: string;
  required?: boolean;
  example?: unknown;
  schema: Schema;
}

export interface Media {
  schema?: Schema;
  example?: unknown;
}

export interface Response {
  description: string;
  headers?: Record<string, { $ref?: string; description?: string; schema?: Schema }>;
  content?: Record<string, Media>;
}

interface RawOperation {
  operationId: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Record<string, Media> };
  responses: Record<string, Response | { $ref: string }>;
  security?: Record<string, string[]>[];
}

export interface SecurityScheme {
  type: string;
  description?: string;
}

export interface Spec {
  openapi: string;
  info: { title: string; version: string; summary?: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, RawOperation>>;
  components: { securitySchemes?: Record<string, SecurityScheme> } & Record<string, Record<string, unknown>>;
}

export interface Operation extends Omit<RawOperation, "responses" | "security"> {
  method: string;
  path: string;
  tag: string;
  responses: [status: string, response: Response][];
  /** The names of the schemes by which it can be authorised; none if it need not be. */
  schemes: string[];
}

const METHODS = ["get", "post", "put", "patch", "delete"];

/** Where the document is, for programs. */
export const SPEC_PATH = "openapi.json";
export const specAddress = (): string => address(SPEC_PATH).href;

export const loadSpec = (): Promise<Spec> => open<Spec>("GET", SPEC_PATH);

/** What a reference within the document points to. */
export function resolve<T>(spec: Spec, value: T | { $ref: string }): T {
  let found: unknown = value;
  // References may point to references; not for ever.
  for (let steps = 0; steps < 10; steps++) {
    const reference = (found as { $ref?: unknown } | null)?.$ref;
    if (typeof reference !== "string" || !reference.startsWith("#/")) break;
    const names = reference.slice(2).split("/");
    found = names.reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], spec);
  }
  return found as T;
}

/** All operations, in the order of the tags. */
export function operations(spec: Spec): Operation[] {
  const all = Object.entries(spec.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([method]) => METHODS.includes(method))
      .map(([method, raw]) => ({
        ...raw,
        method: method.toUpperCase(),
        path,
        tag: raw.tags?.[0] ?? "",
        responses: Object.entries(raw.responses).map(([status, response]): [string, Response] => [status, resolve<Response>(spec, response)]),
        schemes: (raw.security ?? []).flatMap((one) => Object.keys(one)),
      })),
  );
  const order = (spec.tags ?? []).map(({ name }) => name);
  const rank = (one: Operation) => (order.includes(one.tag) ? order.indexOf(one.tag) : order.length);
  return all.sort((one, other) => rank(one) - rank(other));
}

/** The operations that have all the words of a search in what they are called or say. */
export function search(all: Operation[], text: string): Operation[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter((one) => {
    const said = [one.method, one.path, one.operationId, one.summary, one.description, one.tag].join(" ").toLowerCase();
    return words.every((word) => said.includes(word));
  });
}
