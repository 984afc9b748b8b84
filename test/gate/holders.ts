/**
 * Devices that hold everything by which they could be let in, so that each of it can be taken back.
 */
import type { KeyObject } from "node:crypto";
import type { Session } from "../../broker/gate/session.ts";
import type { ClientTrust } from "../../broker/trust/trust.ts";
import { readPublicKey } from "../../shared/cose-key.ts";
import { nameAuthority, nameCertificate } from "../../shared/device-certificate.ts";
import { parsePermission } from "../../shared/scope.ts";
import { tokenHashes } from "../../shared/token.ts";
import type { Identity } from "./certificates.ts";
import { AUDIENCE, BEARER_AUDIENCE, openFixture, userName } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";
import type { Wire } from "./wire.ts";

/** A device, two tokens with the number 700, and a certificate. */
export interface Holder {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly cwt: Uint8Array;
  /** A bearer token. */
  readonly jwt: string;
  readonly identity: Identity;
}

/** What a device shows of what it holds. */
export type Way = "proof" | "certificate and token" | "certificate" | "bearer";

/** What the roles of a holder allow: everything. */
export const everything = [AUDIENCE, BEARER_AUDIENCE].map((audience) => ({
  audience,
  grants: [parsePermission("pubsub:#")],
}));

/** A will on a topic that a witness listens to. */
export const will = { topic: "taken/back", payload: Buffer.from("w"), qos: 0 as const, retain: false };

export const cnfOf = (privateKey: KeyObject) => ({ kind: "key", key: readPublicKey(privateKey) }) as const;

/** The hashes as a list of revoked tokens has them, of a JWT that of its text. */
export const hashesOf = (...tokens: (Uint8Array | string)[]): Buffer =>
  Buffer.concat(tokens.map((token) => Buffer.from(tokenHashes(token)[0]!, "hex")));

/** The hash of a JWT in its other spelling, base64url of the text. */
export const otherHashOf = (jwt: string): Buffer => Buffer.from(tokenHashes(jwt)[1]!, "hex");

/** A broker with holders, and a witness of all that is published. */
export interface Holders {
  readonly f: Fixture;
  readonly witness: Wire;
  /** Tells trust of a client that is enabled and may do everything, but for what is said. */
  learn(client: Partial<ClientTrust> & { id: string }): void;
  hold(): Promise<Holder>;
  /** Opens a session in one of the ways; rejects with the reason of a refusal. */
  connect(way: Way, holder: Holder, packet?: object): Promise<Wire>;
  sessionOf(holder: { readonly id: string }): Session;
  /** What the certificate is called on a list of revoked ones. */
  nameOf(identity: Identity): string;
  /** What the witness heard until now. */
  heard(): Promise<string[]>;
}

export async function openHolders(): Promise<Holders> {
  const f = await openFixture();
  const witness = await f.enter(f.device("witness"), { allow: ["pubsub:#"] });
  await witness.subscribe(["taken/#"]);
  const learn: Holders["learn"] = (client) => f.trust.learnClient({ enabled: true, grants: everything, ...client });

  return {
    f,
    witness,
    learn,
    async hold() {
      const device = f.device();
      learn({ id: device.id });
      const token = { cnf: cnfOf(device.privateKey), allow: ["pubsub:#"], id: Uint8Array.from([700 >> 8, 700 & 255]) };
      const jwt = f.jwt(device.id, { ...token, aud: BEARER_AUDIENCE, cnf: undefined });
      return { ...device, cwt: f.cwt(device.id, token), jwt, identity: await f.certificate(device) };
    },
    async connect(way, holder, packet = {}) {
      const wire = await f.open(way.startsWith("certificate") ? holder.identity : {});
      const { returnCode } = await wire.connect({ ...say(way, holder, wire), ...packet });
      if (returnCode !== 0) throw new Error(`connack ${returnCode}: ${f.lastReason("connect")}`);
      return wire;
    },
    sessionOf: ({ id }) => f.gate.sessions.by("client", id)[0]!,
    nameOf: ({ x509 }) => nameCertificate({ authority: nameAuthority(f.authority.x509), serial: x509.serialNumber }),
    async heard() {
      await witness.publish("taken/end");
      const topics: string[] = [];
      for (;;) {
        const { topic } = await witness.message();
        if (topic === "taken/end") return topics;
        topics.push(topic);
      }
    },
  };
}

/** What a CONNECT says in one of the ways, on a connection that is open. */
function say(way: Way, holder: Holder, wire: Wire): object {
  const clientId = holder.id;
  const username = userName(holder.cwt);
  if (way === "proof") return { clientId, username, password: wire.prove(holder.privateKey) };
  if (way === "certificate and token") return { clientId, username };
  return way === "certificate" ? { clientId } : { clientId, username: "x", password: Buffer.from(holder.jwt) };
}
