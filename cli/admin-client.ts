/**
 * The registry of an authority over HTTP, `/v1`, with the admin key, the login of a developer or a key of theirs: what the
 * commands are built on, and the demo.
 *
 * The key goes to one https origin only, verified against the given CA or the system's. An answer that is no success is
 * an {@link AdminFailure} with the words of the authority (RFC 9457).
 */
import { readFileSync } from "node:fs";
import { Agent } from "node:https";
import { join } from "node:path";
import { sendHttps, type HttpsRequest, type HttpsResponse } from "../agent/request.ts";

/** Where the authority is and how to be let in. */
export interface AdminAccess {
  readonly url: string;
  /** Absent, what anybody may ask. */
  readonly key?: string;
  /** CA in PEM; absent, the system's trust. */
  readonly ca?: string;
}

/** The authority said no. */
export class AdminFailure extends Error {
  readonly status: number;

  constructor(status: number, why: string) {
    super(why);
    this.name = "AdminFailure";
    this.status = status;
  }
}

/** The registry, by its paths. */
export interface AdminClient {
  readonly url: string;
  get<Answer>(path: string): Promise<Answer>;
  /** All items of a list, page after page. */
  list<Item>(path: string): Promise<Item[]>;
  post<Answer>(path: string, body: object): Promise<Answer>;
  put<Answer>(path: string, body: object): Promise<Answer>;
  patch<Answer>(path: string, body: object): Promise<Answer>;
  delete<Answer>(path: string): Promise<Answer>;
  close(): void;
}

/** Opens a client that reuses its connection; {@link AdminClient.close} it. */
export function openAdminClient(access: AdminAccess): AdminClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const send = async <Answer>(method: HttpsRequest["method"], path: string, body?: object): Promise<Answer> => {
    const response = await sendHttps({
      url: new URL(path, access.url),
      method,
      headers: {
        ...(access.key !== undefined && { authorization: `Bearer ${access.key}` }),
        accept: "application/json",
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      agent,
      maxBytes: 16_777_216,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(access.ca !== undefined && { ca: access.ca }),
    });
    return readAnswer(response) as Answer;
  };
  return {
    url: access.url,
    get: (path) => send("GET", path),
    list: (path) => readPages((next) => send("GET", next), path),
    post: (path, body) => send("POST", path, body),
    put: (path, body) => send("PUT", path, body),
    patch: (path, body) => send("PATCH", path, body),
    delete: (path) => send("DELETE", path),
    close: () => agent.destroy(),
  };
}

/** A part of a list. */
export interface Page {
  readonly items: readonly unknown[];
  /** Where the next page starts; absent on the last. */
  readonly next?: string;
}

/** The page that came for `from`. Throws {@link AdminFailure} for what is none, and for one that leads nowhere. */
export function readPage(answer: unknown, from?: string): Page {
  const { items, next } = (answer ?? {}) as { readonly items?: unknown; readonly next?: unknown };
  if (!Array.isArray(items)) throw new AdminFailure(200, "the answer is no list");
  if (typeof next !== "string" || items.length === 0) return { items };
  if (next === from) throw new AdminFailure(200, "the answer is the same page again and again");
  return { items, next };
}

async function readPages<Item>(read: (path: string) => Promise<unknown>, path: string): Promise<Item[]> {
  const all: Item[] = [];
  const joint = path.includes("?") ? "&" : "?";
  for (let from: string | undefined; ;) {
    const at = from === undefined ? path : `${path}${joint}after=${encodeURIComponent(from)}`;
    const { items, next } = readPage(await read(at), from);
    for (const item of items) all.push(item as Item);
    if (next === undefined) return all;
    from = next;
  }
}

/** A path with its values encoded: route`/v1/projects/${slug}`. */
export function route(texts: TemplateStringsArray, ...values: readonly string[]): string {
  return texts.map((text, index) => text + (index < values.length ? encodeStep(values[index]!) : "")).join("");
}

