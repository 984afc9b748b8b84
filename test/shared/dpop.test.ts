/** DPoP proofs (RFC 9449): the RFC's own, and one row for each way to be wrong. */
import { createHmac, sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toBase64url } from "../../shared/base64url.ts";
import { jwkThumbprint, toJwk } from "../../shared/cose-key.ts";
import { assertDpop, mintDpopProof, readDpopProof, type DpopProof } from "../../shared/dpop.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { Refusal } from "../../shared/refusal.ts";
import { clientSigner, issuerSigner } from "./keys.ts";
import { reasonOf, unhex } from "./reading.ts";

const now = 1_893_456_000;
const url = "https://as.example/token";
const request = { method: "POST", url, nowSeconds: now };

describe("RFC 9449, section 4.1", () => {
  const published =
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpm" +
    "X09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2Vy" +
    "dmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

  test("is read, with the thumbprint of section 6.1", () => {
    const proof = readDpopProof(published);
    expect(proof).toMatchObject({
      thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
      jti: "-BwC3ESc6acc2lTc",
      htm: "POST",
      htu: "https://server.example.com/token",
      iat: 1_562_262_616,
    });
    assertDpop(proof, { method: "POST", url: "https://server.example.com/token", nowSeconds: proof.iat });
  });

  test("the hash of the token is that of section 7.1", () => {
    const accessToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    const proof = readDpopProof(mintDpopProof({ ...request, accessToken, id: unhex("01") }, clientSigner));
    expect(proof.ath).toBe("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
  });
});

test("a proof of ours is read as it was made, and names its key by jwk and nothing else", () => {
  const text = mintDpopProof({ ...request, url: `${url}?a=b#c`, id: unhex("0102") }, clientSigner);
  expect(JSON.parse(Buffer.from(text.split(".")[0]!, "base64url").toString())).toEqual({
    alg: "ES256",
    typ: "dpop+jwt",
    jwk: toJwk(clientSigner.publicKey),
  });
  const { key, ...rest } = readDpopProof(text);
  expect(key.thumbprint).toBe(clientSigner.publicKey.thumbprint);
  expect(rest).toEqual({ thumbprint: jwkThumbprint(key), jti: "AQI", htm: "POST", htu: url, iat: now });
});

const part = (value: unknown): string => toBase64url(Buffer.from(JSON.stringify(value)));
const header = { typ: "dpop+jwt", alg: "ES256", jwk: toJwk(clientSigner.publicKey) as unknown };
const payload = { jti: "one", htm: "POST", htu: url, iat: now };

/** A proof with parts of its header and payload replaced; undefined takes one out. Signed by the client's key. */
function proofOf(changed: object = {}, changedHeader: object = {}, signer = clientSigner): string {
  const signed = `${part({ ...header, ...changedHeader })}.${part({ ...payload, ...changed })}`;
  return `${signed}.${toBase64url(signer.sign(Buffer.from(signed)))}`;
}

/** Signed with HMAC, the bytes of the public key as its secret. */
function hmacProof(): string {
  const signed = `${part({ ...header, alg: "HS256" })}.${part(payload)}`;
  const secret = clientSigner.publicKey.keyObject.export({ type: "spki", format: "pem" });
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

function derProof(): string {
  const privateKey = generatePrivateKey();
  const jwk = toJwk(createSigner("", privateKey).publicKey);
  const signed = `${part({ ...header, jwk })}.${part(payload)}`;
  return `${signed}.${toBase64url(sign("sha256", Buffer.from(signed), privateKey))}`;
}

describe("refuses a proof", () => {
  const jwk = toJwk(clientSigner.publicKey);
  const [head, body, signature] = proofOf().split(".") as [string, string, string];

  test("the one that the rows below change is good", () => {
    expect(readDpopProof(proofOf())).toMatchObject(payload);
  });

  test.each<[string, string, string]>([
    ["that is empty", "", "dpop.malformed"],
    ["that is no JWT", "x", "dpop.malformed"],
    ["of two parts", `${head}.${body}`, "dpop.malformed"],
    ["beside another, as two headers of one name arrive", `${proofOf()}, ${proofOf()}`, "dpop.malformed"],
    ["with padding", `${proofOf()}=`, "dpop.malformed"],
    ["with a control character", `${proofOf()}\n`, "dpop.malformed"],
    ["whose payload is no object", `${head}.${part([])}.${signature}`, "dpop.malformed"],
    ["that is longer than 4 KiB", proofOf({ more: "x".repeat(4096) }), "dpop.malformed"],
    ["with crit", proofOf({}, { crit: ["b64"] }), "dpop.malformed"],
    ["without typ", proofOf({}, { typ: undefined }), "dpop.type"],
    ["of type JWT", proofOf({}, { typ: "JWT" }), "dpop.type"],
    ["of the type of a token", proofOf({}, { typ: "at+jwt" }), "dpop.type"],
    ["whose typ is no text", proofOf({}, { typ: 1 }), "dpop.malformed"],
    ["without alg", proofOf({}, { alg: undefined }), "dpop.algorithm"],
    ["of alg none", `${part({ ...header, alg: "none" })}.${body}.`, "dpop.algorithm"],
    ["of alg HS256 with the public key", hmacProof(), "dpop.algorithm"],
    ["of alg EdDSA", proofOf({}, { alg: "EdDSA" }), "dpop.algorithm"],
    ["of alg ES256K", proofOf({}, { alg: "ES256K" }), "dpop.algorithm"],
    ["without jwk", proofOf({}, { jwk: undefined }), "dpop.key"],
    ["with a kid in place of jwk", proofOf({}, { jwk: undefined, kid: "client" }), "dpop.key"],
    ["whose jwk is null", proofOf({}, { jwk: null }), "dpop.key"],
    ["whose jwk is text", proofOf({}, { jwk: "key" }), "dpop.key"],
    ["with a private key", proofOf({}, { jwk: { ...jwk, d: jwk.x } }), "dpop.key"],
    ["with a symmetric key", proofOf({}, { jwk: { kty: "oct", k: jwk.x } }), "dpop.key"],
    ["with an RSA key", proofOf({}, { jwk: { kty: "RSA", n: jwk.x, e: "AQAB" } }), "dpop.key"],
    ["with a key on another curve", proofOf({}, { jwk: { ...jwk, crv: "P-384" } }), "dpop.key"],
    ["with a key for another algorithm", proofOf({}, { jwk: { ...jwk, alg: "ES384" } }), "dpop.key"],
    ["with a point off the curve", proofOf({}, { jwk: { ...jwk, y: jwk.x } }), "dpop.key"],
    ["with a padded coordinate", proofOf({}, { jwk: { ...jwk, x: `${jwk.x}=` } }), "dpop.key"],
    ["that another key signed", proofOf({}, {}, issuerSigner), "dpop.signature"],
    ["that is changed", `${head}.${part({ ...payload, jti: "two" })}.${signature}`, "dpop.signature"],
    ["without a signature", `${head}.${body}.`, "dpop.signature"],
    ["with a signature of zeros", `${head}.${body}.${toBase64url(new Uint8Array(64))}`, "dpop.signature"],
    ["with a DER signature", derProof(), "dpop.signature"],
    ["without jti", proofOf({ jti: undefined }), "dpop.malformed"],
    ["whose jti is empty", proofOf({ jti: "" }), "dpop.malformed"],
    ["whose jti is a number", proofOf({ jti: 1 }), "dpop.malformed"],
    ["whose jti is longer than 128 bytes", proofOf({ jti: "é".repeat(65) }), "dpop.malformed"],
    ["without htm", proofOf({ htm: undefined }), "dpop.malformed"],
    ["whose htm is a list", proofOf({ htm: ["POST"] }), "dpop.malformed"],
    ["without htu", proofOf({ htu: undefined }), "dpop.malformed"],
    ["whose htu is an object", proofOf({ htu: {} }), "dpop.malformed"],
    ["without iat", proofOf({ iat: undefined }), "dpop.malformed"],
    ["whose iat is text", proofOf({ iat: String(now) }), "dpop.malformed"],
    ["whose iat is a fraction", proofOf({ iat: now + 0.5 }), "dpop.malformed"],
    ["whose ath is a number", proofOf({ ath: 1 }), "dpop.malformed"],
  ])("%s", (_name, text, reason) => {
    expect(reasonOf(() => readDpopProof(text))).toBe(reason);
  });

  test.each<[string, object]>([
    ["a jti of 128 bytes", { jti: "é".repeat(64) }],
    ["claims that it does not know", { nonce: "n", sub: "x" }],
  ])("but not for %s", (_name, changed) => {
    expect(readDpopProof(proofOf(changed))).toMatchObject({ htm: "POST" });
  });

  test("never with anything but a refusal, whatever the text", () => {
    const good = proofOf();
    const mutated = fc
      .tuple(fc.nat(good.length - 1), fc.constantFrom("A", "a", "0", ".", "_", "-", "{", " "))
      .map(([at, character]) => good.slice(0, at) + character + good.slice(at + 1));
    fc.assert(
      fc.property(fc.oneof(mutated, fc.string({ maxLength: 300 })), (text) => {
        try {
          readDpopProof(text);
          expect(text).toBe(good);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("a proof is for one request", () => {
  const proof = (changed: Partial<DpopProof>): DpopProof => ({ ...readDpopProof(proofOf()), ...changed });

  test.each<[string, Partial<DpopProof>, string]>([
    ["another method", { htm: "GET" }, "dpop.method"],
    ["the method in lower case", { htm: "post" }, "dpop.method"],
    ["another path", { htu: "https://as.example/revoke" }, "dpop.url"],
    ["a path that goes on", { htu: "https://as.example/token/" }, "dpop.url"],
    ["a path in other case", { htu: "https://as.example/Token" }, "dpop.url"],
    ["another host", { htu: "https://other.example/token" }, "dpop.url"],
    ["another port", { htu: "https://as.example:8443/token" }, "dpop.url"],
    ["http", { htu: "http://as.example/token" }, "dpop.url"],
    ["another scheme", { htu: "coaps://as.example/token" }, "dpop.url"],
    ["a user before the host", { htu: "https://as.example@as.example/token" }, "dpop.url"],
    ["a query", { htu: `${url}?` }, "dpop.url"],
    ["a fragment", { htu: `${url}#top` }, "dpop.url"],
    ["the path alone", { htu: "/token" }, "dpop.url"],
    ["what is no address", { htu: "token" }, "dpop.url"],
    ["an encoded slash", { htu: "https://as.example%2Ftoken" }, "dpop.url"],
    ["61 seconds ago", { iat: now - 61 }, "dpop.time"],
    ["61 seconds from now", { iat: now + 61 }, "dpop.time"],
  ])("and not for %s", (_name, changed, reason) => {
    expect(reasonOf(() => assertDpop(proof(changed), request))).toBe(reason);
  });

  test.each<[string, Partial<DpopProof>]>([
    ["60 seconds ago", { iat: now - 60 }],
    ["60 seconds from now", { iat: now + 60 }],
    ["upper case in scheme and host", { htu: "HTTPS://AS.EXAMPLE/token" }],
    ["the port that the scheme has anyway", { htu: "https://as.example:443/token" }],
    ["a character encoded that need not be", { htu: "https://as.example/%74oken" }],
    ["dots that lead nowhere", { htu: "https://as.example/a/../token" }],
  ])("whatever its spelling: %s", (_name, changed) => {
    expect(reasonOf(() => assertDpop(proof(changed), request))).toBeUndefined();
  });

  test("the query of the request is left out of account", () => {
    expect(reasonOf(() => assertDpop(proof({}), { ...request, url: `${url}?a=b#c` }))).toBeUndefined();
  });

  test("and for one token, where one goes with it", () => {
    const bound = readDpopProof(mintDpopProof({ ...request, accessToken: "a.b.c", id: unhex("07") }, clientSigner));
    expect(reasonOf(() => assertDpop(bound, { ...request, accessToken: "a.b.c" }))).toBeUndefined();
    expect(reasonOf(() => assertDpop(bound, { ...request, accessToken: "a.b.d" }))).toBe("dpop.token");
    expect(reasonOf(() => assertDpop(proof({}), { ...request, accessToken: "a.b.c" }))).toBe("dpop.token");
  });

  test("within the leeway that is asked for", () => {
    const late = proof({ iat: now - 6 });
    expect(reasonOf(() => assertDpop(late, { ...request, leewaySeconds: 5 }))).toBe("dpop.time");
    expect(reasonOf(() => assertDpop(late, { ...request, leewaySeconds: 6 }))).toBeUndefined();
  });
});
