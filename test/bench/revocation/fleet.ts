/**
 * The clients whose access is taken back: a data directory as `postern up` would find it, with thousands of devices on
 * record, a live token or certificate for each, and a broker elsewhere that is enrolled.
 *
 * All of it is written before any server starts. Tokens are on record as if the authority had issued them, so they name its
 * port, and that is chosen beforehand.
 */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  openCertificateAuthority,
  type CertificateAuthority,
} from "../../../broker/authority/certificates/certificates.ts";
import { toPem } from "../../../broker/authority/certificates/x509.ts";
import { createApi } from "../../../broker/registry/apis.ts";
import { createBrokerTicket } from "../../../broker/registry/broker-tickets.ts";
import { recordCertificate } from "../../../broker/registry/certificates.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { nextTokenId, recordIssued } from "../../../broker/registry/issued.ts";
import { openRegistry } from "../../../broker/registry/open-registry.ts";
import { createProject } from "../../../broker/registry/projects.ts";
import type { Registry } from "../../../broker/registry/registry.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { activeSigner, ensureSigningKey } from "../../../broker/registry/signing-keys.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import type { Confirmation } from "../../../shared/claims.ts";
import { readPublicKey, type PublicKey } from "../../../shared/cose-key.ts";
import { mintCwt } from "../../../shared/cwt.ts";
import { brokerSubject } from "../../../shared/names.ts";
import { parsePermission } from "../../../shared/scope.ts";
import { tokenHashes } from "../../../shared/token.ts";
import type { TlsIdentity } from "../installation.ts";
import { writeBrokerFile, type BrokerFile } from "./broker-file.ts";
import { generatePrivateKey } from "../../../shared/es256.ts";

/** How many devices there are, by how they connect. */
export interface FleetSize {
  /** Over plain TCP, with a bearer token. */
  readonly bearer: number;
  /** Over TLS, with a token and its proof. */
  readonly bound: number;
  /** Over TLS, with the device certificate alone. */
  readonly certified: number;
}

export type MemberKind = keyof FleetSize;

/** A device with what it presents. */
export interface Member {
  readonly kind: MemberKind;
  readonly name: string;
  readonly clientId: string;
  readonly token?: { readonly bytes: Uint8Array; readonly hash: string } | undefined;
  readonly certificate?: { readonly identity: TlsIdentity; readonly serial: string } | undefined;
  /** Of the key that the token is bound to, PEM. */
  readonly keyPem?: string | undefined;
}

export interface Fleet {
  readonly dataDir: string;
  /** Where the authority must listen. */
  readonly httpPort: number;
  readonly issuer: string;
  readonly caPem: string;
  readonly members: readonly Member[];
  /** The data directory of the broker elsewhere. */
  readonly brokerDir: string;
  /** Who that broker is. */
  readonly broker: BrokerFile;
  remove(): void;
}

const PROJECT = "fleet";
const bearerAudience = `${PROJECT}.open`;
const boundAudience = `${PROJECT}.mqtt`;
const brokerName = "elsewhere";
const days = 90;
const tokenSeconds = 6 * 3600;
/** Over which the devices are written: an open transaction grows with what waits for its commit. */
const writtenAtOnce = 1000;
const grants = ["pub:fleet/log", "pub:fleet/${name}/+", "sub:fleet/${name}/cmd"];

