/**
 * The bodies of requests: one parser for each media type, run once, and strict.
 *
 * What a handler gets says which parser made it, so nothing looks at the Content-Type header a second time. Refuses text
 * that is not UTF-8, and a JSON member or form field that stands there twice (RFC 6749, section 3.2).
 */
import type { FastifyInstance } from "fastify";
import { ACE_CBOR } from "../../shared/ace.ts";
import { refuse } from "../../shared/refusal.ts";

const ACE_JSON = "application/ace+json";
/** Media type of JSON. */
export const JSON_TYPE = "application/json";
const FORM = "application/x-www-form-urlencoded";
/** Media type of certification requests (RFC 7030, section 4.2.1). */
export const PKCS10 = "application/pkcs10";

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The body of an OAuth request. `type` is what the answer comes in. */
export type OauthBody =
  | { readonly wire: "cbor"; readonly bytes: Uint8Array }
  | { readonly wire: "json"; readonly type: typeof ACE_JSON | typeof JSON_TYPE; readonly value: unknown }
  | { readonly wire: "form"; readonly fields: ReadonlyMap<string, string> };

/** Lets a scope take what the token endpoint takes; bodies are {@link OauthBody}. */
export function takeOauthBodies(scope: FastifyInstance): void {
  takeOnly(scope, {
    [ACE_CBOR]: (bytes): OauthBody => ({ wire: "cbor", bytes }),
    [ACE_JSON]: (bytes): OauthBody => ({ wire: "json", type: ACE_JSON, value: readJson(bytes) }),
    [JSON_TYPE]: (bytes): OauthBody => ({ wire: "json", type: JSON_TYPE, value: readJson(bytes) }),
    [FORM]: (bytes): OauthBody => ({ wire: "form", fields: readForm(readUtf8(bytes)) }),
  });
}

/** Lets a scope take JSON; bodies are the parsed value, undefined where there is none. */
export function takeJsonBodies(scope: FastifyInstance): void {
  takeOnly(scope, { [JSON_TYPE]: (bytes) => (bytes.length === 0 ? undefined : readJson(bytes)) });
}

/** Lets a scope take certification requests; bodies are the bytes as they came. */
export function takePkcs10Bodies(scope: FastifyInstance): void {
  takeOnly(scope, { [PKCS10]: (bytes) => bytes });
}

/** Lets a scope take no body at all. */
export function takeNoBodies(scope: FastifyInstance): void {
  takeOnly(scope, {});
}

/** Reads JSON. Throws `request.malformed`. */
export function readJson(bytes: Uint8Array): unknown {
  const text = readUtf8(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse("request.malformed", "not JSON");
  }
  assertUniqueMembers(text);
  return value;
}

/** Reads a form (RFC 6749, appendix B). Throws `request.malformed`. */
function readForm(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const end = pair.indexOf("=");
    const name = readFormText(end < 0 ? pair : pair.slice(0, end));
    if (fields.has(name)) return refuse("request.malformed", "a field stands there twice");
    fields.set(name, end < 0 ? "" : readFormText(pair.slice(end + 1)));
  }
  return fields;
}

function takeOnly(scope: FastifyInstance, parsers: Readonly<Record<string, (bytes: Uint8Array) => unknown>>): void {
  scope.removeAllContentTypeParsers();
  for (const [type, read] of Object.entries(parsers)) {
    scope.addContentTypeParser(type, { parseAs: "buffer" }, (_request, bytes, done) => {
      let body: unknown;
      try {
        body = read(bytes as Buffer);
      } catch (error) {
        done(error as Error);
        return;
      }
      done(null, body);
    });
  }
}

function readUtf8(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return refuse("request.malformed", "not UTF-8");
  }
}

/** Decodes one name or value of a form. Throws `request.malformed`. */
export function readFormText(text: string): string {
  try {
    return /[%+]/.test(text) ? decodeURIComponent(text.replaceAll("+", " ")) : text;
  } catch {
    return refuse("request.malformed", "not form-encoded");
  }
}

/** Of valid JSON: JSON.parse keeps the last of two members of one name, and another reader may keep the first. */
function assertUniqueMembers(json: string): void {
  const open: (Set<string> | undefined)[] = [];
  const marks = /["{}[\]]/g;
  for (let mark = marks.exec(json); mark !== null; mark = marks.exec(json)) {
    const [text] = mark;
    if (text === "{" || text === "[") open.push(text === "{" ? new Set() : undefined);
    else if (text === "}" || text === "]") open.pop();
    else {
      marks.lastIndex = endOfString(json, mark.index);
      if (!isMemberName(json, marks.lastIndex)) continue;
      const names = open.at(-1);
      const name = JSON.parse(json.slice(mark.index, marks.lastIndex)) as string;
      if (names?.has(name) === true) refuse("request.malformed", "a member stands there twice");
      names?.add(name);
    }
  }
}

/** Where the string ends that starts here. Not one regular expression: those have no room for millions of characters. */
function endOfString(json: string, start: number): number {
  for (let at = json.indexOf('"', start + 1); ; at = json.indexOf('"', at + 1)) {
    let escapes = 0;
    while (json[at - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return at + 1;
  }
}

/** Whether a colon follows, after white space. */
function isMemberName(json: string, from: number): boolean {
  let at = from;
  while (json[at] === " " || json[at] === "\t" || json[at] === "\n" || json[at] === "\r") at++;
  return json[at] === ":";
}
