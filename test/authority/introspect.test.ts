/** `POST /introspect` (RFC 7662; RFC 9200, section 5.9): who hears of which token, what, and that the rest is one answer. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deleteClient, createClient, setClientEnabled, setClientRoles } from "../../broker/registry/clients.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import { revokeAll, type Wish } from "../../broker/registry/revocations.ts";
import { updateRole } from "../../broker/registry/roles.ts";
import { createSecret, retireSecret } from "../../broker/registry/secrets.ts";
import { activeSigner, ensureSigningKey } from "../../broker/registry/signing-keys.ts";
import { encodeTokenRequest, readTokenError, readTokenResponse } from "../../shared/ace.ts";
import { decode, encode, type Cbor } from "../../shared/cbor.ts";
import type { Confirmation } from "../../shared/claims.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { createSigner, generatePrivateKey, twinOf } from "../../shared/es256.ts";
import {
  encodeIntrospectionRequest,
  readIntrospection,
  readIntrospectionJson,
  type ActiveToken,
} from "../../shared/introspection.ts";
import { signJwt } from "../../shared/jwt.ts";
import { encodeScope, encodeScopeText, formatPermission, parsePermission } from "../../shared/scope.ts";
import {
  basic,
  cwtAssertion,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  type Answer,
  type Call,
} from "./fixture.ts";
import { ACE, ADMIN, FORM, grants, heard, json, JSON_TYPE, openIntrospectFixture } from "./introspect-fixture.ts";
import type { IntrospectFixture } from "./introspect-fixture.ts";

let at: IntrospectFixture;
beforeAll(async () => {
  at = await openIntrospectFixture();
});
beforeEach(() => {
  at.clock.now += 1;
});
afterAll(() => at.close());

const none = '{"active":false}';
const base64url = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString("base64url");
/** Why the newest token was not active, for the log alone. */
const why = (): unknown => at.lines.findLast(({ msg }) => msg === "inactive")?.["reason"];

/** As JSON unless the call says otherwise; form where it says that. */
function ask(fields: Record<string, string>, call: Call = {}, path = "/introspect"): Promise<Answer> {
  const { type = JSON_TYPE } = call;
  const body = type === FORM ? new URLSearchParams(fields).toString() : JSON.stringify(fields);
  return at.call(path, { ...call, type, body });
}

function askCbor(token: Uint8Array | string, call: Call = {}): Promise<Answer> {
  return at.call("/introspect", { ...call, type: ACE, body: encodeIntrospectionRequest({ token }) });
}

/** A token that the authority gave out. */
async function getCwt(): Promise<Uint8Array> {
  const body = encodeTokenRequest({ audience: "plant.tele" });
  return readTokenResponse((await at.call("/token", { type: ACE, body, as: at.pi })).body).accessToken;
}