/** Furnishes it in directories of its own, for {@link Fleet.remove} to delete. */
export async function furnishFleet(size: FleetSize): Promise<Fleet> {
  const dataDir = mkdtempSync(join(tmpdir(), "postern-bench-"));
  const brokerDir = join(dataDir, "elsewhere");
  mkdirSync(brokerDir, { mode: 0o700 });
  const httpPort = await choosePort();
  const issuer = `https://localhost:${httpPort}`;
  const ca = await openCertificateAuthority(dataDir);

  const registry = openRegistry({ file: join(dataDir, "postern.db"), sink: createMemoryTrust({ issuer }) });
  ensureSigningKey(registry);
  createProject(registry, PROJECT);
  createApi(registry, { project: PROJECT, name: "mqtt", kind: "mqtt", topics: ["fleet/#"] });
  createApi(registry, { project: PROJECT, name: "open", kind: "mqtt", topics: ["fleet/#"], bearer: true });
  for (const api of ["mqtt", "open"]) {
    createRole(registry, { project: PROJECT, name: api, api, permissions: grants.map(parsePermission) });
  }
  const members: Member[] = [];
  const kinds = (["bearer", "bound", "certified"] as const).flatMap((kind) => Array<MemberKind>(size[kind]).fill(kind));
  for (let first = 0; first < kinds.length; first += writtenAtOnce) {
    const made: Making[] = [];
    for (const [index, kind] of kinds.slice(first, first + writtenAtOnce).entries()) {
      made.push(await makeDevice(ca, kind, first + index));
    }
    registry.change(() => {
      for (const device of made) members.push(enter(registry, issuer, device));
    });
  }
  const broker = await furnishBroker(registry, ca, issuer);
  registry.close();
  writeBrokerFile(brokerDir, broker);

  const remove = (): void => rmSync(dataDir, { recursive: true, force: true });
  return { dataDir, httpPort, issuer, caPem: ca.caPem, members, brokerDir, broker, remove };
}

interface Making {
  readonly kind: MemberKind;
  readonly name: string;
  readonly clientId: string;
  readonly key?: PublicKey;
  readonly keyPem?: string;
  readonly issued?: Awaited<ReturnType<CertificateAuthority["issueDevice"]>>;
}

async function makeDevice(ca: CertificateAuthority, kind: MemberKind, number: number): Promise<Making> {
  const name = `d${String(number).padStart(6, "0")}`;
  const clientId = `${PROJECT}.${name}`;
  if (kind === "bearer") return { kind, name, clientId };
  const { key, keyPem } = makeKey();
  const issued = kind === "certified" ? await ca.issueDevice(key, clientId, days) : undefined;
  return { kind, name, clientId, key, keyPem, ...(issued && { issued }) };
}

/** Puts a device on record with what it is to present. */
function enter(registry: Registry, issuer: string, { kind, name, clientId, key, keyPem, issued }: Making): Member {
  const api = kind === "bearer" ? "open" : "mqtt";
  createClient(registry, { project: PROJECT, name, kind: "device", roles: [api] });
  if (issued !== undefined && key !== undefined && keyPem !== undefined) {
    const { serial, notBefore, notAfter, der } = issued;
    recordCertificate(registry, { serial, clientId, key, notBefore, notAfter, der });
    return {
      kind,
      name,
      clientId,
      certificate: { identity: { cert: toPem("CERTIFICATE", der), key: keyPem }, serial },
    };
  }
  const signer = activeSigner(registry);
  const iat = registry.nowSeconds();
  const aud = kind === "bearer" ? bearerAudience : boundAudience;
  const claims = { iss: issuer, sub: clientId, aud, iat, exp: iat + tokenSeconds, id: nextTokenId(registry) };
  const cnf: { cnf?: Confirmation } = key === undefined ? {} : { cnf: { kind: "key", key } };
  const scope = [
    { filter: "fleet/log", pub: true, sub: false },
    { filter: `fleet/${name}/+`, pub: true, sub: false },
    { filter: `fleet/${name}/cmd`, pub: false, sub: true },
  ];
  const bytes = mintCwt({ ...claims, ...cnf, scope }, signer);
  const hashes = tokenHashes(bytes);
  const { id, exp } = claims;
  recordIssued(registry, { hashes, id, clientId, audience: aud, kid: signer.kid, exp, keyThumbprint: key?.thumbprint });
  return { kind, name, clientId, token: { bytes, hash: hashes[0]! }, keyPem };
}

async function furnishBroker(registry: Registry, ca: CertificateAuthority, issuer: string): Promise<BrokerFile> {
  createBrokerTicket(registry, { name: brokerName });
  const { key, keyPem } = makeKey();
  const { serial, notBefore, notAfter, der } = await ca.issueBroker(key, brokerName, ["localhost"], days);
  recordCertificate(registry, { serial, clientId: brokerSubject(brokerName), key, notBefore, notAfter, der });
  return { name: brokerName, authority: issuer, caPem: ca.caPem, cert: toPem("CERTIFICATE", der), key: keyPem };
}

function makeKey(): { readonly key: PublicKey; readonly keyPem: string } {
  const privateKey = generatePrivateKey();
  return { key: readPublicKey(privateKey), keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}

/** A port that is free at this moment. */
export async function choosePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
