/**
 * An authority on a free port over a registry in memory, with a clock that stands still, and what tests do to it: requests
 * over real TLS, with or without a client certificate.
 */
import { randomBytes, sign, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request as httpsRequest } from "node:https";
import type { IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { startAuthority } from "../../broker/authority/authority.ts";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import type { AccountSettings, AuthorityLimits, BrokerAddresses } from "../../broker/authority/context.ts";
import type { ReadMetrics } from "../../broker/authority/context.ts";
import { spki, toPem } from "../../broker/authority/certificates/x509.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { recordCertificate } from "../../broker/registry/certificates.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import { mintCwtAssertion, mintJwtAssertion, type AssertionClaims } from "../../shared/assertion.ts";
import { readPublicKey, type PublicKey } from "../../shared/cose-key.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { parsePermission } from "../../shared/scope.ts";
import { bitString, commonName, der, integer, oids, sequence } from "./der.ts";

export const ISSUER = "https://postern.test";
export const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
export const ACE = "application/ace+cbor";

/** A private key with all that goes with it. `cert` is what TLS presents. */
export interface Device {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly key: PublicKey;
  readonly cert: string;
  readonly serial: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface Call {
  readonly method?: string;
  readonly type?: string | undefined;
  readonly body?: Uint8Array | string | undefined;
  /** Several values are several headers. */
  readonly headers?: Readonly<Record<string, string | string[]>> | undefined;
  readonly as?: Pick<Device, "privateKey" | "cert"> | undefined;
}

export type Fixture = Awaited<ReturnType<typeof openFixture>>;

export function makeKey(): { readonly privateKey: KeyObject; readonly key: PublicKey } {
  const privateKey = generatePrivateKey();
  return { privateKey, key: readPublicKey(privateKey) };
}

/** Starts everything, on a registry in memory or in a file. Close it with `close`. */
export async function openFixture(
  limits: Partial<AuthorityLimits> = {},
  metrics?: ReadMetrics,
  file = ":memory:",
  accounts?: Partial<AccountSettings>,
) {
  const directory = mkdtempSync(join(tmpdir(), "postern-authority-"));
  const clock = { now: Math.floor(Date.now() / 1000) };
  const nowSeconds = (): number => clock.now;
  const sink = createMemoryTrust({ issuer: ISSUER });
  const registry = openRegistry({ file, sink, nowSeconds });
  const ca = await openCertificateAuthority(directory, nowSeconds);
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  const brokers: BrokerAddresses = { mqtts: "mqtts://localhost:8883", wss: null, mqtt: null };
  const authority = await startAuthority({
    registry,
    ca,
    tls: await ca.issueServer([]),
    host: "127.0.0.1",
    port: 0,
    issuer: ISSUER,
    brokers,
    adminKey: "admin-key",
    log,
    limits,
    metrics,
    accounts,
  });
  const agents = new Map<string, Agent>();

  /** One connection is kept for each client certificate. */
  function agentFor(as: Call["as"]): Agent {
    const known = agents.get(as?.cert ?? "");
    if (known !== undefined) return known;
    const key = as?.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const agent = new Agent({ keepAlive: true, maxSockets: 4, ca: ca.caPem, ...(as && { key, cert: as.cert }) });
    agents.set(as?.cert ?? "", agent);
    return agent;
  }

  function call(path: string, { method, type, body, headers, as }: Call = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = httpsRequest({
        host: "localhost",
        port: authority.port,
        family: 4,
        path,
        method: method ?? (body === undefined ? "GET" : "POST"),
        agent: agentFor(as),
        headers: {
          ...(type !== undefined && { "content-type": type }),
          ...(body !== undefined && { "content-length": Buffer.byteLength(body) }),
          ...headers,
        },
      });
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const { statusCode = 0, headers: given, rawHeaders } = response;
          resolve({ status: statusCode, headers: given, rawHeaders, body: Buffer.concat(chunks) });
        });
      });
      outgoing.end(body);
    });
  }

  return {
    authority,
    registry,
    ca,
    clock,
    lines,
    brokers,
    trust: sink,
    directory,
    call,
    /** The reason that the log gives for the newest refusal. */
    reason: (): unknown => lines.findLast((line) => line["msg"] === "refused" || line["msg"] === "failed")?.["reason"],
    close: async (): Promise<void> => {
      for (const agent of agents.values()) agent.destroy();
      await authority.close();
      registry.close();
      rmSync(directory, { recursive: true });
    },
  };
}

