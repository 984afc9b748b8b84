/** The OpenAPI document as tests read it, and whether an answer is one of those that it describes. */
import { expect } from "vitest";
import { z } from "zod";
import { decode, type Cbor, type CborMap } from "../../shared/cbor.ts";
import type { Answer } from "./fixture.ts";

export interface ResponseOf {
  readonly $ref?: string;
  readonly headers?: Readonly<Record<string, { readonly required?: boolean }>>;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

export interface Schema {
  readonly $ref?: string;
  readonly description?: string;
  readonly properties?: object;
  readonly additionalProperties?: unknown;
}

export interface Operation {
  readonly responses: Readonly<Record<string, ResponseOf>>;
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}

export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, ResponseOf>>;
  };
}

/** Said wherever they are sent, and sent nowhere else. */
export const spoken: readonly string[] = [
  "etag",
  "last-modified",
  "preference-applied",
  "ratelimit",
  "ratelimit-policy",
  "retry-after",
  "www-authenticate",
];

/** Which paths the template of a path has. */
export function formOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`);
}

export function operationOf(document: Document, method: string, path: string): Operation {
  return document.paths[path]![method.toLowerCase()]!;
}

export function resolve(document: Document, one: ResponseOf): ResponseOf {
  return one.$ref === undefined ? one : document.components.responses[one.$ref.split("/").at(-1)!]!;
}

export function shapeOf(document: Document, schema: Schema): Schema {
  return schema.$ref === undefined ? schema : document.components.schemas[schema.$ref.split("/").at(-1)!]!;
}

export function mediaType(header = ""): string {
  return header.split(";", 1)[0]!;
}

/** The keys of a CBOR map that a description names. */
export function keysOf({ description = "" }: Schema): Cbor[] {
  return [...description.matchAll(/`(-?\d+)`/g)].map(([, key]) => Number(key));
}

/** Status, media type, body and headers are what the document says. */
export function assertDescribed(document: Document, { responses }: Operation, { status, headers, body }: Answer): void {
  const said = resolve(document, responses[String(status)]!);
  const names = Object.entries(said.headers ?? {}).map(([name, one]) => [name.toLowerCase(), one] as const);
  const needed = names.filter(([, { required }]) => required === true).map(([name]) => name);
  expect(Object.keys(headers)).toEqual(expect.arrayContaining(needed));
  expect(names.map(([name]) => name)).toEqual(expect.arrayContaining(spoken.filter((name) => name in headers)));
  if (said.content === undefined) {
    expect(body.length).toBe(0);
    return;
  }
  const type = mediaType(headers["content-type"]);
  expect(Object.keys(said.content)).toContain(type);
  const shape = shapeOf(document, said.content[type]!.schema);
  if (type.endsWith("json")) {
    const value = JSON.parse(body.toString()) as object;
    expect(z.fromJSONSchema(shape as z.core.JSONSchema.JSONSchema).safeParse(value).error).toBeUndefined();
    if (shape.properties !== undefined) {
      expect(Object.keys(shape.properties)).toEqual(expect.arrayContaining(Object.keys(value)));
    }
  }
  if (type.endsWith("+cbor")) {
    const keys = [...(decode(body, { anyOrder: true }) as CborMap).keys()];
    expect(keysOf(shape)).toEqual(expect.arrayContaining(keys));
  }
}
