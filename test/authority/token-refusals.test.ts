/** The token endpoint when it says no: one row for each way to be wrong, with the reason in the log and the answer. */
import { createPrivateKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { listAudit } from "../../broker/registry/audit.ts";
import { createClient, deleteClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { mintCertificate, toPem, toSigningKey } from "../../broker/authority/certificates/x509.ts";
import { encodeTokenRequest, readTokenError, type TokenRequest } from "../../shared/ace.ts";
import { encode, Tag, type Cbor } from "../../shared/cbor.ts";
import { toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { encodeScopeText, parsePermission } from "../../shared/scope.ts";
import {
  ACE,
  basic,
  countRows,
  cwtAssertion,
  furnish,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";

let at: Fixture;
let pi: Device;
let off: Device;
let gone: Device;
let ghost: Device;
let secret: string;
/** The secret of a service that holds roles on both apis. */
let both: string;

beforeAll(async () => {
  at = await openFixture();
  ({ secret } = furnish(at.registry));
  pi = await makeDevice(at, "plant.pi");
  for (const name of ["off", "gone"]) {
    createClient(at.registry, { project: "plant", name, kind: "device", roles: ["sensor"] });
  }
  off = await makeDevice(at, "plant.off");
  gone = await makeDevice(at, "plant.gone");
  setClientEnabled(at.registry, "plant.off", false);
  deleteClient(at.registry, "plant.gone");
  ghost = { ...(await makeDevice(at, "plant.pi")), id: "plant.nobody" };
  const { secret: bothSecret } = createClient(at.registry, {
    project: "plant",
    name: "both",
    kind: "service",
    roles: ["sensor", "reader"],
  });
  both = bothSecret!;
});
afterAll(() => at.close());

let before: Record<string, unknown>;
beforeEach(() => {
  before = countRows(at.registry);
  at.lines.length = 0;
});

/** The answer to a call that changed nothing. */
async function refused(call: Call): Promise<Answer> {
  const answer = await at.call("/token", call);
  expect(countRows(at.registry)).toEqual(before);
  expect(answer.headers["cache-control"]).toBe("no-store");
  const id = at.lines.findLast((line) => line["msg"] === "refused")?.["id"];
  expect(answer.body.includes(String(id))).toBe(true);
  return answer;
}

const hex = (text: string): Uint8Array => Buffer.from(text, "hex");
const good = (): Uint8Array => encodeTokenRequest({ audience: "plant.tele", wantsProfile: false });
/** `count` arrays, one inside the other, around a 0. */
const nested = (count: number): Uint8Array => Buffer.concat([hex("a105"), Buffer.alloc(count, 0x81), hex("00")]);
const cnf = (entries: readonly (readonly [number, Cbor])[]): Uint8Array =>
  encode(new Map<Cbor, Cbor>([[4, new Map<Cbor, Cbor>([[1, new Map<Cbor, Cbor>(entries)]])]]));
const p384 = hex("00".repeat(48));

describe("a CBOR body from a device with its certificate", () => {
  const x = Buffer.alloc(32, 7);
  test.each<[string, () => Uint8Array, string, number, string]>([
    ["nothing at all", () => hex(""), "cbor.truncated", 400, "invalid_request"],
    ["truncated", () => good().subarray(0, -1), "cbor.truncated", 400, "invalid_request"],
    ["one byte too long", () => Buffer.concat([good(), hex("00")]), "cbor.trailing", 400, "invalid_request"],
    [
      "a length that is not minimal",
      () => hex("a1056101".replace("61", "7801")),
      "cbor.not-deterministic",
      400,
      "invalid_request",
    ],
    ["an indefinite map", () => hex("bf056161ff"), "cbor.indefinite", 400, "invalid_request"],
    ["a duplicate key", () => hex("a205616105" + "6162"), "cbor.duplicate-key", 400, "invalid_request"],
    ["nesting without end", () => nested(500), "cbor.too-deep", 400, "invalid_request"],
    ["a wrong tag", () => encode(new Tag(new Map<Cbor, Cbor>([[5, "a"]]), 18)), "cbor.type", 400, "invalid_request"],
    ["text that is not UTF-8", () => hex("a10561ff"), "cbor.utf8", 400, "invalid_request"],
    ["an array in place of the map", () => hex("8105"), "cbor.type", 400, "invalid_request"],
    ["an audience of the wrong type", () => hex("a10501"), "request.malformed", 400, "invalid_request"],
    ["another grant type", () => hex("a1182100"), "request.grant-type", 400, "unsupported_grant_type"],
    ["another profile", () => hex("a1182601"), "request.profile", 400, "incompatible_ace_profiles"],
    [
      "an unknown audience",
      () => encodeTokenRequest({ audience: "plant.none", wantsProfile: false }),
      "request.audience",
      400,
      "invalid_request",
    ],
    [
      "an api without a role",
      () => encodeTokenRequest({ audience: "plant.open", wantsProfile: false }),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "a scope beyond the roles",
      () => encodeTokenRequest({ scope: [parsePermission("pub:x/#")], wantsProfile: false }),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "an empty scope",
      () => encodeTokenRequest({ scope: [], wantsProfile: false }),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "a scope as text",
      () => encodeTokenRequest({ scope: "pub:p", wantsProfile: false }),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "a scope that is not AIF",
      () => encode(new Map<Cbor, Cbor>([[9, hex("a0")]])),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "a key it has not proven",
      () => encodeTokenRequest({ reqCnf: makeKey().key, wantsProfile: false }),
      "request.key",
      400,
      "unsupported_pop_key",
    ],
    [
      "a key on another curve",
      () =>
        cnf([
          [1, 2],
          [-1, 2],
          [-2, p384],
          [-3, p384],
        ]),
      "key.curve",
      400,
      "unsupported_pop_key",
    ],
    [
      "an OKP key",
      () =>
        cnf([
          [1, 1],
          [-1, 6],
          [-2, x],
        ]),
      "key.type",
      400,
      "unsupported_pop_key",
    ],
    [
      "a symmetric key",
      () =>
        cnf([
          [1, 4],
          [-1, x],
        ]),
      "key.type",
      400,
      "unsupported_pop_key",
    ],
    [
      "a key for another algorithm",
      () =>
        cnf([
          [1, 2],
          [3, -25],
          [-1, 1],
          [-2, x],
          [-3, x],
        ]),
      "key.algorithm",
      400,
      "unsupported_pop_key",
    ],
    [
      "a point off the curve",
      () =>
        cnf([
          [1, 2],
          [-1, 1],
          [-2, x],
          [-3, x],
        ]),
      "key.point",
      400,
      "unsupported_pop_key",
    ],
    [
      "a private key",
      () => cnf([...(toCoseKey(pi.key) as Map<number, Cbor>), [-4, x]]),
      "key.private",
      400,
      "unsupported_pop_key",
    ],
    [
      "the client_id of another",
      () => encodeTokenRequest({ clientId: "plant.off", wantsProfile: false }),
      "certificate.identity",
      401,
      "invalid_client",
    ],
    [
      "an assertion as well",
      () => encodeTokenRequest({ clientAssertion: cwtAssertion(pi, at.clock.now), wantsProfile: false }),
      "request.malformed",
      400,
      "invalid_request",
    ],
  ])("refuses %s", async (_name, body, reason, status, error) => {
    const answer = await refused({ type: ACE, body: body(), as: pi });
    expect(at.reason()).toBe(reason);
    expect([answer.status, answer.headers["content-type"]]).toEqual([status, ACE]);
    expect(readTokenError(answer.body).error).toBe(error);
  });
});

describe("an assertion as a CWT", () => {
  const now = (): number => at.clock.now;
  /** With one part of the COSE_Sign1 replaced and the rest as it was. */
  const sign1 = (protectedHeader: Map<Cbor, Cbor>, signature?: (message: Uint8Array) => Uint8Array): Uint8Array => {
    const claims = encode(
      new Map<Cbor, Cbor>([
        [1, "plant.pi"],
        [2, "plant.pi"],
        [3, ISSUER],
        [4, now() + 60],
        [7, randomBytes(8)],
      ]),
    );
    const header = encode(protectedHeader);
    const message = encode(["Signature1", header, new Uint8Array(), claims]);
    const made = signature ?? ((m: Uint8Array) => sign("sha256", m, { key: pi.privateKey, dsaEncoding: "ieee-p1363" }));
    return encode(new Tag(new Tag([header, new Map(), claims, made(message)], 18), 61));
  };
  const es256 = new Map<Cbor, Cbor>([[1, -7]]);

  test.each<[string, () => Uint8Array, string]>([
    ["that is no CBOR", () => hex("ff"), "assertion.malformed"],
    ["that is truncated", () => cwtAssertion(pi, now()).subarray(0, -1), "assertion.malformed"],
    ["with the wrong tag", () => Buffer.from(cwtAssertion(pi, now())).fill(0xd1, 2, 3), "assertion.malformed"],
    ["of another algorithm", () => sign1(new Map([[1, -8]])), "assertion.malformed"],
    ["of algorithm none", () => sign1(new Map(), () => new Uint8Array()), "assertion.malformed"],
    ["with a DER signature", () => sign1(es256, (m) => sign("sha256", m, pi.privateKey)), "assertion.signature"],
    ["with a signature of zeros", () => sign1(es256, () => new Uint8Array(64)), "assertion.signature"],
    ["with r and s out of range", () => sign1(es256, () => Buffer.alloc(64, 0xff)), "assertion.signature"],
    [
      "that another key signed",
      () => cwtAssertion({ ...pi, privateKey: makeKey().privateKey }, now()),
      "assertion.signature",
    ],
    ["that is changed", () => flip(cwtAssertion(pi, now())), "assertion.signature"],
    ["that has expired", () => cwtAssertion(pi, now(), { exp: now() }), "assertion.expired"],
    ["that lives too long", () => cwtAssertion(pi, now(), { exp: now() + 301 }), "assertion.lifetime"],
    ["from the future", () => cwtAssertion(pi, now(), { iat: now() + 61 }), "assertion.lifetime"],
    ["for another audience", () => cwtAssertion(pi, now(), { aud: "https://other.test" }), "assertion.audience"],
    ["of another issuer", () => cwtAssertion(pi, now(), { iss: "plant.off" }), "assertion.subject"],
    ["of a client nobody knows", () => cwtAssertion(ghost, now()), "client.unknown"],
    ["of a client that is disabled", () => cwtAssertion(off, now()), "client.disabled"],
    ["of a client that is deleted", () => cwtAssertion(gone, now()), "client.unknown"],
  ])("refuses one %s", async (_name, assertion, reason) => {
    const body = encodeTokenRequest({ clientAssertion: assertion(), wantsProfile: false });
    const answer = await refused({ type: ACE, body });
    expect(at.reason()).toBe(reason);
    expect(answer.status).toBe(401);
    expect(readTokenError(answer.body).error).toBe("invalid_client");
  });

  test("refuses one that was used, and says so in the audit log", async () => {
    const body = encodeTokenRequest({ clientAssertion: cwtAssertion(pi, now()), wantsProfile: false });
    expect((await at.call("/token", { type: ACE, body })).status).toBe(200);
    before = countRows(at.registry);
    const answer = await refused({ type: ACE, body });
    expect([answer.status, readTokenError(answer.body).error]).toEqual([401, "invalid_client"]);
    const id = at.lines.findLast((line) => line["msg"] === "refused")?.["id"];
    expect(listAudit(at.registry, { project: "plant", limit: 1 })[0]).toMatchObject({
      event: "token.refused",
      // whoever saw it may use it again, so that it proves nobody
      actor: "stranger",
      facts: { claimed: "plant.pi" },
      reason: "assertion.replayed",
      refusalId: id,
    });
  });

  test("leaves the assertion of a refused request unspent", async () => {
    const clientAssertion = cwtAssertion(pi, now());
    const ask = (request: Partial<TokenRequest>): Promise<Answer> =>
      at.call("/token", { type: ACE, body: encodeTokenRequest({ clientAssertion, wantsProfile: false, ...request }) });
    expect((await ask({ audience: "plant.none" })).status).toBe(400);
    expect((await ask({ audience: "plant.tele" })).status).toBe(200);
  });

  test("refuses the key of a certificate that has ended", async () => {
    const old = await makeDevice(at, "plant.pi", 1);
    before = countRows(at.registry);
    at.clock.now += 86_401;
    try {
      await refused({
        type: ACE,
        body: encodeTokenRequest({ clientAssertion: cwtAssertion(old, now()), wantsProfile: false }),
      });
      expect(at.reason()).toBe("assertion.signature");
    } finally {
      at.clock.now -= 86_401;
    }
  });
});

describe("a device certificate", () => {
  /** A certificate that our authority did not make, or made otherwise. */
  async function forge(changed: {
    uri?: string;
    subject?: string;
    server?: boolean;
    foreign?: boolean;
  }): Promise<Pick<Device, "privateKey" | "cert">> {
    const { privateKey, key } = makeKey();
    const authority =
      changed.foreign === true ? makeKey().privateKey : createPrivateKey(readFileSync(join(at.directory, "ca.key")));
    const made = await mintCertificate({
      subject: changed.subject ?? "plant.pi",
      subjectKey: key.keyObject,
      issuer: {
        name: "Postern CA",
        signingKey: await toSigningKey(authority),
        publicKey: at.ca.caCertificate.publicKey,
      },
      notBefore: at.clock.now - 60,
      notAfter: at.clock.now + 3600,
      purpose:
        changed.server === true
          ? { kind: "server", hosts: ["plant.pi"] }
          : { kind: "device", uri: changed.uri ?? "urn:postern:client:plant.pi" },
    });
    return { privateKey, cert: toPem("CERTIFICATE", made.der) };
  }

  test.each<[string, () => Pick<Device, "privateKey" | "cert"> | Promise<Pick<Device, "privateKey" | "cert">>, string]>(
    [
      ["of another authority", () => forge({ foreign: true }), "certificate.untrusted"],
      ["for a server", () => forge({ server: true }), "certificate.usage"],
      [
        "with the name of another beside its own",
        () => forge({ uri: "urn:postern:client:plant.off" }),
        "certificate.identity",
      ],
      ["that is not on record", () => forge({}), "certificate.unknown"],
      ["of a client that is disabled", () => off, "client.disabled"],
      ["of a client that is deleted", () => gone, "client.unknown"],
    ],
  )("refuses one %s", async (_name, device, reason) => {
    const answer = await refused({ type: ACE, body: good(), as: await device() });
    expect(at.reason()).toBe(reason);
    expect([answer.status, readTokenError(answer.body).error]).toEqual([401, "invalid_client"]);
  });

  test.each([
    ["has ended", 90 * 86_400 + 1, "certificate.expired"],
    ["is not valid yet", -301, "certificate.not-yet-valid"],
  ])("refuses one that %s, on a connection that was fine before", async (_name, seconds, reason) => {
    const device = await makeDevice(at, "plant.pi");
    expect((await at.call("/token", { type: ACE, body: good(), as: device })).status).toBe(200);
    before = countRows(at.registry);
    at.clock.now += seconds;
    try {
      expect((await refused({ type: ACE, body: good(), as: device })).status).toBe(401);
      expect(at.reason()).toBe(reason);
    } finally {
      at.clock.now -= seconds;
    }
  });

  test("refuses a client from the moment it is disabled, on the same connection", async () => {
    createClient(at.registry, { project: "plant", name: "soon", kind: "device", roles: ["sensor"] });
    const soon = await makeDevice(at, "plant.soon");
    const ask = (): Promise<Answer> => at.call("/token", { type: ACE, body: good(), as: soon });
    expect((await ask()).status).toBe(200);
    setClientEnabled(at.registry, "plant.soon", false);
    expect((await ask()).status).toBe(401);
    setClientEnabled(at.registry, "plant.soon", true);
    expect((await ask()).status).toBe(200);
  });
});

describe("JSON and form", () => {
  const json = (value: unknown, headers?: Record<string, string>, as?: Device): Call => ({
    type: "application/json",
    body: typeof value === "string" ? value : JSON.stringify(value),
    headers,
    as,
  });
  const form = (body: string, headers?: Record<string, string>): Call => ({
    type: "application/x-www-form-urlencoded",
    body,
    headers,
  });
  const board = () => ({ client_id: "plant.board", client_secret: secret });
  const cc = "grant_type=client_credentials";
  const jwt = (changed = {}) => ({
    client_assertion: jwtAssertion(pi, at.clock.now, changed),
    client_assertion_type: JWT_BEARER,
  });
  const none = (): string => {
    const [, payload] = jwtAssertion(pi, at.clock.now).split(".");
    return `${Buffer.from('{"alg":"none"}').toString("base64url")}.${payload!}.`;
  };

  test.each<[string, () => Call, string, number, string]>([
    [
      "no body",
      () => ({ method: "POST", headers: { "content-length": "0" } }),
      "request.malformed",
      400,
      "invalid_request",
    ],
    ["no JSON", () => json("{"), "request.malformed", 400, "invalid_request"],
    ["an array", () => json([]), "request.malformed", 400, "invalid_request"],
    [
      "a member twice",
      () => json('{"client_id":"a","client\\u005fid":"b"}'),
      "request.malformed",
      400,
      "invalid_request",
    ],
    [
      "a member of the wrong type",
      () => json({ ...board(), audience: ["plant.open"] }),
      "request.malformed",
      400,
      "invalid_request",
    ],
    ["a field twice", () => form(`${cc}&${cc}`), "request.malformed", 400, "invalid_request"],
    ["a form that is not percent-encoded", () => form("grant_type=%zz"), "request.malformed", 400, "invalid_request"],
    [
      "no grant_type in a form",
      () => form("client_id=plant.board&client_secret=x"),
      "request.malformed",
      400,
      "invalid_request",
    ],
    ["another grant_type", () => form("grant_type=password"), "request.grant-type", 400, "unsupported_grant_type"],
    [
      "another profile",
      () => json({ ...board(), ace_profile: "coap_dtls" }),
      "request.profile",
      400,
      "incompatible_ace_profiles",
    ],
    ["nobody", () => form(cc), "credential.missing", 401, "invalid_client"],
    ["a client_id alone", () => form(`${cc}&client_id=plant.board`), "credential.missing", 401, "invalid_client"],
    ["a secret alone", () => json({ client_secret: "x" }), "credential.malformed", 401, "invalid_client"],
    ["a wrong secret", () => json({ ...board(), client_secret: "wrong" }), "client.secret", 401, "invalid_client"],
    [
      "an unknown client",
      () => json({ ...board(), client_id: "plant.nobody" }),
      "client.unknown",
      401,
      "invalid_client",
    ],
    ["what is no client id", () => json({ ...board(), client_id: "../x" }), "client.unknown", 401, "invalid_client"],
    [
      "a device with a secret",
      () => json({ client_id: "plant.pi", client_secret: "x" }),
      "client.secret",
      401,
      "invalid_client",
    ],
    ["a wrong secret in Basic", () => form(cc, basic("plant.board", "wrong")), "client.secret", 401, "invalid_client"],
    ["another scheme", () => form(cc, { authorization: "Bearer abc" }), "credential.malformed", 401, "invalid_client"],
    [
      "Basic without a colon",
      () => form(cc, { authorization: "Basic YWJj" }),
      "credential.malformed",
      401,
      "invalid_client",
    ],
    [
      "Basic with bad percent-encoding",
      () => form(cc, basic("plant.board", "%z")),
      "credential.malformed",
      401,
      "invalid_client",
    ],
    [
      "Basic and a secret",
      () => json(board(), basic("plant.board", secret)),
      "request.malformed",
      400,
      "invalid_request",
    ],
    [
      "Basic and the client_id of another",
      () => form(`${cc}&client_id=plant.pi`, basic("plant.board", secret)),
      "request.malformed",
      400,
      "invalid_request",
    ],
    ["a secret and a certificate", () => json(board(), undefined, pi), "request.malformed", 400, "invalid_request"],
    [
      "an assertion without its type",
      () => json({ client_assertion: "a.b.c" }),
      "request.malformed",
      400,
      "invalid_request",
    ],
    [
      "an assertion of another type",
      () => json({ client_assertion: "x", client_assertion_type: "saml" }),
      "assertion.malformed",
      401,
      "invalid_client",
    ],
    [
      "an assertion without a signature",
      () => json({ ...jwt(), client_assertion: none() }),
      "assertion.malformed",
      401,
      "invalid_client",
    ],
    [
      "an assertion for another client_id",
      () => json({ ...jwt(), client_id: "plant.board" }),
      "assertion.subject",
      401,
      "invalid_client",
    ],
    [
      "an assertion that has expired",
      () => json(jwt({ exp: at.clock.now - 1 })),
      "assertion.expired",
      401,
      "invalid_client",
    ],
    [
      "an unbound token for a bound api",
      () => json({ client_id: "plant.both", client_secret: both, audience: "plant.tele" }),
      "request.unbound",
      400,
      "invalid_request",
    ],
    [
      "a bound token without a key",
      () => json({ ...board(), req_cnf: { jwk: toJwk(pi.key) } }),
      "request.key",
      400,
      "unsupported_pop_key",
    ],
    [
      "a key that is none",
      () => json({ ...board(), req_cnf: { jwk: { kty: "RSA" } } }),
      "key.type",
      400,
      "unsupported_pop_key",
    ],
    ["DPoP", () => json(board(), { dpop: "x" }), "request.key", 400, "unsupported_pop_key"],
    [
      "no audience with two apis",
      () => json({ client_id: "plant.both", client_secret: both }),
      "request.audience",
      400,
      "invalid_request",
    ],
    [
      "a scope that is no base64url",
      () => json({ ...board(), scope: "sub:o/#" }),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "a scope beyond the roles",
      () => json({ ...board(), scope: encodeScopeText([parsePermission("pub:o/#")]) }),
      "request.scope",
      400,
      "invalid_scope",
    ],
    [
      "CBOR that says it is JSON",
      () => ({ type: "application/json", body: good() }),
      "request.malformed",
      400,
      "invalid_request",
    ],
  ])("refuses %s", async (_name, call, reason, status, error) => {
    const answer = await refused(call());
    expect(at.reason()).toBe(reason);
    expect([answer.status, answer.headers["content-type"]]).toEqual([status, "application/json"]);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ error });
    expect(answer.headers["www-authenticate"]).toBe(status === 401 ? 'Basic realm="postern"' : undefined);
  });

  test("an unknown client and a wrong secret hear the same", async () => {
    const hear = async (id: string): Promise<string> => {
      const answer = await refused(json({ client_id: id, client_secret: "wrong" }));
      return `${String(answer.status)} ${answer.body.toString().replace(/id [\w-]{12}/, "")}`;
    };
    expect(await hear("plant.nobody")).toBe(await hear("plant.board"));
  });

  test("a service with a secret gets no token over CBOR", async () => {
    await refused({ type: ACE, body: good(), headers: basic("plant.both", both) });
    expect(at.reason()).toBe("request.unbound");
  });
});

function flip(bytes: Uint8Array): Uint8Array {
  const changed = Buffer.from(bytes);
  // the last byte of the id, which nothing but the signature protects
  changed[changed.length - 67]! ^= 1;
  return changed;
}
