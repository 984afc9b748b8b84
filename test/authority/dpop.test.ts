/** DPoP at the token endpoint (RFC 9449, section 5): a token for the key of the proof, and one row for each way to be wrong. */
import { createHmac } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { listAudit } from "../../broker/registry/audit.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { encodeTokenRequest, readTokenError } from "../../shared/ace.ts";
import { jwkThumbprint, toJwk } from "../../shared/cose-key.ts";
import { twinOf } from "../../shared/es256.ts";
import {
  ACE,
  basic,
  countRows,
  ISSUER,
  makeDevice,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "./fixture.ts";
import {
  assertionFields,
  formCall,
  furnishShop,
  jsonCall,
  openProver,
  readJson,
  verifyAt,
  type Shop,
} from "./http-apis.ts";

let at: Fixture;
let shop: Shop;
let till: Device;
/** The secret of a second client with the same roles. */
let second: string;
let prover: ReturnType<typeof openProver>;

beforeAll(async () => {
  at = await openFixture();
  shop = furnishShop(at.registry);
  till = await makeDevice(at, "shop.till");
  second = createClient(at.registry, { project: "shop", name: "desk", kind: "app", roles: ["orders-reader"] }).secret!;
});
afterAll(() => at.close());
beforeEach(() => {
  prover = openProver(at.clock);
  at.lines.length = 0;
});

const inBody = () => ({ client_id: "shop.web", client_secret: shop.secret });
const audience = "shop.orders";

/** Asks with a proof, or with what is in its place. */
function ask(proof: string | readonly string[], body: object = {}, path = "/token"): Promise<Answer> {
  return at.call(path, jsonCall({ audience, ...inBody(), ...body }, { dpop: proof as string }));
}

describe("a token for the key of a proof", () => {
  test.each<[string, string, (dpop: string) => Parameters<Fixture["call"]>[1]]>([
    ["Basic", "secret", (dpop) => formCall({ audience }, { ...basic("shop.web", shop.secret), dpop })],
    ["a secret in the body", "secret", (dpop) => jsonCall({ audience, ...inBody() }, { dpop })],
    [
      "private_key_jwt",
      "assertion",
      (dpop) => formCall({ audience, ...assertionFields(shop.web, at.clock.now) }, { dpop }),
    ],
  ])("is given for %s", async (_name, by, call) => {
    const answer = await at.call("/token", call(prover.prove()));
    expect(answer.status).toBe(200);
    const { access_token: token, ...rest } = readJson(answer);
    expect(rest).toEqual({ token_type: "DPoP", expires_in: 300, scope: "read write" });
    const jkt = jwkThumbprint(prover.signer.publicKey);
    expect(JSON.parse(Buffer.from(String(token).split(".")[1]!, "base64url").toString())).toMatchObject({
      cnf: { jkt },
    });
    expect(verifyAt(at, token, audience).claims.cnf).toEqual({ kind: "thumbprint", jkt });
    const [row] = listAudit(at.registry, { project: "shop", limit: 1 });
    expect(row).toMatchObject({ event: "token.issued", facts: { bound: "dpop", by } });
    expect(at.registry.db.prepare("SELECT * FROM issued ORDER BY number DESC LIMIT 1").get()).toMatchObject({
      key_thumbprint: prover.signer.publicKey.thumbprint,
    });
  });

  test("is given under either path, for a proof that names it", async () => {
    const path = "/get-access-token";
    expect((await ask(prover.prove({ url: ISSUER + path }), {}, path)).status).toBe(200);
    expect((await ask(prover.prove(), {}, `/token?a=b`)).status).toBe(200);
  });

  test("is bound where a bearer token would do as well", async () => {
    expect(readJson(await ask(prover.prove(), { audience: "shop.open" }))["token_type"]).toBe("DPoP");
  });

  test.each([-60, 60])("is given for a proof that is %i seconds off", async (seconds) => {
    expect((await ask(prover.prove({ nowSeconds: at.clock.now + seconds }))).status).toBe(200);
  });
});

describe("a proof is good once", () => {
  test("and replayed it is refused, and the audit log says so", async () => {
    const proof = prover.prove();
    expect((await ask(proof)).status).toBe(200);
    const before = countRows(at.registry);
    const answer = await ask(proof);
    expect([answer.status, readJson(answer)["error"], at.reason()]).toEqual([
      400,
      "invalid_dpop_proof",
      "dpop.replayed",
    ]);
    expect(countRows(at.registry)).toEqual(before);
    expect(listAudit(at.registry, { project: "shop", limit: 1 })[0]).toMatchObject({
      event: "token.refused",
      actor: "shop.web",
      reason: "dpop.replayed",
    });
  });

  test("of two at the same time one is", async () => {
    const proof = prover.prove();
    const answers = await Promise.all([ask(proof), ask(proof), ask(proof)]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 400, 400]);
  });

  test("whoever sends it, and with either form of its signature", async () => {
    const proof = prover.prove();
    expect((await ask(proof)).status).toBe(200);
    await ask(proof, { client_id: "shop.desk", client_secret: second });
    expect(at.reason()).toBe("dpop.replayed");
    at.lines.length = 0;
    const [head, body, signature] = proof.split(".") as [string, string, string];
    const twin = Buffer.from(twinOf(Buffer.from(signature, "base64url"))).toString("base64url");
    await ask(`${head}.${body}.${twin}`);
    expect(at.reason()).toBe("dpop.replayed");
  });

  test("for as long as it could be used again, and its row goes after that", async () => {
    const began = at.clock.now;
    try {
      const proof = prover.prove({ nowSeconds: began + 60 });
      expect((await ask(proof)).status).toBe(200);
      for (const [seconds, reason] of [
        [120, "dpop.replayed"],
        [121, "dpop.time"],
      ] as const) {
        at.clock.now = began + seconds;
        // others come in between, with each of which old rows go
        for (let count = 0; count < 3; count++) expect((await ask(prover.prove())).status).toBe(200);
        await ask(proof);
        expect(at.reason()).toBe(reason);
      }
      const key = `dpop:${jwkThumbprint(prover.signer.publicKey)}`;
      const rows = () =>
        at.registry.db
          .prepare("SELECT count(*) FROM assertion WHERE client = ? AND exp <= ?")
          .pluck()
          .get(key, began + 181);
      expect(rows()).toBe(7);
      at.clock.now = began + 242;
      const other = openProver(at.clock);
      for (let count = 0; count < 64; count++) expect((await ask(other.prove())).status).toBe(200);
      expect(rows()).toBe(0);
    } finally {
      at.clock.now = began;
    }
  });

  test("and unspent where the request was refused for something else", async () => {
    const proof = prover.prove();
    expect((await ask(proof, { scope: "admin" })).status).toBe(400);
    expect((await ask(proof, { client_secret: "wrong" })).status).toBe(401);
    expect((await ask(proof)).status).toBe(200);
  });

  test("for one key: the same jti of another is another proof", async () => {
    const id = Buffer.from("the same");
    expect((await ask(prover.prove({ id }))).status).toBe(200);
    expect((await ask(openProver(at.clock).prove({ id }))).status).toBe(200);
  });
});

