/**
 * P-256 public keys in every form that Postern meets: COSE_Key (RFC 9052, section 7; compressed points included), JWK
 * (RFC 7517), SubjectPublicKeyInfo and node's KeyObject; and their thumbprints (RFC 9679, RFC 7638).
 *
 * Refuses other key types and curves, points that are not on the curve, and private parts where a public key belongs.
 */
import { createPublicKey, ECDH, hash, type KeyObject } from "node:crypto";
import { fromBase64url, toBase64url } from "./base64url.ts";
import { encode, type Cbor, type CborMap } from "./cbor.ts";
import { refuse } from "./refusal.ts";

/** A point on P-256 that is ready to verify with. Coordinates are 32 bytes each. */
export interface PublicKey {
  readonly x: Uint8Array;
  readonly y: Uint8Array;
  readonly keyObject: KeyObject;
  /** COSE Key thumbprint with SHA-256 (RFC 9679), 64 hex digits: one name for one key. */
  readonly thumbprint: string;
}

/** A P-256 public key as a JWK, coordinates in base64url. */
export interface PublicJwk {
  readonly kty: "EC";
  readonly crv: "P-256";
  readonly x: string;
  readonly y: string;
}

/** Labels of RFC 9052 7.1 and RFC 9053 7.1.1. */
const label = { kty: 1, kid: 2, alg: 3, keyOps: 4, crv: -1, x: -2, y: -3, d: -4 } as const;
const ec2 = 2;
const p256 = 1;
const es256 = -7;
const verifyOperation = 2;

/**
 * Points that were found on the curve before, whole or compressed, by their bytes: a device keeps its key from token to token,
 * and a client from proof to proof.
 */
const imported = new Map<string, PublicKey>();
const importedKept = 4096;
const jwkThumbprints = new WeakMap<PublicKey, string>();

/** From a node KeyObject, public or private. Throws `key.type`, `key.curve`. */
export function readPublicKey(keyObject: KeyObject): PublicKey {
  if (keyObject.asymmetricKeyType !== "ec") refuse("key.type", keyObject.asymmetricKeyType ?? keyObject.type);
  if (keyObject.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    refuse("key.curve", keyObject.asymmetricKeyDetails?.namedCurve ?? "unnamed");
  }
  const publicKey = keyObject.type === "private" ? createPublicKey(keyObject) : keyObject;
  const jwk = publicKey.export({ format: "jwk" });
  return toPublicKey(fromBase64url(String(jwk.x)), fromBase64url(String(jwk.y)), publicKey);
}

/** From a DER SubjectPublicKeyInfo. */
export function readSpki(der: Uint8Array): PublicKey {
  let keyObject: KeyObject;
  try {
    keyObject = createPublicKey({ key: Buffer.from(der), format: "der", type: "spki" });
  } catch {
    return refuse("key.malformed", "not a SubjectPublicKeyInfo");
  }
  return readPublicKey(keyObject);
}

/** From a decoded COSE_Key; `y` may be the sign bit of a compressed point. */
export function readCoseKey(value: Cbor | undefined): PublicKey {
  if (!(value instanceof Map)) return refuse("key.malformed", "a COSE_Key is a map");
  if (value.get(label.kty) !== ec2) refuse("key.type", "kty is not EC2");
  if (value.get(label.crv) !== p256) refuse("key.curve", "crv is not P-256");
  if (value.has(label.alg) && value.get(label.alg) !== es256) refuse("key.algorithm");
  if (value.has(label.d)) refuse("key.private");
  const operations = value.get(label.keyOps);
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes(verifyOperation))) {
    refuse("key.algorithm", "key_ops without verify");
  }
  const x = readCoordinate(value.get(label.x));
  const y = value.get(label.y);
  if (typeof y === "boolean") return decompress(x, y);
  return importPoint(x, readCoordinate(y));
}

