/** The compact form of a JWT, read: one text for one token, and nothing that two readers could read differently. */
import { describe, expect, it } from "vitest";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { isSignedBy, readJwt, signJwt } from "../../shared/jwt.ts";
import type { Reason } from "../../shared/refusal.ts";

const signer = createSigner("k1", generatePrivateKey());
const base64url = (content: string | Uint8Array): string => Buffer.from(content).toString("base64url");
const good = '{"alg":"ES256","typ":"at+jwt","kid":"k1"}';
const make = (header: string | Uint8Array, payload: string | Uint8Array = "{}"): string =>
  `${base64url(header)}.${base64url(payload)}.${base64url("s")}`;

it("is read as it was signed", () => {
  const payload = { sub: "plant.pi", note: "é \u{1f600} \u2028", n: [1, { __proto__: null }] };
  const jwt = readJwt(signJwt(payload, "at+jwt", signer));
  expect(jwt).toMatchObject({ kid: "k1", type: "at+jwt", payload: { ...payload, n: [1, {}] } });
  expect(isSignedBy(jwt, signer.publicKey)).toBe(true);
  expect(isSignedBy({ ...jwt, signed: Buffer.from("x") }, signer.publicKey)).toBe(false);
});

it("has the last of two members of one name", () => {
  expect(readJwt(make(good, '{"sub":"a","sub":"b"}')).payload).toEqual({ sub: "b" });
  expect(readJwt(make('{"alg":"none","alg":"ES256"}')).kid).toBeUndefined();
});

describe("is refused", () => {
  const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
  it.each<[what: string, text: string, reason: Reason]>([
    ["as nothing", "", "token.malformed"],
    ["without dots", base64url(good), "token.malformed"],
    ["with one dot", make(good).split(".").slice(0, 2).join("."), "token.malformed"],
    ["with three dots", `${make(good)}.`, "token.malformed"],
    ["with five parts", `${make(good)}.AA.AA`, "token.malformed"],
    ["with an empty header", make(""), "token.malformed"],
    ["with an empty payload", make(good, ""), "token.malformed"],
    ["with a header that is no JSON", make("{"), "token.malformed"],
    ["with a header that is a list", make("[]"), "token.malformed"],
    ["with a header that is null", make("null"), "token.malformed"],
    ["with a payload that is a list", make(good, "[]"), "token.malformed"],
    ["with a payload that is null", make(good, "null"), "token.malformed"],
    ["with a payload that is text", make(good, '"{}"'), "token.malformed"],
    ["with more behind the payload", make(good, "{}{}"), "token.malformed"],
    ["with a byte order mark", make(good, "\ufeff{}"), "token.malformed"],
    ["with a payload that is not UTF-8", make(good, bytes('{"sub":"\xe9"}')), "token.malformed"],
    ["with a header that is not UTF-8", make(bytes('{"alg":"ES256","kid":"\xff"}')), "token.malformed"],
    ["with half of a character", make(good, bytes('{"sub":"\xed\xa0\x80"}')), "token.malformed"],
    ["with padding", `${make(good)}=`, "base64url.malformed"],
    ["with the other alphabet", make(good, '{"a":"???"}').replaceAll("_", "/"), "base64url.malformed"],
    ["with white space", ` ${make(good)}`, "base64url.malformed"],
    ["with a line break in the payload", make(good).replace(".", ".\n"), "base64url.malformed"],
    ["with a character beyond ASCII", make(good).replace("e", "\u0165"), "base64url.malformed"],
    ["with bits left over", make(good, "{}").replace(".e30.", ".e31."), "base64url.malformed"],
    ["without an algorithm", make("{}"), "token.algorithm"],
    ["with another algorithm", make('{"alg":"none"}'), "token.algorithm"],
    ["with the algorithm in a list", make('{"alg":["ES256"]}'), "token.algorithm"],
    ["with crit", make('{"alg":"ES256","crit":["b64"],"b64":false}'), "token.malformed"],
    ["with an empty crit", make('{"alg":"ES256","crit":[]}'), "token.malformed"],
    ["with a kid that is a number", make('{"alg":"ES256","kid":1}'), "token.malformed"],
    ["with a typ that is a list", make('{"alg":"ES256","typ":["JWT"]}'), "token.malformed"],
  ])("%s", (_, text, reason) => {
    expect(() => readJwt(text)).toThrow(expect.objectContaining({ reason }) as Error);
  });
});
