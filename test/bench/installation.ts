/**
 * The installation that the benchmarks run on: a data directory as `postern up` would find it, with project `home`, one
 * device with three grants (and one for the load), one service with a secret and an api of kind http with its clients; and what
 * the load generator needs to speak as them.
 *
 * It is furnished before any server starts, so that nothing here costs a server anything.
 */
import { randomBytes, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { recordCertificate } from "../../broker/registry/certificates.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { activeSigner, ensureSigningKey } from "../../broker/registry/signing-keys.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import { mintCwtAssertion, mintJwtAssertion, type AssertionClaims } from "../../shared/assertion.ts";
import { readPublicKey } from "../../shared/cose-key.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { createSigner, type Signer, generatePrivateKey } from "../../shared/es256.ts";
import { parsePermission } from "../../shared/scope.ts";
import { furnishProvider, SECRET_CLIENT, WEB_AUDIENCE, WEB_SCOPE, type Provider } from "./http/provider.ts";

export const DEVICE = "home.pi";
export const SERVICE = "home.board";
/** Tokens for it are bound to a key. */
export const BOUND_AUDIENCE = "home.mqtt";
/** Tokens for it are bearer tokens. */
export const BEARER_AUDIENCE = "home.open";
/** Where the load of the broker benchmarks goes. */
export const BENCH_TOPICS = "home/bench";
/** The device's public key, for the bare server to verify with. */
export const DEVICE_KEY_FILE = "device.pem";

const permissions = ["pub:${project}/${name}/+", "sub:${project}/${name}/cmd", "pub:${project}/log"];

/** A client certificate with its key, PEM. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
}

export interface Installation {
  readonly dataDir: string;
  readonly caPem: string;
  readonly device: TlsIdentity;
  readonly deviceSigner: Signer;
  readonly serviceSecret: string;
  cwtAssertion(issuer: string): Uint8Array;
  jwtAssertion(issuer: string): string;
  /** A token for the device, signed with the key of the authority as the authority would. */
  token(issuer: string): Uint8Array;
  /** A bearer token for the device, for every topic below {@link BENCH_TOPICS}. */
  bearerToken(issuer: string): Uint8Array;
  /** An api of kind http, and its clients. */
  readonly provider: Provider;
  /** A bearer token for that api, a JWT, signed as the authority would. */
  webToken(issuer: string): string;
  /** The device's private key, PEM. */
  readonly deviceKeyPem: string;
  remove(): void;
}

/** Makes the installation in a directory of its own, for {@link Installation.remove} to delete. */
export async function furnishInstallation(): Promise<Installation> {
  const dataDir = mkdtempSync(join(tmpdir(), "postern-bench-"));
  const ca = await openCertificateAuthority(dataDir);
  await ca.issueServer(["localhost"]);
  const privateKey = generatePrivateKey();
  const key = readPublicKey(privateKey);
  const made = await ca.issueDevice(key, DEVICE, 90);
  writeFileSync(join(dataDir, DEVICE_KEY_FILE), key.keyObject.export({ type: "spki", format: "pem" }));

  const registry = openRegistry({ file: join(dataDir, "postern.db"), sink: createMemoryTrust({ issuer: "" }) });
  ensureSigningKey(registry);
  createProject(registry, "home");
  createApi(registry, { project: "home", name: "mqtt", kind: "mqtt", topics: ["home/#"] });
  createApi(registry, { project: "home", name: "open", kind: "mqtt", topics: ["home/#"], bearer: true });
  createRole(registry, { project: "home", name: "sensor", api: "mqtt", permissions: permissions.map(parsePermission) });
  createRole(registry, {
    project: "home",
    name: "reader",
    api: "open",
    permissions: ["sub:home/+/state", "sub:home/log", "sub:home/news"].map(parsePermission),
  });
  createRole(registry, {
    project: "home",
    name: "bench",
    api: "open",
    permissions: [parsePermission(`pubsub:${BENCH_TOPICS}/#`)],
  });
  createClient(registry, { project: "home", name: "pi", kind: "device", roles: ["sensor", "bench"] });
  const service = createClient(registry, { project: "home", name: "board", kind: "service", roles: ["reader"] });
  const { serial, notBefore, notAfter, der } = made;
  recordCertificate(registry, { serial, clientId: DEVICE, key, notBefore, notAfter, der });
  const provider = furnishProvider(registry, dataDir);
  const issuerSigner = activeSigner(registry);
  registry.close();

  const deviceSigner = createSigner("", privateKey);
  const deviceKeyPem = toKeyPem(privateKey);
  const now = (): number => Math.floor(Date.now() / 1000);
  const scope = [
    { filter: "home/log", pub: true, sub: false },
    { filter: "home/pi/+", pub: true, sub: false },
    { filter: "home/pi/cmd", pub: false, sub: true },
  ];
  const assertion = (issuer: string): AssertionClaims => {
    return { iss: DEVICE, sub: DEVICE, aud: issuer, iat: now(), exp: now() + 240, id: randomBytes(16) };
  };
  return {
    dataDir,
    caPem: ca.caPem,
    device: { cert: toPem("CERTIFICATE", der), key: deviceKeyPem },
    deviceKeyPem,
    deviceSigner,
    serviceSecret: service.secret!,
    cwtAssertion: (issuer) => mintCwtAssertion(assertion(issuer), deviceSigner),
    jwtAssertion: (issuer) => mintJwtAssertion(assertion(issuer), deviceSigner),
    token(issuer) {
      const times = { iat: now(), exp: now() + 3600 };
      const names = { iss: issuer, sub: DEVICE, aud: BOUND_AUDIENCE, id: randomBytes(8) };
      return mintCwt({ ...names, ...times, cnf: { kind: "key", key }, scope }, issuerSigner);
    },
    bearerToken(issuer) {
      const times = { iat: now(), exp: now() + 3600 };
      const names = { iss: issuer, sub: DEVICE, aud: BEARER_AUDIENCE, id: randomBytes(8) };
      const grant = { filter: `${BENCH_TOPICS}/#`, pub: true, sub: true };
      return mintCwt({ ...names, ...times, scope: [grant] }, issuerSigner);
    },
    provider,
    webToken(issuer) {
      const times = { iat: now(), exp: now() + 3600 };
      const names = { iss: issuer, sub: SECRET_CLIENT, aud: WEB_AUDIENCE, id: randomBytes(8), scope: WEB_SCOPE };
      return mintJwt({ ...names, ...times }, issuerSigner);
    },
    remove: () => rmSync(dataDir, { recursive: true, force: true }),
  };
}

function toKeyPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
