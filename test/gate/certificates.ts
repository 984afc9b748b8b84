/**
 * A throw-away certificate authority for tests, and every kind of certificate that it should not have issued.
 */
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto, X509Certificate } from "node:crypto";
import type { KeyObject } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { Extension, JsonGeneralName } from "@peculiar/x509";

cryptoProvider.set(webcrypto as never);

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const clientAuth = "1.3.6.1.5.5.7.3.2";
const serverAuth = "1.3.6.1.5.5.7.3.1";
const day = 86_400_000;

/** A certificate with its private key, as TLS and as our own code want them. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly privateKey: KeyObject;
  readonly x509: X509Certificate;
}

/** How a device certificate is made; every member left out is as it should be. */
export interface Wish {
  readonly subject?: string;
  readonly names?: JsonGeneralName[];
  readonly moreExtensions?: Extension[];
  readonly usages?: string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly isAuthority?: boolean;
  readonly privateKey?: KeyObject;
  readonly serial?: string;
}

export interface TestAuthority extends Identity {
  server(): Promise<Identity>;
  device(clientId: string, wish?: Wish): Promise<Identity>;
}

let serials = 0;

export function makePrivateKey(namedCurve = "P-256"): KeyObject {
  // see generatePrivateKey: not the object that node would give
  const { privateKey } = generateKeyPairSync("ec", {
    namedCurve,
    privateKeyEncoding: { type: "pkcs8", format: "der" },
    publicKeyEncoding: { type: "spki", format: "der" },
  });
  return createPrivateKey({ key: privateKey, type: "pkcs8", format: "der" });
}

/** Makes an authority. Two of one name cannot be told apart by the issuer's name. */
export async function makeAuthority(name = "test authority"): Promise<TestAuthority> {
  const subject = `CN=${name}`;
  const privateKey = makePrivateKey();
  const issue = async (
    toName: string,
    toKey: KeyObject,
    extensions: Extension[],
    notBefore = new Date(Date.now() - day),
    notAfter = new Date(Date.now() + 30 * day),
    serialNumber = (++serials).toString(16).padStart(16, "4"),
  ): Promise<Identity> => {
    const issuerKeys = await toWebKeys(privateKey);
    const subjectKeys = await toWebKeys(toKey);
    const certificate = await X509CertificateGenerator.create({
      serialNumber,
      subject: toName,
      issuer: subject,
      notBefore,
      notAfter,
      signingKey: issuerKeys.privateKey,
      publicKey: subjectKeys.publicKey,
      signingAlgorithm: algorithm,
      extensions: [...extensions, await SubjectKeyIdentifierExtension.create(subjectKeys.publicKey)],
    });
    return {
      cert: certificate.toString("pem"),
      key: toKey.export({ type: "pkcs8", format: "pem" }).toString(),
      privateKey: toKey,
      x509: new X509Certificate(certificate.toString("pem")),
    };
  };
  const identity = await issue(subject, privateKey, [new BasicConstraintsExtension(true, 0, true)]);

  return {
    ...identity,
    server: () =>
      issue("CN=localhost", makePrivateKey(), [
        new SubjectAlternativeNameExtension([{ type: "dns", value: "localhost" }]),
        new ExtendedKeyUsageExtension([serverAuth]),
      ]),
    async device(clientId, wish = {}) {
      const usages = wish.usages ?? [clientAuth];
      const names = wish.names ?? [{ type: "url", value: `urn:postern:client:${clientId}` }];
      const extensions = [
        new BasicConstraintsExtension(wish.isAuthority ?? false),
        ...(usages.length > 0 ? [new ExtendedKeyUsageExtension(usages)] : []),
        ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
        ...(wish.moreExtensions ?? []),
        await AuthorityKeyIdentifierExtension.create((await toWebKeys(privateKey)).publicKey),
      ];
      return issue(
        wish.subject ?? `CN=${clientId}`,
        wish.privateKey ?? makePrivateKey(),
        extensions,
        wish.notBefore,
        wish.notAfter,
        wish.serial,
      );
    },
  };
}

export const uses = { clientAuth, serverAuth };

async function toWebKeys(privateKey: KeyObject): Promise<webcrypto.CryptoKeyPair> {
  const { subtle } = webcrypto;
  const namedCurve = privateKey.asymmetricKeyDetails?.namedCurve === "secp384r1" ? "P-384" : "P-256";
  const name = { name: "ECDSA", namedCurve };
  const pkcs8 = createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" })).export({
    type: "pkcs8",
    format: "der",
  });
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  return {
    privateKey: await subtle.importKey("pkcs8", pkcs8, name, true, ["sign"]),
    publicKey: await subtle.importKey("spki", spki, name, true, ["verify"]),
  };
}
