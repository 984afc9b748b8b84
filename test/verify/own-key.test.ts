/** A resource server whose credential is a key: what it sends, what an authority makes of that, and what it cannot be used for. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { toJwtClaims } from "../../shared/claims.ts";
import { jwkThumbprint, readPublicKey, toJwk } from "../../shared/cose-key.ts";
import { generatePrivateKey } from "../../shared/es256.ts";
import { isSignedBy, readJwt, type Jwt } from "../../shared/jwt.ts";
import { inspectToken } from "../../shared/token.ts";
import { createVerifier, type ApiCredential, type Verifier, type VerifierOptions } from "../../verify/index.ts";
import { basic, countRows, ISSUER, openFixture, type Fixture } from "../authority/fixture.ts";
import { openRoom, reasonOf, type Room } from "./issuer.ts";

const privateKey = generatePrivateKey();
const foreignKey = generatePrivateKey();
const id = "plant/tele";
const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const jwkOf = (key: KeyObject): object => toJwk(readPublicKey(key));

describe("at an authority", () => {
  let fixture: Fixture;
  let secret: string;
  const verifiers: Verifier[] = [];
  const tele = { project: "plant", api: "tele" };

  beforeEach(async () => {
    fixture = await openFixture();
    const { registry } = fixture;
    createProject(registry, "plant");
    for (const name of ["tele", "other"]) {
      createApi(registry, { project: "plant", name, kind: "http", scopes: ["read"], bearer: true });
    }
    createRole(registry, { ...tele, name: "reader", scopes: ["read"] });
    secret = createClient(registry, { project: "plant", name: "board", kind: "service", roles: ["reader"] }).secret!;
    replaceKeys(registry, tele, [jwkOf(generatePrivateKey()), { ...jwkOf(privateKey), kid: "of the day" }]);
  });
  afterEach(async () => {
    for (const verifier of verifiers.splice(0)) await verifier.close();
    await fixture.close();
  });

  async function open(credential: ApiCredential, options: Partial<VerifierOptions> = {}): Promise<Verifier> {
    const verifier = await createVerifier({
      issuer: ISSUER,
      authorityUrl: `https://localhost:${fixture.authority.port}`,
      audience: "plant.tele",
      ca: fixture.ca.caPem,
      credential,
      nowSeconds: () => fixture.clock.now,
      answerMilliseconds: 30_000,
      ...options,
    });
    verifiers.push(verifier);
    return verifier;
  }

  const post = (path: string, body: string): ReturnType<Fixture["call"]> =>
    fixture.call(path, {
      type: "application/x-www-form-urlencoded",
      body,
      headers: basic("plant.board", secret),
    });
  async function getToken(): Promise<string> {
    const { body } = await post("/token", "grant_type=client_credentials&audience=plant.tele");
    return (JSON.parse(body.toString()) as { access_token: string }).access_token;
  }

  const forms: [string, Exclude<ApiCredential["privateKey"], undefined>][] = [
    ["PEM, PKCS #8", privateKey.export({ type: "pkcs8", format: "pem" }).toString()],
    ["PEM, SEC 1", privateKey.export({ type: "sec1", format: "pem" }).toString()],
    ["a JWK", privateKey.export({ format: "jwk" })],
    ["the text of a JWK", ` ${JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: "another" })}`],
    ["node's own", privateKey],
  ];
  test.each(forms)("a key given as %s is taken, and a revoked token is refused at once", async (_, given) => {
    const verifier = await open({ id, privateKey: given });
    const token = await getToken();
    for (let call = 0; call < 3; call++) {
      expect(await verifier.verify(token, { scopes: ["read"] })).toMatchObject({ verifiedBy: "introspection" });
    }
    // one for each call: one that was used before would be refused
    expect(countRows(fixture.registry)["assertion"]).toBe(3);
    await post("/revoke", `token=${token}`);
    expect(await reasonOf(verifier.verify(token))).toBe("token.inactive");
    expect(verifier.status()).toMatchObject({ reachable: true, failures: 0 });
  });

  test("calls at the same time each prove it by themselves", async () => {
    const verifier = await open({ id, privateKey });
    const token = await getToken();
    await Promise.all(Array.from({ length: 20 }, () => verifier.verify(token)));
    expect([countRows(fixture.registry)["assertion"], verifier.status().failures]).toEqual([20, 0]);
  });

  test.each<[string, ApiCredential, string]>([
    ["another key", { id, privateKey: foreignKey }, "assertion.signature"],
    ["the name of another api", { id: "plant/other", privateKey }, "assertion.signature"],
    ["the name of no api", { id: "plant/none", privateKey }, "resource-server.unknown"],
    ["the name of no project", { id: "none/tele", privateKey }, "resource-server.unknown"],
  ])("with %s nobody is let in", async (_, credential, why) => {
    const verifier = await open(credential);
    expect(await reasonOf(verifier.verify(await getToken()))).toBe("authority.unreachable");
    expect(fixture.reason()).toBe(why);
    expect(verifier.status()).toMatchObject({ reachable: false, lastError: "refused: status 401" });
  });

  test("another api with its own key hears nothing of the token", async () => {
    replaceKeys(fixture.registry, { project: "plant", api: "other" }, [jwkOf(foreignKey)]);
    const verifier = await open({ id: "plant/other", privateKey: foreignKey });
    expect(await reasonOf(verifier.verify(await getToken()))).toBe("token.inactive");
  });

  test("a key that is taken back counts no more, nor what was found good with it", async () => {
    const verifier = await open({ id, privateKey }, { whenUnreachable: { lastKnownGoodSeconds: 1000 } });
    const token = await getToken();
    await verifier.verify(token);
    replaceKeys(fixture.registry, tele, [jwkOf(foreignKey)]);
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  });

  test.each([
    ["is behind by less than what is allowed", -149, undefined],
    ["is behind by more", -150, "assertion.expired"],
    ["is ahead by what is allowed", 150, undefined],
    ["is ahead by more", 151, "assertion.lifetime"],
  ])("where the clock here %s", async (_, ahead, why) => {
    const there = fixture.clock.now;
    const here = there + ahead + 0.9;
    // a token that is not of tomorrow by either clock
    fixture.clock.now = Math.min(there, Math.floor(here));
    const token = await getToken();
    fixture.clock.now = there;
    const verifier = await open({ id, privateKey }, { nowSeconds: () => here });
    const outcome = await reasonOf(verifier.verify(token).then(({ verifiedBy }) => verifiedBy));
    expect(outcome).toBe(why === undefined ? "introspection" : "authority.unreachable");
    expect(why === undefined ? undefined : fixture.reason()).toBe(why);
    const { lastError } = verifier.status();
    if (why === undefined) expect(lastError).toBeUndefined();
    else
      expect(lastError).toMatch(
        /^refused: status 401; the clock here is \d+ s (ahead of|behind) that of the authority$/,
      );
  });
});

describe("what is sent", () => {
  let room: Room;
  beforeAll(async () => void (room = await openRoom()));
  afterAll(() => room.close());

  /** The assertions that were sent so far, each with the body it came in. */
  function sent(): Jwt[] {
    return room.issuer.asked
      .filter(({ path }) => path === "/introspect")
      .map(({ body, request }) => {
        expect(request.headers.authorization).toBeUndefined();
        const form = new URLSearchParams(body);
        expect([...form.keys()]).toEqual(["token", "token_type_hint", "client_assertion_type", "client_assertion"]);
        expect(form.get("client_assertion_type")).toBe(JWT_BEARER);
        return readJwt(form.get("client_assertion")!);
      });
  }
  function mintActive(): string {
    const token = room.mint();
    const said = { active: true, ...toJwtClaims(inspectToken(token).claims), token_type: "Bearer" };
    room.issuer.answers.set(token, { ...said, time: room.clock.now });
    return token;
  }

  test("is an assertion for this issuer alone, of the key, short-lived and each time another", async () => {
    const verifier = await room.open({ credential: { id, privateKey } });
    const token = mintActive();
    await verifier.verify(token);
    room.clock.now += 1;
    await verifier.verify(token);
    const assertions = sent();
    const key = readPublicKey(privateKey);
    expect(assertions.map(({ payload }) => payload)).toEqual(
      [0, 1].map((later) => ({
        iss: id,
        sub: id,
        aud: room.url,
        exp: room.clock.now - 1 + later + 150,
        jti: expect.stringMatching(/^[\w-]{22}$/),
      })),
    );
    expect(assertions.map(({ type, kid }) => [type, kid])).toEqual([0, 1].map(() => ["JWT", jwkThumbprint(key)]));
    expect(assertions.map((one) => isSignedBy(one, key))).toEqual([true, true]);
    expect(new Set(assertions.map(({ payload }) => payload["jti"])).size).toBe(2);
  });

  test("is another one too where a connection ends and the question is asked again", async () => {
    const verifier = await room.open({ credential: { id, privateKey } });
    const token = mintActive();
    const before = sent().length;
    let asked = 0;
    room.issuer.faults.set("/introspect", (response) => (asked++ > 0 ? false : void response.destroy()));
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "introspection" });
    room.issuer.faults.clear();
    const [lost, again, ...more] = sent().slice(before);
    expect(more).toEqual([]);
    expect(lost!.payload["jti"]).not.toBe(again!.payload["jti"]);
  });

  test("is nothing of the key where the keys are fetched", () => {
    const others = room.issuer.asked.filter(({ path }) => path !== "/introspect");
    expect(others.length).toBeGreaterThan(0);
    expect(others.map(({ body, request }) => [body, request.headers.authorization])).toEqual(
      others.map(() => ["", undefined]),
    );
  });
});

