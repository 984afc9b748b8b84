/** The computed blocks of docs/protocol.md about tokens for apis of kind http. */
import { jwkThumbprint } from "../../shared/cose-key.ts";
import { assertDpop, mintDpopProof, readDpopProof } from "../../shared/dpop.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { verifyToken } from "../../shared/token.ts";
import { claims, device, issuer, now, signer } from "./protocol-example.ts";
import { unhex } from "../shared/reading.ts";

const url = `${issuer}/token`;
const audience = "shop.orders";
const jkt = jwkThumbprint(device.publicKey);

/** A client with a secret asks for two scopes of three and gets a token for the key of its DPoP proof. */
export function httpBlocks(describeJwt: (text: string) => string): [string, string][] {
  const proof = mintDpopProof({ method: "POST", url, nowSeconds: now, id: unhex("b0b1b2b3b4b5b6b7") }, device);
  assertDpop(readDpopProof(proof), { method: "POST", url, nowSeconds: now });
  const cnf = { kind: "thumbprint", jkt } as const;
  const token = mintJwt({ ...claims, sub: "shop.web", aud: audience, scope: "read write", cnf }, signer);
  verifyToken(token, {
    issuer,
    keyFor: () => signer.publicKey,
    isAudience: (name) => name === audience,
    nowSeconds: now,
  });
  const answer = { access_token: `${token.slice(0, 20)}…`, token_type: "DPoP", expires_in: 3600, scope: "read write" };
  return [
    ["request.form", requestForm()],
    ["response.json", JSON.stringify(answer, null, 2)],
    ["dpop.proof", describeJwt(proof)],
    ["token.jwt-dpop", describeJwt(token).split("\n\n", 1)[0]!],
  ];
}

function requestForm(): string {
  const fields = { grant_type: "client_credentials", audience, scope: "read write admin" };
  return [
    "POST /token HTTP/1.1",
    `Host: ${new URL(issuer).host}`,
    "Content-Type: application/x-www-form-urlencoded",
    "Authorization: Basic <shop.web and its secret>",
    "DPoP: <the proof below>",
    "",
    new URLSearchParams(fields).toString(),
  ].join("\n");
}