describe("an active token", () => {
  test("says who, for whom, until when, what, and what time it is", async () => {
    const token = base64url(await getCwt());
    at.clock.now += 10;
    const answer = await ask({ token }, { headers: at.as("tele") });
    expect([answer.status, answer.headers["content-type"]]).toEqual([200, JSON_TYPE]);
    expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
    const { jti, ...said } = json(answer);
    expect(jti).toMatch(/^[\w-]+$/);
    expect(said).toEqual({
      active: true,
      iss: ISSUER,
      sub: "plant.pi",
      client_id: "plant.pi",
      aud: "plant.tele",
      exp: at.clock.now + 590,
      iat: at.clock.now - 10,
      cnf: { jwk: toJwk(at.pi.key) },
      scope: encodeScopeText(grants.toSorted((a, b) => (a.filter < b.filter ? -1 : 1))),
      token_type: "pop",
      time: at.clock.now,
      expires_in: 590,
    });
  });

  test("says the same in CBOR, under the keys of RFC 9200", async () => {
    const token = await getCwt();
    const answer = await askCbor(token, { headers: at.as("tele") });
    expect([answer.status, answer.headers["content-type"]]).toEqual([200, ACE]);
    const map = decode(answer.body) as Map<Cbor, Cbor>;
    expect([...map.keys()]).toEqual([1, 2, 3, 4, 6, 7, 8, 9, 10, 24, 34, -65538, -65539]);
    const sorted = grants.toSorted((a, b) => (a.filter < b.filter ? -1 : 1));
    expect([map.get(2), map.get(3), map.get(10), map.get(24), map.get(34)]).toEqual([
      "plant.pi",
      "plant.tele",
      true,
      "plant.pi",
      2,
    ]);
    expect(Buffer.from(map.get(9) as Uint8Array)).toEqual(Buffer.from(encodeScope(sorted)));
    expect([map.get(-65538), map.get(-65539)]).toEqual([at.clock.now, 600]);
    const { claims } = readIntrospection(answer.body) as ActiveToken;
    const other = readIntrospectionJson(json(await ask({ token: base64url(token) }, { headers: ADMIN })));
    expect(claims.cnf?.kind === "key" && claims.cnf.key.thumbprint).toBe(at.pi.key.thumbprint);
    expect({ ...claims, cnf: 0 }).toEqual({ ...(other as ActiveToken).claims, cnf: 0 });
  });

  test.each(["/introspect", "/verify-token"])("is answered at %s in the type of the question", async (path) => {
    const token = at.mint();
    for (const type of [JSON_TYPE, "application/ace+json", FORM]) {
      const answer = await ask({ token, token_type_hint: "refresh_token" }, { type, headers: at.as("web") }, path);
      expect([answer.headers["content-type"], json(answer)["active"]]).toEqual([
        type === FORM ? JSON_TYPE : type,
        true,
      ]);
    }
  });

  const x5t = { kind: "certificate", sha256: new Uint8Array(32).fill(7) } as const;
  const dpop = { kind: "thumbprint", jkt: base64url(new Uint8Array(32).fill(9)) } as const;
  test.each<[string, Confirmation | undefined, string, unknown, Record<string, unknown>]>([
    ["a bearer token", undefined, "Bearer", 1, {}],
    ["one that is bound to a certificate", x5t, "Bearer", 1, { cnf: { "x5t#S256": base64url(x5t.sha256) } }],
    ["one that is bound to the key of DPoP proofs", dpop, "DPoP", 2, { cnf: { jkt: dpop.jkt } }],
  ])("%s says how it is presented", async (_, cnf, tokenType, number, more) => {
    const token = at.mint(cnf && { cnf });
    const said = json(await ask({ token }, { headers: at.as("web") }));
    expect(said).toMatchObject({ active: true, scope: "read write", token_type: tokenType, ...more });
    expect("cnf" in said).toBe(cnf !== undefined);
    const answer = await askCbor(token, { headers: at.as("web") });
    expect((decode(answer.body) as Map<Cbor, Cbor>).get(34)).toBe(number);
    expect((readIntrospection(answer.body) as ActiveToken).claims).toMatchObject({
      scope: "read write",
      ...(cnf && { cnf }),
    });
  });

  test.each<[string, (jwt: string) => string | Uint8Array]>([
    ["as it is", (jwt) => jwt],
    ["as base64url", (jwt) => base64url(jwt)],
    ["with the other form of its signature", (jwt) => twin(jwt)],
    ["as bytes", (jwt) => Buffer.from(jwt)],
  ])("is known %s, on record or by our signature alone", async (_, spell) => {
    for (const isRecorded of [true, false]) {
      const token = spell(at.mint({ isRecorded }));
      const answer = await askCbor(token, { headers: at.as("web") });
      expect(readIntrospection(answer.body).active).toBe(true);
    }
  });

  test("of kind mqtt without a key to be bound to is a bearer token", async () => {
    const token = at.mint({ aud: "plant.open", scope: [parsePermission("sub:o/a")] });
    expect(json(await ask({ token }, { headers: at.as("open") }))).toMatchObject({
      token_type: "Bearer",
      scope: encodeScopeText([parsePermission("sub:o/a")]),
    });
  });
});

