/**
 * The messages that docs/protocol.md shows, made with the code that runs in production, the published test keys of RFC 8392
 * A.2.3 (issuer) and RFC 6979 A.2.5 (client), the deterministic signer, and a time that stands still.
 */
import type { IConnectPacket } from "mqtt-packet";
import { readCredential } from "../../broker/gate/credential.ts";
import { mintCwtAssertion, readAssertion, type AssertionClaims } from "../../shared/assertion.ts";
import { toBase64url } from "../../shared/base64url.ts";
import type { Claims } from "../../shared/claims.ts";
import { mintCwt } from "../../shared/cwt.ts";
import type { Signer } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { EXPORTER_BYTES, verifyProof } from "../../shared/proof.ts";
import { mergeGrants, parsePermission } from "../../shared/scope.ts";
import { formatTicket, parseTicket } from "../../shared/ticket.ts";
import { verifyToken } from "../../shared/token.ts";
import { clientSigner, issuerSigner } from "../shared/keys.ts";
import { unhex } from "../shared/reading.ts";

/** 2026-01-01T00:00:00Z. */
export const now = 1_767_225_600;
export const issuer = "https://localhost:8443";
export const clientId = "home.gateway";
export const audience = "home.telemetry";
export const grants = mergeGrants(
  ["pub:home/gateway/machine", "sub:home/gateway/command", "sub:home/all"].map(parsePermission),
);
/** Named as the registry names keys: the first two characters of the thumbprint. */
export const signer: Signer = {
  ...issuerSigner,
  kid: toBase64url(unhex(issuerSigner.publicKey.thumbprint)).slice(0, 2),
};
export const device: Signer = { ...clientSigner, kid: "" };
export const claims: Claims = {
  iss: issuer,
  sub: clientId,
  aud: audience,
  exp: now + 3600,
  iat: now,
  id: unhex("04d2"),
  cnf: { kind: "key", key: device.publicKey },
  scope: grants,
};
const { cnf: _bound, ...unbound } = claims;

/** A CONNECT packet, and what the gate must take it for. */
export interface Example {
  readonly name: string;
  readonly packet: Partial<IConnectPacket>;
  readonly hasCertificate: boolean;
  readonly kind: ReturnType<typeof readCredential>["kind"];
}

export const cwt = mintCwt(claims, signer);
export const jwt = mintJwt(claims, signer);
export const bearerJwt = mintJwt(unbound, signer);
export const exported = Uint8Array.from({ length: EXPORTER_BYTES }, (_, index) => index);
export const proof = device.sign(exported);

export const examples: readonly Example[] = [
  {
    name: "connect.proof",
    packet: { username: `ace${toBase64url(cwt)}`, password: Buffer.from(proof) },
    hasCertificate: false,
    kind: "proof",
  },
  {
    name: "connect.certificate-token",
    packet: { username: `ace${toBase64url(cwt)}` },
    hasCertificate: true,
    kind: "certificate-token",
  },
  { name: "connect.certificate", packet: {}, hasCertificate: true, kind: "certificate" },
  {
    name: "connect.bearer",
    packet: { username: "any", password: Buffer.from(toBase64url(mintCwt(unbound, signer))) },
    hasCertificate: false,
    kind: "bearer",
  },
  { name: "connect.anonymous", packet: { clientId: "" }, hasCertificate: false, kind: "anonymous" },
];

/** What must hold of the examples before they are shown. */
export function checkExamples(): void {
  const expected = {
    issuer,
    keyFor: (kid: string) => (kid === signer.kid ? signer.publicKey : undefined),
    isAudience: (aud: string) => aud === audience,
    nowSeconds: now,
  };
  for (const token of [cwt, jwt, bearerJwt]) verifyToken(token, expected);
  verifyProof(device.publicKey, exported, proof);
  const read = readAssertion(assertion());
  if (!read.isSignedBy(device.publicKey) || read.claims.sub !== clientId)
    throw new Error("the assertion is not the client's");
  if (parseTicket(ticket()).authority !== issuer) throw new Error("the ticket is not the authority's");
  for (const { packet, hasCertificate, kind } of examples) {
    const credential = readCredential(packet.username, packet.password, hasCertificate);
    if (credential.kind !== kind) throw new Error(`${kind} is taken for ${credential.kind}`);
  }
}

export function ticket(): string {
  return formatTicket({
    authority: issuer,
    pin: issuerSigner.publicKey.thumbprint,
    secret: toBase64url(Uint8Array.from({ length: 20 }, (_, index) => index)),
  });
}

export function assertionClaims(): AssertionClaims {
  return { iss: clientId, sub: clientId, aud: issuer, exp: now + 120, iat: now, id: unhex("a0a1a2a3a4a5a6a7") };
}

export function assertion(): Uint8Array {
  return mintCwtAssertion(assertionClaims(), device);
}
