/** Lists of revoked certificates by hand, to make what no authority would, with a true signature. */
import { createPrivateKey, sign, X509Certificate, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  openCertificateAuthority,
  type CertificateAuthority,
} from "../../broker/authority/certificates/certificates.ts";
import { Refusal } from "../../shared/refusal.ts";
import { bitString, commonName, der, integer, oids, sequence } from "./der.ts";

/** An authority with its private key in the open. */
export interface OpenAuthority {
  readonly ca: CertificateAuthority;
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

/** Makes an authority, and leaves nothing on disk. */
export async function makeAuthority(): Promise<OpenAuthority> {
  const directory = mkdtempSync(join(tmpdir(), "postern-crl-"));
  try {
    const ca = await openCertificateAuthority(directory);
    const privateKey = createPrivateKey(readFileSync(join(directory, "ca.key")));
    return { ca, certificate: ca.caCertificate, privateKey };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The parts of a list; each stands where it must unless it is replaced. An empty one leaves its place empty. */
export interface CrlParts {
  readonly version?: Uint8Array;
  readonly innerAlgorithm?: Uint8Array;
  readonly issuer?: Uint8Array;
  readonly thisUpdate?: Uint8Array;
  readonly nextUpdate?: Uint8Array;
  readonly entries?: Uint8Array;
  readonly extensions?: Uint8Array;
  /** At the end of what is signed. */
  readonly more?: Uint8Array;
  readonly algorithm?: Uint8Array;
  readonly hash?: string;
  readonly signWith?: KeyObject;
  readonly signature?: Uint8Array;
  /** After the list. */
  readonly after?: Uint8Array;
}

/** Object identifiers of extensions, in DER. */
export const names = {
  number: Buffer.from("0603551d14", "hex"),
  reason: Buffer.from("0603551d15", "hex"),
  delta: Buffer.from("0603551d1b", "hex"),
  distributionPoint: Buffer.from("0603551d1c", "hex"),
  certificateIssuer: Buffer.from("0603551d1d", "hex"),
  unknown: Buffer.from("06032a0304", "hex"),
} as const;

export const yes = der(0x01, Uint8Array.of(0xff));
export const ecdsaWithSha256 = sequence(oids.ecdsaWithSha256);

/** One extension; `value` is what its octets hold. */
export function extension(name: Uint8Array, value: Uint8Array, critical?: Uint8Array): Buffer {
  return sequence(name, ...(critical === undefined ? [] : [critical]), der(0x04, value));
}

/** `crlExtensions`. */
export function extensions(...each: readonly Uint8Array[]): Buffer {
  return der(0xa0, sequence(...each));
}

export function utcTime(text: string): Buffer {
  return der(0x17, Buffer.from(text));
}

export function generalizedTime(text: string): Buffer {
  return der(0x18, Buffer.from(text));
}

/** An entry of `revokedCertificates`. */
export function entry(serial: Uint8Array, ...more: readonly Uint8Array[]): Buffer {
  return sequence(serial, utcTime("260101000000Z"), ...more);
}

/** A list of 1 and 2, number 7, of November 2026, with what is replaced. */
export function makeCrl({ privateKey }: OpenAuthority, parts: CrlParts = {}): Buffer {
  const signed = sequence(
    parts.version ?? integer(1),
    parts.innerAlgorithm ?? ecdsaWithSha256,
    parts.issuer ?? commonName("Postern CA"),
    parts.thisUpdate ?? utcTime("261120000000Z"),
    parts.nextUpdate ?? utcTime("261130000000Z"),
    parts.entries ?? sequence(entry(integer(1)), entry(integer(2))),
    parts.extensions ?? extensions(extension(names.number, integer(7))),
    parts.more ?? Buffer.alloc(0),
  );
  const signature = parts.signature ?? bitString(sign(parts.hash ?? "sha256", signed, parts.signWith ?? privateKey));
  return Buffer.concat([
    sequence(signed, parts.algorithm ?? ecdsaWithSha256, signature),
    parts.after ?? Buffer.alloc(0),
  ]);
}

/** The detail of the refusal; nothing but `registry.invalid` is a refusal here. */
export function faultOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Refusal && error.reason === "registry.invalid") return error.detail;
    throw error;
  }
  return "accepted";
}
