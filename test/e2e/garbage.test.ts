/**
 * Whatever arrives on its ports, the process stays up, answers in the language of the protocol where it can, and serves
 * the others meanwhile.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { Agent, request } from "node:https";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openInstallation, posternJson, startPostern, within } from "./fixture.ts";
import type { Installation, Running } from "./fixture.ts";
import { connectProof, type MqttPeer } from "./mqtt-peer.ts";

let installation: Installation;
let ca: Buffer;
let pi: string;
let witness: Running;
let sender: MqttPeer;
let sent = 0;
/** What is given up after a while; begun first, so that the waiting goes on beside the tests. */
let slow: { readonly silent: Promise<Buffer[]>; readonly announced: Promise<Buffer>; readonly body: Promise<Buffer> };
const agent = new Agent({ keepAlive: true });

beforeAll(async () => {
  installation = await openInstallation();
  ca = readFileSync(installation.ready.ca);
  await installation.json("project create acme");
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/#");
  await installation.json("role create sensor --project acme --api telemetry --allow pubsub:acme/${name}/#");
  await installation.json("client create pi --project acme --kind device --role sensor");
  pi = await installation.enrol("acme.pi");
  witness = startPostern(`agent subscribe acme/pi/# --json --dir ${pi}`);
  await witness.stderr.next(/^subscribed/);
  const { token } = await posternJson(`agent token --dir ${pi}`);
  sender = await connectProof(installation, "mqtts", pi, "acme.pi:sender", token);

  const silent = await Promise.all(Array.from({ length: 30 }, () => openTls(installation.port.mqtts)));
  const announced = await openTls(installation.port.mqtts);
  // sooner than the time that a CONNECT has
  const announcedEnd = untilClosed(announced, 8_000).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ECONNRESET") throw error;
    return Buffer.alloc(0);
  });
  announced.write(Buffer.concat([Buffer.from("10ffffff7f", "hex"), noise("big", 65_536)]));
  const body = await openTls(installation.port.http);
  body.write(
    "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ace+cbor\r\nContent-Length: 100\r\n\r\n!",
  );
  slow = {
    silent: Promise.all(silent.map((socket) => untilClosed(socket, 40_000))),
    announced: announcedEnd,
    body: untilClosed(body, 40_000),
  };
  for (const ended of Object.values(slow)) ended.catch(() => undefined);
});

// the same two sessions as at the start, still served
async function assertServed(): Promise<void> {
  expect(installation.up.isRunning).toBe(true);
  await sender.publish("acme/pi/machine", `message ${++sent}`);
  expect(await witness.stdout.json()).toMatchObject({ payload: `message ${sent}` });
  expect((await post("/healthz", undefined, { method: "GET" })).status).toBe(200);
}
afterEach(assertServed);

afterAll(() => {
  agent.destroy();
  sender.end();
});

