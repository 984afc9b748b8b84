/**
 * What a replay needs of a broker, of whatever make: identities with rights, who they are on the wire, and, where the broker
 * knows of such a thing, credentials that end, rights that change and identities that are taken back.
 */
import type { Wire } from "../../gate/wire.ts";

/** Everything below it is for a replay. */
export const ground = "replay";

/** What an identity may do: filters to publish and to subscribe. */
export interface Rights {
  readonly pub: readonly string[];
  readonly sub: readonly string[];
}

/** The identities and their rights at the start. */
export const identities = {
  writer: { pub: [`${ground}/#`], sub: [] },
  witness: { pub: [], sub: [`${ground}/#`] },
  mortal: { pub: [`${ground}/mortal`], sub: [`${ground}/mortal/in`] },
  narrowed: { pub: [`${ground}/narrowed`], sub: [`${ground}/open`, `${ground}/gone`] },
  leaver: { pub: [`${ground}/leaver`], sub: [`${ground}/leaver/in`] },
  departed: { pub: [`${ground}/departed`], sub: [] },
  owner: { pub: [], sub: [`${ground}/owner`] },
  thief: { pub: [`${ground}/thief`], sub: [`${ground}/thief`] },
} satisfies Record<string, Rights>;

export type Identity = keyof typeof identities;

/** What a CONNECT says of who it is. */
export interface Credential {
  readonly clientId: string;
  readonly username: string;
  readonly password: Buffer;
}

/** A broker that runs. What it has no notion of is absent. */
export interface Profile {
  readonly name: string;
  readonly port: number;
  credential(identity: Identity): Credential;
  /** One that ends after so many seconds, or has ended. */
  readonly endingCredential?: (identity: Identity, seconds: number) => Credential;
  /** Gives a live session another credential. */
  readonly renew?: (identity: Identity, wire: Wire) => Promise<void>;
  /** Puts other rights in place of the present ones, for the live session as well where there is a way. */
  readonly change?: (identity: Identity, rights: Rights, wire: Wire | undefined) => Promise<void>;
  /** Takes an identity back. */
  readonly disable?: (identity: Identity) => Promise<void>;
  stop(): Promise<void>;
}
