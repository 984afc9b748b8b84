/**
 * Certification requests (RFC 2986) as EST sends them: base64 of DER (RFC 8951, section 3.1).
 *
 * A request contributes a public key and nothing else. Refuses PEM, keys that are not on P-256, and a signature that the
 * key did not make; attributes and requested extensions are stepped over unread.
 */
import { verify } from "node:crypto";
import { readSpki, type PublicKey } from "../../shared/cose-key.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { DerReader, oid, sequence, tag } from "./der.ts";
import { ids } from "./x509.ts";

export interface CertificationRequest {
  readonly key: PublicKey;
  /** The distinguished name in DER; nothing but the renewal of a certificate looks at it. */
  readonly subject: Uint8Array;
}

const base64Pattern = /^[A-Za-z0-9+/]*={0,2}$/;
const ecdsaWithSha256 = sequence(oid(ids.ecdsaWithSha256));
const emptyName = sequence();
const attributesTag = 0xa0;

/** Reads and verifies a request. Throws `csr.malformed`, `csr.key`, `csr.signature` or `request.too-large`. */
export function readCertificationRequest(body: Uint8Array, maxBytes: number): CertificationRequest {
  const outer = new DerReader(decodeBase64(body, maxBytes));
  const request = new DerReader(outer.next(tag.sequence).content);
  outer.end();
  const info = request.next(tag.sequence);
  const algorithm = request.next(tag.sequence);
  const signature = request.next(tag.bitString).content;
  request.end();

  const fields = new DerReader(info.content);
  const version = fields.next(tag.integer).content;
  if (version.length !== 1 || version[0] !== 0) refuse("csr.malformed", "not version 1");
  const subject = fields.next(tag.sequence).bytes;
  const spki = fields.next(tag.sequence).bytes;
  fields.next(attributesTag);
  fields.end();

  const key = readKey(spki);
  if (Buffer.compare(algorithm.bytes, ecdsaWithSha256) !== 0) refuse("csr.signature", "not ecdsa-with-SHA256");
  if (signature[0] !== 0 || !isSignedBy(key, info.bytes, signature.subarray(1))) refuse("csr.signature");
  return { key, subject };
}

/** Whether a request names no subject at all. */
export function isEmptyName(name: Uint8Array): boolean {
  return Buffer.compare(name, emptyName) === 0;
}

/** White space is tolerated anywhere (RFC 8951, section 3.1), anything else that is not base64 is not. */
function decodeBase64(body: Uint8Array, maxBytes: number): Uint8Array {
  const text = Buffer.from(body)
    .toString("latin1")
    .replaceAll(/[ \t\r\n]/g, "");
  if (text === "" || text.length % 4 !== 0 || !base64Pattern.test(text)) refuse("csr.malformed", "not base64 of DER");
  const bytes = Buffer.from(text, "base64");
  if (bytes.length > maxBytes) refuse("request.too-large", `${String(bytes.length)} bytes`);
  return bytes;
}

function readKey(spki: Uint8Array): PublicKey {
  try {
    return readSpki(spki);
  } catch (error) {
    return refuse("csr.key", error instanceof Refusal ? error.message : "");
  }
}

function isSignedBy(key: PublicKey, signed: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify("sha256", signed, { key: key.keyObject, dsaEncoding: "der" }, signature);
  } catch {
    return false;
  }
}
