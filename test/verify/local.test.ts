/** A token with the keys that the issuer publishes: what is let in, and every way to be wrong. */
import { createHmac, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toBase64url } from "../../shared/base64url.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { signJwt } from "../../shared/jwt.ts";
import { toJwtClaims } from "../../shared/claims.ts";
import type { Verifier } from "../../verify/index.ts";
import { KnownTokens, type KnownToken } from "../../verify/known-tokens.ts";
import { AUDIENCE, makeSigner, openRoom, reasonOf, type Room } from "./issuer.ts";

let room: Room;
let verifier: Verifier;
beforeAll(async () => {
  room = await openRoom();
  verifier = await room.open();
});
afterAll(() => room.close());

const part = (value: object): string => toBase64url(Buffer.from(JSON.stringify(value)));

describe("a token is let in", () => {
  test("as a JWT, with all that it says of its bearer", async () => {
    const id = randomBytes(8);
    const principal = await verifier.verify(room.mint({ id }), { scopes: ["read"] });
    expect(principal).toEqual({
      client: "plant.board",
      project: "plant",
      name: "board",
      scopes: ["read", "write"],
      grants: [],
      tokenId: toBase64url(id),
      audience: AUDIENCE,
      issuedAt: room.clock.now,
      expiresAt: room.clock.now + 600,
      format: "jwt",
      boundTo: undefined,
      verifiedBy: "keys",
      staleSeconds: 0,
      decisionId: expect.stringMatching(/^[\w-]{12}$/) as unknown,
    });
  });

  test("as base64url of a CWT, with its grants", async () => {
    const scope = [{ filter: "p/board/up", pub: true, sub: false }];
    const token = toBase64url(mintCwt(room.claims({ scope }), room.issuer.signer));
    expect(await verifier.verify(token)).toMatchObject({ format: "cwt", grants: scope, scopes: [] });
  });

  test("again, without its signature being verified again, under another decision", async () => {
    const token = room.mint();
    const first = await verifier.verify(token);
    const known = verifier.status().knownTokens;
    const second = await verifier.verify(token);
    expect(verifier.status().knownTokens).toBe(known);
    expect(second).toEqual({ ...first, decisionId: second.decisionId });
    expect(second.decisionId).not.toBe(first.decisionId);
  });

  test("and whoever is told of it cannot widen it for the next", async () => {
    const token = room.mint({ scope: "read" });
    const { scopes } = await verifier.verify(token);
    expect(() => (scopes as string[]).push("write")).toThrow(TypeError);
    expect(await reasonOf(verifier.verify(token, { scopes: ["write"] }))).toBe("scope.insufficient");
  });
});

