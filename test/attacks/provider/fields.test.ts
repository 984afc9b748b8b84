/**
 * Every field of every body that `/v1` takes, each wrong in every way that it can be wrong, each with its exact error. The rows
 * come from the table of routes and its schemas; what a right body is stands in `right-bodies.ts`.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { sent } from "../../../broker/authority/v1/registry-bodies.ts";
import type { Route } from "../../../broker/authority/v1/registry-route.ts";
import { routes } from "../../../broker/authority/v1/registry-table.ts";
import { readJson } from "../../authority/http-apis.ts";
import { fillPath, openGround, type Ground } from "./ground.ts";
import { right, type Right } from "./right-bodies.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("../../authority/cheap-scrypt.ts");
  return cheapen(await original());
});

type Sent = keyof typeof sent;
type Sending = Route & { readonly sends: Sent };

/** What JSON Schema says of a place. */
interface Schema {
  readonly type?: string;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

type Step = string | number;

/** A place in a body, and what may stand there. */
interface Place {
  readonly path: readonly Step[];
  readonly schema: Schema;
  readonly isRequired: boolean;
}

interface Wrong {
  readonly how: string;
  readonly body: string | Uint8Array;
  /** The problem's pointer; without one the body is no JSON at all, and 400. */
  readonly pointer?: string;
}

let at: Ground;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());

const rows = routes
  .filter((route): route is Sending => route.sends !== undefined)
  .map((route) => [`${route.method} ${route.path}`, route] as const);

/** Files as text, which are long and have lines. */
const files: ReadonlySet<string> = new Set(["NewDeviceAuthority/ca", "RevocationList/crl"]);
/** JWKs, whose further members are for others (RFC 7517, section 4). */
const open: ReadonlySet<string> = new Set(["NewClient/keys/0", "PublicKeys/keys/0"]);
/** Nobody must have a name. */
const maybeEmpty: ReadonlySet<string> = new Set(["Registration/name"]);

function idOf(name: Sent, { path }: Place): string {
  return [name, ...path].join("/");
}

function schemaOf(name: Sent): Schema {
  return z.toJSONSchema(sent[name], { io: "input", unrepresentable: "any" }) as Schema;
}

/** All places but the body itself; of a list the first. */
function placesOf(schema: Schema, path: readonly Step[] = []): Place[] {
  const below: Place[] = Object.entries(schema.properties ?? {}).map(([name, inner]) => ({
    path: [...path, name],
    schema: inner,
    isRequired: schema.required?.includes(name) ?? false,
  }));
  if (schema.items !== undefined) below.push({ path: [...path, 0], schema: schema.items, isRequired: false });
  return below.flatMap((place) => [place, ...placesOf(place.schema, place.path)]);
}

function read(body: unknown, path: readonly Step[]): unknown {
  return path.reduce((value, step) => (value as Record<Step, unknown> | undefined)?.[step], body);
}

/** A copy with another value, or without one. */
function put(body: unknown, [step, ...rest]: readonly Step[], value: unknown): unknown {
  if (step === undefined) return value;
  const copy = (Array.isArray(body) ? [...(body as unknown[])] : { ...(body as object) }) as Record<Step, unknown>;
  if (rest.length === 0 && value === undefined) delete copy[step];
  else copy[step] = put(copy[step], rest, value);
  return copy;
}

