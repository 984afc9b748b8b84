/** CONNECT: every way in, and one row for every way to be wrong. */
import { sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import mqttPacket from "mqtt-packet";
import type { IConnectPacket } from "mqtt-packet";
import { toBase64url } from "../../shared/base64url.ts";
import { decode, encode, Tag } from "../../shared/cbor.ts";
import type { Cbor } from "../../shared/cbor.ts";
import { jwkThumbprint, readPublicKey, toCoseKey } from "../../shared/cose-key.ts";
import { createSigner } from "../../shared/es256.ts";
import type { Signer } from "../../shared/es256.ts";
import type { Reason } from "../../shared/refusal.ts";
import { makeAuthority, makePrivateKey, uses } from "./certificates.ts";
import type { Identity, Wish } from "./certificates.ts";
import { AUDIENCE, BEARER_AUDIENCE, HTTP_AUDIENCE, nowSeconds, openFixture, userName } from "./fixture.ts";
import type { Fixture, LogLine, TokenWish } from "./fixture.ts";
import type { Wire, WireOptions } from "./wire.ts";

let f: Fixture;
beforeAll(async () => {
  f = await openFixture();
});
afterAll(() => f.close());

const cnfOf = (privateKey: KeyObject) => ({ kind: "key", key: readPublicKey(privateKey) }) as const;

describe("lets in", () => {
  it("a bound CWT with a proof over TLS", async () => {
    const wire = await f.enter(f.device());
    await expect(wire.settled()).resolves.toBeUndefined();
  });

  it("a bound CWT with a proof over WebSocket", async () => {
    const device = f.device();
    const wire = await f.open({ transport: "wss" });
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    const connack = await wire.connect({ clientId: device.id, username, password: wire.prove(device.privateKey) });
    expect(connack.returnCode).toBe(0);
  });

  it.each(["as it is", "as base64url"])("a bound JWT %s with a proof", async (form) => {
    const device = f.device();
    const wire = await f.open();
    const jwt = f.jwt(device.id, { cnf: cnfOf(device.privateKey) });
    const username = userName(form === "as it is" ? jwt : Buffer.from(jwt));
    const connack = await wire.connect({ clientId: device.id, username, password: wire.prove(device.privateKey) });
    expect(connack.returnCode).toBe(0);
  });

  it.each(["tls", "wss"] as const)("a token with its device certificate over %s", async (transport) => {
    const device = f.device();
    const { cert, key } = await f.certificate(device);
    const wire = await f.open({ cert, key, transport });
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    expect((await wire.connect({ clientId: device.id, username })).returnCode).toBe(0);
  });

  it("nobody by a certificate that a web page makes the browser present", async () => {
    const device = f.device();
    f.trust.learnClient({
      id: device.id,
      enabled: true,
      grants: [{ audience: AUDIENCE, grants: [{ filter: "roles/#", pub: true, sub: false }] }],
    });
    const wire = await f.open({ ...(await f.certificate(device)), transport: "wss", origin: "https://page.example" });
    await wire.connect({ clientId: device.id });
    wire.send({ cmd: "publish", topic: "roles/a", payload: "1", qos: 1, messageId: 7, dup: false, retain: false });
    await wire.closed;
    expect(wire.all("puback")).toEqual([]);
    expect(f.log.findLast((entry) => entry.msg === "refused")?.reason).toBe("publish.topic");
  });

  it("a JWT bound to the certificate", async () => {
    const device = f.device();
    const { cert, key, x509 } = await f.certificate(device);
    const sha256 = Buffer.from(x509.fingerprint256.replaceAll(":", ""), "hex");
    const wire = await f.open({ cert, key, maxVersion: "TLSv1.2" });
    const username = userName(f.jwt(device.id, { cnf: { kind: "certificate", sha256 } }));
    expect((await wire.connect({ clientId: device.id, username })).returnCode).toBe(0);
  });

  it("a certificate alone, with the roles of its client", async () => {
    const device = f.device();
    const grants = [{ audience: AUDIENCE, grants: [{ filter: "roles/#", pub: true, sub: false }] }];
    f.trust.learnClient({ id: device.id, enabled: true, grants });
    const wire = await f.open(await f.certificate(device));
    expect((await wire.connect({ clientId: device.id })).returnCode).toBe(0);
    wire.send({ cmd: "publish", topic: "roles/a", payload: "1", qos: 1, messageId: 7, dup: false, retain: false });
    await wire.next("puback");
  });

  it.each(["cwt", "jwt"] as const)("a bearer %s where the api allows it", async (format) => {
    const { id } = f.device();
    const token = f[format](id, { aud: BEARER_AUDIENCE });
    const wire = await f.open({ maxVersion: "TLSv1.2" });
    const password = Buffer.from(typeof token === "string" ? token : toBase64url(token));
    expect((await wire.connect({ clientId: id, username: "acelsior", password })).returnCode).toBe(0);
  });

  it("an id of the client's with a suffix, an invented one for an empty id, and MQTT 3.1", async () => {
    const device = f.device();
    await f.enter(device, {}, { clientId: `${device.id}:second` });
    await f.enter(device, {}, { clientId: "" });
    await f.enter(device, {}, { clientId: device.id, protocolId: "MQIsdp", protocolVersion: 3 });
    expect(f.gate.sessions.count("client", device.id)).toBe(3);
  });

  it("the same token again without verifying it again", async () => {
    const device = f.device();
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    for (const clientId of [device.id, `${device.id}:again`]) {
      const wire = await f.open();
      expect((await wire.connect({ clientId, username, password: wire.prove(device.privateKey) })).returnCode).toBe(0);
    }
  });
});

/** What a row has at hand. */
interface Scene {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly bound: (wish?: TokenWish) => Uint8Array;
  readonly prove: (privateKey?: KeyObject) => Buffer;
  readonly exported: () => Uint8Array;
}
interface Row {
  readonly name: string;
  readonly reason: string;
  readonly code: 4 | 5;
  readonly on?: Partial<WireOptions>;
  readonly with?: (scene: Scene) => Promise<Partial<IConnectPacket>> | Partial<IConnectPacket>;
  /** Changes a good bound token before it is presented with a good proof. */
  readonly token?: (scene: Scene) => Uint8Array | string;
}

const cborOf = (token: Uint8Array): Cbor[] => ((decode(token) as Tag).value as Tag).value as Cbor[];
const ourHeader = encode(
  new Map<Cbor, Cbor>([
    [1, -7],
    [4, Buffer.from("k1")],
  ]),
);
const signedPayload = (payload: Uint8Array, header = ourHeader): Uint8Array => {
  const signature = f.signer.sign(encode(["Signature1", header, new Uint8Array(), payload]));
  return encode(new Tag(new Tag([header, new Map(), payload, signature], 18), 61));
};
const claimsOf = (token: Uint8Array): Map<Cbor, Cbor> =>
  decode(cborOf(token)[2] as Uint8Array, { anyOrder: true }) as Map<Cbor, Cbor>;
const resigned = (token: Uint8Array, change: (claims: Map<Cbor, Cbor>) => void): Uint8Array => {
  const claims = claimsOf(token);
  change(claims);
  return signedPayload(encode(claims));
};
const jwtWith = (header: object, scene: Scene): string => {
  const parts = f.jwt(scene.id, { cnf: cnfOf(scene.privateKey) }).split(".");
  return [toBase64url(Buffer.from(JSON.stringify(header))), parts[1], parts[2]].join(".");
};

const tokenRows: Row[] = [
  { name: "a truncated CWT", reason: "cbor.truncated", code: 4, token: (s) => s.bound().slice(0, -1) },
  {
    name: "bytes after the CWT",
    reason: "cbor.trailing",
    code: 4,
    token: (s) => Buffer.concat([s.bound(), Buffer.of(0)]),
  },
  {
    name: "a CWT of indefinite length",
    reason: "cbor.indefinite",
    code: 4,
    token: () => Buffer.from("d83dd29fff", "hex"),
  },
  {
    name: "a length that is not the shortest",
    reason: "cbor.not-deterministic",
    code: 4,
    token: () => Buffer.from("d83dd29804", "hex"),
  },
  {
    name: "deeply nested CBOR",
    reason: "cbor.too-deep",
    code: 4,
    token: () => Buffer.concat([Buffer.alloc(200, 0x81), Buffer.of(0)]),
  },
  {
    name: "a duplicate claim",
    reason: "cbor.duplicate-key",
    code: 4,
    token: (s) => {
      const payload = Buffer.from(encode(claimsOf(s.bound())));
      const doubled = Buffer.concat([Buffer.of(payload[0]! + 1), payload.subarray(1), Buffer.from("0900", "hex")]);
      return signedPayload(doubled);
    },
  },
  { name: "a CWT without its tags", reason: "cose.tag", code: 4, token: (s) => encode(cborOf(s.bound())) },
  {
    name: "another algorithm in the header",
    reason: "cose.algorithm",
    code: 4,
    token: (s) => signedPayload(cborOf(s.bound())[2] as Uint8Array, encode(new Map([[1, -8]]))),
  },
  {
    name: "an unprotected header that is not empty",
    reason: "cose.unprotected",
    code: 4,
    token: (s) => {
      const [header, , payload, signature] = cborOf(s.bound());
      return encode(new Tag(new Tag([header!, new Map([[5, 1]]), payload!, signature!], 18), 61));
    },
  },
  {
    name: "a changed signature",
    reason: "cose.signature",
    code: 4,
    token: (s) => {
      const token = Uint8Array.from(s.bound());
      token[token.length - 1]! ^= 1;
      return token;
    },
  },
  {
    name: "a signature by another key under our kid",
    reason: "cose.signature",
    code: 4,
    token: (s) => s.bound({ signer: createSigner("k1", makePrivateKey()) }),
  },
  {
    name: "an unknown kid",
    reason: "token.key-unknown",
    code: 4,
    token: (s) => s.bound({ signer: createSigner("k9", makePrivateKey()) }),
  },
  { name: "another issuer", reason: "token.issuer", code: 4, token: (s) => s.bound({ iss: "https://other.test" }) },
  { name: "an expired token", reason: "token.expired", code: 4, token: (s) => s.bound({ ttl: -1 }) },
  {
    name: "a token from the future",
    reason: "token.not-yet-valid",
    code: 4,
    token: (s) => s.bound({ iat: nowSeconds() + 120 }),
  },
  {
    name: "exp as a float",
    reason: "cbor.type",
    code: 4,
    token: (s) => {
      const payload = Buffer.from(encode(claimsOf(s.bound())));
      payload[payload.indexOf(Buffer.from("041a", "hex")) + 1] = 0xfa;
      return signedPayload(payload);
    },
  },
  {
    name: "a token for another audience",
    reason: "token.audience",
    code: 4,
    token: (s) => s.bound({ aud: "acme.other" }),
  },
  {
    name: "a token for an api of kind http",
    reason: "token.audience",
    code: 4,
    token: (s) => s.bound({ aud: HTTP_AUDIENCE }),
  },
  {
    name: "a scope that is not AIF",
    reason: "token.scope",
    code: 4,
    token: (s) => resigned(s.bound(), (claims) => claims.set(9, Buffer.from("01", "hex"))),
  },
  {
    name: "a key on another curve in cnf",
    reason: "key.curve",
    code: 4,
    token: (s) =>
      resigned(s.bound(), (claims) =>
        claims.set(
          8,
          new Map([
            [
              1,
              new Map<Cbor, Cbor>([
                [1, 2],
                [-1, 2],
                [-2, new Uint8Array(48)],
                [-3, true],
              ]),
            ],
          ]),
        ),
      ),
  },
  {
    name: "a point that is not on the curve in cnf",
    reason: "key.point",
    code: 4,
    token: (s) =>
      resigned(s.bound(), (claims) => {
        const key = toCoseKey(readPublicKey(s.privateKey), { uncompressed: true });
        const y = Uint8Array.from(key.get(-3) as Uint8Array);
        y[31]! ^= 1;
        claims.set(8, new Map([[1, key.set(-3, y)]]));
      }),
  },
  {
    name: "a JWT with alg none",
    reason: "token.algorithm",
    code: 4,
    token: (s) => jwtWith({ alg: "none", typ: "at+jwt", kid: "k1" }, s),
  },
  {
    name: "a JWT with alg HS256",
    reason: "token.algorithm",
    code: 4,
    token: (s) => jwtWith({ alg: "HS256", typ: "at+jwt", kid: "k1" }, s),
  },
  {
    name: "a JWT that is no access token",
    reason: "token.type",
    code: 4,
    token: (s) => jwtWith({ alg: "ES256", typ: "JWT", kid: "k1" }, s),
  },
  {
    name: "a JWT with a changed header",
    reason: "token.signature",
    code: 4,
    token: (s) => jwtWith({ alg: "ES256", typ: "at+jwt", kid: "k1", x: 1 }, s),
  },
  { name: "a token without a key, with a signature", reason: "token.unbound", code: 5, token: (s) => f.cwt(s.id) },
  {
    name: "a bearer token, with a signature",
    reason: "proof.key",
    code: 4,
    token: (s) => f.cwt(s.id, { aud: BEARER_AUDIENCE }),
  },
  {
    name: "a token of a client that nobody knows",
    reason: "client.unknown",
    code: 4,
    token: (s) => f.cwt("acme.nobody", { cnf: cnfOf(s.privateKey) }),
  },
  {
    name: "a token of a disabled client",
    reason: "client.disabled",
    code: 4,
    token: (s) => {
      f.trust.learnClient({ id: s.id, enabled: false, grants: [] });
      return s.bound();
    },
  },
];

const credentialRows: Row[] = [
  { name: "a user name alone", reason: "credential.malformed", code: 4, with: () => ({ username: "bob" }) },
  {
    name: "a password that is no token",
    reason: "credential.malformed",
    code: 4,
    with: () => ({ username: "bob", password: Buffer.from("x".repeat(200).replace("x", " ")) }),
  },
  {
    name: "a user name that is too long",
    reason: "credential.too-large",
    code: 4,
    with: () => ({ username: `ace${"A".repeat(6000)}`, password: Buffer.alloc(64) }),
  },
  {
    name: "a password that is too long",
    reason: "credential.too-large",
    code: 4,
    with: () => ({ username: "bob", password: Buffer.alloc(6000, 65) }),
  },
  {
    name: "ace and no token",
    reason: "credential.malformed",
    code: 4,
    with: () => ({ username: "ace", password: Buffer.alloc(64) }),
  },
  {
    name: "ace and a token in another alphabet",
    reason: "credential.malformed",
    code: 4,
    with: (s) => ({ username: `ace${Buffer.from(s.bound()).toString("base64")}+`, password: s.prove() }),
  },
  {
    name: "a bound token without a proof",
    reason: "proof.missing",
    code: 4,
    with: (s) => ({ username: userName(s.bound()) }),
  },
  {
    name: "a bound token as a bearer token",
    reason: "proof.missing",
    code: 4,
    with: (s) => ({ username: "bob", password: Buffer.from(toBase64url(s.bound())) }),
  },
  {
    name: "an unbound token where the api wants keys",
    reason: "token.unbound",
    code: 5,
    with: (s) => ({ username: "bob", password: Buffer.from(f.jwt(s.id)) }),
  },
  {
    name: "a signature in DER",
    reason: "proof.length",
    code: 4,
    with: (s) => ({ username: userName(s.bound()), password: sign("sha256", s.exported(), s.privateKey) }),
  },
  {
    name: "a signature of 63 bytes",
    reason: "proof.length",
    code: 4,
    with: (s) => ({ username: userName(s.bound()), password: s.prove().subarray(1) }),
  },
  {
    name: "a signature by another key",
    reason: "proof.signature",
    code: 4,
    with: (s) => ({ username: userName(s.bound()), password: s.prove(makePrivateKey()) }),
  },
  {
    name: "r of zero",
    reason: "proof.signature",
    code: 4,
    with: (s) => ({
      username: userName(s.bound()),
      password: Buffer.concat([Buffer.alloc(32), s.prove().subarray(32)]),
    }),
  },
  {
    name: "s out of range",
    reason: "proof.signature",
    code: 4,
    with: (s) => ({
      username: userName(s.bound()),
      password: Buffer.concat([s.prove().subarray(0, 32), Buffer.alloc(32, 0xff)]),
    }),
  },
  {
    name: "a proof made for another TLS connection",
    reason: "proof.signature",
    code: 4,
    with: async (s) => {
      const other = await f.open();
      return { username: userName(s.bound()), password: other.prove(s.privateKey) };
    },
  },
  {
    name: "a proof over TLS 1.2",
    reason: "proof.tls",
    code: 4,
    on: { maxVersion: "TLSv1.2" },
    with: (s) => ({ username: userName(s.bound()), password: Buffer.alloc(64, 1) }),
  },
  {
    name: "a proof without TLS",
    reason: "proof.tls",
    code: 4,
    on: { transport: "tcp" },
    with: (s) => ({ username: userName(s.bound()), password: Buffer.alloc(64, 1) }),
  },
  {
    name: "nothing at all without TLS",
    reason: "credential.missing",
    code: 4,
    on: { transport: "tcp" },
    with: () => ({}),
  },
  {
    name: "nothing at all with a will",
    reason: "will.topic",
    code: 5,
    with: () => ({ will: { topic: "authz-info", payload: Buffer.from("1"), qos: 0, retain: false } }),
  },
  {
    name: "the client id of another",
    reason: "client-id.foreign",
    code: 5,
    with: (s) => ({ clientId: "acme.other", username: userName(s.bound()), password: s.prove() }),
  },
  {
    name: "a client id that starts like its own",
    reason: "client-id.foreign",
    code: 5,
    with: (s) => ({ clientId: `${s.id}x`, username: userName(s.bound()), password: s.prove() }),
  },
  {
    name: "a suffix that is none",
    reason: "client-id.foreign",
    code: 5,
    with: (s) => ({ clientId: `${s.id}:a/b`, username: userName(s.bound()), password: s.prove() }),
  },
  ...(
    [
      ["outside the grant", "elsewhere", "will.topic"],
      ["with a wildcard", "t/+/x", "topic.name"],
      ["with a control character", "t/a\u0007b", "topic.name"],
      ["in $SYS", "$SYS/x/new/clients", "topic.reserved"],
      ["on authz-info", "authz-info", "topic.reserved"],
    ] as const
  ).map(([how, topic, reason]): Row => ({
    name: `a will ${how}`,
    reason,
    code: 5,
    with: (s) => ({
      username: userName(s.bound()),
      password: s.prove(),
      will: { topic, payload: Buffer.from("1"), qos: 0, retain: false },
    }),
  })),
];

describe("refuses", () => {
  it.each([...tokenRows, ...credentialRows])("$name: $reason", async (row) => {
    const device = f.device();
    const wire = await f.open(row.on);
    const scene: Scene = {
      ...device,
      bound: (wish) => f.cwt(device.id, { cnf: cnfOf(device.privateKey), ...wish }),
      prove: (privateKey) => wire.prove(privateKey ?? device.privateKey),
      exported: () => wire.exported(),
    };
    const packet = row.with
      ? await row.with(scene)
      : { username: userName(row.token!(scene)), password: scene.prove() };
    const connack = await wire.connect({ clientId: device.id, ...packet });
    expect([f.lastReason("connect"), connack.returnCode]).toEqual([row.reason, row.code]);
    await wire.closed;
    expect(f.gate.sessions.count("client", device.id)).toBe(0);
  });

  it("an empty client id for a session to keep: client-id.malformed", async () => {
    const device = f.device();
    const wire = await f.open();
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    const password = wire.prove(device.privateKey);
    const bytes = mqttPacket.generate({
      cmd: "connect",
      protocolId: "MQTT",
      protocolVersion: 4,
      keepalive: 0,
      clientId: "",
      clean: true,
      username,
      password,
    });
    bytes[bytes.indexOf("MQTT") + 5]! &= ~2; // the clean session flag
    wire.sendBytes(bytes);
    expect(await wire.next("connack")).toMatchObject({ returnCode: 5 });
    expect(f.lastReason("connect")).toBe("client-id.malformed");
  });

  it("nobody gets a word more than the code, and the log has no token", async () => {
    const device = f.device();
    const wire = await f.open();
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    await wire.connect({ clientId: device.id, username, password: wire.prove(makePrivateKey()) });
    const line = f.log.findLast((entry) => entry.msg === "refused")!;
    expect(line).toMatchObject({ at: "connect", reason: "proof.signature", clientId: device.id });
    expect(line.id).toMatch(/^[\w-]{12}$/);
    expect(line.address).toMatch(/127\.0\.0\.1|::1/);
    expect(JSON.stringify(f.log)).not.toContain(username.slice(3));
  });
});

describe("refuses a certificate", () => {
  interface CertificateRow {
    readonly name: string;
    readonly reason: string;
    readonly wish?: Wish;
    readonly by?: () => Promise<{ device(id: string, wish?: Wish): Promise<Identity> }>;
  }
  const day = 86_400_000;
  const rows: CertificateRow[] = [
    { name: "of an authority that is not ours", reason: "certificate.untrusted", by: () => makeAuthority("another") },
    { name: "of one that bears our authority's name", reason: "certificate.untrusted", by: () => makeAuthority() },
    { name: "that has expired", reason: "certificate.expired", wish: { notAfter: new Date(Date.now() - day / 2) } },
    {
      name: "that is not valid yet",
      reason: "certificate.not-yet-valid",
      wish: { notBefore: new Date(Date.now() + day) },
    },
    { name: "for servers", reason: "certificate.usage", wish: { usages: [uses.serverAuth] } },
    { name: "for nothing", reason: "certificate.usage", wish: { usages: [] } },
    {
      name: "with more than a name in its subject",
      reason: "certificate.identity",
      wish: { subject: "CN=acme.row, O=acme" },
    },
    { name: "without an alternative name", reason: "certificate.identity", wish: { names: [] } },
    { name: "on another curve", reason: "key.curve", wish: { privateKey: makePrivateKey("P-384") } },
  ];
  it.each(rows)("$name: $reason", async (row) => {
    const device = f.device();
    const issuer = (await row.by?.()) ?? f.authority;
    const { cert, key } = await issuer.device(device.id, row.wish);
    const alone = await f.open({ cert, key });
    expect((await alone.connect({ clientId: device.id })).returnCode).toBe(row.reason === "key.curve" ? 4 : 5);
    expect(f.lastReason("connect")).toBe(row.reason);

    // and a good proof or bearer token beside it does not help
    const proving = await f.open({ cert, key });
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    const proven = await proving.connect({ clientId: device.id, username, password: proving.prove(device.privateKey) });
    expect([f.lastReason("connect"), proven.returnCode === 0]).toEqual([row.reason, false]);
    const bearing = await f.open({ cert, key });
    const password = Buffer.from(f.jwt(device.id, { aud: BEARER_AUDIENCE }));
    const borne = await bearing.connect({ clientId: device.id, username: "x", password });
    expect([f.lastReason("connect"), borne.returnCode === 0]).toEqual([row.reason, false]);
  });

  it("whose key is not the token's", async () => {
    const device = f.device();
    const { cert, key } = await f.authority.device(device.id);
    const wire = await f.open({ cert, key });
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    expect((await wire.connect({ clientId: device.id, username })).returnCode).toBe(4);
    expect(f.lastReason("connect")).toBe("proof.key");
  });

  it("that is not the one the token is bound to", async () => {
    const device = f.device();
    const { cert, key } = await f.certificate(device);
    const wire = await f.open({ cert, key });
    const username = userName(f.jwt(device.id, { cnf: { kind: "certificate", sha256: Buffer.alloc(32, 1) } }));
    expect((await wire.connect({ clientId: device.id, username })).returnCode).toBe(4);
    expect(f.lastReason("connect")).toBe("proof.key");
  });

  it("beside a token that is bound by DPoP, which MQTT does not know, whatever else is proven", async () => {
    const device = f.device();
    const jkt = jwkThumbprint(readPublicKey(device.privateKey));
    const username = userName(f.jwt(device.id, { cnf: { kind: "thumbprint", jkt } }));
    for (const tls of [await f.certificate(device), {}]) {
      const wire = await f.open(tls);
      const password = "cert" in tls ? undefined : wire.prove(device.privateKey);
      const connack = await wire.connect({ clientId: device.id, username, password });
      expect([f.lastReason("connect"), connack.returnCode]).toEqual(["proof.key", 4]);
    }
    const bearing = await f.open();
    const token = f.jwt(device.id, { aud: BEARER_AUDIENCE, cnf: { kind: "thumbprint", jkt } });
    const borne = await bearing.connect({ clientId: device.id, username: "x", password: Buffer.from(token) });
    expect([f.lastReason("connect"), borne.returnCode]).toEqual(["proof.key", 4]);
  });

  it("of another client beside a good proof", async () => {
    const device = f.device();
    const other = f.device();
    const { cert, key } = await f.certificate(other);
    const wire = await f.open({ cert, key });
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    const connack = await wire.connect({ clientId: device.id, username, password: wire.prove(device.privateKey) });
    expect([f.lastReason("connect"), connack.returnCode]).toEqual(["token.subject", 5]);
  });

  it("of a client that is disabled", async () => {
    const device = f.device();
    f.trust.learnClient({ id: device.id, enabled: false, grants: [] });
    const wire = await f.open(await f.certificate(device));
    expect((await wire.connect({ clientId: device.id })).returnCode).toBe(4);
    expect(f.lastReason("connect")).toBe("client.disabled");
  });
});

describe("a refusal is of whoever has proven who they are", () => {
  type Device = ReturnType<Fixture["device"]>;
  const will = { topic: "elsewhere", payload: Buffer.from("1"), qos: 0, retain: false } as const;
  it.each<
    [what: string, reason: Reason, isProven: boolean, packet: (d: Device, wire: Wire) => Partial<IConnectPacket>]
  >([
    [
      "another's client id",
      "client-id.foreign",
      true,
      (d, w) => ({ clientId: "acme.other", password: w.prove(d.privateKey) }),
    ],
    ["a will elsewhere", "will.topic", true, (d, w) => ({ will, password: w.prove(d.privateKey) })],
    ["another's client id without a proof", "proof.missing", false, () => ({ clientId: "acme.other" })],
    [
      "another's client id with another's proof",
      "proof.signature",
      false,
      (_, w) => ({ clientId: "acme.other", password: w.prove(f.device().privateKey) }),
    ],
  ])("%s", async (_, reason, isProven, packet) => {
    const device = f.device();
    const wire = await f.open();
    const username = userName(f.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    await wire.connect({ clientId: device.id, username, ...packet(device, wire) });
    expect(f.told.at(-1)).toMatchObject({ reason, subject: isProven ? device.id : undefined });
  });

  it("that was taken back as well", async () => {
    const device = f.device();
    f.trust.learnClient({ id: device.id, enabled: false, grants: [] });
    const wire = await f.open(await f.certificate(device));
    await wire.connect({ clientId: device.id });
    expect(f.told.at(-1)).toMatchObject({ reason: "client.disabled", subject: device.id });
  });
});

describe("takeover", () => {
  it("is not possible for another client: the owner stays", async () => {
    const owner = f.device();
    const thief = f.device();
    const wire = await f.enter(owner);
    const other = await f.open();
    const username = userName(f.cwt(thief.id, { cnf: cnfOf(thief.privateKey) }));
    const connack = await other.connect({ clientId: owner.id, username, password: other.prove(thief.privateKey) });
    expect([f.lastReason("connect"), connack.returnCode]).toEqual(["client-id.foreign", 5]);
    await wire.settled();
  });

  it("is not possible for an anonymous client", async () => {
    const owner = f.device();
    const wire = await f.enter(owner);
    const stranger = await f.open();
    expect((await stranger.connect({ clientId: owner.id })).returnCode).toBe(0);
    await expect(wire.settled()).resolves.toBeUndefined();
    await stranger.settled();
  });

  it("closes the client's own older connection", async () => {
    const owner = f.device();
    const older = await f.enter(owner);
    await f.enter(owner);
    await older.closed;
    expect(f.gate.sessions.count("client", owner.id)).toBe(1);
  });

  it("by a refused CONNECT does not disturb an unfinished QoS 2 exchange of the owner", async () => {
    const owner = f.device();
    const topic = `t/${owner.id}/once`;
    const listener = await f.enter(f.device(), { allow: [`sub:${topic}`] });
    listener.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic, qos: 0 }] });
    await listener.next("suback");
    const first = await f.enter(owner, {}, { clean: false });
    const publish = { cmd: "publish", topic, payload: "once", qos: 2, messageId: 9, retain: false } as const;
    first.send({ ...publish, dup: false });
    await first.next("pubrec");
    first.drop();

    const refused = await f.open();
    const password = Buffer.from(f.jwt(f.device().id, { aud: BEARER_AUDIENCE }));
    await refused.connect({ clientId: owner.id, clean: true, username: "x", password });
    await refused.closed;

    const second = await f.enter(owner, {}, { clean: false });
    second.send({ ...publish, dup: true });
    await second.next("pubrec");
    second.send({ cmd: "pubrel", messageId: 9 });
    await second.next("pubcomp");
    await listener.settled();
    expect(listener.all("publish")).toHaveLength(1);
  });
});

