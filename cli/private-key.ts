/** Private keys on P-256 in files: PEM, or a JWK with its `d`; and the certificates of such keys. */
import { createPrivateKey, X509Certificate, type JsonWebKey, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSigner, type Signer } from "../shared/es256.ts";
import { Refusal } from "../shared/refusal.ts";
import { fail } from "./failure.ts";

/** Reads the private key in a file, ready to sign; fails with the name of the file and never with what stands in it. */
export function readSigner(file: string): { readonly signer: Signer; readonly privateKey: KeyObject } {
  const privateKey = readPrivateKey(file);
  try {
    return { signer: createSigner("", privateKey), privateKey };
  } catch (error) {
    if (error instanceof Refusal) return fail(`${file} holds a private key that is not on P-256`);
    throw error;
  }
}

function readPrivateKey(file: string): KeyObject {
  const text = readKeyFile(file);
  try {
    if (!text.trimStart().startsWith("{")) return createPrivateKey(text);
    return createPrivateKey({ key: JSON.parse(text) as JsonWebKey, format: "jwk" });
  } catch {
    return fail(`${file} holds no private key, neither in PEM nor as a JWK`);
  }
}

/** Reads the certificate in a file, PEM; fails where it is none, or is of another key. */
export function readCertificateOf(privateKey: KeyObject, file: string): string {
  const text = readKeyFile(file);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(text);
  } catch {
    return fail(`${file} holds no certificate in PEM`);
  }
  return certificate.checkPrivateKey(privateKey) ? text : fail(`${file} is the certificate of another key`);
}

/** Reads a file of text; fails with its name. */
export function readKeyFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    return fail(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}