/** The text of a body with a member that stands there twice, spelled in two ways. */
function doubled(body: unknown, path: readonly Step[]): string {
  const mark = "-here-";
  const name = String(path.at(-1));
  const whole = JSON.stringify(put(body, [...path.slice(0, -1), mark], 1));
  const spelled = `\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
  return whole.replace(`"${mark}":1`, `"${spelled}":${JSON.stringify(read(body, path))}`);
}

const values: readonly (readonly [type: string, value: unknown])[] = [
  ["null", null],
  ["boolean", true],
  ["integer", 7],
  ["number", 1.5],
  ["string", "x"],
  ["array", []],
  ["array", ["x"]],
  ["object", {}],
  ["object", { toString: "x", valueOf: 1 }],
];
const controls = ["\u0000", "\r\nX: y", "\u001b[2J", "\u007f", "\u0085", "\ud800"];

function typesOf({ type, anyOf = [], enum: choices, const: only }: Schema): string[] {
  const own = type ?? (choices !== undefined || only !== undefined ? "string" : undefined);
  return [...(own === undefined ? [] : [own]), ...anyOf.flatMap(typesOf)];
}

function wrongsAt(name: Sent, place: Place): Wrong[] {
  const { full } = right[name];
  const { path, schema } = place;
  const pointer = `#/${path.join("/")}`;
  const what = path.join(".");
  const id = idOf(name, place);
  const types = typesOf(schema);
  const found: Wrong[] = [];
  const add = (how: string, value: unknown, where = pointer): void => {
    found.push({ how: `${what} ${how}`, body: JSON.stringify(put(full, path, value)), pointer: where });
  };
  const raw = (how: string, text: string, where?: string): void => {
    const body = JSON.stringify(put(full, path, "-here-")).replace('"-here-"', text);
    found.push({ how: `${what} ${how}`, body, ...(where !== undefined && { pointer: where }) });
  };

  if (place.isRequired) add("missing", undefined);
  for (const [type, value] of values) {
    if (!types.includes(type)) add(`that is ${JSON.stringify(value)}`, value);
  }
  if (typeof path.at(-1) === "string") found.push({ how: `${what} twice`, body: doubled(full, path) });
  if (types.includes("string")) {
    const limit = schema.maxLength ?? 600;
    if (!files.has(id)) {
      add("that is long", "x".repeat(9_000));
      add("that is a little too long", String(read(full, path)).padEnd(limit + 1, "x"));
      for (const text of controls) add(`with ${JSON.stringify(text)}`, `${String(read(full, path))}${text}`);
    }
    if (!maybeEmpty.has(id)) add("that is empty", "");
  }
  if (types.includes("array")) {
    const first = (read(full, path) as unknown[])[0];
    add("of too many", Array<unknown>((schema.maxItems ?? 0) + 1).fill(first));
  }
  if (types.includes("integer")) {
    for (const value of [-1, 2 ** 53, -(2 ** 53), 1e308, "5"]) add(`that is ${String(value)}`, value);
    if (!types.includes("string")) add("that is 7.0001", 7.0001);
    const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = schema;
    if (minimum > 0) add("that is a little too small", minimum - 1);
    if (maximum < Number.MAX_SAFE_INTEGER) add("that is a little too large", maximum + 1);
    raw("that is beyond all numbers", "1e999", pointer);
    for (const text of ["NaN", "Infinity", "0x10", "010", "+1", "1_000"]) raw(`that is ${text}`, text);
  }
  return found;
}

function wrongsOf(name: Sent): Wrong[] {
  const { full } = right[name];
  const schema = schemaOf(name);
  const text = JSON.stringify(full);
  const whole: Place = { path: [], schema, isRequired: true };
  const objects = [whole, ...placesOf(schema)].filter(
    (place) => place.schema.properties !== undefined && !open.has(idOf(name, place)),
  );
  return [
    ...["[]", "null", '"x"', "7", "true", "[".repeat(2_000) + "]".repeat(2_000)].map((body) => ({
      how: `a body that is ${body.slice(0, 8)}`,
      body,
      pointer: "#/",
    })),
    { how: "no body", body: "", pointer: "#/" },
    { how: "a body that is cut off", body: text.slice(0, -1) },
    { how: "a body with more behind it", body: `${text}{}` },
    { how: "a body with a byte order mark in UTF-16", body: Buffer.from(`\ufeff${text}`, "utf16le") },
    { how: "a body that is not UTF-8", body: Buffer.from(text.replace(/[a-z]/, "\xff"), "latin1") },
    { how: "a body with an overlong character", body: Buffer.from(text.replace(/[a-z]/, "\xc0\xaf"), "latin1") },
    ...objects.flatMap(({ path }) =>
      // as text, since an object with a member of that name is another thing
      ["nonesuch", "__proto__", "constructor"].map((member) => ({
        how: `${[...path, member].join(".")}, which nobody knows`,
        body: JSON.stringify(put(full, [...path, "-here-"], 1)).replace('"-here-":1', `"${member}":{"x":1}`),
        pointer: `#/${[...path, member].join("/")}`,
      })),
    ),
    ...placesOf(schema).flatMap((place) => wrongsAt(name, place)),
  ];
}

