/**
 * Several proofs of who asks at once, at every OAuth endpoint, and Basic as it is not written (RFC 7617; RFC 6749, section 2.3.1).
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Reason } from "../../../shared/refusal.ts";
import { basic, type Call, type Device } from "../../authority/fixture.ts";
import type { Shop } from "../../authority/http-apis.ts";
import type { Outcome } from "../../authority/token-outcomes.ts";
import { form, json, malformed, notClient, openTokenGround, type Fields, type TokenGround } from "./token-ground.ts";

let at: TokenGround;
let shop: Shop;
let till: Device;
let token: string;

beforeAll(async () => {
  at = await openTokenGround();
  ({ shop, till } = at);
});
beforeEach(async () => {
  token = await at.getToken();
});
afterAll(() => at.close());

const outcomeOf = (path: string, call: Call): Promise<Outcome> => at.outcomeOf(path, call);

describe("several proofs at once", () => {
  type Proof =
    "a certificate" | "Basic" | "a secret" | "an assertion" | "the admin key" | "another key" | "DPoP as a scheme";
  const proofs: Readonly<Record<Proof, () => { readonly fields?: Fields; readonly call?: Call }>> = {
    "a certificate": () => ({ call: { as: till } }),
    Basic: () => ({ call: { headers: basic("shop.web", shop.secret) } }),
    "a secret": () => ({ fields: { client_id: "shop.web", client_secret: shop.secret } }),
    "an assertion": () => ({ fields: at.byAssertion() }),
    "the admin key": () => ({ call: { headers: { authorization: "Bearer admin-key" } } }),
    "another key": () => ({ call: { headers: { authorization: "Bearer other" } } }),
    "DPoP as a scheme": () => ({ call: { headers: { authorization: `DPoP ${token}` } } }),
  };
  const names = Object.keys(proofs) as Proof[];
  const isHeader = (name: Proof): boolean => proofs[name]().call?.headers !== undefined;
  const heads: ReadonlySet<Proof> = new Set(["Basic", "the admin key", "another key", "DPoP as a scheme"]);
  const pairs = names.flatMap((one, index) =>
    names.slice(index + 1).flatMap((other) => (heads.has(one) && heads.has(other) ? [] : [[one, other] as const])),
  );

  test.each(pairs)("%s and %s", async (one, other) => {
    expect([isHeader(one), isHeader(other)]).not.toEqual([true, true]);
    for (const path of ["/token", "/get-access-token", "/introspect", "/revoke"]) {
      for (const send of [json, form]) {
        const [a, b] = [proofs[one](), proofs[other]()];
        const fields = { grant_type: "client_credentials", audience: "shop.open", token, ...a.fields, ...b.fields };
        const call = { ...send(fields), ...a.call, ...b.call };
        expect([path, await outcomeOf(path, call)]).toEqual([path, malformed]);
      }
    }
  });

  test("and each by itself is one", async () => {
    for (const name of ["a certificate", "Basic", "a secret", "an assertion", "the admin key"] as const) {
      const { fields, call } = proofs[name]();
      expect([name, (await at.call("/introspect", { ...json({ token, ...fields }), ...call })).status]).toEqual([
        name,
        200,
      ]);
    }
  });
});

describe("Basic", () => {
  const cc = { grant_type: "client_credentials", audience: "shop.open" };
  const coded = (text: string): string => Buffer.from(text).toString("base64");
  const right = (): string => coded(`shop.web:${shop.secret}`);

  test.each<[string, () => string]>([
    ["in lower case", () => `basic ${right()}`],
    ["in upper case", () => `BASIC ${right()}`],
    ["after several spaces", () => `Basic    ${right()}`],
    ["without padding", () => `Basic ${right().replace(/=+$/, "")}`],
    ["with a dot that is encoded", () => `Basic ${coded(`shop%2Eweb:${shop.secret}`)}`],
  ])("is taken %s", async (_name, authorization) => {
    expect((await at.call("/token", { ...form(cc), headers: { authorization: authorization() } })).status).toBe(200);
  });

  test.each<[string, () => string, Reason]>([
    ["nothing", () => "Basic ", "credential.malformed"],
    ["what is not base64", () => "Basic ***", "credential.malformed"],
    [
      "the alphabet of base64url",
      () => `Basic ${Buffer.from("shop.web:\u00fb\u00ff\u00fe").toString("base64url")}-_`,
      "credential.malformed",
    ],
    ["padding within", () => `Basic ${coded("a")}${coded("shop.web:x")}`, "credential.malformed"],
    ["too much padding", () => `Basic ${right().replace(/=+$/, "")}===`, "credential.malformed"],
    ["bits that are left over", () => "Basic c2hvcC53ZWI6eB==", "credential.malformed"],
    ["a tab for a space", () => `Basic\t${right()}`, "credential.malformed"],
    ["two credentials", () => `Basic ${right()}, Basic ${right()}`, "credential.malformed"],
    ["a parameter behind it", () => `Basic ${right()}, realm="postern"`, "credential.malformed"],
    ["no space", () => `Basic${right()}`, "credential.malformed"],
    ["no colon", () => `Basic ${coded("shop.web")}`, "credential.malformed"],
    ["a colon that is encoded", () => `Basic ${coded(`shop.web%3A${shop.secret}`)}`, "credential.malformed"],
    ["a colon alone", () => `Basic ${coded(":")}`, "client.unknown"],
    ["a colon before the user", () => `Basic ${coded(`:shop.web:${shop.secret}`)}`, "client.unknown"],
    ["a colon in the secret", () => `Basic ${coded(`shop.web::${shop.secret}`)}`, "client.secret"],
    ["a colon behind the secret", () => `Basic ${coded(`shop.web:${shop.secret}:`)}`, "client.secret"],
    ["a colon in the user, encoded", () => `Basic ${coded(`shop.web%3A:${shop.secret}`)}`, "client.unknown"],
    ["a user with a space", () => `Basic ${coded(`shop.web+:${shop.secret}`)}`, "client.unknown"],
    ["a user in upper case", () => `Basic ${coded(`SHOP.web:${shop.secret}`)}`, "client.unknown"],
    ["a user that is encoded twice", () => `Basic ${coded(`shop%252Eweb:${shop.secret}`)}`, "client.unknown"],
    ["a user with a NUL", () => `Basic ${coded(`shop.web\u0000:${shop.secret}`)}`, "client.unknown"],
    ["a user with a NUL, encoded", () => `Basic ${coded(`shop.web%00:${shop.secret}`)}`, "client.unknown"],
    ["a byte order mark", () => `Basic ${coded(`\ufeffshop.web:${shop.secret}`)}`, "client.unknown"],
    ["a secret that is half encoded", () => `Basic ${coded("shop.web:%4")}`, "credential.malformed"],
    ["a secret that is not UTF-8, encoded", () => `Basic ${coded("shop.web:%ff")}`, "credential.malformed"],
    ["an overlong character, encoded", () => `Basic ${coded("shop.web:%c0%ae")}`, "credential.malformed"],
    [
      "bytes that are no characters",
      () => `Basic ${Buffer.from("shop.web:\xff\xfe", "latin1").toString("base64")}`,
      "client.secret",
    ],
    ["a header, encoded", () => `Basic ${coded("shop.web%0d%0aSet-Cookie:a=b:x")}`, "client.unknown"],
    ["Digest", () => 'Digest username="shop.web"', "credential.malformed"],
    ["Negotiate", () => `Negotiate ${right()}`, "credential.malformed"],
    ["no scheme", () => right(), "credential.malformed"],
  ])("is refused with %s", async (_name, authorization, reason) => {
    const headers = { authorization: authorization() };
    expect(await outcomeOf("/token", { ...form(cc), headers })).toEqual(notClient(reason));
    expect(await outcomeOf("/introspect", { ...form({ token }), headers })).toEqual(notClient(reason));
    expect(await outcomeOf("/revoke", { ...form({ token }), headers })).toEqual(notClient(reason));
  });

  test("an empty one is refused as well", async () => {
    const headers = { authorization: "" };
    expect((await outcomeOf("/token", { ...form(cc), headers }))[0]).toBe("credential.malformed");
  });

  test("that is larger than all headers may be is 431, and the next request is answered", async () => {
    const headers = basic("shop.web", "x".repeat(9_000));
    const answer = await at.call("/token", { ...form(cc), headers });
    expect([answer.status, answer.body.length]).toEqual([431, 0]);
    expect((await at.call("/token", { ...form(cc), headers: basic("shop.web", shop.secret) })).status).toBe(200);
  });
});
