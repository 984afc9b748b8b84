/**
 * An authority as a resource server meets it, over real TLS, whose answers and faults a test sets; with a clock that stands
 * still, and tokens of every kind.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import type { Claims } from "../../shared/claims.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { mintDpopProof } from "../../shared/dpop.ts";
import { createSigner, generatePrivateKey, type Signer } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { Refusal } from "../../shared/refusal.ts";
import { tokenHashes } from "../../shared/token.ts";
import { encodeTrl, encodeTrlProblem, HASH_BYTES, PROBLEM_CBOR, TRL_CBOR, type TrlPatch } from "../../shared/trl.ts";
import { createVerifier, type Verifier, type VerifierOptions } from "../../verify/index.ts";

export const AUDIENCE = "plant.tele";
export const CREDENTIAL = { id: "plant/tele", secret: "s:e c%r+et" };

/** What is answered instead; false where the answer is to be given after all. */
export type Fault = (response: ServerResponse, request: IncomingMessage) => boolean | void;

export type Room = Awaited<ReturnType<typeof openRoom>>;

/** An issuer with its clock, and verifiers that end with it. */
export async function openRoom() {
  const directory = mkdtempSync(join(tmpdir(), "postern-verify-"));
  const clock = { now: 1_800_000_000, ms: 5000 };
  const ca = await openCertificateAuthority(directory, () => Math.floor(Date.now() / 1000));
  const issuer = new ScriptedIssuer(await ca.issueServer([]));
  const url = await issuer.listen();
  const verifiers: Verifier[] = [];
  const lines: Record<string, unknown>[] = [];
  const log = (facts: object, msg: string): void => void lines.push({ ...facts, msg });

  const room = {
    issuer,
    clock,
    ca,
    url,
    lines,
    /** Opens a verifier at this issuer. */
    async open(options: Partial<VerifierOptions> = {}): Promise<Verifier> {
      const verifier = await createVerifier({
        issuer: url,
        audience: AUDIENCE,
        ca: ca.caPem,
        nowSeconds: () => clock.now,
        monotonicMs: () => clock.ms,
        log: { info: log, warn: log, error: log },
        answerMilliseconds: 10_000,
        ...options,
      });
      verifiers.push(verifier);
      return verifier;
    },
    claims: (changed: Partial<Claims> = {}): Claims => ({
      iss: url,
      sub: "plant.board",
      aud: AUDIENCE,
      exp: clock.now + 600,
      iat: clock.now,
      id: randomBytes(8),
      scope: "read write",
      ...changed,
    }),
    mint: (changed: Partial<Claims> = {}, signer = issuer.signer): string => mintJwt(room.claims(changed), signer),
    /** A DPoP proof for a request with this token. */
    prove(
      signer: Signer,
      token: string,
      request: { method?: string; url?: string; nowSeconds?: number; id?: Uint8Array } = {},
    ): string {
      const made = { method: "GET", url: "https://api.example/things", nowSeconds: clock.now, id: randomBytes(12) };
      return mintDpopProof({ ...made, accessToken: token, ...request }, signer);
    },
    async close(): Promise<void> {
      for (const verifier of verifiers) await verifier.close();
      await issuer.close();
      rmSync(directory, { recursive: true });
    },
  };
  return room;
}

/** A key of somebody. */
export function makeSigner(kid = ""): Signer {
  return createSigner(kid, generatePrivateKey());
}

/** The reason of the refusal that a promise rejects with. */
export async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
}

/** Asks again and again, without a pause of its own, until the answer is this one. */
export async function until(holds: () => unknown): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error("it did not come to hold");
    await new Promise(setImmediate);
  }
}

export class ScriptedIssuer {
  /** Path and query of every request, with its body and headers. */
  readonly asked: { readonly path: string; readonly body: string; readonly request: IncomingMessage }[] = [];
  signer = makeSigner("k1");
  published: Signer[] = [this.signer];
  metadata: Record<string, unknown> = {};
  readonly #listed = new Map<string, Buffer>();
  updates: TrlPatch[] = [];
  /** Index of the first update that is held. */
  first = 0;
  batch = 200;
  /** Answers of introspection by token. */
  readonly answers = new Map<string, unknown>();
  readonly faults = new Map<string, Fault>();
  readonly #server: Server;
  #held = new Set<() => void>();
  #url = "";

