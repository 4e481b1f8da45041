/** What a schema says, in words: a tree that people can read. */

import { resolve, type Schema, type Spec } from "./spec.ts";

export interface Shape {
  /** Such as `string` or `array of ChatBody`. */
  type: string;
  description?: string;
  /** Its limits, each a few words. */
  facts: string[];
  /** The only values that there are. */
  values: { value: string; description?: string }[];
  members: Member[];
  /** What is in an array. */
  items?: Shape;
  /** Of several shapes it has one. */
  choices: Shape[];
  /** What is in a text that is of another media type. */
  content?: Shape;
}

export interface Member {
  name: string;
  required: boolean;
  shape: Shape;
}

const NUMBER = new Intl.NumberFormat("en");
const number = (value: unknown): string => (typeof value === "number" ? NUMBER.format(value) : String(value));
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const record = (value: unknown): Record<string, Schema> => (typeof value === "object" && value !== null ? (value as Record<string, Schema>) : {});
const isNull = (schema: Schema): boolean => schema.type === "null";

/** Two schemas that both hold, as one. */
function both(one: Schema, other: Schema): Schema {
  const properties = { ...record(one.properties) };
  for (const [name, schema] of Object.entries(record(other.properties))) {
    properties[name] = properties[name] ? both(properties[name], schema) : schema;
  }
  const required = [...new Set([...list(one.required), ...list(other.required)])];
  const merged: Schema = { ...one, ...other };
  if (Object.keys(properties).length > 0) merged.properties = properties;
  if (required.length > 0) merged.required = required;
  return merged;
}

/** A schema without references and conjunctions at its top. */
function flat(spec: Spec, schema: Schema): Schema {
  const { $ref, allOf, ...rest } = schema;
  let whole: Schema = {};
  if (typeof $ref === "string") whole = flat(spec, resolve<Schema>(spec, { $ref }));
  for (const part of list(allOf)) whole = both(whole, flat(spec, part as Schema));
  return both(whole, rest);
}

function range(least: unknown, most: unknown, of: string): string | undefined {
  const unit = of && ` ${of}`;
  if (least !== undefined && least === most) return `exactly ${number(least)}${unit}`;
  if (least !== undefined && most !== undefined) return `${number(least)} to ${number(most)}${unit}`;
  if (least !== undefined) return `at least ${number(least)}${unit}`;
  return most === undefined ? undefined : `at most ${number(most)}${unit}`;
}

/** The names of members, such as `active`; more than one are needed together. */
const together = (schema: Schema): string => list(schema.required).map((name) => `\`${String(name)}\``).join(" and ");

/** Whether a schema says only which members there must be. */
const onlyRequires = (schema: Schema): boolean => schema.$ref === undefined && schema.type === undefined && list(schema.required).length > 0;

function facts(schema: Schema): string[] {
  const not = record(schema.not) as Schema;
  const alternatives = list(schema.anyOf) as Schema[];
  const condition = schema.if as Schema | undefined;
  const found = [
    range(schema.minLength, schema.maxLength, "characters"),
    range(schema.minimum, schema.maximum, ""),
    schema.exclusiveMinimum !== undefined && `more than ${number(schema.exclusiveMinimum)}`,
    schema.exclusiveMaximum !== undefined && `less than ${number(schema.exclusiveMaximum)}`,
    range(schema.minItems, schema.maxItems, "entries"),
    range(schema.minProperties, schema.maxProperties, "members"),
    schema.uniqueItems === true && "none of them twice",
    schema.default !== undefined && `${JSON.stringify(schema.default)} unless it is given`,
    not.const !== undefined && `not ${JSON.stringify(not.const)}`,
    typeof schema.pattern === "string" && `matches \`${schema.pattern}\``,
    typeof schema.contentMediaType === "string" && `of type ${schema.contentMediaType}`,
    schema.additionalProperties === false && "no other members",
    alternatives.length > 0 && alternatives.every(onlyRequires) && `needs ${alternatives.map(together).join(" or ")}`,
    condition && together(condition) && schema.then && `with ${together(condition)} it needs ${together(schema.then as Schema)}`,
  ];
  return found.filter((one): one is string => typeof one === "string");
}

function nameOf(schema: Schema): string | undefined {
  return typeof schema.$ref === "string" ? schema.$ref.split("/").at(-1) : undefined;
}

/** The description of a schema. `above` are the names of those around it: what is within itself is only named. */
export function describe(spec: Spec, schema: Schema, above: string[] = []): Shape {
  const name = nameOf(schema);
  if (name && above.includes(name)) return { type: name, facts: ["as above"], values: [], members: [], choices: [] };
  const within = name ? [...above, name] : above;
  const whole = flat(spec, schema);
  const alternatives = [...(list(whole.anyOf) as Schema[]), ...(list(whole.oneOf) as Schema[])].filter((one) => !onlyRequires(one));
  const possible = alternatives.filter((one) => !isNull(one));
  const types = typeof whole.type === "string" ? [whole.type] : list(whole.type).map(String);
  const isNullable = types.includes("null") || possible.length < alternatives.length || list(whole.enum).includes(null);

  // One thing or nothing is that thing.
  if (possible.length === 1 && possible[0]) {
    const { anyOf: _any, oneOf: _one, ...rest } = whole;
    const only = describe(spec, both({ ...possible[0] }, rest), within);
    return { ...only, type: isNullable ? `${only.type} or null` : only.type };
  }

  const isOfValues = possible.length > 0 && possible.every((one) => one.const !== undefined);
  const values = isOfValues
    ? possible.map((one) => ({ value: JSON.stringify(one.const), ...(typeof one.description === "string" ? { description: one.description } : {}) }))
    : (whole.const !== undefined ? [whole.const] : list(whole.enum)).map((value) => ({ value: JSON.stringify(value) }));
  const choices = isOfValues ? [] : possible.map((one) => describe(spec, one, within));
  const required = list(whole.required);
  const members: Member[] = Object.entries(record(whole.properties)).map(([member, inside]) => ({
    name: member,
    required: required.includes(member),
    shape: describe(spec, inside, within),
  }));
  if (typeof whole.additionalProperties === "object" && whole.additionalProperties !== null) {
    members.push({ name: "any other name", required: false, shape: describe(spec, whole.additionalProperties as Schema, within) });
  }
  const items = typeof whole.items === "object" && whole.items !== null ? describe(spec, whole.items as Schema, within) : undefined;
  const content = whole.contentSchema ? describe(spec, whole.contentSchema as Schema, within) : undefined;

  let type = types.filter((one) => one !== "null").join(" or ");
  if (types.length === 1 && types[0] === "null") type = "null";
  if (items) type = `array of ${items.type}`;
  if (typeof whole.format === "string") type += ` (${whole.format})`;
  if (!type) type = members.length > 0 ? "object" : choices.length > 0 ? "one of several" : isOfValues || values.length > 0 ? "one of these values" : "anything";
  if (isNullable && type !== "null") type += " or null";
  return {
    type,
    ...(typeof whole.description === "string" ? { description: whole.description } : {}),
    facts: facts(whole),
    values,
    members,
    choices,
    ...(items ? { items } : {}),
    ...(content ? { content } : {}),
  };
}