const names = Object.keys(sent) as Sent[];

describe("what the rows change is right", () => {
  it.each(names)("%s has every field, and each may be so", (name) => {
    for (const { path } of placesOf(schemaOf(name))) {
      expect([path, read(right[name].full, path)]).not.toEqual([path, undefined]);
    }
    expect(sent[name].safeParse(right[name].full)).toMatchObject({ success: true });
  });
});

describe.each(rows)("%s", (_title, route) => {
  it.each(wrongsOf(route.sends).map((wrong) => [wrong.how, wrong] as const))("refuses %s", async (_how, wrong) => {
    const before = at.picture();
    const answer = await at.ask(route, fillPath(at, route.path), { type: "application/json", body: wrong.body });
    const problem = readJson(answer) as { type: string; errors?: readonly { pointer: string }[] };
    const is400 = wrong.pointer === undefined;
    expect([answer.status, at.reason(), problem.errors?.map(({ pointer }) => pointer)]).toEqual([
      is400 ? 400 : 422,
      is400 ? "request.malformed" : "registry.invalid",
      is400 ? undefined : [wrong.pointer],
    ]);
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(at.picture() === before).toBe(true);
  });

  it("refuses a body that is too large", async () => {
    const bytes = route.bodyBytes ?? 16 * 1024;
    // the one of 16 MiB is for the tests of lists
    if (bytes > 1024 * 1024) return;
    const before = at.picture();
    const body = JSON.stringify({ ...right[route.sends].full, more: "x".repeat(bytes) });
    const answer = await at.ask(route, fillPath(at, route.path), { type: "application/json", body });
    expect([answer.status, at.reason(), at.picture() === before]).toEqual([413, "request.too-large", true]);
  });

  it.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json5",
    "application/cbor",
    "*/*",
    "",
  ])("refuses a right body that says it is %j", async (type) => {
    const before = at.picture();
    const body = JSON.stringify(right[route.sends].full);
    const answer = await at.ask(route, fillPath(at, route.path), { type, body });
    expect([answer.status, at.reason(), at.picture() === before]).toEqual([415, "request.media-type", true]);
  });
});

// in the order of the table: who asks for a password has registered, and whoever logs in has not changed theirs yet
describe("a right body is done, and stands in the audit log", { shuffle: false }, () => {
  it.each(rows)("%s", async (_title, route) => {
    const { good, status }: Right = right[route.sends];
    const body = JSON.stringify(await good(at));
    const audited = at.registry.db.prepare("SELECT max(seq) FROM audit").pluck();
    const before = audited.get() as number;
    const answer = await at.ask(route, fillPath(at, route.path), { type: "application/json; charset=utf-8", body });
    expect([answer.status, answer.body.toString()]).toEqual([status, expect.anything()]);
    // an owner who stays one, and whoever may not be deleted, are in audited.test.ts
    if (route.sends === "MemberChange" || status >= 400) return;
    const events = at.registry.db.prepare("SELECT event FROM audit WHERE seq > ?").pluck();
    // some of it is done once the answer is on its way; what is written of refusals comes in between at any time
    await vi.waitFor(() => {
      const written = events.all(before) as string[];
      expect(written.filter((event) => !event.includes("refus"))).not.toEqual([]);
    }, 20_000);
  });
});
