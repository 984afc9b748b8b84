/**
 * The device certificate is followed by another before it ends, for the same key (EST simplereenroll, RFC 7030, section
 * 4.2.2). The new one has been verified and accepted by the authority once before it takes the place of the old one, so
 * that a power cut or a mistake at any moment leaves one that works.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { requestSelf } from "./authority.ts";
import type { ServerClock } from "./clock.ts";
import { requestCertificate, verifyCertificate } from "./est.ts";
import { AgentFailure } from "./failure.ts";
import { writeCertificate, type AgentIdentity } from "./state.ts";

/** Whether two thirds of the certificate's life are over: a third is left for an authority that is out of reach. */
export function isRenewalDue(certificatePem: string, nowSeconds: number): boolean {
  const { validFrom, validTo } = new X509Certificate(certificatePem);
  const [from, to] = [Date.parse(validFrom) / 1000, Date.parse(validTo) / 1000];
  return nowSeconds > from + ((to - from) * 2) / 3;
}

/** Renews the certificate in `dir` and resolves with the identity that holds the new one. */
export async function renewCertificate(
  dir: string,
  identity: AgentIdentity,
  clock: ServerClock,
): Promise<AgentIdentity> {
  const { authority, clientId } = identity.enrolment;
  const { caPem, certificatePem, keyPem } = identity;
  const privateKey = createPrivateKey(keyPem);
  const renewed = await requestCertificate({
    url: new URL("/.well-known/est/simplereenroll", authority),
    caPem,
    privateKey,
    clock,
    present: { certificatePem, keyPem, subject: `CN=${clientId}` },
    otherwise: "the certificate is not renewed",
  });
  const named = verifyCertificate(renewed, new X509Certificate(caPem), privateKey);
  if (named !== clientId) throw new AgentFailure("refused", `the renewed certificate is for ${named}`);
  const successor = { ...identity, certificatePem: renewed };
  await requestSelf(authority, successor, clock);
  writeCertificate(dir, renewed);
  return successor;
}
