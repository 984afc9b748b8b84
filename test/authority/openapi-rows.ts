/**
 * Every way of asking that gives another status or media type, for each path beside the table of `/v1`: by hand, since
 * nothing else knows how to bring them about.
 */
import { vi } from "vitest";
import { createBrokerTicket } from "../../broker/registry/broker-tickets.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { revokeAll } from "../../broker/registry/revocations.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { createTicket } from "../../broker/registry/tickets.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { encodeTokenRequest, readTokenResponse, type TokenRequest } from "../../shared/ace.ts";
import { encodeIntrospectionRequest } from "../../shared/introspection.ts";
import { sequence } from "./der.ts";
import {
  ACE,
  base64,
  basic,
  cwtAssertion,
  furnish,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeCsr,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";
import { assertionFields, formCall, jsonCall, openProver, readJson } from "./http-apis.ts";
import { makeBroker } from "./trl-fixture.ts";

const metrics = async () => ({ contentType: "text/plain; version=0.0.4; charset=utf-8", text: "sheep 3\n" });
export const admin = { authorization: "Bearer admin-key" };
const twice = { authorization: ["Basic YTpi", "Basic YTpi"] };
const wrong = basic("plant.board", "wrong");
const large = "x".repeat(17_000);
const PKCS10 = "application/pkcs10";
const est = "/.well-known/est";

let at: Fixture;
/** Lets nobody do anything twice. */
let strict: Fixture;
let pi: Device;
/** With a certificate that is not on record. */
let stray: Device;
/** Of the service `plant.board` and of the api `plant/shop`. */
let secrets: { readonly board: string; readonly shop: string };
let prover: ReturnType<typeof openProver>;

/** Starts both. */
export async function openAuthorities(): Promise<{ readonly at: Fixture; readonly pi: Device }> {
  at = await openFixture({ clientFailuresPerMinute: 1_000, tokensPerMinute: 10_000 }, metrics);
  strict = await openFixture({ clientFailuresPerMinute: 1, tokensPerMinute: 1 });
  const { secret } = furnish(at.registry);
  furnish(strict.registry);
  const shop = { project: "plant", api: "shop" };
  createApi(at.registry, { project: "plant", name: "shop", kind: "http", scopes: ["buy"] });
  createRole(at.registry, { ...shop, name: "buyer", scopes: ["buy"] });
  createClient(at.registry, { project: "plant", name: "till", kind: "device", roles: ["buyer"] });
  secrets = { board: secret, shop: createSecret(at.registry, shop).secret };
  pi = await makeDevice(at, "plant.pi");
  const { privateKey, key } = makeKey();
  const { der, serial } = await at.ca.issueDevice(key, "plant.pi", 1);
  stray = { id: "plant.pi", privateKey, key, serial, cert: toPem("CERTIFICATE", der) };
  prover = openProver(at.clock);
  return { at, pi };
}

export async function closeAuthorities(): Promise<void> {
  await at.close();
  await strict.close();
}

export type Ask = (path: string) => Promise<Answer>;
/** One way to ask, and the status that it gives. */
export type Row = readonly [says: string, status: number, ask: Ask];

const asIs =
  (call: () => Call = () => ({})): Ask =>
  (path) =>
    at.call(path, call());
const byBoard = () => basic("plant.board", secrets.board);
const asking = (headers?: Record<string, string>) => jsonCall({ audience: "plant.open" }, headers);
const inCbor = (body: Uint8Array, more: Call = {}): Call => ({ type: ACE, body, ...more });
/** A request for a token in CBOR. */
export const forToken = (request: Partial<TokenRequest> = {}) => encodeTokenRequest({ wantsProfile: true, ...request });

/** Everything goes on as usual. */
export function undo(): void {
  at.registry.db.pragma("query_only = OFF");
  at.registry.db.pragma("max_page_count = 1000000");
  vi.restoreAllMocks();
}

/** The first answer that is not granted once the database may not grow: the token is counted by then. */
async function untilFull(path: string): Promise<Answer> {
  const { db } = at.registry;
  db.pragma(`max_page_count = ${String(db.pragma("page_count", { simple: true }))}`);
  let answer = await at.call(path, asking(byBoard()));
  for (let asked = 1; answer.status === 200 && asked < 1_000; asked++) {
    answer = await at.call(path, asking(byBoard()));
  }
  return answer;
}

/** As if nothing could be written. */
function withoutRoom(ask: Ask): Ask {
  return (path) => {
    at.registry.db.pragma("query_only = ON");
    return ask(path);
  };
}

/** The second answer to the same. */
function again(call: () => Promise<Call> | Call): Ask {
  return async (path) => {
    const one = await call();
    await strict.call(path, one);
    return strict.call(path, one);
  };
}

/** With the tag of the answer before. */
function known(call: Call = {}): Ask {
  return async (path) => {
    const { headers } = await at.call(path, call);
    return at.call(path, { ...call, headers: { ...call.headers, "if-none-match": headers.etag! } });
  };
}

async function boundToken(): Promise<Uint8Array> {
  return readTokenResponse((await at.call("/token", inCbor(forToken(), { as: pi }))).body).accessToken;
}

async function bearerToken(): Promise<string> {
  return String(readJson(await at.call("/token", asking(byBoard())))["access_token"]);
}

const aboutToken =
  (type: string, headers: Record<string, string> = {}): Ask =>
  async (path) =>
    at.call(path, {
      type,
      body: JSON.stringify({ token: await bearerToken() }),
      headers: { ...admin, ...headers },
    });

/** What the server says of any request that it cannot read. */
export const unread: readonly Row[] = [
  ["a header that is too large", 431, asIs(() => ({ headers: { x: "a".repeat(9_000) } }))],
];
const twoAuthorizations: Row = ["two Authorization headers", 400, asIs(() => ({ headers: twice }))];

/** What all that takes OAuth bodies refuses alike. */
const badBodies: readonly Row[] = [
  ["JSON that is none", 400, asIs(() => ({ type: "application/json", body: "{" }))],
  ["CBOR that is none", 400, asIs(() => inCbor(Buffer.from("a1", "hex")))],
  ["a large body", 413, asIs(() => ({ type: "application/json", body: large }))],
  ["a large body of CBOR", 413, asIs(() => inCbor(Buffer.from(large)))],
  ["another media type", 415, asIs(() => ({ type: "text/plain", body: "x" }))],
  twoAuthorizations,
];

const tokenRows: readonly Row[] = [
  ["a form", 200, asIs(() => formCall({ audience: "plant.open" }, byBoard()))],
  ["JSON", 200, asIs(() => asking(byBoard()))],
  [
    "JSON that asks for the profile",
    200,
    asIs(() => jsonCall({ ace_profile: null, audience: "plant.open" }, byBoard())),
  ],
  ["JSON of ACE", 200, asIs(() => ({ ...asking(byBoard()), type: "application/ace+json" }))],
  ["CBOR", 200, asIs(() => inCbor(forToken(), { as: pi }))],
  [
    "a DPoP proof",
    200,
    async (path) => {
      const till = await makeDevice(at, "plant.till");
      const call = formCall({ audience: "plant.shop", ...assertionFields(till, at.clock.now) });
      return at.call(path, { ...call, headers: { dpop: prover.prove({ url: ISSUER + path }) } });
    },
  ],
  ...badBodies,
  ["an audience that nobody has", 400, asIs(() => jsonCall({ audience: "plant.none" }, byBoard()))],
  ["an audience that nobody has, in CBOR", 400, asIs(() => inCbor(forToken({ audience: "none" }), { as: pi }))],
  ["nobody", 401, asIs(() => asking())],
  ["nobody, in CBOR", 401, asIs(() => inCbor(forToken()))],
  [
    "an assertion that was used",
    401,
    async (path) => {
      const till = await makeDevice(at, "plant.till");
      const fields = formCall({ audience: "plant.shop", ...assertionFields(till, at.clock.now) });
      await at.call(path, fields);
      return at.call(path, fields);
    },
  ],
  [
    "more tokens than in a minute",
    429,
    again(async () => inCbor(forToken(), { as: await makeDevice(strict, "plant.pi") })),
  ],
  ["more failures than in a minute", 429, again(() => asking(basic("plant.none", "wrong")))],
  ["no room", 507, withoutRoom(asIs(() => asking(byBoard())))],
  ["no more room", 507, untilFull],
  ["no room, in CBOR", 507, withoutRoom(asIs(() => inCbor(forToken(), { as: pi })))],
];

const presented = (headers?: Record<string, string>) => jsonCall({ token: "x" }, headers);
const presentedByAssertion = () =>
  jsonCall({
    token: "x",
    client_assertion: jwtAssertion(pi, at.clock.now),
    client_assertion_type: JWT_BEARER,
  });

const presentedInCbor = (by: Device) =>
  inCbor(encodeIntrospectionRequest({ token: "x", clientAssertion: cwtAssertion(by, at.clock.now) }));

const callerRows: readonly Row[] = [
  ...badBodies,
  ["nobody", 401, asIs(() => presented())],
  ["nobody, in CBOR", 401, asIs(() => inCbor(encodeIntrospectionRequest({ token: "x" })))],
  ["another secret", 401, asIs(() => presented(wrong))],
  ["another admin key", 401, asIs(() => presented({ authorization: "Bearer wrong" }))],
  ["more failures than in a minute", 429, again(() => presented(wrong))],
  ["more failures than in a minute, in CBOR", 429, again(() => presentedInCbor({ ...pi, id: "plant.none" }))],
  ["no room", 507, withoutRoom(asIs(presentedByAssertion))],
  ["no room, in CBOR", 507, withoutRoom(asIs(() => presentedInCbor(pi)))],
];

const introspectionRows: readonly Row[] = [
  ["a token that is none", 200, asIs(() => presented(byBoard()))],
  ["a token, in JSON", 200, aboutToken("application/json")],
  ["a token, in JSON of ACE", 200, aboutToken("application/ace+json")],
  ["a token, signed", 200, aboutToken("application/json", { accept: "application/token-introspection+jwt" })],
  [
    "a token, in CBOR",
    200,
    async (path) => at.call(path, inCbor(encodeIntrospectionRequest({ token: await boundToken() }), { as: pi })),
  ],
  [
    "a bound token, in JSON",
    200,
    async (path) => at.call(path, jsonCall({ token: Buffer.from(await boundToken()).toString("base64url") }, admin)),
  ],
  ...callerRows,
];

const revocationRows: readonly Row[] = [
  ["a client", 200, async (path) => at.call(path, jsonCall({ token: await bearerToken() }, byBoard()))],
  ["whoever has the admin key", 200, async (path) => at.call(path, jsonCall({ token: await bearerToken() }, admin))],
  [
    "CBOR",
    200,
    async (path) => at.call(path, inCbor(encodeIntrospectionRequest({ token: await boundToken() }), { as: pi })),
  ],
  [
    "another's token",
    400,
    async (path) => at.call(path, inCbor(encodeIntrospectionRequest({ token: await bearerToken() }), { as: pi })),
  ],
  ...callerRows,
];

const openRows: readonly Row[] = [["anybody", 200, asIs()], twoAuthorizations];
const taggedRows: readonly Row[] = [...openRows, ["who knows it", 304, known()]];
const clientRows: readonly Row[] = [
  ["a client by its certificate", 200, asIs(() => ({ as: pi }))],
  ["a client by its secret", 200, asIs(() => ({ headers: byBoard() }))],
  ["a certificate and a secret", 400, asIs(() => ({ as: pi, headers: byBoard() }))],
  ["nobody", 401, asIs()],
  ["another secret", 401, asIs(() => ({ headers: wrong }))],
  ["a certificate that is not on record", 403, asIs(() => ({ as: stray }))],
  ["more failures than in a minute", 429, again(() => ({ headers: wrong }))],
];

const wait = { prefer: "wait=1" };
const trlRows: readonly Row[] = [
  ...clientRows,
  ["whoever has the admin key", 200, (path) => at.call(`${path}?trust=`, { headers: admin })],
  ["who would wait", 200, (path) => at.call(path, { headers: { ...admin, ...wait } })],
  ["a diff query", 200, (path) => at.call(`${path}?diff=0`, { headers: admin })],
  ["who knows it", 304, known({ headers: admin })],
  ["who knows it and waits for news that do not come", 304, known({ headers: { ...admin, ...wait } })],
  ["a cursor alone", 400, (path) => at.call(`${path}?cursor=1`, { headers: admin })],
  ["another admin key", 401, asIs(() => ({ headers: { authorization: "Bearer wrong" } }))],
  [
    "an api for the first time, without room",
    507,
    withoutRoom(asIs(() => ({ headers: basic("plant/shop", secrets.shop) }))),
  ],
];

const crlRows: readonly Row[] = [
  ...taggedRows,
  [
    "no room",
    507,
    async (path) => {
      const { serial } = await makeDevice(at, "plant.pi");
      revokeAll(at.registry, { certificates: [serial] }, { issuer: ISSUER });
      return withoutRoom(asIs())(path);
    },
  ],
];

const request = (privateKey = makeKey().privateKey): string => base64(makeCsr(privateKey, { subject: sequence() }));
const ticket = () => createTicket(at.registry, { project: "plant", client: "pi" }).secret;
const forTicket = (secret: string, body = request(), type = PKCS10): Call => ({
  type,
  body,
  headers: basic("", secret),
});
const forCertificate = (as: Device, body = request(), type = PKCS10): Call => ({ type, body, as });

async function revokedDevice(): Promise<Device> {
  const device = await makeDevice(at, "plant.pi");
  revokeAll(at.registry, { certificates: [device.serial] }, { issuer: ISSUER });
  return device;
}

/** Changes the hosts of a broker while a certificate for it is made. */
function whileHostsChange(name: string): void {
  const issue = at.ca.issueBroker.bind(at.ca);
  vi.spyOn(at.ca, "issueBroker").mockImplementation(async (...asked) => {
    createBrokerTicket(at.registry, { name, hosts: [`${name}.example`] });
    return issue(...asked);
  });
}

const enrolRows: readonly Row[] = [
  ["a ticket", 200, asIs(() => forTicket(ticket()))],
  ["a request that is none", 400, asIs(() => forTicket(ticket(), "AAAA"))],
  ["another ticket", 401, asIs(() => forTicket("nothing"))],
  [
    "a key whose certificate was revoked",
    403,
    async (path) => at.call(path, forTicket(ticket(), request((await revokedDevice()).privateKey))),
  ],
  [
    "a broker whose hosts change meanwhile",
    409,
    async (path) => {
      const { secret } = createBrokerTicket(at.registry, { name: "east" });
      whileHostsChange("east");
      return at.call(path, forTicket(secret));
    },
  ],
  ["a large request", 413, asIs(() => forTicket(ticket(), large))],
  ["another media type", 415, asIs(() => forTicket(ticket(), request(), "text/plain"))],
  [
    "no room",
    507,
    (path) =>
      withoutRoom(
        asIs(
          (
            (call) => () =>
              call
          )(forTicket(ticket())),
        ),
      )(path),
  ],
];

const renewalRows: readonly Row[] = [
  ["a certificate", 200, asIs(() => forCertificate(pi))],
  ["a request that is none", 400, asIs(() => forCertificate(pi, "AAAA"))],
  ["no certificate", 401, asIs(() => ({ type: PKCS10, body: request() }))],
  ["a certificate that was revoked", 403, async (path) => at.call(path, forCertificate(await revokedDevice()))],
  [
    "a broker whose hosts change meanwhile",
    409,
    async (path) => {
      const west = await makeBroker(at, "west");
      whileHostsChange("west");
      return at.call(path, forCertificate(west));
    },
  ],
  ["a large request", 413, asIs(() => forCertificate(pi, large))],
  ["another media type", 415, asIs(() => forCertificate(pi, request(), "text/plain"))],
  ["no room", 507, withoutRoom(asIs(() => forCertificate(pi)))],
];

/** By operation. */
export const table: Readonly<Record<string, readonly Row[]>> = {
  "POST /token": tokenRows,
  "POST /get-access-token": tokenRows,
  "POST /introspect": introspectionRows,
  "POST /verify-token": introspectionRows,
  "POST /revoke": revocationRows,
  "GET /.well-known/oauth-authorization-server": taggedRows,
  "GET /.well-known/jwks.json": taggedRows,
  "GET /.well-known/cose-keys": taggedRows,
  "GET /openapi.json": openRows,
  "GET /docs": openRows,
  "GET /v1/self": clientRows,
  "GET /revoke/trl": trlRows,
  "GET /crl": crlRows,
  [`GET ${est}/cacerts`]: openRows,
  [`GET ${est}/csrattrs`]: openRows,
  [`POST ${est}/simpleenroll`]: enrolRows,
  [`POST ${est}/simplereenroll`]: renewalRows,
  "GET /healthz": openRows,
  "GET /metrics": [
    ...openRows,
    ["another admin key", 401, asIs(() => ({ headers: { authorization: "Bearer wrong" } }))],
  ],
};