describe("a token by an unknown key", () => {
  afterEach(() => {
    delete f.trust.refreshKeys;
  });
  async function tryWith(signer: Signer): Promise<number | undefined> {
    const device = f.device();
    const wire = await f.open();
    const username = userName(f.cwt(device.id, { signer, cnf: cnfOf(device.privateKey) }));
    return (await wire.connect({ clientId: device.id, username, password: wire.prove(device.privateKey) })).returnCode;
  }

  it("is let in when trust learns the key by asking", async () => {
    const signer = createSigner("new", makePrivateKey());
    f.trust.refreshKeys = async () => f.trust.learnKey("new", signer.publicKey);
    expect(await tryWith(signer)).toBe(0);
  });

  it("is refused when asking brings nothing, fails, or does not end", async () => {
    const small = f;
    f = await openFixture({ refreshSeconds: 0.05 });
    const answers = [async () => {}, () => Promise.reject(new Error("down")), () => new Promise<void>(() => {})];
    for (const answer of answers) {
      f.trust.refreshKeys = answer;
      expect(await tryWith(createSigner("unknown", makePrivateKey()))).toBe(4);
      expect(f.lastReason("connect")).toBe("token.key-unknown");
    }
    await f.close();
    f = small;
  });
});

describe("a fault of ours", () => {
  it("is a refusal like any other, and is logged with its stack", async () => {
    const device = f.device();
    const wire = await f.enter(device);
    const session = f.gate.sessions.by("client", device.id)[0]!;
    session.refusalOf = () => {
      throw new TypeError("a bug");
    };
    expect(await wire.subscribe([`t/${device.id}/a`])).toEqual([128]);
    await wire.publish(`t/${device.id}/a`);
    await wire.closed;
    const lines = f.log.filter((line) => line.reason === "internal") as (LogLine & { err: { stack: string } })[];
    expect(lines.map((line) => line.at)).toEqual(["subscribe", "publish"]);
    expect(lines[0]?.err.stack).toContain("a bug");

    const counting = vi.spyOn(f.gate.sessions, "count").mockImplementation(() => {
      throw new TypeError("a bug");
    });
    const stranger = await f.open();
    expect((await stranger.connect({})).returnCode).toBe(5);
    counting.mockRestore();
  });
});