  constructor(tls: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(tls, (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => this.#receive(request, response, Buffer.concat(chunks).toString()));
    });
  }

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.#url = `https://localhost:${(this.#server.address() as AddressInfo).port}`;
    this.metadata = {
      issuer: this.#url,
      jwks_uri: `${this.#url}/jwks`,
      introspection_endpoint: `${this.#url}/introspect`,
      trl_endpoint: `${this.#url}/trl`,
    };
    return this.#url;
  }
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** How often an endpoint was asked. */
  count(path: string): number {
    return this.asked.filter((one) => one.path.split("?")[0] === path).length;
  }
  get holding(): number {
    return this.#held.size;
  }
  revoke(...tokens: string[]): void {
    const hashes = tokens.map(hashOf);
    for (const hash of hashes) this.#listed.set(hash.toString("hex"), hash);
    this.#update({ added: Buffer.concat(hashes), removed: new Uint8Array() });
  }
  /** Takes tokens off the list, because they have expired. */
  unlist(...tokens: string[]): void {
    const hashes = tokens.map(hashOf);
    for (const hash of hashes) this.#listed.delete(hash.toString("hex"));
    this.#update({ added: new Uint8Array(), removed: Buffer.concat(hashes) });
  }
  /** Forgets the oldest updates. */
  forget(count: number): void {
    this.updates.splice(0, count);
    this.first += count;
  }
  /** As an authority that was restored from a backup made before anything was revoked. */
  restore(): void {
    this.#listed.clear();
    this.updates = [];
    this.release();
  }
  /** Answers whoever is held. */
  release(): void {
    const held = this.#held;
    this.#held = new Set();
    for (const answer of held) answer();
  }

  #update(patch: TrlPatch): void {
    this.updates.push(patch);
    this.release();
  }

  #receive(request: IncomingMessage, response: ServerResponse, body: string): void {
    const url = new URL(request.url!, this.#url);
    this.asked.push({ path: url.pathname + url.search, body, request });
    const answer = (): void => {
      this.#held.delete(answer);
      const fault = this.faults.get(url.pathname);
      if (fault !== undefined && fault(response, request) !== false) return;
      const [status, type, bytes] = this.#answer(url, body);
      response.writeHead(status, { "content-type": type, "content-length": bytes.length }).end(bytes);
    };
    const last = this.#last();
    const isUpToDate = url.searchParams.has("diff") && (url.searchParams.get("cursor") ?? "null") === `${last}`;
    if (request.headers.prefer !== undefined && isUpToDate) this.#held.add(answer);
    else answer();
  }

  #answer(url: URL, body: string): [number, string, Buffer] {
    if (url.pathname === "/.well-known/oauth-authorization-server") return json(this.metadata);
    if (url.pathname === "/jwks") {
      return json({ keys: this.published.map(({ kid, publicKey }) => ({ ...toJwk(publicKey), kid, alg: "ES256" })) });
    }
    if (url.pathname === "/introspect") {
      return json(this.answers.get(new URLSearchParams(body).get("token") ?? "") ?? { active: false });
    }
    return url.pathname === "/trl" ? this.#list(url.searchParams) : [404, "text/plain", Buffer.alloc(0)];
  }

  #last(): number | null {
    return this.updates.length === 0 ? null : this.first + this.updates.length - 1;
  }

  #list(query: URLSearchParams): [number, string, Buffer] {
    const last = this.#last();
    if (!query.has("diff")) return trl(encodeTrl({ fullSet: Buffer.concat([...this.#listed.values()]), cursor: last }));
    const cursor = query.get("cursor");
    if (last === null) {
      if (cursor === null) return trl(encodeTrl({ diffSet: [], cursor: null, more: false }));
      return [400, PROBLEM_CBOR, Buffer.from(encodeTrlProblem({ error: "list.cursor" }))];
    }
    const after = cursor === null ? -1 : Number(cursor);
    if (after < this.first - 1) return trl(encodeTrl({ diffSet: [], cursor: null, more: true }));
    const news = this.updates.slice(after + 1 - this.first);
    const diffSet = news.slice(0, this.batch).toReversed();
    return trl(encodeTrl({ diffSet, cursor: after + diffSet.length, more: news.length > this.batch }));
  }
}

function hashOf(token: string): Buffer {
  const hash = Buffer.from(tokenHashes(token)[0]!, "hex");
  if (hash.length !== HASH_BYTES) throw new TypeError("not a hash");
  return hash;
}

function json(value: unknown): [number, string, Buffer] {
  return [200, "application/json", Buffer.from(JSON.stringify(value))];
}

function trl(bytes: Uint8Array): [number, string, Buffer] {
  return [200, TRL_CBOR, Buffer.from(bytes)];
}
