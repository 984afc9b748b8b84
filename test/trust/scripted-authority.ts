/**
 * An authority as a broker's feed meets it, over real TLS with real answers, whose state and whose faults a test sets: its list
 * with its updates, what it tells besides, and what comes instead of an answer.
 */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { HASH_BYTES, TRL_CBOR, PROBLEM_CBOR, encodeTrl, encodeTrlProblem, type TrlPatch } from "../../shared/trl.ts";
import type { TrustEntry } from "../../shared/trust-entries.ts";

export interface Credential {
  readonly cert: string;
  readonly key: string;
}

/** What comes instead of the answer that is given; false where it is to come after all. */
export type Fault = (response: ServerResponse, answer: Buffer, request: IncomingMessage) => boolean | void;

/** One token by its number. */
export function hash(number: number): Buffer {
  const bytes = Buffer.alloc(HASH_BYTES, 9);
  bytes[0] = 1;
  bytes.writeUInt32BE(number, 1);
  return bytes;
}

export class ScriptedAuthority {
  /** Query and `Prefer` of every request. */
  readonly asked: { readonly query: string; readonly prefer: string | undefined }[] = [];
  /** When each of them came, as performance.now says. */
  readonly askedAtMs: number[] = [];
  /** Most requests that were under way at one time. */
  mostAtOnce = 0;
  /** SHA-256 of the client certificates that were shown. */
  readonly shown = new Set<string>();
  readonly listed = new Set<number>();
  updates: TrlPatch[] = [];
  /** Index of the first update that is still held. */
  first = 0;
  maxIndex = 2 ** 32 - 1;
  batch = 200;
  /** Says less than its cursor, by so many of the oldest updates: what RFC 9770 lets happen. */
  leavesOut = 0;
  entries: TrustEntry[] = [];
  entriesAtOnce = 500;
  run = "run-one";
  fault: Fault | undefined;
  /** The Date header, seconds ahead. */
  ahead = 0;
  holds = true;
  readonly #server: Server;
  #held = new Set<() => void>();
  #underWay = 0;

  constructor(tls: Credential) {
    this.#server = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, (request, response) => {
      this.#receive(request, response);
    });
  }

  async listen(): Promise<string> {
    // by the name that is in the address: another process may have this port of another address of this machine
    this.#server.listen(0, "localhost");
    await once(this.#server, "listening");
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`;
  }
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
  renewTls(tls: Credential): void {
    this.#server.setSecureContext(tls);
    this.#server.closeAllConnections();
  }

  revoke(...numbers: number[]): void {
    this.update(numbers, []);
  }
  update(added: readonly number[], removed: readonly number[]): void {
    for (const number of added) this.listed.add(number);
    for (const number of removed) this.listed.delete(number);
    this.updates.push({ added: pack(added), removed: pack(removed) });
    this.release();
  }
  tell(entry: TrustEntry): void {
    this.entries.push(entry);
    this.release();
  }
  /** Forgets the oldest updates. */
  forget(count: number): void {
    this.updates.splice(0, count);
    this.first = (this.first + count) % (this.maxIndex + 1);
  }
  /** Answers whoever is held. */
  release(): void {
    const held = this.#held;
    this.#held = new Set();
    for (const answer of held) answer();
  }
  /** How many are held. */
  get holding(): number {
    return this.#held.size;
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const { searchParams, pathname } = new URL(request.url!, "https://x");
    this.shown.add((request.socket as TLSSocket).getPeerCertificate().fingerprint256 ?? "none");
    const { prefer } = request.headers;
    this.askedAtMs.push(performance.now());
    this.asked.push({ query: searchParams.toString(), prefer: prefer as string | undefined });
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#underWay);
    response.on("close", () => this.#underWay--);
    const answer = (): void => {
      this.#held.delete(answer);
      const [status, type, body] = pathname === "/revoke/trl" ? this.#answer(searchParams) : [404, "", Buffer.alloc(0)];
      response.setHeader("date", new Date(Date.now() + this.ahead * 1000).toUTCString());
      if (this.fault !== undefined && this.fault(response, body, request) !== false) return;
      response.writeHead(status, { "content-type": type, "content-length": body.length }).end(body);
    };
    const isHeld = this.holds && prefer !== undefined && this.fault === undefined && !this.#hasNews(searchParams);
    if (isHeld) this.#held.add(answer);
    else answer();
  }

  #place(index: number): number {
    const modulus = this.maxIndex + 1;
    return (index - this.first + modulus) % modulus;
  }
  #last(): number | null {
    return this.updates.length === 0 ? null : (this.first + this.updates.length - 1) % (this.maxIndex + 1);
  }
  #hasNews(query: URLSearchParams): boolean {
    const cursor = query.get("cursor");
    const trust = query.get("trust")!;
    const last = this.#last();
    return !query.has("diff") || (cursor ?? "null") !== `${last}` || trust !== `${this.run}.${this.entries.length}`;
  }

  #answer(query: URLSearchParams): [number, string, Buffer] {
    const trust = this.#trust(query.get("trust")!);
    const last = this.#last();
    if (!query.has("diff")) return ok(encodeTrl({ fullSet: pack([...this.listed]), cursor: last, trust }));
    const cursor = query.get("cursor");
    const after = cursor === null ? -1 : this.#place(Number(cursor));
    // one that was forgotten lies far beyond, as indexes go round
    const isForgotten = cursor !== null && after >= this.updates.length;
    if (last === null) return ok(encodeTrl({ diffSet: [], cursor: null, more: false, trust }));
    if (isForgotten && this.first === 0) {
      return [400, PROBLEM_CBOR, Buffer.from(encodeTrlProblem({ error: "list.cursor" }))];
    }
    if (isForgotten && after !== this.maxIndex) return ok(encodeTrl({ diffSet: [], cursor: null, more: true, trust }));
    const from = after === this.maxIndex ? 0 : after + 1;
    const patches = this.updates.slice(from, from + this.batch);
    const newest = (this.first + from + patches.length - 1) % (this.maxIndex + 1);
    const more = from + patches.length < this.updates.length;
    const place = patches.length > 0 ? newest : last;
    return ok(encodeTrl({ diffSet: patches.slice(this.leavesOut).toReversed(), cursor: place, more, trust }));
  }

  #trust(cursor: string) {
    const [run, place] = cursor.split(".");
    const isReset = run !== this.run || Number(place) > this.entries.length;
    const from = isReset ? 0 : Number(place);
    const entries = this.entries.slice(from, from + this.entriesAtOnce);
    const end = from + entries.length;
    return { isReset, cursor: `${this.run}.${end}`, more: end < this.entries.length, entries };
  }
}

function ok(bytes: Uint8Array): [number, string, Buffer] {
  return [200, TRL_CBOR, Buffer.from(bytes)];
}
function pack(numbers: readonly number[]): Buffer {
  return Buffer.concat(numbers.map(hash));
}
