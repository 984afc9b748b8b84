/**
 * Certificates as EST sends them: a PKCS#7 message without content and without signers (RFC 5652, section 5; RFC 7030,
 * section 4.2.3).
 *
 * Built from the schemas, because the X.509 library's own export adds an empty content where RFC 7030 wants none.
 */
import {
  CertificateChoices,
  CertificateSet,
  CMSVersion,
  ContentInfo,
  EncapsulatedContentInfo,
  id_data,
  id_signedData,
  SignedData,
} from "@peculiar/asn1-cms";
import { AsnConvert } from "@peculiar/asn1-schema";

/** The message in DER, from certificates in DER. */
export function certsOnly(...certificates: readonly Uint8Array[]): Uint8Array {
  const signedData = new SignedData({
    version: CMSVersion.v1,
    encapContentInfo: new EncapsulatedContentInfo({ eContentType: id_data }),
    certificates: new CertificateSet(certificates.map((der) => AsnConvert.parse(der, CertificateChoices))),
  });
  const message = new ContentInfo({ contentType: id_signedData, content: AsnConvert.serialize(signedData) });
  return new Uint8Array(AsnConvert.serialize(message));
}
