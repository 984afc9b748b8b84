/** The HTTPS server as such: media types, sizes, unknown paths, slow and broken peers, and what it does with any bytes. */
import { connect as connectTcp, type Socket } from "node:net";
import { X509Certificate } from "node:crypto";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { once } from "node:events";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeTokenRequest } from "../../shared/ace.ts";
import { readJson } from "../../broker/authority/body.ts";
import {
  ACE,
  base64,
  basic,
  countRows,
  cwtAssertion,
  furnish,
  makeCsr,
  makeDevice,
  makeKey,
  openFixture,
  type Device,
  type Fixture,
} from "./fixture.ts";

let at: Fixture;
let pi: Device;
beforeAll(async () => {
  at = await openFixture();
  furnish(at.registry);
  pi = await makeDevice(at, "plant.pi");
});
afterAll(() => at.close());

const good = encodeTokenRequest({ wantsProfile: false });
const problem = "application/problem+json";

test("is healthy", async () => {
  const answer = await at.call("/healthz");
  expect([answer.status, JSON.parse(answer.body.toString())]).toEqual([200, { status: "ok" }]);
});

describe("refuses", () => {
  const reasons: Readonly<Record<number, string>> = {
    400: "request.malformed",
    404: "request.not-found",
    405: "request.method",
    413: "request.too-large",
    415: "request.media-type",
  };

  test.each<[string, Parameters<Fixture["call"]>, number, string]>([
    ["a type that is none of its own", ["/token", { type: "text/plain", body: "x" }], 415, "application/json"],
    [
      "a type that only begins like one",
      ["/token", { type: "application/jsonx", body: "{}" }],
      415,
      "application/json",
    ],
    ["a body without a type", ["/token", { body: "{}" }], 415, "application/json"],
    [
      "a certification request for a token",
      ["/token", { type: "application/pkcs10", body: "AA" }],
      415,
      "application/json",
    ],
    [
      "a form under /v1",
      [
        "/v1/projects",
        { type: "application/x-www-form-urlencoded", body: "a=b", headers: { authorization: "Bearer admin-key" } },
      ],
      415,
      problem,
    ],
    ["a body of more than 16 KiB", ["/token", { type: ACE, body: Buffer.alloc(16_385) }], 413, ACE],
    ["an unknown path", ["/nothing"], 404, "application/json"],
    ["an unknown path under /v1", ["/v1/nothing"], 404, problem],
    ["an unknown path of EST", ["/.well-known/est/fullcmc", { method: "POST" }], 404, "text/plain; charset=utf-8"],
    ["a path that cannot be decoded", ["/%zz"], 400, "application/json"],
    ["another method", ["/token", { method: "GET" }], 405, "application/json"],
    ["another method on EST", ["/.well-known/est/simpleenroll", { method: "GET" }], 405, "text/plain; charset=utf-8"],
  ])("%s", async (_name, [path, call], status, type) => {
    const answer = await at.call(path, call);
    expect([answer.status, answer.headers["content-type"]]).toEqual([status, type]);
    expect(answer.headers.allow).toBe(status === 405 ? "POST" : undefined);
    expect(at.reason()).toBe(reasons[status]);
  });

  test.each<[string, string, Parameters<Fixture["call"]>[1], string]>([
    ["a token", "/token", { type: ACE, body: good }, ACE],
    ["introspection", "/introspect", { type: "application/json", body: '{"token":"x"}' }, "application/json"],
    ["revocation", "/revoke", { type: "application/json", body: '{"token":"x"}' }, "application/json"],
    ["the list", "/revoke/trl", {}, "application/concise-problem-details+cbor"],
    ["the registry", "/v1/projects", {}, problem],
    ["oneself", "/v1/self", {}, problem],
    ["enrolment", "/.well-known/est/cacerts", {}, "text/plain; charset=utf-8"],
  ])("two Authorization headers, for %s", async (_what, path, call, type) => {
    for (const second of ["Bearer admin-key", "Bearer other", ""]) {
      const answer = await at.call(path, { ...call, headers: { authorization: ["Bearer admin-key", second] } });
      expect([answer.status, answer.headers["content-type"], at.reason()]).toEqual([400, type, "request.malformed"]);
    }
    // one of them is another matter
    at.lines.length = 0;
    await at.call(path, { ...call, headers: { authorization: "Bearer admin-key" } });
    expect(at.reason()).not.toBe("request.malformed");
  });

  test("a body that is sent in chunks and does not end", async () => {
    const socket = await openSocket();
    socket.write(`POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${ACE}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    const chunk = `1000\r\n${"a".repeat(4096)}\r\n`;
    for (let sent = 0; sent < 6; sent++) socket.write(chunk);
    expect(await firstLine(socket)).toBe("HTTP/1.1 413 Payload Too Large");
    socket.destroy();
  });
});

describe("JSON", () => {
  test.each(['{"a":1,"a":2}', '{"b":[{"a":1,"\\u0061":2}]}', '{"a":"\\"","a" : 1}'])(
    "refuses a repeated name in %s",
    (text) => {
      expect(() => readJson(Buffer.from(text))).toThrow("twice");
    },
  );

  test("reads what JSON.parse reads", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(readJson(Buffer.from(text))).toEqual(JSON.parse(text));
      }),
      { seed: 7 },
    );
  });
});

describe("stays up and answers", () => {
  /** Bytes that are near to a good request, or far from it. */
  const nearTo = (bytes: Uint8Array): fc.Arbitrary<Uint8Array> =>
    fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(fc.nat(bytes.length - 1), fc.uint8Array({ minLength: 1, maxLength: 4 }), fc.boolean())
        .map(([from, patch, inserts]) =>
          Buffer.concat([bytes.subarray(0, from), patch, bytes.subarray(from + (inserts ? 0 : patch.length))]),
        ),
    );
  const form = "grant_type=client_credentials&client_id=plant.board&client_secret=x";
  const json = '{"grant_type":"client_credentials","client_id":"plant.board","client_secret":"x","req_cnf":{"jwk":{}}}';

  test.each<[string, string, string, () => Uint8Array, boolean]>([
    [
      "CBOR with a certificate",
      "/token",
      ACE,
      () => encodeTokenRequest({ audience: "plant.tele", scope: [], reqCnf: pi.key, wantsProfile: true }),
      true,
    ],
    [
      "CBOR with an assertion",
      "/token",
      ACE,
      () => encodeTokenRequest({ clientAssertion: cwtAssertion(pi, at.clock.now), scope: [], wantsProfile: true }),
      false,
    ],
    ["JSON", "/token", "application/json", () => Buffer.from(json), false],
    ["a form", "/token", "application/x-www-form-urlencoded", () => Buffer.from(form), false],
    [
      "a certification request",
      "/.well-known/est/simpleenroll",
      "application/pkcs10",
      () => Buffer.from(base64(makeCsr(makeKey().privateKey))),
      false,
    ],
  ])("whatever comes as %s", async (_name, path, type, seed, withCertificate) => {
    const before = countRows(at.registry);
    await fc.assert(
      fc.asyncProperty(nearTo(seed()), async (body) => {
        const headers = path === "/token" ? undefined : basic("", "no-ticket");
        const { status } = await at.call(path, { type, body, headers, as: withCertificate ? pi : undefined });
        expect([200, 400, 401, 413]).toContain(status);
      }),
      { numRuns: 150, seed: 7 },
    );
    if (!withCertificate) expect(countRows(at.registry)).toEqual(before);
    expect(at.lines.filter((line) => line["msg"] === "failed")).toEqual([]);
  });

  test("after what is no TLS, and no HTTP", async () => {
    const tcp = connectTcp(at.authority.port, "127.0.0.1");
    tcp.on("error", () => {});
    tcp.write("GET / HTTP/1.0\r\n\r\n");
    await closed(tcp);
    const socket = await openSocket();
    socket.write("\0\0\0nonsense\r\n\r\n");
    expect(await firstLine(socket)).toBe("HTTP/1.1 400 Bad Request");
    expect((await at.call("/token", { type: ACE, body: good, as: pi })).status).toBe(200);
  });

  test("after a header that is too large", async () => {
    expect((await at.call("/healthz", { headers: { x: "a".repeat(9_000) } })).status).toBe(431);
  });
});

test("asks for TLS 1.2 at least", async () => {
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const socket = await openSocket(at, { minVersion: version, maxVersion: version });
    expect(socket.getProtocol()).toBe(version);
    socket.destroy();
  }
  const old = connectTls({
    port: at.authority.port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    minVersion: "TLSv1.1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  });
  await expect(once(old, "secureConnect")).rejects.toThrow("protocol version");
});

test("knows a device on a resumed TLS session", async () => {
  const key = pi.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const first = await openSocket(at, { key, cert: pi.cert });
  const session = once(first, "session") as Promise<[Buffer]>;
  first.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  const again = await openSocket(at, { key, cert: pi.cert, session: (await session)[0] });
  expect(again.isSessionReused()).toBe(true);
  again.write(
    `POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${ACE}\r\nContent-Length: ${String(good.length)}\r\n\r\n`,
  );
  again.write(good);
  expect(await firstLine(again)).toBe("HTTP/1.1 200 OK");
  first.destroy();
  again.destroy();
});

test("uses a renewed certificate for new connections and keeps the old ones", async () => {
  const own = await openFixture();
  try {
    const before = await openSocket(own, {});
    const serial = before.getPeerX509Certificate()?.serialNumber;
    const renewed = await own.ca.issueServer(["another.example"]);
    own.authority.renewTls(renewed);
    const after = await openSocket(own, {});
    expect(after.getPeerX509Certificate()?.serialNumber).toBe(new X509Certificate(renewed.cert).serialNumber);
    expect(after.getPeerX509Certificate()?.serialNumber).not.toBe(serial);
    before.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(await firstLine(before)).toBe("HTTP/1.1 200 OK");
    before.destroy();
    after.destroy();
  } finally {
    await own.close();
  }
});

test("cuts a request that does not come to an end", async () => {
  const slow = await openFixture({ requestMs: 300 });
  try {
    const socket = await openSocket(slow);
    socket.write(`POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${ACE}\r\nContent-Length: 100\r\n\r\n`);
    expect(await firstLine(socket)).toBe("HTTP/1.1 408 Request Timeout");
    socket.destroy();
  } finally {
    await slow.close();
  }
});

test("closes while peers hang on", async () => {
  const other = await openFixture();
  const tcp = connectTcp(other.authority.port, "127.0.0.1");
  tcp.on("error", () => {});
  await once(tcp, "connect");
  const idle = await openSocket(other);
  const half = await openSocket(other);
  half.write("POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n");
  await other.call("/healthz");
  const ended = [tcp, idle, half].map((socket) => closed(socket.resume()));
  await other.close();
  await expect(Promise.all(ended)).resolves.toHaveLength(3);
});

async function openSocket(to: Fixture = at, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({
    port: to.authority.port,
    host: "127.0.0.1",
    servername: "localhost",
    ca: to.ca.caPem,
    ...options,
  });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  return socket;
}

/** Resolves at the end of a connection, which may be a reset as well. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once("close", () => resolve()));
}

async function firstLine(socket: TLSSocket): Promise<string> {
  const [data] = (await once(socket, "data")) as [Buffer];
  return data.toString("latin1").split("\r\n", 1)[0]!;
}