/** A step of dots alone would be resolved away, and one of nothing be that of the whole list. */
function encodeStep(value: string): string {
  if (value === "") throw new AdminFailure(0, "a name is empty");
  if (value === "." || value === "..") throw new AdminFailure(0, `${value} is no name`);
  return encodeURIComponent(value);
}

/** What a data folder says of the authority on this machine. */
export type Place = Omit<Partial<AdminAccess>, "key"> & {
  /** The name in its tokens. */
  readonly issuer?: string;
};

/** Url, issuer, key and CA from the data folder of an authority on this machine. Undefined for what is not there. */
export function readDataDir(dir: string): Place & Pick<AdminAccess, "key"> {
  const key = readAdminKey(dir);
  if (key instanceof Error) throw key;
  return { ...readPlace(dir), ...(key !== undefined && { key }) };
}

/** The same without the key, which fewer may read. */
export function readPlace(dir: string): Place {
  const { url, local } = readAddresses(readText(join(dir, "authority.json")));
  const ca = readText(join(dir, "ca.pem"));
  return {
    // on the machine itself the name that devices use need not mean anything
    ...((local ?? url) !== undefined && { url: local ?? url }),
    ...(url !== undefined && { issuer: url }),
    ...(ca !== undefined && { ca }),
  };
}

/** The admin key of a data folder; the failure when there is one that may not be read. */
export function readAdminKey(dir: string): string | AdminFailure | undefined {
  try {
    return readText(join(dir, "admin.key"))?.trim();
  } catch (error) {
    return error as AdminFailure;
  }
}

/** The JSON of a success; throws {@link AdminFailure} with what the body says went wrong. */
export function readAnswer(response: HttpsResponse): unknown {
  const text = response.body.toString("utf8");
  const body = parseJson(text);
  if (response.status >= 200 && response.status < 300) {
    if (text !== "" && body === undefined) throw new AdminFailure(response.status, "the answer is not JSON");
    return body;
  }
  const problem = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const fields = Array.isArray(problem["errors"]) ? (problem["errors"] as FieldError[]) : [];
  const says = [
    problem["title"] ?? problem["error"],
    fields.length > 0 ? fields.map(describeField).join(", ") : (problem["detail"] ?? problem["error_description"]),
  ].filter((part): part is string => typeof part === "string" && part !== "");
  const why = says.length === 0 ? `HTTP ${response.status}` : says.join(": ");
  throw new AdminFailure(response.status, why + sayId(response.status, problem["id"]) + sayWhen(response));
}

/** What `postern explain` takes, where the line itself does not say what is wrong. */
function sayId(status: number, id: unknown): string {
  const isVague = status === 401 || status === 403 || status >= 500;
  return isVague && typeof id === "string" ? ` (id ${id})` : "";
}

/** When to come back (RFC 6585, section 4). */
function sayWhen({ status, headers }: HttpsResponse): string {
  const seconds = headers["retry-after"];
  return status === 429 && seconds !== undefined && /^\d{1,9}$/.test(seconds) ? `; try again in ${seconds} s` : "";
}

interface FieldError {
  readonly detail?: string;
  readonly pointer?: string;
}

function describeField({ detail = "not valid", pointer = "" }: FieldError): string {
  const name = pointer.replace(/^#?\//, "");
  return name === "" ? detail : `${name}: ${detail}`;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new AdminFailure(0, `${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}

function readAddresses(text: string | undefined): { url?: string; local?: string } {
  const { url, local } = (parseJson(text ?? "") ?? {}) as { url?: unknown; local?: unknown };
  return { ...(typeof url === "string" && { url }), ...(typeof local === "string" && { local }) };
}

/** The CA of a data folder, when it is that of the authority at this address. */
export function readCaFor(dir: string, address: string): string | undefined {
  const { url, local } = readAddresses(readText(join(dir, "authority.json")));
  const isTheirs = [url, local].some((own) => own !== undefined && new URL(own).origin === new URL(address).origin);
  return isTheirs ? readText(join(dir, "ca.pem")) : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
