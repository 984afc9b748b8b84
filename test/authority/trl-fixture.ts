/** What the tests of the list of revoked tokens have in common: an authority with some revoked tokens, and a broker. */
import { recordCertificate } from "../../broker/registry/certificates.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { createBrokerTicket } from "../../broker/registry/broker-tickets.ts";
import { listTokens, type RevokedToken } from "../../broker/registry/revoked-tokens.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { brokerSubject } from "../../shared/names.ts";
import { decodeTrl, decodeTrlProblem, HASH_BYTES, type TrlAnswer, type TrlProblem } from "../../shared/trl.ts";
import { furnish, makeDevice, makeKey, openFixture, type Answer, type Device, type Fixture } from "./fixture.ts";
import { hashOf } from "./trl-scenarios.ts";

export const ADMIN = { authorization: "Bearer admin-key" };

/** A client of its own: `plant.pi` has a certificate, `plant.board` a secret. */
export interface TrlFixture extends Fixture {
  readonly pi: Device;
  readonly secret: string;
}

export async function openTrlFixture(): Promise<TrlFixture> {
  const at = await openFixture();
  const { secret } = furnish(at.registry);
  createApi(at.registry, { project: "plant", name: "web", kind: "http", scopes: ["read"] });
  return { ...at, secret, pi: await makeDevice(at, "plant.pi") };
}

/** A broker elsewhere with a certificate on record. */
export async function makeBroker(at: Fixture, name: string): Promise<Device> {
  createBrokerTicket(at.registry, { name });
  const { privateKey, key } = makeKey();
  const { serial, notBefore, notAfter, der } = await at.ca.issueBroker(key, name, [], 90);
  const id = brokerSubject(name);
  recordCertificate(at.registry, { serial, clientId: id, key, notBefore, notAfter, der });
  return { id, privateKey, key, serial, cert: toPem("CERTIFICATE", der) };
}

/** Puts tokens on the list: by name, of a client, for an api. */
export function revoke(
  at: Fixture,
  ...tokens: readonly (readonly [name: string, client?: string, audience?: string, seconds?: number])[]
): void {
  const rows = tokens.map(([name, client = "plant.pi", audience = "plant.tele", seconds = 600]): RevokedToken => {
    return { hash: hashOf(name), otherHash: null, client, audience, exp: at.clock.now + seconds };
  });
  at.registry.change(() => listTokens(at.registry, rows));
}

export function read(answer: Answer): TrlAnswer {
  return decodeTrl(answer.body);
}

export function problem(answer: Answer): TrlProblem {
  return decodeTrlProblem(answer.body);
}

/** Hex of each, sorted. */
export function hashes(packed: Uint8Array | undefined): string[] {
  return (
    Buffer.from(packed ?? [])
      .toString("hex")
      .match(new RegExp(`.{${2 * HASH_BYTES}}`, "g")) ?? []
  ).toSorted();
}

export function named(...names: readonly string[]): string[] {
  return names.map((name) => Buffer.from(hashOf(name)).toString("hex")).toSorted();
}
