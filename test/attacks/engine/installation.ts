/**
 * The installation that is attacked: a data directory as `postern up` would find it, project `acme`, a bearer api and one
 * for bound tokens, clients by the hundred and devices with certificates; and the keys to mint any token for them.
 *
 * Furnished before any broker starts. A broker that is to start afresh gets a copy.
 */
import { randomBytes, type KeyObject } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCertificateAuthority } from "../../../broker/authority/certificates/certificates.ts";
import { toPem } from "../../../broker/authority/certificates/x509.ts";
import { createApi } from "../../../broker/registry/apis.ts";
import { recordCertificate } from "../../../broker/registry/certificates.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { createProject } from "../../../broker/registry/projects.ts";
import { openRegistry } from "../../../broker/registry/open-registry.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { activeSigner, ensureSigningKey } from "../../../broker/registry/signing-keys.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import { readPublicKey } from "../../../shared/cose-key.ts";
import { mintCwt } from "../../../shared/cwt.ts";
import type { Signer } from "../../../shared/es256.ts";
import { parsePermission } from "../../../shared/scope.ts";
import { generatePrivateKey } from "../../../shared/es256.ts";

const project = "acme";
/** Of the api that lets bearer tokens in. */
export const bearerAudience = "acme.open";
const boundAudience = "acme.bound";
const clientCount = 300;
const deviceCount = 8;

/** A device with its key, and its certificate as TLS wants it. */
export interface Device {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly cert: string;
  readonly key: string;
}

export interface Grounds {
  readonly caPem: string;
  /** Ids of clients without a key; each is for one row. */
  readonly clients: readonly string[];
  /** With the role `sensor`: `pub:acme/<name>/#` and `sub:acme/<name>/#`, for a certificate alone. */
  readonly devices: readonly Device[];
  /** What the authority signs with. */
  readonly signer: Signer;
  /** A copy of the data directory that nobody has used. */
  copy(): string;
  remove(): void;
}

/** What a token says beside who it is for. */
export interface TokenWish {
  readonly allow: readonly string[];
  /** Negative for one that is over. Default ten minutes. */
  readonly ttlSeconds?: number;
  /** Makes it a token bound to this key. */
  readonly boundTo?: KeyObject;
  readonly signer?: Signer;
}

/** Makes the installation in a directory of its own, for {@link Grounds.remove} to delete. */
export async function furnishGrounds(): Promise<Grounds> {
  const folder = mkdtempSync(join(tmpdir(), "postern-attacks-"));
  const template = join(folder, "template");
  mkdirSync(template);
  const ca = await openCertificateAuthority(template);
  await ca.issueServer(["localhost"]);

  const registry = openRegistry({ file: join(template, "postern.db"), sink: createMemoryTrust({ issuer: "" }) });
  ensureSigningKey(registry);
  createProject(registry, project);
  const topics = [`${project}/#`];
  createApi(registry, { project, name: "open", kind: "mqtt", topics: ["#"], bearer: true });
  createApi(registry, { project, name: "bound", kind: "mqtt", topics });
  // a token is worth what it says, since the roles of these clients allow everything
  createRole(registry, { project, name: "all", api: "open", permissions: [parsePermission("pubsub:#")] });
  const permissions = [parsePermission("pubsub:${project}/${name}/#")];
  createRole(registry, { project, name: "sensor", api: "bound", permissions });

  const clients = Array.from({ length: clientCount }, (_, i) => `m${i}`);
  const names = ["alice", "bob", ...clients];
  registry.change(() => {
    for (const name of names) createClient(registry, { project, name, kind: "service", roles: ["all"] });
  });
  const devices: Device[] = [];
  for (let i = 0; i < deviceCount; i++) {
    const name = `d${i}`;
    const privateKey = generatePrivateKey();
    createClient(registry, { project, name, kind: "device", roles: ["sensor"] });
    const id = `${project}.${name}`;
    const key = readPublicKey(privateKey);
    const { serial, notBefore, notAfter, der } = await ca.issueDevice(key, id, 90);
    recordCertificate(registry, { serial, clientId: id, key, notBefore, notAfter, der });
    const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    devices.push({ id, privateKey, cert: toPem("CERTIFICATE", der), key: keyPem });
  }
  const signer = activeSigner(registry);
  registry.close();

  return {
    caPem: ca.caPem,
    clients: clients.map((name) => `${project}.${name}`),
    devices,
    signer,
    copy() {
      const dataDir = mkdtempSync(join(folder, "data-"));
      cpSync(template, dataDir, { recursive: true });
      return dataDir;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Mints a token as the authority at `issuer` would. */
export function mintFor(grounds: Grounds, issuer: string, sub: string, wish: TokenWish): Uint8Array {
  const { allow, ttlSeconds = 600, boundTo, signer = grounds.signer } = wish;
  const now = Math.floor(Date.now() / 1000);
  const times = { iat: now + Math.min(ttlSeconds - 1, 0), exp: now + ttlSeconds };
  const aud = boundTo === undefined ? bearerAudience : boundAudience;
  const cnf = boundTo && ({ kind: "key", key: readPublicKey(boundTo) } as const);
  const scope = allow.map(parsePermission);
  return mintCwt({ iss: issuer, sub, aud, id: randomBytes(8), ...times, ...(cnf && { cnf }), scope }, signer);
}
