/** A registry on a frozen clock, and a sink that remembers what it was told. */
import { expect } from "vitest";
import { createApi, type Api } from "../../broker/registry/apis.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { createRole } from "../../broker/registry/roles.ts";
import type { ApiGrants, ApiTrust, ClientTrust, DeviceAuthority, TrustSink } from "../../broker/trust/trust.ts";
import { readPublicKey, type PublicKey } from "../../shared/cose-key.ts";
import type { Reason } from "../../shared/refusal.ts";
import { formatPermission, parsePermission, type Grant } from "../../shared/scope.ts";
import { HASH_BYTES } from "../../shared/trl.ts";
import { generatePrivateKey } from "../../shared/es256.ts";

export const NOW = 1_800_000_000;

export interface Told extends TrustSink {
  readonly keys: Map<string, string>;
  readonly apis: Map<string, ApiTrust>;
  readonly clients: Map<string, ClientTrust>;
  /** Hashes, hex. */
  readonly tokens: Set<string>;
  readonly certificates: Set<string>;
  readonly projects: Map<string, number>;
  readonly authorities: Map<string, DeviceAuthority>;
  /** How often a client was told. */
  tellings: number;
}

export function listen(): Told {
  const told: Told = {
    keys: new Map(),
    apis: new Map(),
    clients: new Map(),
    tokens: new Set(),
    certificates: new Set(),
    projects: new Map(),
    authorities: new Map(),
    tellings: 0,
    learnKey: (kid, key) => void told.keys.set(kid, key.thumbprint),
    forgetKey: (kid) => void told.keys.delete(kid),
    learnApi: (api) => void told.apis.set(api.audience, api),
    forgetApi: (audience) => void told.apis.delete(audience),
    learnClient: (client) => {
      told.tellings++;
      told.clients.set(client.id, client);
    },
    forgetClient: (id) => void told.clients.delete(id),
    expectTokens: () => undefined,
    revokeTokens: (hashes) => eachHash(hashes, (hash) => told.tokens.add(hash)),
    releaseTokens: (hashes) => eachHash(hashes, (hash) => told.tokens.delete(hash)),
    replaceTokens: (hashes) => {
      told.tokens.clear();
      eachHash(hashes, (hash) => told.tokens.add(hash));
    },
    revokeCertificates: (names) => names.forEach((name) => told.certificates.add(name)),
    releaseCertificates: (names) => names.forEach((name) => told.certificates.delete(name)),
    learnTokensSince: (project, seconds) => void told.projects.set(project, seconds),
    learnAuthority: (authority) => void told.authorities.set(authority.id, authority),
    forgetAuthority: (id) => void told.authorities.delete(id),
  };
  return told;
}

export interface Fixture {
  readonly r: Registry;
  readonly told: Told;
  readonly clock: { now: number };
}

export function openFixture(file = ":memory:"): Fixture {
  const told = listen();
  const clock = { now: NOW };
  return { r: openRegistry({ file, sink: told, nowSeconds: () => clock.now }), told, clock };
}

/** Project `farm` with api `telemetry` on `sites/#` and role `sensor`. */
export function openFarm(file?: string): Fixture & { readonly api: Api } {
  const fixture = openFixture(file);
  createProject(fixture.r, "farm");
  const api = createApi(fixture.r, { project: "farm", name: "telemetry", kind: "mqtt", topics: ["sites/#"] });
  createRole(fixture.r, {
    project: "farm",
    name: "sensor",
    api: "telemetry",
    permissions: ["pub:sites/${name}/up/#", "sub:sites/${name}/down"].map(parsePermission),
  });
  return { ...fixture, api };
}

export function newKey(): PublicKey {
  return readPublicKey(generatePrivateKey());
}

/** The grants a sink (by api) or a registry gave, as text. */
export function asText(grants: readonly (Grant | ApiGrants)[] | undefined): string[] {
  return (grants ?? []).flatMap((one) => ("grants" in one ? one.grants : [one])).map(formatPermission);
}

function eachHash(hashes: Uint8Array, take: (hash: string) => unknown): void {
  const hex = Buffer.from(hashes).toString("hex");
  for (let at = 0; at < hex.length; at += 2 * HASH_BYTES) take(hex.slice(at, at + 2 * HASH_BYTES));
}

/** For `toThrow`: a refusal with this reason, and with these words in its detail. */
export function refusal(reason: Reason, detail = ""): Error {
  return expect.objectContaining({
    name: "Refusal",
    reason,
    detail: expect.stringContaining(detail) as string,
  }) as Error;
}
