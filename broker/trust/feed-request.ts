/**
 * Asks an authority for the list of revoked tokens (RFC 9770, section 6, over HTTPS) and for what else a gate must know, with
 * the client certificate of this broker, over one connection that is kept.
 *
 * An answer that is not just what was asked for is a failure, and says nothing.
 */
import { Agent } from "node:https";
import { Refusal } from "../../shared/refusal.ts";
import { decodeTrl, decodeTrlProblem, TRL_CBOR, type TrlPatch, type TrustPart } from "../../shared/trl.ts";
import { whyUnreachable } from "../../shared/unreachable.ts";
import { fetchBytes, type Fetched } from "./fetch-bytes.ts";

/** A certificate and its key, PEM. */
export interface Credential {
  readonly cert: string;
  readonly key: string;
}

/** Whom to ask, and as whom. */
export interface AskedAuthority {
  /** URL, without a path. */
  readonly url: string;
  /** PEM of the authorities that its server's certificate is checked against. */
  readonly caPem: string;
  /** Read before each request. */
  credential(): Credential;
}

/** Bounds of a request. Beyond them it has failed. */
export interface RequestLimits {
  /** To the header of the answer, beside the time that the authority was asked to hold it. */
  readonly answerMilliseconds: number;
  readonly bodyMilliseconds: number;
  readonly listBytes: number;
  readonly updatesBytes: number;
}

/** What is asked for. */
export interface Question {
  /** Everything, or what was new after this place; null for before the first update. */
  readonly after: "everything" | number | null;
  readonly trustCursor: string;
  /** How long the authority may hold the answer until there is news. */
  readonly waitSeconds: number;
}

/** What the authority said. */
export type Answer =
  | { readonly kind: "list"; readonly hashes: Uint8Array; readonly cursor: number | null; readonly trust: TrustPart }
  | {
      readonly kind: "updates";
      readonly patches: readonly TrlPatch[];
      readonly cursor: number | null;
      readonly more: boolean;
      readonly trust: TrustPart;
    }
  /** It does not know the place that was asked for. */
  | { readonly kind: "lost" };

/** Why there was no answer: nobody was there, it said no, it failed, or it spoke in riddles. */
export type FeedFault = "unreachable" | "refused" | "failed" | "malformed";

/** There was no answer. */
export class FeedError extends Error {
  override readonly name = "FeedError";
  readonly fault: FeedFault;
  constructor(fault: FeedFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.fault = fault;
  }
}

/** Sends the requests of one broker, one after the other. */
export interface Requester {
  /** Throws {@link FeedError}. `answered` is called with the Date header when the header of the answer is there. */
  ask(question: Question, signal: AbortSignal, answered: (date: string | undefined) => void): Promise<Answer>;
  close(): void;
}

/** Opens a requester; it connects when it is asked. */
export function openRequester(authority: AskedAuthority, limits: RequestLimits): Requester {
  let shown: Credential | undefined;
  let agent: Agent | undefined;
  const connect = (): Agent => {
    const { cert, key } = authority.credential();
    if (agent !== undefined && shown?.cert === cert && shown.key === key) return agent;
    agent?.destroy();
    shown = { cert, key };
    return (agent = new Agent({
      keepAlive: true,
      maxSockets: 1,
      ca: authority.caPem,
      cert,
      key,
      minVersion: "TLSv1.2",
    }));
  };

  return {
    async ask(question, signal, answered) {
      const isList = question.after === "everything";
      const options = {
        headers: { accept: TRL_CBOR, ...(question.waitSeconds > 0 && { prefer: `wait=${question.waitSeconds}` }) },
        answerMilliseconds: limits.answerMilliseconds + question.waitSeconds * 1000,
        bodyMilliseconds: limits.bodyMilliseconds,
        maxBytes: isList ? limits.listBytes : limits.updatesBytes,
        signal,
      };
      let fetched: Fetched;
      try {
        const url = toUrl(authority.url, question);
        fetched = await fetchBytes(url, { ...options, agent: connect() }, (headers) => answered(headers.date));
      } catch (error) {
        throw new FeedError("unreachable", whyUnreachable(error), error);
      }
      return read(fetched, limits);
    },
    close: () => agent?.destroy(),
  };
}

function toUrl(authority: string, { after, trustCursor }: Question): URL {
  const url = new URL("/revoke/trl", authority);
  if (after !== "everything") url.searchParams.set("diff", "0");
  if (typeof after === "number") url.searchParams.set("cursor", `${after}`);
  url.searchParams.set("trust", trustCursor);
  return url;
}

function read({ status, type, body }: Fetched, { listBytes }: RequestLimits): Answer {
  if (status === 401 || status === 403) throw new FeedError("refused", `status ${status}`);
  if (status === 400 && isAboutCursor(body)) return { kind: "lost" };
  if (status !== 200) throw new FeedError("failed", `status ${status}`);
  if (type !== TRL_CBOR) throw new FeedError("malformed", `no list of revoked tokens: ${type || "no content type"}`);
  try {
    const { fullSet, diffSet, cursor, more, trust } = decodeTrl(body, { maxBytes: listBytes });
    if (trust === undefined) throw new FeedError("malformed", "the answer is not one to a broker");
    if (cursor !== undefined && fullSet !== undefined) return { kind: "list", hashes: fullSet, cursor, trust };
    if (cursor !== undefined && diffSet !== undefined && more !== undefined) {
      return { kind: "updates", patches: diffSet, cursor, more, trust };
    }
    throw new FeedError("malformed", "the answer lacks a part");
  } catch (error) {
    if (error instanceof Refusal) throw new FeedError("malformed", error.message, error);
    throw error;
  }
}

/** Whether an error says of the cursor that it is out of bound, or larger than any can be (RFC 9770, section 8). */
export function isAboutCursor(body: Uint8Array): boolean {
  try {
    const { error, cursor } = decodeTrlProblem(body);
    return error === "list.cursor" || (error === "list.parameter" && cursor !== undefined);
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}
