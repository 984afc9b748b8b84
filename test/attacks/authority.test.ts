/** What a request to the authority may try: nothing gives a 5xx, stalls the process or gives more than the roles allow. */
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { encodeTokenRequest, readTokenResponse } from "../../shared/ace.ts";
import { encode, type Cbor } from "../../shared/cbor.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { encodeScope, expandGrants, parsePermission } from "../../shared/scope.ts";
import { inspectToken } from "../../shared/token.ts";
import {
  ACE,
  base64,
  basic,
  cwtAssertion,
  furnish,
  JWT_BEARER,
  jwtAssertion,
  makeCsr,
  makeDevice,
  makeKey,
  openFixture,
  type Device,
  type Fixture,
} from "../authority/fixture.ts";

let f: Fixture;
let secret: string;
let pi: Device;
beforeAll(async () => {
  f = await openFixture();
  ({ secret } = furnish(f.registry));
  pi = await makeDevice(f, "plant.pi");
});
afterAll(() => f.close());

const admin = { authorization: "Bearer admin-key" };

describe("a value that cannot be text", () => {
  const values: readonly unknown[] = [{ toString: 1, valueOf: 1 }, { toString: null }, [[[]]], ["EC"]];
  test.each(values.map((value) => ({ value })))(
    "in the place of a key's kty or crv is the client's mistake: $value",
    async ({ value }) => {
      const good = toJwk(makeKey().key);
      for (const jwk of [
        { ...good, kty: value },
        { ...good, crv: value },
        { ...good, x: value },
      ]) {
        const body = JSON.stringify({ audience: "plant.open", req_cnf: { jwk } });
        const answer = await f.call("/token", {
          type: "application/json",
          body,
          headers: basic("plant.board", secret),
        });
        expect([answer.status, f.reason()]).not.toContain("internal");
        expect(answer.status).toBe(400);
      }
    },
  );
});

describe("a scope that is asked for", () => {
  test("in many patterns, against roles of many patterns, is answered without a stall", async () => {
    createApi(f.registry, { project: "plant", name: "wide", kind: "mqtt", topics: ["w/#"] });
    const permissions = Array.from({ length: 16 }, (_, i) => parsePermission(`sub:w/+/kind${i}`));
    createRole(f.registry, { project: "plant", api: "wide", name: "kinds", permissions });
    createClient(f.registry, { project: "plant", name: "greedy", kind: "device", roles: ["kinds"] });
    const greedy = await makeDevice(f, "plant.greedy");
    const scope = Array.from({ length: 256 }, (_, i) => ({ filter: `w/site${i}/+`, pub: false, sub: true }));
    const body = encodeTokenRequest({ audience: "plant.wide", scope });
    const before = process.cpuUsage();
    const answer = await f.call("/token", { type: ACE, body, as: greedy });
    const { user, system } = process.cpuUsage(before);
    expect(answer.status).toBeLessThan(500);
    expect((user + system) / 1000).toBeLessThan(1000);
  }, 180_000);

  test.each(["#", "+/#", "p/#", "p/+/up", "$SYS/#", "$share/g/p/#", "authz-info", "p/pi/up/#", "+/pi/+"])(
    "as %s never gives more than the roles",
    async (filter) => {
      const scope = [{ filter, pub: true, sub: true }];
      const body = encodeTokenRequest({ audience: "plant.tele", scope });
      const answer = await f.call("/token", { type: ACE, body, as: pi });
      if (answer.status !== 200) return expect(answer.status).toBe(400);
      const { grants } = inspectToken(readTokenResponse(answer.body).accessToken);
      const allowed = new Set(["p/pi/up", "p/pi/dn", "p/all"]);
      expect(grants.filter(({ filter, pub, sub }) => !allowed.has(filter) || pub === sub)).toEqual([]);
    },
  );

  test("as two scopes in one request of CBOR is refused", async () => {
    const scope = encodeScope([{ filter: "p/pi/up", pub: true, sub: false }]);
    const one = Buffer.from(encode(new Map<Cbor, Cbor>([[9, scope]]))).subarray(1);
    const twice = Buffer.concat([Buffer.from([0xa2]), one, one]);
    expect((await f.call("/token", { type: ACE, body: twice, as: pi })).status).toBe(400);
  });
});

describe("a level of a permission that is called like a member of every object", () => {
  test.each(["constructor", "toString", "__proto__", "hasOwnProperty"])("stays what it is: %s", (level) => {
    const [grant] = expandGrants([parsePermission(`pub:x/${level}/y`)], "plant.pi");
    expect(grant!.filter).toBe(`x/${level}/y`);
  });
});

