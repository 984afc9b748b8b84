/**
 * The authority as a resource server asks it: its metadata (RFC 8414), whatever its endpoints answer, and how it went.
 *
 * Every request is bounded in time and size, goes over TLS 1.2 or later and follows no redirect. Of a document for another
 * issuer, and of endpoints that are not the issuer's own, nothing is taken (RFC 8414, section 3.3).
 */
import { Agent } from "node:https";
import { whyUnreachable } from "../shared/unreachable.ts";
import { FeedError } from "../broker/trust/feed-request.ts";
import { fetchBytes, type Fetched } from "../broker/trust/fetch-bytes.ts";
import type { Settings } from "./options.ts";
import { proveOwn, type OwnProof } from "./own-credential.ts";

/** Which endpoint is meant, by its name in the metadata. */
export type Endpoint = "jwks_uri" | "introspection_endpoint" | "trl_endpoint";

/** What is asked of an endpoint. */
export interface Asking {
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Parameters that are sent as a form, with POST; default: nothing is sent, with GET. */
  readonly form?: Readonly<Record<string, string>> | undefined;
  /** With the credential of the api; default false. */
  readonly isAuthenticated?: boolean | undefined;
  /** How long the authority was asked to hold its answer. */
  readonly heldSeconds?: number | undefined;
  readonly maxBytes: number;
  /** How long the body may take once its header is there; default: as long as an answer may. */
  readonly bodyMilliseconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How asking went. */
export interface Contact {
  /** Whether there were answers, and the last request to each endpoint had one. */
  readonly isReachable: boolean;
  /** Why the last request to an endpoint failed; undefined where none did. */
  readonly lastError: string | undefined;
  /** Requests that failed since the start. */
  readonly failures: number;
}

/** An authority to ask. */
export interface Authority {
  readonly contact: Contact;
  /** Whether it has refused the credential of this api and not taken it since. */
  readonly isRefused: boolean;
  /**
   * Asks an endpoint; `read` makes sense of the answer, of any status but 401, 403 and 5xx. Throws {@link FeedError}, and
   * what `read` throws, which counts as a failure.
   */
  ask<Result>(endpoint: Endpoint, asking: Asking, read: (fetched: Fetched) => Result): Promise<Result>;
  /** Reads the metadata again before the next request. */
  forget(): void;
  close(): void;
}

const wellKnown = "/.well-known/oauth-authorization-server";
const metadataBytes = 64 * 1024;
/** Clocks that differ by more are named where an assertion is refused. */
const toleratedSeconds = 60;
const nothing: OwnProof = { headers: {}, parameters: {} };

type Metadata = Readonly<Record<string, unknown>>;

/** Opens the way to an authority; it connects when it is asked. */
export function openAuthority(settings: Settings): Authority {
  const { issuer, authorityUrl, ca, credential, answerMilliseconds, nowSeconds } = settings;
  const agent = new Agent({ keepAlive: true, maxSockets: 64, minVersion: "TLSv1.2", ...(ca !== undefined && { ca }) });
  let isClosed = false;
  let metadata: Promise<Metadata> | undefined;
  const errors = new Map<Endpoint, string | undefined>();
  let failures = 0;
  let isRefused = false;

  /** What an assertion says of the time must be right by the clock of the authority. */
  const sayClocks = ({ headers }: Fetched): string => {
    const ahead = Math.round(nowSeconds() - Date.parse(headers.date ?? "") / 1000);
    if (credential?.kind !== "key" || !(Math.abs(ahead) > toleratedSeconds)) return "";
    return `; the clock here is ${Math.abs(ahead)} s ${ahead > 0 ? "ahead of" : "behind"} that of the authority`;
  };
  const fetch = async (url: URL, asking: Asking): Promise<Fetched> => {
    const { headers, form, heldSeconds = 0, maxBytes, bodyMilliseconds = answerMilliseconds, signal } = asking;
    const limits = { answerMilliseconds: answerMilliseconds + heldSeconds * 1000, bodyMilliseconds, maxBytes };
    // made anew each time: whether an assertion has arrived is not known, and it counts once
    const toOptions = () => {
      const proof = asking.isAuthenticated === true ? proveOwn(credential!, issuer, nowSeconds()) : nothing;
      return { ...limits, signal, ...toRequest({ ...headers, ...proof.headers }, form, proof.parameters) };
    };
    try {
      return await fetchBytes(url, { ...toOptions(), agent }).catch((error: unknown) => {
        // a kept connection may be at its end there while it is used here; nothing that is asked changes anything
        if (!isReset(error) || isClosed) throw error;
        return fetchBytes(url, { ...toOptions(), ca });
      });
    } catch (error) {
      // where one connection has gone silent the others that wait for work may have too, and each would cost as much time
      if (signal?.aborted !== true) closeIdle(agent);
      throw new FeedError("unreachable", whyUnreachable(error), error);
    }
  };
  const readMetadata = async (): Promise<Metadata> => {
    const { pathname } = new URL(issuer);
    const url = new URL(wellKnown + (pathname === "/" ? "" : pathname), authorityUrl);
    const fetched = await fetch(url, { headers: { accept: "application/json" }, maxBytes: metadataBytes });
    assertAnswered(fetched);
    const document = readJson(fetched);
    if (document["issuer"] !== issuer) throw new FeedError("malformed", "the metadata is that of another issuer");
    return document;
  };
  const toUrl = (document: Metadata, endpoint: Endpoint, query: Asking["query"]): URL => {
    const text = document[endpoint];
    const url = typeof text === "string" && URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined) throw new FeedError("malformed", `the metadata has no ${endpoint}`);
    if (url.origin !== new URL(issuer).origin) throw new FeedError("malformed", `${endpoint} is not the issuer's`);
    // set and not resolved: a path that begins with two slashes would name another host
    const asked = new URL(authorityUrl);
    asked.pathname = url.pathname;
    asked.search = new URLSearchParams({ ...query }).toString();
    return asked;
  };