describe("what the roles allow now", () => {
  afterEach(() => {
    setClientRoles(at.registry, "plant.board", ["reader", "editor"]);
    updateRole(at.registry, { project: "plant", name: "reader", permissions: [parsePermission("sub:o/#")] });
  });

  test("bounds the scopes of a token, and without any it is not active", async () => {
    const token = at.mint();
    setClientRoles(at.registry, "plant.board", ["visitor"]);
    expect(json(await ask({ token }, { headers: at.as("web") }))["scope"]).toBe("read");
    setClientRoles(at.registry, "plant.board", ["reader"]);
    expect((await ask({ token }, { headers: at.as("web") })).body.toString()).toBe(none);
    expect(why()).toBe("client.grants");
  });

  test("bounds the grants of a token, and without any it is not active", async () => {
    const token = at.mint({ aud: "plant.open", scope: [parsePermission("sub:o/#")] });
    updateRole(at.registry, { project: "plant", name: "reader", permissions: [parsePermission("sub:o/a/#")] });
    const said = readIntrospectionJson(json(await ask({ token }, { headers: at.as("open") }))) as ActiveToken;
    expect((said.claims.scope as typeof grants).map(formatPermission)).toEqual(["sub:o/a/#"]);
    setClientRoles(at.registry, "plant.board", ["editor"]);
    expect((await ask({ token }, { headers: at.as("open") })).body.toString()).toBe(none);
    expect(why()).toBe("client.grants");
  });

  test("takes a name that reads like grants for a name", async () => {
    expect(json(await ask({ token: at.mint({ scope: "W10" }) }, { headers: at.as("web") }))["scope"]).toBe("W10");
  });
});

describe("who hears of it", () => {
  const callers: readonly (readonly [who: string, call: () => Call, hears: readonly string[]])[] = [
    ["the api that it is for", () => ({ headers: at.as("web") }), ["web"]],
    ["the client that it was issued to", () => ({ headers: basic("plant.board", at.secret) }), ["web", "open"]],
    ["a device, of its own", () => ({ as: at.pi }), ["tele"]],
    ["the administrator", () => ({ headers: ADMIN }), ["web", "open", "tele"]],
  ];
  test.each(callers)("%s", async (_, call, hears) => {
    const tokens = {
      web: at.mint(),
      open: at.mint({ aud: "plant.open", scope: [parsePermission("sub:o/#")] }),
      tele: base64url(await getCwt()),
    };
    for (const [name, token] of Object.entries(tokens)) {
      expect([name, json(await ask({ token }, call()))["active"]]).toEqual([name, hears.includes(name)]);
    }
  });

  const provers: readonly (readonly [who: string, id: string, make: () => string | Promise<string>])[] = [
    ["a client", "plant.pi", async () => base64url(await getCwt())],
    ["an api", "plant/web", () => at.mint()],
  ];
  test.each(provers)("%s by an assertion, once, whatever the token is", async (_, id, make) => {
    const owner = { project: "plant", api: "web" };
    replaceKeys(at.registry, owner, [toJwk(at.pi.key)]);
    const body = (token: string): Record<string, string> => ({
      token,
      client_assertion_type: JWT_BEARER,
      client_assertion: jwtAssertion({ ...at.pi, id }, at.clock.now),
    });
    const good = body(await make());
    expect(json(await ask(good))["active"]).toBe(true);
    const again = await ask(good);
    expect([again.status, json(again)["error"], at.reason()]).toEqual([401, "invalid_client", "assertion.replayed"]);
    const vain = body("nonsense");
    expect((await ask(vain)).body.toString()).toBe(none);
    expect([(await ask(vain)).status, at.reason()]).toEqual([401, "assertion.replayed"]);
  });

  test("a client by a CWT assertion", async () => {
    const body = encodeIntrospectionRequest({
      token: await getCwt(),
      clientAssertion: cwtAssertion(at.pi, at.clock.now),
    });
    expect(readIntrospection((await at.call("/introspect", { type: ACE, body })).body).active).toBe(true);
  });
});

