/** Signed answers of introspection (RFC 9701), and which Accept header asks for one. */
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isWanted } from "../../broker/authority/oauth/accept.ts";
import { ACE_CBOR } from "../../shared/ace.ts";
import { encodeIntrospectionRequest, INTROSPECTION_JWT, readIntrospection } from "../../shared/introspection.ts";
import { verifyToken } from "../../shared/token.ts";
import { basic, ISSUER, type Answer } from "./fixture.ts";
import { ADMIN, heard, json, JSON_TYPE, openIntrospectFixture, type IntrospectFixture } from "./introspect-fixture.ts";

let at: IntrospectFixture;
beforeAll(async () => {
  at = await openIntrospectFixture();
});
afterAll(() => at.close());

function ask(token: string, headers: Record<string, string>, accept: string = INTROSPECTION_JWT): Promise<Answer> {
  return at.call("/introspect", { type: JSON_TYPE, body: JSON.stringify({ token }), headers: { ...headers, accept } });
}

async function verify(answer: Answer, audience: string): Promise<Record<string, unknown>> {
  expect([answer.status, answer.headers["content-type"]]).toEqual([200, INTROSPECTION_JWT]);
  const keys = createLocalJWKSet(json(await at.call("/.well-known/jwks.json")) as unknown as JSONWebKeySet);
  const { payload } = await jwtVerify(answer.body.toString(), keys, {
    issuer: ISSUER,
    audience,
    typ: "token-introspection+jwt",
    algorithms: ["ES256"],
    currentDate: new Date(at.clock.now * 1000),
  });
  return payload;
}

describe("a signed answer", () => {
  test.each<[string, () => Record<string, string>, string]>([
    ["an api", () => at.as("web"), "plant/web"],
    ["a client", () => basic("plant.board", at.secret), "plant.board"],
    ["the administrator", () => ADMIN, "admin"],
  ])("is for %s alone, and holds what the plain one says", async (_, headers, audience) => {
    const token = at.mint();
    const plain = json(await ask(token, headers(), JSON_TYPE));
    const payload = await verify(await ask(token, headers()), audience);
    expect(payload).toEqual({ iss: ISSUER, aud: audience, iat: at.clock.now, token_introspection: plain });
    expect(plain["active"]).toBe(true);
  });

  test("says of a token that is not active nothing more, and all such answers are alike", async () => {
    const foreign = at.mint({ aud: "plant.open" });
    for (const token of [foreign, "nonsense"]) {
      const answer = await ask(token, at.as("web"));
      expect((await verify(answer, "plant/web"))["token_introspection"]).toEqual({ active: false });
      expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
    }
  });

  test("is no access token", async () => {
    const answer = await ask(at.mint(), at.as("web"));
    const expected = {
      issuer: ISSUER,
      keyFor: (kid: string) => at.trust.keyFor(kid),
      isAudience: () => true,
      nowSeconds: at.clock.now,
    };
    expect(() => verifyToken(answer.body.toString(), expected)).toThrow("token.type");
    expect((await ask(answer.body.toString(), ADMIN, JSON_TYPE)).body.toString()).toBe('{"active":false}');
  });

  test("answers a question in CBOR too", async () => {
    const body = encodeIntrospectionRequest({ token: at.mint() });
    const send = (accept?: string): Promise<Answer> =>
      at.call("/introspect", { type: ACE_CBOR, body, headers: { ...at.as("web"), ...(accept && { accept }) } });
    expect(await verify(await send(INTROSPECTION_JWT), "plant/web")).toMatchObject({
      token_introspection: { active: true },
    });
    expect(readIntrospection((await send()).body).active).toBe(true);
  });

  test("is not that of an error", async () => {
    const answer = await ask("a", basic("plant/web", "no"));
    expect([answer.status, json(answer)["error"], at.reason()]).toEqual([401, "invalid_client", "client.secret"]);
  });

  test("stays away where it is not asked for, and nothing else differs", async () => {
    const plain = heard(await ask("nonsense", at.as("web"), JSON_TYPE));
    for (const accept of ["*/*", "text/html", `${INTROSPECTION_JWT};q=0`]) {
      expect(heard(await ask("nonsense", at.as("web"), accept))).toEqual(plain);
    }
  });
});

describe("a caller wants a signed answer", () => {
  test.each<[boolean, string | undefined]>([
    [false, undefined],
    [false, ""],
    [false, "*/*"],
    [false, "application/*"],
    [false, JSON_TYPE],
    [false, "text/html, */*"],
    [false, `${INTROSPECTION_JWT};q=0`],
    [false, `${INTROSPECTION_JWT};q=0.000, */*`],
    [false, `${INTROSPECTION_JWT};q=0.5, application/json`],
    [false, `application/json;q=0.9, ${INTROSPECTION_JWT};q=0.8`],
    [false, `${INTROSPECTION_JWT};q=0.5, application/*;q=0.6`],
    [false, `${INTROSPECTION_JWT};q=2`],
    [false, `${INTROSPECTION_JWT};q=`],
    [false, `text/html;x="a, ${INTROSPECTION_JWT}"`],
    [false, `text/html;x="a\\", ${INTROSPECTION_JWT}`],
    [false, "application/token-introspection+jwtx"],
    [true, INTROSPECTION_JWT],
    [true, INTROSPECTION_JWT.toUpperCase()],
    [true, ` ${INTROSPECTION_JWT} ; Q=1.000 `],
    [true, `application/json, ${INTROSPECTION_JWT}`],
    [true, `application/json;q=0.5, ${INTROSPECTION_JWT};q=0.6`],
    [true, `application/json;q=0, ${INTROSPECTION_JWT};q=0.001, */*`],
    [true, `*/*;q=0.1,,${INTROSPECTION_JWT};q=0.1`],
    [true, `text/html;x="a,b", ${INTROSPECTION_JWT}`],
  ])("%s: %s", (expected, header) => {
    expect(isWanted(header, INTROSPECTION_JWT, JSON_TYPE)).toBe(expected);
  });
});