describe("a token is refused", () => {
  const payload = () => toJwtClaims(room.claims());
  const signed = (header: object): string => {
    const { signer } = room.issuer;
    const text = `${part({ alg: "ES256", typ: "at+jwt", kid: signer.kid, ...header })}.${part(payload())}`;
    return `${text}.${toBase64url(signer.sign(Buffer.from(text)))}`;
  };
  const withHmac = (): string => {
    const pem = room.issuer.signer.publicKey.keyObject.export({ type: "spki", format: "pem" });
    const text = `${part({ alg: "HS256", typ: "at+jwt", kid: "k1" })}.${part(payload())}`;
    return `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`;
  };
  const withOwnKey = (): string => {
    const own = makeSigner("k1");
    const text = `${part({ alg: "ES256", typ: "at+jwt", kid: "k1", jwk: toJwk(own.publicKey) })}.${part(payload())}`;
    return `${text}.${toBase64url(own.sign(Buffer.from(text)))}`;
  };
  const rows: [string, () => string, string][] = [
    ["that is empty", () => "", "token.malformed"],
    ["that is no token", () => "hello there", "token.malformed"],
    ["of two parts", () => room.mint().split(".").slice(0, 2).join("."), "token.malformed"],
    ["that is huge", () => `${room.mint()}${"A".repeat(5000)}`, "token.too-large"],
    [
      "with alg none",
      () => `${part({ alg: "none", typ: "at+jwt", kid: "k1" })}.${part(payload())}.`,
      "token.algorithm",
    ],
    ["signed by HS256 with the public key", withHmac, "token.algorithm"],
    ["signed by a key that it brings itself", withOwnKey, "token.signature"],
    ["with a header that must be understood", () => signed({ crit: ["b64"], b64: false }), "token.malformed"],
    ["with a path as its key id", () => signed({ kid: "../../etc/passwd" }), "token.key-unknown"],
    ["with a number as its key id", () => signed({ kid: 1 }), "token.malformed"],
    ["without a key id", () => signed({ kid: undefined }), "token.key-unknown"],
    ["that is an assertion", () => signed({ typ: "JWT" }), "token.type"],
    ["that is a DPoP proof", () => signJwt(payload(), "dpop+jwt", room.issuer.signer), "token.type"],
    ["with another signature", () => `${room.mint().slice(0, -10)}AAAAAAAAAA`, "token.signature"],
    ["of an unknown key", () => room.mint({}, makeSigner("nobody")), "token.key-unknown"],
    ["of another key with the same key id", () => room.mint({}, makeSigner("k1")), "token.signature"],
    ["of another issuer", () => room.mint({ iss: "https://other.example" }), "token.issuer"],
    ["of another issuer with its key", () => room.mint({ iss: "https://o.example" }, makeSigner("o")), "token.issuer"],
    ["for another audience", () => room.mint({ aud: "plant.other" }), "token.audience"],
    ["for another audience by an unknown key", () => room.mint({ aud: "x.y" }, makeSigner("o")), "token.audience"],
    ["that has expired this second", () => room.mint({ exp: room.clock.now }), "token.expired"],
    ["that has expired, by an unknown key", () => room.mint({ exp: 1 }, makeSigner("o")), "token.expired"],
    ["from the future", () => room.mint({ iat: room.clock.now + 61 }), "token.not-yet-valid"],
    ["that begins later", () => room.mint({ nbf: room.clock.now + 61 }), "token.not-yet-valid"],
  ];
  test.each(rows)("%s", async (_name, make, reason) => {
    expect(await reasonOf(verifier.verify(make()))).toBe(reason);
    expect(await reasonOf(verifier.verify(make()))).toBe(reason);
  });

  test("once it has expired, also where it was let in before", async () => {
    const token = room.mint({ exp: room.clock.now + 5 });
    await verifier.verify(token);
    room.clock.now += 5;
    expect(await reasonOf(verifier.verify(token))).toBe("token.expired");
    room.clock.now -= 5;
  });

  test("after its leeway and not before", async () => {
    const lenient = await room.open({ leewaySeconds: 30 });
    const token = room.mint({ exp: room.clock.now });
    room.clock.now += 29;
    expect(await reasonOf(verifier.verify(token))).toBe("token.expired");
    await lenient.verify(token);
    room.clock.now += 1;
    expect(await reasonOf(lenient.verify(token))).toBe("token.expired");
    room.clock.now -= 30;
  });

  test("without a scope that is demanded", async () => {
    const token = room.mint({ scope: "read reader" });
    await verifier.verify(token, { scopes: ["reader", "read"] });
    for (const scopes of [["write"], ["read", "write"], ["rea"], ["read reader"]]) {
      expect(await reasonOf(verifier.verify(token, { scopes }))).toBe("scope.insufficient");
    }
    expect(await reasonOf(verifier.verify(room.mint({ scope: undefined }), { scopes: ["read"] }))).toBe(
      "scope.insufficient",
    );
  });

  test("for the thing of another", async () => {
    const token = room.mint();
    const rule = "devices/${name}";
    await verifier.verify(token, { object: { rule, object: "devices/board" } });
    await verifier.verify(token, { object: { rule: "${project}/${client}", object: "plant/plant.board" } });
    expect(await reasonOf(verifier.verify(token, { object: { rule, object: "devices/pi" } }))).toBe(
      "scope.insufficient",
    );
    const nobody = room.mint({ sub: "someone" });
    expect(await reasonOf(verifier.verify(nobody, { object: { rule, object: "devices/" } }))).toBe(
      "scope.insufficient",
    );
    const wrong = { rule: "${constructor}", object: "x" };
    await expect(verifier.verify(token, { object: wrong })).rejects.toThrow(TypeError);
  });

  test("without a bound key where the api wants one", async () => {
    const strict = await room.open({ requireBound: true });
    expect(await reasonOf(strict.verify(room.mint()))).toBe("token.unbound");
  });
});

test("the memory of tokens is bounded, and the one not asked for the longest goes first", async () => {
  const small = await room.open({ cacheSize: 2 });
  const [a, b, c] = [room.mint(), room.mint(), room.mint()];
  for (const token of [a, b, c]) await small.verify(token);
  expect(small.status().knownTokens).toBe(2);
  const kept = new KnownTokens(2);
  const known = {} as KnownToken;
  kept.keep("a", known);
  kept.keep("b", known);
  kept.get("a");
  kept.keep("c", known);
  expect(["a", "b", "c"].map((token) => kept.get(token) === known)).toEqual([true, false, true]);
  const none = await room.open({ cacheSize: 0 });
  await none.verify(a);
  expect(none.status().knownTokens).toBe(0);
});

test("what is wrong with the options is said at once", async () => {
  const rows: [Parameters<Room["open"]>[0], string][] = [
    [{ issuer: "http://localhost" }, "issuer is not an https URL"],
    [{ issuer: "postern" }, "issuer is not an https URL"],
    [{ issuer: "https://a.example/?x" }, "issuer is not an https URL"],
    [{ authorityUrl: "http://10.0.0.1" }, "authorityUrl is not an https URL"],
    [{ audience: "" }, "audience is not a text"],
    [{ mode: "feed" }, "mode feed needs the credential"],
    [{ scopes: { write: "introspect" } }, "mode introspect needs the credential"],
    [{ mode: "introspect", credential: { id: "tele", secret: "s" } }, "mode introspect needs the credential"],
    [{ mode: "feed", credential: { id: "plant/tele", secret: "" } }, "mode feed needs the credential"],
    [{ credential: { id: "plant/tele", secret: undefined } }, "mode feed needs the credential"],
    [{ mode: "never" as "local" }, "there is no mode never"],
    [{ maxStalenessSeconds: 2 }, "maxStalenessSeconds is not a number from 3 on"],
    [{ whenUnreachable: { lastKnownGoodSeconds: Number.NaN } }, "lastKnownGoodSeconds is not a number"],
    [{ leewaySeconds: -1 }, "leewaySeconds is not a number from 0 on"],
    [{ origin: "api.example" }, "origin is the address"],
  ];
  for (const [options, why] of rows) await expect(room.open(options)).rejects.toThrow(why);
});

test("a verifier that is closed lets nobody in", async () => {
  const closed = await room.open();
  const token = room.mint();
  await closed.verify(token);
  await closed.close();
  expect(await reasonOf(closed.verify(token))).toBe("authority.unreachable");
});