  return {
    get contact() {
      const lastError = [...errors.values()].findLast((error) => error !== undefined);
      return { isReachable: errors.size > 0 && lastError === undefined, lastError, failures };
    },
    get isRefused() {
      return isRefused;
    },
    async ask(endpoint, asking, read) {
      try {
        metadata ??= readMetadata().catch((error: unknown) => {
          metadata = undefined;
          throw error;
        });
        const fetched = await fetch(toUrl(await metadata, endpoint, asking.query), asking);
        assertAnswered(fetched, asking.isAuthenticated === true ? sayClocks(fetched) : "");
        const result = read(fetched);
        errors.set(endpoint, undefined);
        if (asking.isAuthenticated === true) isRefused = false;
        return result;
      } catch (error) {
        if (asking.isAuthenticated === true && error instanceof FeedError && error.fault === "refused")
          isRefused = true;
        if (asking.signal?.aborted !== true && !isClosed) {
          failures++;
          errors.delete(endpoint);
          errors.set(endpoint, describe(error));
        }
        throw error;
      }
    },
    forget: () => void (metadata = undefined),
    close() {
      isClosed = true;
      agent.destroy();
    },
  };
}

/** Reads a JSON object. Throws {@link FeedError}. */
export function readJson({ status, type, body }: Fetched): Readonly<Record<string, unknown>> {
  if (status !== 200) throw new FeedError("failed", `status ${status}`);
  if (!/^application\/(?:[\w.-]+\+)?json$/.test(type)) throw new FeedError("malformed", "the answer is not JSON");
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new FeedError("malformed", "the answer is not JSON", error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FeedError("malformed", "the answer is not a JSON object");
  }
  return value as Readonly<Record<string, unknown>>;
}

/** What there is to say of a failure, in a line. */
export function describe(error: unknown): string {
  return error instanceof FeedError ? `${error.fault}: ${error.message}` : (error as Error).message;
}

function closeIdle(agent: Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

function isReset(error: unknown): boolean {
  return ["ECONNRESET", "EPIPE"].includes(String((error as { code?: unknown }).code));
}

/** From these no conclusion is drawn about any token (RFC 7662, section 2.3). `hint` is why it may be refused. */
function assertAnswered({ status }: Fetched, hint = ""): void {
  if (status === 401 || status === 403) throw new FeedError("refused", `status ${status}${hint}`);
  if (status >= 500) throw new FeedError("failed", `status ${status}`);
}

/** What is sent: with parameters a form, else nothing. */
function toRequest(
  headers: Readonly<Record<string, string>>,
  form: Asking["form"],
  parameters: OwnProof["parameters"],
): { readonly headers: Readonly<Record<string, string>>; readonly body?: Uint8Array } {
  if (form === undefined) return { headers };
  const body = Buffer.from(new URLSearchParams({ ...form, ...parameters }).toString());
  return { headers: { ...headers, "content-type": "application/x-www-form-urlencoded" }, body };
}
