/** The messages of introspection: what is written is read, byte by byte and in both encodings, and nothing else is taken. */
import { describe, expect, test } from "vitest";
import { decode, encode, type Cbor } from "../../shared/cbor.ts";
import type { Claims } from "../../shared/claims.ts";
import { readPublicKey } from "../../shared/cose-key.ts";
import { generatePrivateKey } from "../../shared/es256.ts";
import {
  encodeIntrospection,
  encodeIntrospectionRequest,
  readIntrospection,
  readIntrospectionJson,
  readIntrospectionRequest,
  toIntrospectionJson,
  type ActiveToken,
} from "../../shared/introspection.ts";
import { parsePermission } from "../../shared/scope.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const claims: Claims = {
  iss: "https://as.test",
  sub: "plant.board",
  aud: "plant.web",
  exp: 1_800_000_600,
  iat: 1_800_000_000,
  id: Uint8Array.of(4, 210),
  scope: "read write",
};
const found: ActiveToken = { active: true, claims, tokenType: "Bearer", time: 1_800_000_100 };
const key = readPublicKey(generatePrivateKey());
const sha256 = Uint8Array.from({ length: 32 }, (_, at) => at);

const answers: readonly (readonly [what: string, answer: ActiveToken])[] = [
  ["a bearer token", found],
  ["grants", { ...found, claims: { ...claims, scope: [parsePermission("pub:p/a"), parsePermission("sub:p/#")] } }],
  ["a token with a key", { ...found, tokenType: "pop", claims: { ...claims, cnf: { kind: "key", key } } }],
  [
    "a token with a certificate",
    { ...found, tokenType: "pop", claims: { ...claims, cnf: { kind: "certificate", sha256 } } },
  ],
  ["a bearer token with a certificate", { ...found, claims: { ...claims, cnf: { kind: "certificate", sha256 } } }],
  [
    "a DPoP token",
    {
      ...found,
      tokenType: "DPoP",
      claims: { ...claims, cnf: { kind: "thumbprint", jkt: Buffer.from(sha256).toString("base64url") } },
    },
  ],
];

describe("an answer", () => {
  test.each(answers)("about %s is read as it was written, in CBOR and in JSON", (_, answer) => {
    // a key is an object of node's, which no comparison looks into
    const plain = ({ claims: { cnf, ...rest }, ...other }: ActiveToken): unknown => {
      return { ...other, ...rest, cnf: cnf?.kind === "key" ? cnf.key.thumbprint : cnf };
    };
    expect(plain(readIntrospection(encodeIntrospection(answer)) as ActiveToken)).toEqual(plain(answer));
    const sent: unknown = JSON.parse(JSON.stringify(toIntrospectionJson(answer)));
    expect(plain(readIntrospectionJson(sent) as ActiveToken)).toEqual(plain(answer));
  });

  test("that a token is not active says nothing more", () => {
    expect(hex(encodeIntrospection({ active: false }))).toBe("a10af4");
    expect(JSON.stringify(toIntrospectionJson({ active: false }))).toBe('{"active":false}');
    expect(readIntrospection(Buffer.from("a10af4", "hex"))).toEqual({ active: false });
    expect(readIntrospectionJson({ active: false, sub: "plant.board" })).toEqual({ active: false });
  });

  const bytes = (change: (map: Map<Cbor, Cbor>) => unknown, answer = found): Uint8Array => {
    const map = decode(encodeIntrospection(answer)) as Map<Cbor, Cbor>;
    change(map);
    return encode(map);
  };
  test.each<[string, () => Uint8Array, string]>([
    ["no map", () => Buffer.from("80", "hex"), "cbor.type"],
    ["half of one", () => Buffer.from("a10a", "hex"), "cbor.truncated"],
    ["nothing of whether it is active", () => bytes((map) => map.delete(10)), "request.malformed"],
    ["a number for that", () => bytes((map) => map.set(10, 1)), "request.malformed"],
    ["no subject", () => bytes((map) => map.delete(2)), "token.claims"],
    ["no time", () => bytes((map) => map.delete(-65538)), "request.malformed"],
    ["a time before 1970", () => bytes((map) => map.set(-65538, -1)), "request.malformed"],
    ["no token type", () => bytes((map) => map.delete(34)), "request.malformed"],
    ["a token type that there is not", () => bytes((map) => map.set(34, 3)), "request.malformed"],
    ["a confirmation that is no map", () => bytes((map) => map.set(8, 1)), "cbor.type"],
    ["an empty confirmation", () => bytes((map) => map.set(8, new Map())), "token.claims"],
    ["a confirmation that nobody knows", () => bytes((map) => map.set(8, new Map([[9, sha256]]))), "token.claims"],
    [
      "a hash that is too short",
      () => bytes((map) => map.set(8, new Map([[-65537, sha256.slice(1)]]))),
      "token.claims",
    ],
    [
      "two confirmations",
      () =>
        bytes((map) =>
          map.set(
            8,
            new Map([
              [-65537, sha256],
              [-65538, sha256],
            ]),
          ),
        ),
      "token.claims",
    ],
  ])("in CBOR with %s is refused", (_, make, reason) => {
    expect(() => readIntrospection(make())).toThrow(reason);
  });

  test.each<[string, unknown, string]>([
    ["text", "active", "request.malformed"],
    ["null", null, "request.malformed"],
    ["nothing of whether it is active", {}, "request.malformed"],
    ["a text for that", { ...toIntrospectionJson(found), active: "true" }, "request.malformed"],
    ["no subject", { ...toIntrospectionJson(found), sub: undefined }, "token.claims"],
    ["no time", { ...toIntrospectionJson(found), time: undefined }, "request.malformed"],
    ["a broken time", { ...toIntrospectionJson(found), time: 1.5 }, "request.malformed"],
    ["a token type that there is not", { ...toIntrospectionJson(found), token_type: "mac" }, "request.malformed"],
    ["a confirmation that nobody knows", { ...toIntrospectionJson(found), cnf: { kid: "a" } }, "token.claims"],
  ])("in JSON that is %s is refused", (_, value, reason) => {
    expect(() => readIntrospectionJson(value)).toThrow(reason);
  });
});

describe("a question", () => {
  test("holds the token under key 11", () => {
    expect(hex(encodeIntrospectionRequest({ token: Uint8Array.of(1, 2) }))).toBe("a10b420102");
  });

  test("is read as it was written, whatever else it holds", () => {
    const asked = { token: "a.b.c", clientId: "plant/web", clientAssertion: Buffer.of(1) };
    expect(readIntrospectionRequest(encodeIntrospectionRequest(asked))).toEqual(asked);
    for (const hint of [2, "access_token"]) {
      const map = new Map<Cbor, Cbor>([
        [33, hint],
        [11, "a"],
      ]);
      expect(readIntrospectionRequest(encode(map))).toEqual({ token: "a" });
    }
  });
});