/** Project `plant`: a bound api with three grants for `pi`, and a bearer api for the service `board`. */
export function furnish(registry: Registry): { readonly secret: string } {
  createProject(registry, "plant");
  createApi(registry, { project: "plant", name: "tele", kind: "mqtt", topics: ["p/#"], ttlSeconds: 600 });
  createApi(registry, { project: "plant", name: "open", kind: "mqtt", topics: ["o/#"], bearer: true });
  const role = { project: "plant", api: "tele", name: "sensor" };
  const permissions = ["pub:p/${name}/up", "sub:p/${name}/dn", "sub:p/all"].map(parsePermission);
  createRole(registry, { ...role, permissions });
  createRole(registry, { project: "plant", api: "open", name: "reader", permissions: [parsePermission("sub:o/#")] });
  createClient(registry, { project: "plant", name: "pi", kind: "device", roles: ["sensor"] });
  const { secret } = createClient(registry, { project: "plant", name: "board", kind: "service", roles: ["reader"] });
  return { secret: secret! };
}

/** A device with a certificate on record. */
export async function makeDevice(
  { ca, registry }: Pick<Fixture, "ca" | "registry">,
  id: string,
  days = 90,
): Promise<Device> {
  const { privateKey, key } = makeKey();
  const made = await ca.issueDevice(key, id, days);
  const { serial, notBefore, notAfter } = made;
  recordCertificate(registry, { serial, clientId: id, key, notBefore, notAfter, der: made.der });
  return { id, privateKey, key, serial, cert: toPem("CERTIFICATE", made.der) };
}

export function assertionClaims(id: string, now: number, changed: Partial<AssertionClaims> = {}): AssertionClaims {
  return { iss: id, sub: id, aud: ISSUER, exp: now + 120, id: randomBytes(8), ...changed };
}

export function cwtAssertion(device: Device, now: number, changed: Partial<AssertionClaims> = {}): Uint8Array {
  return mintCwtAssertion(assertionClaims(device.id, now, changed), createSigner("", device.privateKey));
}

export function jwtAssertion(device: Device, now: number, changed: Partial<AssertionClaims> = {}): string {
  return mintJwtAssertion(assertionClaims(device.id, now, changed), createSigner("", device.privateKey));
}

export function basic(user: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` };
}

/** A certification request in DER; its parts can be replaced to make it wrong. */
export function makeCsr(
  privateKey: KeyObject,
  parts: {
    subject?: Uint8Array;
    publicKey?: Uint8Array;
    attributes?: Uint8Array;
    algorithm?: Uint8Array;
    hash?: string;
    signWith?: KeyObject;
  } = {},
): Uint8Array {
  const info = sequence(
    integer(0),
    parts.subject ?? commonName("whatever"),
    parts.publicKey ?? spki(readPublicKey(privateKey).keyObject),
    parts.attributes ?? der(0xa0),
  );
  const signature = sign(parts.hash ?? "sha256", info, parts.signWith ?? privateKey);
  return sequence(info, sequence(parts.algorithm ?? oids.ecdsaWithSha256), bitString(signature));
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

/** How many rows the tables hold that a request may write. */
export function countRows(registry: Registry): Record<string, unknown> {
  const count = (table: string): unknown => registry.db.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  return Object.fromEntries(
    ["issued", "assertion", "certificate", "client", "ticket_use"].map((table) => [table, count(table)]),
  );
}