describe("what is not active is one answer", () => {
  const stranger = createSigner("-k", generatePrivateKey());
  const takeBack = (wish: Wish): void => void revokeAll(at.registry, wish, { issuer: ISSUER });
  /** A client of its own, so that what is taken back is nobody else's. */
  const own = (name: string): string => {
    createClient(at.registry, { project: "plant", name, kind: "service", roles: ["editor"] });
    return `plant.${name}`;
  };

  const rows: readonly (readonly [what: string, make: () => string | Promise<string>, reason: string])[] = [
    ["another api's token", () => at.mint({ aud: "plant.open" }), "token.audience"],
    [
      "a token for another api that there never was",
      () => at.mint({ aud: "plant.open", isRecorded: false }),
      "token.audience",
    ],
    ["text", () => "nonsense", "cbor.type"],
    ["no base64url", () => "a b", "token.malformed"],
    ["a JWT of two parts", () => at.mint().split(".").slice(0, 2).join("."), "token.malformed"],
    [
      "a token that another key has signed",
      () => at.mint({ signer: stranger, isRecorded: false }),
      "token.key-unknown",
    ],
    [
      "the same under a kid of ours",
      () => {
        const signer = { ...stranger, kid: activeSigner(at.registry).kid };
        return at.mint({ signer, isRecorded: false });
      },
      "token.signature",
    ],
    [
      "the number of one on record, and other claims",
      () => {
        const [head, , signature] = at.mint().split(".") as [string, string, string];
        const claims = JSON.parse(Buffer.from(at.mint().split(".")[1]!, "base64url").toString()) as object;
        return `${head}.${base64url(JSON.stringify({ ...claims, scope: "read write W10" }))}.${signature}`;
      },
      "token.signature",
    ],
    ["another issuer's", () => at.mint({ iss: "https://other.test" }), "token.issuer"],
    ["the same without a record", () => at.mint({ iss: "https://other.test", isRecorded: false }), "token.issuer"],
    ["no algorithm", () => withHeader(at.mint(), { alg: "none", typ: "at+jwt" }), "token.algorithm"],
    ["HS256", () => withHeader(at.mint(), { alg: "HS256", typ: "at+jwt" }), "token.algorithm"],
    [
      "another type",
      () => signJwt({ sub: "plant.board", aud: "plant.web" }, "JWT", activeSigner(at.registry)),
      "token.type",
    ],
    ["a token that is too long", () => "a".repeat(6_000), "token.too-large"],
    [
      "an expired one",
      () => {
        const token = at.mint({ exp: at.clock.now + 1 });
        at.clock.now += 1;
        return token;
      },
      "token.expired",
    ],
    ["the same without a record", () => at.mint({ exp: at.clock.now, isRecorded: false }), "token.expired"],
    [
      "a revoked one",
      () => {
        const token = at.mint();
        takeBack({ tokens: [token] });
        return token;
      },
      "token.revoked",
    ],
    [
      "a revoked one with the other form of its signature",
      () => {
        const token = at.mint();
        takeBack({ tokens: [token] });
        return twin(token);
      },
      "token.revoked",
    ],
    [
      "a revoked one that was not on record",
      () => {
        const token = at.mint({ isRecorded: false });
        takeBack({ tokens: [token] });
        return twin(token);
      },
      "token.revoked",
    ],
    [
      "one of a client that is disabled",
      () => {
        const token = at.mint({ sub: own("late") });
        setClientEnabled(at.registry, "plant.late", false);
        return token;
      },
      "client.disabled",
    ],
    [
      "one from before its client was enabled again, not on record",
      () => {
        const token = at.mint({ sub: own("back"), isRecorded: false });
        setClientEnabled(at.registry, "plant.back", false);
        setClientEnabled(at.registry, "plant.back", true);
        return token;
      },
      "token.revoked",
    ],
    [
      "one of a client that is deleted",
      () => {
        const token = at.mint({ sub: own("gone") });
        deleteClient(at.registry, "plant.gone");
        return token;
      },
      "client.unknown",
    ],
    [
      "one that is bound to the key of a revoked certificate",
      async () => {
        const { key, serial } = await makeDevice(at, own("robbed"));
        const token = at.mint({ sub: "plant.robbed", cnf: { kind: "key", key } });
        takeBack({ certificates: [serial] });
        return token;
      },
      "token.revoked",
    ],
    [
      "one that a revoked key has signed",
      () => {
        const token = at.mint();
        takeBack({ keys: [activeSigner(at.registry).kid] });
        ensureSigningKey(at.registry);
        return token;
      },
      "token.key-unknown",
    ],
    [
      "one from before a time of the project, not on record",
      () => {
        const token = at.mint({ isRecorded: false });
        at.clock.now += 5;
        takeBack({ projects: [{ project: "plant", before: at.clock.now }] });
        return token;
      },
      "token.revoked",
    ],
  ];

  test.each(rows)("%s", async (_, make, reason) => {
    const token = await make();
    const expected = heard(await ask({ token: "x.y.z" }, { headers: at.as("web") }));
    const answer = await ask({ token }, { headers: at.as("web") });
    expect([answer.body.toString(), why()]).toEqual([none, reason]);
    expect(heard(answer)).toEqual(expected);
    const inCbor = await askCbor(token, { headers: at.as("web") });
    expect([inCbor.status, inCbor.body.toString("hex"), why()]).toEqual([200, "a10af4", reason]);
  });

  test("another client's is decided by what it says, before it is looked for", async () => {
    const call = { headers: basic("plant.board", at.secret) };
    const [known, unknown] = [await getCwt(), (await getCwt()).toReversed()];
    const heardOf: unknown[] = [];
    for (const token of [base64url(known), at.mint({ sub: "plant.pi", signer: stranger, isRecorded: false })]) {
      heardOf.push(heard(await ask({ token }, call)));
      expect(why()).toBe("token.subject");
    }
    heardOf.push(heard(await ask({ token: base64url(unknown) }, call)));
    expect(new Set(heardOf.map((one) => JSON.stringify(one))).size).toBe(1);
  });
});