describe("a verifier is not opened", () => {
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const feedNeedsSecret = "mode feed needs a secret: the list of revoked tokens cannot be asked for with a key";
  const noKey = "privateKey is not a private key on P-256, in PEM, as a JWK or as a KeyObject";
  const { privateKey: rsa } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { privateKey: p384 } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const { d: _, ...publicJwk } = privateKey.export({ format: "jwk" });
  const encrypted = privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "p" });

  test.each<[string, Partial<VerifierOptions>, string]>([
    ["in mode feed with a key", { mode: "feed", credential: { id, privateKey } }, feedNeedsSecret],
    ["with a scope in mode feed", { scopes: { a: "feed" }, credential: { id, privateKey } }, feedNeedsSecret],
    [
      "with a key that was to come from the environment and did not",
      { credential: { id, privateKey: undefined } },
      "mode introspect needs the credential of the api",
    ],
    ["with an empty key", { credential: { id, privateKey: "" } }, "mode introspect needs the credential of the api"],
    [
      "with a key of nobody",
      { credential: { id: "tele", privateKey } },
      "mode introspect needs the credential of the api",
    ],
    [
      "with a secret and a key",
      { credential: { id, secret: "s", privateKey: pem } as unknown as ApiCredential },
      "a secret or a privateKey, not both",
    ],
    ["with what is no key", { credential: { id, privateKey: "hush" } }, noKey],
    ["with what is no JWK", { credential: { id, privateKey: "{hush" } }, noKey],
    ["with half of a PEM", { credential: { id, privateKey: pem.slice(0, 80) } }, noKey],
    ["with a public JWK", { credential: { id, privateKey: publicJwk } }, noKey],
    ["with a public key", { credential: { id, privateKey: createPublicKey(privateKey) } }, noKey],
    ["with a key on P-384", { credential: { id, privateKey: p384 } }, noKey],
    ["with an RSA key", { credential: { id, privateKey: rsa } }, noKey],
    ["with an encrypted key", { credential: { id, privateKey: encrypted.toString() } }, noKey],
    ["with a bad key, though nothing asks with it", { mode: "local", credential: { id, privateKey: "hush" } }, noKey],
  ])("%s", async (_name, options, why) => {
    const opening = createVerifier({ issuer: "https://localhost:9", audience: "plant.tele", ...options });
    const error = await opening.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain(why);
    // nothing of a key stands in what is logged of the error
    expect(`${(error as Error).stack}${JSON.stringify(error)}`).not.toContain("hush");
    expect((error as Error).cause).toBeUndefined();
  });
});
