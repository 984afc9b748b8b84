/**
 * Certification requests (RFC 2986) as EST sends them: base64 of DER (RFC 8951, section 3.1).
 *
 * A request contributes a public key and nothing else. Refuses PEM, encodings that are not DER, keys that are not on
 * P-256, and a signature that the key did not make; attributes and requested extensions are stepped over unread.
 */
// what the X.509 library registers its parts with
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { verify } from "node:crypto";
import { AsnConvert } from "@peculiar/asn1-schema";
import { Pkcs10CertificateRequest } from "@peculiar/x509";
import { readSpki, type PublicKey } from "../../../shared/cose-key.ts";
import { Refusal, refuse } from "../../../shared/refusal.ts";

/** What is taken from a request. */
export interface CertificationRequest {
  readonly key: PublicKey;
  /** The distinguished name as text (RFC 4514), empty for none; nothing but the renewal of a certificate looks at it. */
  readonly subject: string;
}

const base64Pattern = /^[A-Za-z0-9+/]*={0,2}$/;
const sequenceTag = 0x30;
const ecdsaWithSha256 = "1.2.840.10045.4.3.2";

/** Reads and verifies a request. Throws `csr.malformed`, `csr.key`, `csr.signature` or `request.too-large`. */
export function readCertificationRequest(body: Uint8Array, maxBytes: number): CertificationRequest {
  const { request, subject } = readRequest(decodeBase64(body, maxBytes));
  const key = readKey(request);
  if (!request.isEcdsaWithSha256) refuse("csr.signature", "not ecdsa-with-SHA256");
  if (!isSignedBy(key, request)) refuse("csr.signature");
  return { key, subject };
}

/** The library's request, with what it keeps to itself. */
class OpenRequest extends Pkcs10CertificateRequest {
  /** What the library would write for what it has read: the bytes it was given, if those were DER. */
  get canonical(): Uint8Array {
    return new Uint8Array(AsnConvert.serialize(this.asn));
  }

  /** The bytes under the signature, of a request that is DER. */
  get signed(): Uint8Array {
    return new Uint8Array(AsnConvert.serialize(this.asn.certificationRequestInfo));
  }

  /** The algorithm has no parameters (RFC 5758, section 3.2). */
  get isEcdsaWithSha256(): boolean {
    const { algorithm, parameters } = this.asn.signatureAlgorithm;
    return algorithm === ecdsaWithSha256 && parameters === undefined;
  }
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

/** The library takes PEM, hex, BER and trailing bytes as well; DER has one form for everything (X.690, section 10). */
function readRequest(der: Uint8Array): { readonly request: OpenRequest; readonly subject: string } {
  if (der[0] !== sequenceTag) refuse("csr.malformed", "not DER");
  try {
    const request = new OpenRequest(der);
    if (Buffer.compare(request.canonical, der) !== 0) throw new TypeError("not DER");
    return { request, subject: request.subject };
  } catch (error) {
    return refuse("csr.malformed", error instanceof Error ? error.message : "");
  }
}

function readKey(request: OpenRequest): PublicKey {
  try {
    return readSpki(new Uint8Array(request.publicKey.rawData));
  } catch (error) {
    return refuse("csr.key", error instanceof Refusal ? error.message : "");
  }
}

/** By OpenSSL and not by the library, which reads a signature that is not DER as well. */
function isSignedBy(key: PublicKey, request: OpenRequest): boolean {
  try {
    const signature = new Uint8Array(request.signature);
    return verify("sha256", request.signed, { key: key.keyObject, dsaEncoding: "der" }, signature);
  } catch {
    return false;
  }
}