/** Bytes that look random and are the same in every run. */
function noise(seed: string, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let n = 0; n * 32 < length; n++) blocks.push(createHash("sha256").update(`${seed}${n}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

const ports = () => Object.entries(installation.port) as [keyof Installation["port"], number][];

/** What a socket says until it closes. */
async function untilClosed(socket: Socket, milliseconds?: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  // a broken pipe is an end like another, and may come before what was said is read
  socket.on("error", () => undefined);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await within("the end of a connection", closed, milliseconds);
  return Buffer.concat(chunks);
}

/** The first of what a socket says, or nothing when it closes before. */
async function untilAnswered(socket: Socket): Promise<string> {
  socket.on("error", () => undefined);
  const answered = new Promise<string>((resolve) => {
    socket.once("data", (chunk: Buffer) => resolve(chunk.toString("latin1")));
    socket.once("close", () => resolve(""));
  });
  try {
    return await within("an answer", answered);
  } finally {
    socket.destroy();
  }
}

async function openTls(port: number): Promise<Socket> {
  const socket = connectTls({ port, host: "localhost", ca });
  await within("a TLS handshake", once(socket, "secureConnect"));
  return socket;
}

async function post(
  path: string,
  body: Uint8Array | undefined,
  options: { method?: string; type?: string } = {},
): Promise<{ status: number; type: string; body: Buffer }> {
  const { method = "POST", type } = options;
  const headers = type === undefined ? {} : { "content-type": type };
  const sending = request(new URL(path, installation.ready.issuer), { method, ca, agent, headers });
  const answered = new Promise<{ status: number; type: string; body: Buffer }>((resolve, reject) => {
    sending.once("error", reject);
    sending.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", () => undefined);
      response.once("close", () =>
        resolve({
          status: response.statusCode!,
          type: response.headers["content-type"] ?? "",
          body: Buffer.concat(chunks),
        }),
      );
    });
  });
  sending.end(body);
  return within(`the answer of ${path}`, answered);
}

describe("in place of a TLS handshake", () => {
  it.each([
    ["random bytes", noise("tls", 4096)],
    ["plain HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["plain MQTT", Buffer.from("101000044d5154540402003c000461636d65", "hex")],
    ["a TLS record that is too long", Buffer.from([22, 3, 1, 255, 255, ...noise("record", 512)])],
    [
      "a handshake of an old TLS",
      Buffer.from("16030000 2d 01000029 0300".replaceAll(" ", "") + "00".repeat(39), "hex"),
    ],
  ])("%s end the connection", async (_name, bytes) => {
    for (const [, port] of ports()) {
      const socket = connectTcp(port, "localhost");
      socket.write(bytes);
      const answer = await untilClosed(socket);
      // an alert of TLS (RFC 8446, section 6), or `HTTP/1.1 4`, or nothing
      expect(answer.toString("hex")).toMatch(/^$|^1503|^485454502f312e312034/);
    }
  });

  it("nothing, many times, keeps nobody out", async () => {
    const idle = ports().flatMap(([, port]) => Array.from({ length: 50 }, () => connectTcp(port, "localhost")));
    await within("connections", Promise.all(idle.map((socket) => once(socket, "connect"))));
    expect(await posternJson(`agent status --dir ${pi}`)).toMatchObject({ clientId: "acme.pi" });
    await sender.publish("acme/pi/machine", "meanwhile");
    expect(await witness.stdout.json()).toMatchObject({ payload: "meanwhile" });
    for (const socket of idle) socket.destroy();
  });
});

describe("after the handshake, to the broker", () => {
  const connect = (clientId: string): Buffer => {
    const id = Buffer.from(clientId);
    const variable = Buffer.from([0, 4, ...Buffer.from("MQTT"), 4, 2, 0, 60, id.length >> 8, id.length & 255, ...id]);
    return Buffer.from([0x10, variable.length, ...variable]);
  };
  const rows: readonly [name: string, bytes: Buffer][] = [
    ["random bytes", noise("mqtt", 4096)],
    ["a PUBLISH before CONNECT", Buffer.from("300800046163" + "6d652f70", "hex")],
    ["a SUBSCRIBE before CONNECT", Buffer.from("820a000100056163" + "6d652f2300".slice(0, 10), "hex")],
    ["a packet of the type that is reserved", Buffer.from("f000", "hex")],
    ["a remaining length of five bytes", Buffer.from("10ffffffffff01", "hex")],
    ["a CONNECT of another protocol", Buffer.from("100c00064e4f545451540402003c0000".slice(0, 28), "hex")],
    ["two CONNECTs", Buffer.concat([connect("a"), connect("b")])],
  ];
  it.each(rows)("%s end the connection", async (_name, bytes) => {
    const socket = await openTls(installation.port.mqtts);
    socket.write(bytes);
    // at once: before a CONNECT has to have come
    const answer = await untilClosed(socket, 5_000);
    // nothing, or a CONNACK that says no (MQTT 3.1.1, section 3.2)
    expect(answer.toString("hex")).toMatch(/^$|^200200(00|01|02|04|05)$/);
  });
});

describe("to the WebSocket port", () => {
  it("frames that are none end the connection", async () => {
    const socket = await openTls(installation.port.wss);
    const upgrade = [
      "GET / HTTP/1.1",
      "Host: localhost",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Protocol: mqtt",
      `Sec-WebSocket-Key: ${noise("key", 16).toString("base64")}`,
    ];
    socket.write(`${upgrade.join("\r\n")}\r\n\r\n`);
    await within("the upgrade", once(socket, "data"));
    socket.write(noise("frames", 4096));
    // nothing, or a close frame (RFC 6455, section 5.5.1)
    expect((await untilClosed(socket)).toString("hex")).toMatch(/^$|^88/);
  });

  it("random bytes in place of HTTP end the connection", async () => {
    const socket = await openTls(installation.port.wss);
    socket.write(noise("http", 16_384));
    expect((await untilClosed(socket)).toString("latin1")).toMatch(/^$|^HTTP\/1\.1 4\d\d /);
  });
});

describe("after the handshake, to the authority", () => {
  const ace = "application/ace+cbor";
  const good = Buffer.from("a2056e61636d652e74656c656d65747279182102", "hex");

  it("random bytes in place of HTTP are answered 4xx or not at all, and end the connection", async () => {
    const socket = await openTls(installation.port.http);
    socket.write(noise("http", 16_384));
    expect((await untilClosed(socket)).toString("latin1")).toMatch(/^$|^HTTP\/1\.1 4\d\d /);
  });

  it("CBOR that is cut off at any byte is an error in CBOR", async () => {
    for (let length = 0; length < good.length; length++) {
      const { status, type, body } = await post("/token", good.subarray(0, length), { type: ace });
      expect([length, status, type]).toEqual([length, expect.toBeOneOf([400, 401]), ace]);
      expect(body[0]).toBeGreaterThanOrEqual(0xa1);
    }
  });

  it.each([
    ["noise", noise("cbor", 1024)],
    ["a map that announces 2^32 entries", Buffer.from("baffffffff", "hex")],
    ["text that announces 2^63 bytes", Buffer.from("a1057b7fffffffffffffff", "hex")],
    ["a thousand arrays in each other", Buffer.alloc(1000, 0x81)],
    ["keys that stand there twice", Buffer.from("a205616105" + "6162", "hex")],
    ["something after the map", Buffer.concat([good, Buffer.from([0])])],
    ["a map without an end", Buffer.from("bf056161", "hex")],
  ])("%s in place of a token request is refused", async (_name, bytes) => {
    const { status, type } = await post("/token", bytes, { type: ace });
    expect([status, type]).toEqual([expect.toBeOneOf([400, 401]), ace]);
  });

  it.each([
    ["/token", ace],
    ["/token", "application/json"],
    ["/v1/projects", "application/json"],
    ["/.well-known/est/simpleenroll", "application/pkcs10"],
  ])("a body of 1 MB for %s as %s is refused before it is taken", async (path, type) => {
    const socket = await openTls(installation.port.http);
    const body = noise("large", 1_048_576);
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`;
    const answered = untilAnswered(socket);
    socket.write(head);
    socket.write(body);
    expect(await answered).toMatch(/^HTTP\/1\.1 4(13|01) /);
  });

  it("chunks without an end are refused at the limit", async () => {
    const socket = await openTls(installation.port.http);
    const answered = untilAnswered(socket);
    socket.write(
      `POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${ace}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    for (let n = 0; n < 20; n++) socket.write(`1000\r\n${"x".repeat(4096)}\r\n`);
    expect(await answered).toMatch(/^HTTP\/1\.1 413 /);
  });

  it.each([
    ["a path that is not there", "/../../etc/passwd", 404],
    ["a path of the wrong encoding", "/v1/projects/%ff%fe", 401],
    ["a path that is very long", `/v1/${"x".repeat(4096)}`, 404],
  ])("%s is answered 4xx", async (_name, path) => {
    const { status } = await post(path, undefined, { method: "GET" });
    expect(Math.floor(status / 100)).toBe(4);
  });

  it("headers beyond 8 KiB are answered 431", async () => {
    const socket = await openTls(installation.port.http);
    socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`);
    expect((await untilClosed(socket)).toString("latin1")).toMatch(/^HTTP\/1\.1 431 /);
  });
});

describe("what is given up after a while", () => {
  it("a connection to the broker on which no CONNECT comes", async () => {
    expect(Buffer.concat(await slow.silent)).toHaveLength(0);
  }, 60_000);

  it("a CONNECT that is announced too large, at once", async () => {
    expect(await slow.announced).toHaveLength(0);
  }, 60_000);

  it("a request whose body never comes", async () => {
    expect((await slow.body).toString("latin1")).toMatch(/^$|^HTTP\/1\.1 408 /);
  }, 60_000);
});

it("nothing of all this is logged as a fault of ours", () => {
  const faults = installation.up.stderr.seen.filter((line) => /"level":[56]0/.test(line));
  expect(faults).toEqual([]);
});