describe("refuses", () => {
  const rows: readonly (readonly [what: string, send: () => Promise<Answer>, status: number, reason: string])[] = [
    ["nobody", () => ask({ token: at.mint() }), 401, "credential.missing"],
    ["another secret", () => ask({ token: "a" }, { headers: basic("plant/web", "no") }), 401, "client.secret"],
    ["the secret of another api", () => ask({ token: "a" }, { headers: swapped() }), 401, "client.secret"],
    [
      "an api that is not there",
      () => ask({ token: "a" }, { headers: basic("plant/no", "no") }),
      401,
      "resource-server.unknown",
    ],
    ["another admin key", () => ask({ token: "a" }, { headers: { authorization: "Bearer no" } }), 401, "admin.key"],
    ["a retired secret", () => ask({ token: "a" }, { headers: retired() }), 401, "secret.retired"],
    [
      "two ways at once",
      () => ask({ token: "a", client_id: "plant/web", client_secret: "b" }, { headers: at.as("web") }),
      400,
      "request.malformed",
    ],
    [
      "a token in the query",
      () => ask({ token: "a" }, { headers: at.as("web") }, "/introspect?token=a"),
      400,
      "request.malformed",
    ],
    [
      "a token in the query and no body",
      () => at.call("/introspect?token=a", { method: "POST", headers: at.as("web") }),
      400,
      "request.malformed",
    ],
    ["a secret in the query", () => ask({ token: "a" }, {}, "/introspect?client_secret=a"), 400, "request.malformed"],
    ["GET", () => at.call("/introspect", { headers: at.as("web") }), 405, "request.method"],
    ["no token", () => ask({ token_type_hint: "access_token" }, { headers: at.as("web") }), 400, "request.malformed"],
    ["an empty token", () => ask({ token: "" }, { type: FORM, headers: at.as("web") }), 400, "request.malformed"],
    ["an empty token in JSON", () => ask({ token: "" }, { headers: at.as("web") }), 400, "request.malformed"],
    ["no body", () => at.call("/introspect", { method: "POST", headers: at.as("web") }), 400, "request.malformed"],
    ["two tokens in a form", () => send(FORM, "token=a&token=b"), 400, "request.malformed"],
    ["two tokens in JSON", () => send(JSON_TYPE, '{"token":"a","token":"b"}'), 400, "request.malformed"],
    ["two tokens in CBOR", () => send(ACE, Buffer.from("a20b41610b4162", "hex")), 400, "cbor.duplicate-key"],
    ["a number for a token", () => send(JSON_TYPE, '{"token":1}'), 400, "request.malformed"],
    ["a list of tokens", () => send(JSON_TYPE, '{"token":["a"]}'), 400, "request.malformed"],
    ["a list", () => send(JSON_TYPE, "[]"), 400, "request.malformed"],
    ["no JSON", () => send(JSON_TYPE, "{"), 400, "request.malformed"],
    ["no UTF-8", () => send(JSON_TYPE, Buffer.from([0x22, 0xff, 0x22])), 400, "request.malformed"],
    ["a number for a token in CBOR", () => send(ACE, encode(new Map([[11, 1]]))), 400, "request.malformed"],
    ["an empty token in CBOR", () => send(ACE, encode(new Map([[11, new Uint8Array()]]))), 400, "request.malformed"],
    ["no map in CBOR", () => send(ACE, Buffer.from("80", "hex")), 400, "cbor.type"],
    ["half of CBOR", () => send(ACE, Buffer.from("a10b", "hex")), 400, "cbor.truncated"],
    [
      "an assertion without its type",
      () => send(JSON_TYPE, '{"token":"a","client_assertion":"b"}'),
      400,
      "request.malformed",
    ],
    ["another media type", () => send("text/plain", "token=a"), 415, "request.media-type"],
    [
      "a body that is too large",
      () => ask({ token: "a".repeat(20_000) }, { headers: at.as("web") }),
      413,
      "request.too-large",
    ],
  ];
  const send = (type: string, body: string | Uint8Array): Promise<Answer> =>
    at.call("/introspect", { type, body, headers: at.as("web") });
  const swapped = (): Record<string, string> => {
    const given = Buffer.from(at.as("tele")["authorization"]!.slice("Basic ".length), "base64").toString();
    return basic("plant/web", given.split(":")[1]!);
  };
  const retired = (): Record<string, string> => {
    const owner = { project: "plant", api: "web" };
    const { secret, record } = createSecret(at.registry, owner);
    retireSecret(at.registry, owner, record.id);
    return basic("plant/web", secret);
  };

  test.each(rows)("%s", async (_, call, status, reason) => {
    const answer = await call();
    expect([answer.status, at.reason(), answer.headers["cache-control"]]).toEqual([status, reason, "no-store"]);
  });

  test("in the encoding of the question", async () => {
    const answer = await askCbor("a", { headers: basic("plant/web", "no") });
    expect([answer.status, answer.headers["content-type"], readTokenError(answer.body).error]).toEqual([
      401,
      ACE,
      "invalid_client",
    ]);
  });
});

/** The same JWT with the other form of its signature. */
function twin(jwt: string): string {
  const [head, payload, signature] = jwt.split(".") as [string, string, string];
  return `${head}.${payload}.${base64url(twinOf(Buffer.from(signature, "base64url")))}`;
}

function withHeader(jwt: string, header: object): string {
  return `${base64url(JSON.stringify(header))}.${jwt.split(".").slice(1).join(".")}`;
}