describe("refuses", () => {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const jwk = () => toJwk(prover.signer.publicKey);
  const payload = () => ({ jti: "one", htm: "POST", htu: `${ISSUER}/token`, iat: at.clock.now });
  const proofOf = (header: object, changed: object = {}): string => {
    const signed = `${part({ typ: "dpop+jwt", alg: "ES256", jwk: jwk(), ...header })}.${part({ ...payload(), ...changed })}`;
    return `${signed}.${Buffer.from(prover.signer.sign(Buffer.from(signed))).toString("base64url")}`;
  };
  const hmac = (): string => {
    const signed = `${part({ typ: "dpop+jwt", alg: "HS256", jwk: jwk() })}.${part(payload())}`;
    const secret = prover.signer.publicKey.keyObject.export({ type: "spki", format: "der" });
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };

  test.each<[string, () => string | readonly string[], string]>([
    ["an empty header", () => "", "dpop.malformed"],
    ["two headers", () => [prover.prove(), prover.prove()], "dpop.malformed"],
    ["the same proof in two headers", () => Array<string>(2).fill(prover.prove()), "dpop.malformed"],
    ["what is no proof", () => "x", "dpop.malformed"],
    ["a client assertion", () => assertionFields(shop.web, at.clock.now)["client_assertion"]!, "dpop.type"],
    ["a proof of 5 KiB", () => proofOf({}, { more: "x".repeat(5_000) }), "dpop.malformed"],
    ["the type of a token", () => proofOf({ typ: "at+jwt" }), "dpop.type"],
    ["alg none", () => `${part({ typ: "dpop+jwt", alg: "none", jwk: jwk() })}.${part(payload())}.`, "dpop.algorithm"],
    ["alg HS256 with the public key as the secret", hmac, "dpop.algorithm"],
    ["a private key", () => proofOf({ jwk: { ...jwk(), d: jwk().x } }), "dpop.key"],
    ["no key but a kid", () => proofOf({ jwk: undefined, kid: "1" }), "dpop.key"],
    ["the key of somebody else", () => proofOf({ jwk: toJwk(shop.web.key) }), "dpop.signature"],
    ["a jti of 129 bytes", () => prover.prove({ id: Buffer.alloc(97) }), "dpop.malformed"],
    ["another method", () => prover.prove({ method: "GET" }), "dpop.method"],
    ["the other path", () => prover.prove({ url: `${ISSUER}/get-access-token` }), "dpop.url"],
    ["another authority", () => prover.prove({ url: "https://other.test/token" }), "dpop.url"],
    ["the address without the path", () => prover.prove({ url: ISSUER }), "dpop.url"],
    ["a query in htu", () => proofOf({}, { htu: `${ISSUER}/token?a` }), "dpop.url"],
    ["a proof of 61 seconds ago", () => prover.prove({ nowSeconds: at.clock.now - 61 }), "dpop.time"],
    ["a proof 61 seconds ahead", () => prover.prove({ nowSeconds: at.clock.now + 61 }), "dpop.time"],
  ])("%s", async (_name, proof, reason) => {
    const before = countRows(at.registry);
    const answer = await ask(proof());
    expect([at.reason(), answer.status]).toEqual([reason, 400]);
    expect(readJson(answer)).toEqual({
      error: "invalid_dpop_proof",
      error_description: expect.stringMatching(/^the DPoP proof is not accepted \(id [\w-]{12}\)$/) as string,
    });
    expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
    expect(countRows(at.registry)).toEqual(before);
  });

  test.each<[string, () => Promise<Answer>]>([
    ["a certificate", () => at.call("/token", jsonCall({ audience }, { dpop: prover.prove() }, till))],
    [
      "req_cnf",
      () => {
        const body = { audience, ...assertionFields(shop.web, at.clock.now), req_cnf: { jwk: toJwk(shop.web.key) } };
        return at.call("/token", jsonCall(body, { dpop: prover.prove() }));
      },
    ],
    ["an api of kind mqtt", () => ask(prover.prove(), { audience: "shop.tele" })],
    ["an api whose tokens are CWTs", () => ask(prover.prove(), { audience: "shop.tiny" })],
  ])("a proof together with %s", async (_name, call) => {
    const before = countRows(at.registry);
    const answer = await call();
    expect([at.reason(), answer.status, readJson(answer)["error"]]).toEqual([
      "request.key",
      400,
      "unsupported_pop_key",
    ]);
    expect(countRows(at.registry)).toEqual(before);
  });

  test("a proof together with CBOR, which has no such type of token", async () => {
    const headers = { ...basic("shop.web", shop.secret), dpop: prover.prove() };
    const answer = await at.call("/token", { type: ACE, body: encodeTokenRequest({ audience }), headers });
    expect([at.reason(), answer.status, readTokenError(answer.body).error]).toEqual([
      "request.key",
      400,
      "unsupported_pop_key",
    ]);
  });
});
