/**
 * What a revocation list must repeat of the certificate of its authority, byte for byte: the name, and the identifier of the
 * key; and whether the certificate lets its key sign lists (RFC 5280, sections 4.2.1.1, 4.2.1.2, 4.2.1.3).
 */
import { contextTag, readDer, tags } from "./der.ts";

/** What the certificate says of its subject. */
export interface AuthorityName {
  /** The subject, as it is encoded. */
  readonly subject: Uint8Array;
  /** The subject key identifier; undefined where there is none. */
  readonly keyIdentifier: Uint8Array | undefined;
  /** Whether the key may sign lists: where key usage is absent, it may do everything. */
  readonly maySignLists: boolean;
}

/** id-ce-subjectKeyIdentifier and id-ce-keyUsage. */
const subjectKeyIdentifier = "551d0e";
const keyUsage = "551d0f";
/** Bit 6 of KeyUsage, counted from the left. */
const cRLSign = 0x02;

/** Reads a certificate in DER. Throws `registry.invalid`. */
export function readAuthorityName(certificate: Uint8Array): AuthorityName {
  const reader = readDer(certificate, "ca");
  reader.enter(tags.sequence);
  reader.enter(tags.sequence);
  if (reader.next === contextTag(0)) reader.take(contextTag(0));
  reader.take(tags.integer);
  // signature, issuer, validity
  for (let skipped = 0; skipped < 3; skipped++) reader.take(tags.sequence);
  const subject = reader.takeWhole(tags.sequence);
  reader.take(tags.sequence);
  // unique identifiers, of which nobody makes any, are [1] and [2]
  while (reader.next !== undefined && reader.next !== contextTag(3)) reader.take(reader.next);

  let keyIdentifier: Uint8Array | undefined;
  let maySignLists = true;
  if (reader.next === contextTag(3)) {
    reader.enter(contextTag(3));
    reader.enter(tags.sequence);
    while (reader.next !== undefined) {
      const end = reader.enter(tags.sequence);
      const name = Buffer.from(reader.take(tags.objectIdentifier)).toString("hex");
      if (reader.next === tags.boolean) reader.take(tags.boolean);
      const value = reader.take(tags.octetString);
      if (name === subjectKeyIdentifier) keyIdentifier = readDer(value, "ca").take(tags.octetString);
      // the first octet says how many bits are not used
      if (name === keyUsage) maySignLists = ((readDer(value, "ca").take(tags.bitString)[1] ?? 0) & cRLSign) !== 0;
      reader.leave(end);
    }
  }
  return { subject, keyIdentifier, maySignLists };
}