describe("an assertion", () => {
  test("that was spent at one endpoint is spent at the other, and in another content type", async () => {
    const bytes = cwtAssertion(pi, f.clock.now);
    const body = encodeTokenRequest({ audience: "plant.tele", clientAssertion: bytes });
    expect((await f.call("/token", { type: ACE, body })).status).toBe(200);
    expect((await f.call("/get-access-token", { type: ACE, body })).status).toBe(401);
    const jwt = jwtAssertion(pi, f.clock.now);
    const fields = { client_assertion: jwt, client_assertion_type: JWT_BEARER, audience: "plant.tele" };
    const json = { type: "application/json", body: JSON.stringify(fields) };
    expect((await f.call("/get-access-token", json)).status).toBe(200);
    const form = new URLSearchParams({ grant_type: "client_credentials", ...fields }).toString();
    expect((await f.call("/token", { type: "application/x-www-form-urlencoded", body: form })).status).toBe(401);
  });

  test("with its signature turned over (r, n - s) is the same assertion, and spent", async () => {
    const bytes = Buffer.from(cwtAssertion(pi, f.clock.now));
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const s = BigInt(`0x${bytes.subarray(-32).toString("hex")}`);
    const turned = Buffer.from(bytes);
    turned.write((order - s).toString(16).padStart(64, "0"), turned.length - 32, "hex");
    const ask = (clientAssertion: Uint8Array) =>
      f.call("/token", { type: ACE, body: encodeTokenRequest({ audience: "plant.tele", clientAssertion }) });
    expect((await ask(bytes)).status).toBe(200);
    expect((await ask(turned)).status).toBe(401);
    expect(f.reason()).toBe("assertion.replayed");
  });

  test("beside a certificate or a secret is refused", async () => {
    const body = encodeTokenRequest({ audience: "plant.tele", clientAssertion: cwtAssertion(pi, f.clock.now) });
    expect((await f.call("/token", { type: ACE, body, as: pi })).status).toBe(400);
    expect((await f.call("/token", { type: ACE, body, headers: basic("plant.board", secret) })).status).toBe(400);
  });
});

describe("a body of /v1", () => {
  test.each([
    ['{"slug":"acme","__proto__":{"slug":"x"}}'],
    ['{"__proto__":{"slug":"polluted"}}'],
    ['{"constructor":{"prototype":{"slug":"p"}},"slug":"acme"}'],
    ['{"slug":"acme","slug":"other"}'],
    ['{"slug":"acme","sl\\u0075g":"other"}'],
    ['{"slug":"\u0430cme"}'],
    ['{"slug":"acme\\u0000"}'],
    ['{"slug":"acme\\n"}'],
    ["[]"],
    ["null"],
    [`${"[".repeat(300)}${"]".repeat(300)}`],
    [`{"slug":${"9".repeat(400)}}`],
    [`{"slug":"${"a".repeat(700)}"}`],
  ])("is refused and changes nothing: %s", async (body) => {
    const answer = await f.call("/v1/projects", { type: "application/json", body, headers: admin });
    expect([400, 422]).toContain(answer.status);
    const list = await f.call("/v1/projects", { headers: admin });
    expect(JSON.parse(list.body.toString())).toMatchObject({ items: [{ slug: "plant" }] });
    expect(({} as { slug?: string }).slug).toBeUndefined();
  });

  test.each([
    "/v1/projects/plant/clients?limit=1&limit=2",
    "/v1/projects/plant/clients?limit[]=1",
    "/v1/projects/plant/clients?__proto__=1",
    "/v1/projects/plant/audit?before=99999999999999999999",
    "/v1/projects/%00",
    "/v1/projects/plant%2f..%2fplant/clients",
    "/v1/projects/..%2f..%2fv1",
    "/v1/projects/%ff",
    "/v1/projects/plant/clients/constructor",
    "/v1/projects/__proto__/clients",
    `/v1/projects/${"x".repeat(300)}`,
    "/v1/projects/plant/roles/%F0%9F%92%A9",
  ])("or a path that is odd is refused: %s", async (path) => {
    const answer = await f.call(path, { headers: admin });
    expect([400, 404, 414, 422]).toContain(answer.status);
  });

  test("names a role or client of its own project only", async () => {
    const call = (path: string, body: object) =>
      f.call(path, { type: "application/json", body: JSON.stringify(body), headers: admin });
    expect((await call("/v1/projects", { slug: "other" })).status).toBe(201);
    expect((await call("/v1/projects/other/clients", { name: "x", kind: "device", roles: ["sensor"] })).status).toBe(
      422,
    );
    expect((await call("/v1/projects/other/tickets", { uses: 1, roles: ["sensor"] })).status).toBe(422);
    expect((await call("/v1/projects/other/tickets", { client: "pi" })).status).toBe(422);
    expect((await call("/v1/projects/other/roles", { name: "r", api: "tele", permissions: ["pub:p/x"] })).status).toBe(
      422,
    );
    const made = await call("/v1/projects/plant/tickets", { client: "pi" });
    const { id } = JSON.parse(made.body.toString()) as { id: string };
    const gone = await f.call(`/v1/projects/other/tickets/${id}`, { method: "DELETE", headers: admin });
    expect(gone.status).toBe(404);
  });
});