/** As a COSE_Key map, with the compressed point unless told otherwise. */
export function toCoseKey(
  key: PublicKey,
  options: { kid?: Uint8Array; uncompressed?: boolean; alg?: boolean } = {},
): CborMap {
  const map: CborMap = new Map<Cbor, Cbor>([[label.kty, ec2]]);
  if (options.kid !== undefined) map.set(label.kid, options.kid);
  if (options.alg === true) map.set(label.alg, es256);
  map.set(label.crv, p256);
  map.set(label.x, key.x);
  map.set(label.y, options.uncompressed === true ? key.y : (key.y[31]! & 1) === 1);
  return map;
}

/** From a JWK of unknown origin. */
export function readJwk(jwk: unknown): PublicKey {
  if (typeof jwk !== "object" || jwk === null) return refuse("key.malformed", "a JWK is an object");
  const { kty, crv, x, y, d, alg } = jwk as Record<string, unknown>;
  if (kty !== "EC") refuse("key.type", "kty is not EC");
  if (crv !== "P-256") refuse("key.curve", "crv is not P-256");
  if (alg !== undefined && alg !== "ES256") refuse("key.algorithm", "alg is not ES256");
  if (d !== undefined) refuse("key.private", "d is the private part, which stays with its owner");
  if (typeof x !== "string" || typeof y !== "string") return refuse("key.malformed", "coordinates are text");
  return importPoint(readCoordinate(fromBase64url(x)), readCoordinate(fromBase64url(y)));
}

/** As a JWK with the required members only. */
export function toJwk(key: PublicKey): PublicJwk {
  return { kty: "EC", crv: "P-256", x: toBase64url(key.x), y: toBase64url(key.y) };
}

/** JWK thumbprint with SHA-256 (RFC 7638), base64url. */
export function jwkThumbprint(key: PublicKey): string {
  const known = jwkThumbprints.get(key);
  if (known !== undefined) return known;
  const { crv, kty, x, y } = toJwk(key);
  const thumbprint = hash("sha256", JSON.stringify({ crv, kty, x, y }), "base64url");
  jwkThumbprints.set(key, thumbprint);
  return thumbprint;
}

/** Whether two keys are the same point. */
export function samePublicKey(a: PublicKey, b: PublicKey): boolean {
  return a.thumbprint === b.thumbprint;
}

function readCoordinate(value: Cbor | undefined): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length !== 32)
    return refuse("key.malformed", "a coordinate has 32 bytes");
  return value;
}

function decompress(x: Uint8Array, odd: boolean): PublicKey {
  const name = (odd ? "3" : "2") + Buffer.from(x).toString("latin1");
  const known = imported.get(name);
  if (known !== undefined) return known;
  const compressed = Buffer.from([odd ? 3 : 2, ...x]);
  let point: Buffer;
  try {
    point = ECDH.convertKey(compressed, "prime256v1", undefined, undefined, "uncompressed") as Buffer;
  } catch {
    return refuse("key.point", "no point with this x");
  }
  return keep(name, toPoint(x, point.subarray(33)));
}

function importPoint(x: Uint8Array, y: Uint8Array): PublicKey {
  const name = Buffer.from(x).toString("latin1") + Buffer.from(y).toString("latin1");
  return imported.get(name) ?? keep(name, toPoint(x, y));
}

function toPoint(x: Uint8Array, y: Uint8Array): PublicKey {
  const key = { kty: "EC", crv: "P-256", x: toBase64url(x), y: toBase64url(y) };
  try {
    // OpenSSL checks here that the point is on the curve
    return toPublicKey(Uint8Array.from(x), Uint8Array.from(y), createPublicKey({ key, format: "jwk" }));
  } catch {
    return refuse("key.point", "not on the curve");
  }
}

function keep(name: string, key: PublicKey): PublicKey {
  if (imported.size >= importedKept) imported.delete(imported.keys().next().value ?? "");
  imported.set(name, key);
  return key;
}

function toPublicKey(x: Uint8Array, y: Uint8Array, keyObject: KeyObject): PublicKey {
  const required = new Map<Cbor, Cbor>([
    [label.kty, ec2],
    [label.crv, p256],
    [label.x, x],
    [label.y, y],
  ]);
  return { x, y, keyObject, thumbprint: hash("sha256", encode(required), "hex") };
}