describe("raw HTTP", () => {
  const head = "Host: localhost\r\n";
  test.each([
    ["two lengths", `POST /token HTTP/1.1\r\n${head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`],
    [
      "a length and chunks",
      `POST /token HTTP/1.1\r\n${head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["an odd transfer encoding", `POST /token HTTP/1.1\r\n${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ["a space before a colon", `GET /v1/projects HTTP/1.1\r\n${head}Authorization : Bearer admin-key\r\n\r\n`],
    ["a folded header", `GET /v1/projects HTTP/1.1\r\n${head}Authorization: Bearer\r\n admin-key\r\n\r\n`],
    [
      "the admin key in second place",
      `GET /v1/projects HTTP/1.1\r\n${head}Authorization: Bearer x\r\nAuthorization: Bearer admin-key\r\n\r\n`,
    ],
    ["CONNECT", `CONNECT localhost:1 HTTP/1.1\r\n${head}\r\n`],
    ["an upgrade", `GET /v1/projects HTTP/1.1\r\n${head}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`],
    ["a star", `OPTIONS * HTTP/1.1\r\n${head}\r\n`],
    ["an absolute address", `GET https://localhost/v1/projects HTTP/1.1\r\n${head}\r\n`],
    ["two slashes", `GET //v1/projects HTTP/1.1\r\n${head}\r\n`],
    ["a NUL in a header", `GET / HTTP/1.1\r\n${head}X: \u0000\r\n\r\n`],
    ["an expectation", `POST /token HTTP/1.1\r\n${head}Expect: 200-ok\r\nContent-Length: 0\r\n\r\n`],
    ["no content type", `POST /.well-known/est/simpleenroll HTTP/1.1\r\n${head}Content-Length: 1\r\n\r\nx`],
    ["a content type that is none", `POST /token HTTP/1.1\r\n${head}Content-Type: ;;;\r\nContent-Length: 1\r\n\r\nx`],
    [
      "a trailer that authorizes",
      `POST /v1/projects HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\nTrailer: authorization\r\n\r\n0\r\nAuthorization: Bearer admin-key\r\n\r\n`,
    ],
  ])("with %s is a 4xx or closed, never let in", async (_name, bytes) => {
    const socket = connectTls({ port: f.authority.port, host: "127.0.0.1", ca: f.ca.caPem, servername: "localhost" });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    let text = "";
    const over = new Promise<void>((resolve) => {
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (text.includes("\r\n\r\n")) socket.end();
      });
      socket.on("close", () => resolve());
    });
    socket.write(bytes, "latin1");
    await over;
    if (text !== "") expect(text).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect((await f.call("/healthz")).status).toBe(200);
  });
});

describe("a certification request", () => {
  const ticketFor = async (body: object): Promise<string> => {
    const answer = await f.call("/v1/projects/plant/tickets", {
      type: "application/json",
      body: JSON.stringify(body),
      headers: admin,
    });
    return (JSON.parse(answer.body.toString()) as { secret: string }).secret;
  };
  const enrol = (ticket: string, body: string) =>
    f.call("/.well-known/est/simpleenroll", { type: "application/pkcs10", body, headers: basic("", ticket) });

  test("races another key for the last use of a ticket, and one gets it", async () => {
    const ticket = await ticketFor({ client: "pi" });
    const bodies = Array.from({ length: 6 }, () => base64(makeCsr(makeKey().privateKey)));
    const answers = await Promise.all(bodies.map((body) => enrol(ticket, body)));
    expect(answers.map(({ status }) => status).sort((a, b) => a - b)).toEqual([200, 401, 401, 401, 401, 401]);
  });

  test("that is deep, long or torn gives no 5xx and costs no use", async () => {
    const ticket = await ticketFor({ uses: 1, roles: [] });
    const good = makeCsr(makeKey().privateKey);
    const deep = Buffer.concat(Array.from({ length: 900 }, () => Buffer.from([0x30, 0x80])));
    const long = Buffer.from([0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30]);
    const torn = Array.from({ length: 40 }, (_, i) => good.subarray(0, Math.floor((good.length * i) / 40)));
    const turned = Array.from({ length: 60 }, (_, i) => {
      const bytes = Buffer.from(good);
      bytes[(i * 7) % bytes.length]! ^= 1 << (i % 8);
      return bytes;
    });
    for (const bytes of [deep, long, ...torn, ...turned]) {
      const { status } = await enrol(ticket, base64(bytes));
      expect([400, 401, 413]).toContain(status);
    }
    expect((await enrol(ticket, base64(good))).status).toBe(200);
  });

  test("of a device that was disabled is refused with the same ticket and key", async () => {
    const ticket = await ticketFor({ uses: 2, roles: ["sensor"] });
    const { privateKey, key } = makeKey();
    expect((await enrol(ticket, base64(makeCsr(privateKey)))).status).toBe(200);
    const path = `/v1/projects/plant/clients/d-${key.thumbprint.slice(0, 10)}`;
    await f.call(path, { method: "DELETE", headers: admin });
    expect((await enrol(ticket, base64(makeCsr(privateKey)))).status).toBe(401);
    const other = await ticketFor({ uses: 2, roles: ["sensor"] });
    expect((await enrol(other, base64(makeCsr(privateKey)))).status).toBeGreaterThanOrEqual(400);
  });
});
