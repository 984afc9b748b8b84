import { X509Certificate } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { connect as connectTcp, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { TLSSocket } from "node:tls";
import { pino } from "pino";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { openArrivals } from "../../broker/mqtt/arrivals.ts";
import type { WireLimits } from "../../broker/mqtt/limits.ts";
import { listenPlain, listenTls, listenWebSocket } from "../../broker/mqtt/listeners.ts";
import type { Listener } from "../../broker/mqtt/listeners.ts";
import { makeAuthority } from "../gate/certificates.ts";
import type { Identity, TestAuthority } from "../gate/certificates.ts";

/** What a handshake on a busy machine does not take. */
const connectMilliseconds = 1500;
type Transport = "tcp" | "tls" | "wss";
const transports: readonly Transport[] = ["tcp", "tls", "wss"];

let authority: TestAuthority;
let identity: Identity;
beforeAll(async () => {
  authority = await makeAuthority();
  identity = await authority.server();
});
const opened: { end(): unknown }[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const one of opened.splice(0).toReversed()) await one.end();
});

/** Waits for the end, with what it says; a reset before it is an end as well. */
function closed(client: EventEmitter): Promise<unknown[]> {
  return new Promise((resolve) => client.once("close", (...said) => resolve(said)));
}

interface Place {
  readonly listener: Listener;
  readonly lines: { readonly reason: string; readonly detail: string }[];
  /** What reached the broker, from all connections. */
  received(): Buffer;
  /** Emits `accept` with a connection and `received`. */
  readonly events: EventEmitter;
  socket(): Socket;
  web(protocol?: string): WebSocket;
}

/** A listener with a broker behind it that settles, if it does, and answers with what it is sent. */
async function open(transport: Transport, limits: Partial<WireLimits> = {}, settles = true): Promise<Place> {
  const lines: Place["lines"] = [];
  const received: Buffer[] = [];
  const events = new EventEmitter();
  const log = pino({ level: "info" }, { write: (line) => void lines.push(JSON.parse(line) as Place["lines"][0]) });
  const arrivals = openArrivals({ limits, log });
  const door = {
    log,
    arrivals,
    accept(connection: Duplex, request?: Parameters<typeof arrivals.settle>[1]) {
      connection.on("error", () => {});
      connection.on("data", (chunk: Buffer) => {
        received.push(chunk);
        events.emit("received");
        connection.write(chunk);
      });
      if (settles) arrivals.settle(connection, request);
      events.emit("accept", connection);
    },
  };
  const address = { port: 0, host: "127.0.0.1" };
  const tls = { cert: identity.cert, key: identity.key, ca: authority.cert };
  const listener = await {
    tcp: () => listenPlain(address, door),
    tls: () => listenTls(tls, address, door),
    wss: () => listenWebSocket(tls, address, door),
  }[transport]();
  opened.push({ end: () => (arrivals.close(), listener.close()) });
  const trusted = { ca: authority.cert, servername: "localhost" };
  const { port } = listener;
  return {
    listener,
    lines,
    events,
    received: () => Buffer.concat(received),
    socket() {
      const options = { port, host: "127.0.0.1" };
      const socket = transport === "tcp" ? connectTcp(options) : connectTls({ ...options, ...trusted });
      opened.push({ end: () => socket.destroy() });
      return socket.on("error", () => {});
    },
    web(protocol = "mqtt") {
      const socket = new WebSocket(`wss://127.0.0.1:${port}`, protocol, { ...trusted });
      opened.push({ end: () => socket.terminate() });
      return socket.on("error", () => {});
    },
  };
}

describe.each(transports)("over %s", (transport) => {
  const enter = async (place: Place): Promise<Socket | WebSocket> => {
    const accepted = once(place.events, "accept");
    const client = transport === "wss" ? place.web() : place.socket();
    await accepted;
    return client;
  };
  const echoes = async (client: Socket | WebSocket): Promise<boolean> => {
    if (client instanceof WebSocket) {
      if (client.readyState === WebSocket.CONNECTING) await once(client, "open");
      client.send(Buffer.from("x"));
      return Promise.race([once(client, "message").then(() => true), closed(client).then(() => false)]);
    }
    client.write("x");
    return Promise.race([once(client, "data").then(() => true), closed(client).then(() => false)]);
  };

  it("the deadline ends who sends no CONNECT, and not who was settled before", async () => {
    const limits = { connectMilliseconds };
    const place = await open(transport, limits);
    const settled = await enter(place);
    const silent = await enter(await open(transport, limits, false));
    if (silent instanceof Socket) silent.resume();
    await closed(silent);
    expect(await echoes(settled)).toBe(true);
    expect(place.lines).toEqual([]);
  });

  it("connections do not wait to send, and notice a peer that vanished", async () => {
    const noDelay = vi.spyOn(Socket.prototype, "setNoDelay");
    const keepAlive = vi.spyOn(Socket.prototype, "setKeepAlive");
    await enter(await open(transport));
    expect(noDelay).toHaveBeenCalledWith(true);
    expect(keepAlive).toHaveBeenCalledWith(true, 60_000);
  });

  it("closing ends every connection, in whatever phase it is", async () => {
    const place = await open(transport);
    const client = await enter(place);
    const raw = connectTcp(place.listener.port, "127.0.0.1").on("error", () => {});
    await once(raw, "connect");
    const ended = [client, raw].map((one) => closed(one).then(() => "closed"));
    if (client instanceof Socket) client.resume();
    raw.resume();
    await place.listener.close();
    expect(await Promise.all(ended)).toEqual(["closed", "closed"]);
  });
});

it.each(["TLSv1.2", "TLSv1.3"] as const)(
  "over %s who shows a certificate with a wrong signature gets as far as the broker, which refuses it",
  async (version) => {
    const place = await open("tls");
    const { cert, key } = await authority.device("acme.d1");
    const bytes = Buffer.from(new X509Certificate(cert).raw);
    bytes[bytes.length - 1]! ^= 1;
    const forged = `-----BEGIN CERTIFICATE-----\n${bytes.toString("base64")}\n-----END CERTIFICATE-----\n`;
    const socket = connectTls({
      port: place.listener.port,
      host: "127.0.0.1",
      servername: "localhost",
      ca: authority.cert,
      cert: forged,
      key,
      minVersion: version,
      maxVersion: version,
    }).on("error", () => {});
    opened.push({ end: () => socket.destroy() });
    await once(socket, "secureConnect");
    for (const text of ["first", "second"]) {
      socket.write(text);
      expect(String((await Promise.race([once(socket, "data"), closed(socket)]))[0])).toBe(text);
    }
  },
);

describe("over WebSocket", () => {
  const headers = [
    "GET / HTTP/1.1",
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: mqtt",
    `Sec-WebSocket-Key: ${Buffer.alloc(16).toString("base64")}`,
  ].join("\r\n");

  it.each([
    ["nothing after the handshake", ""],
    ["half a request", headers],
    ["an upgrade and no more", `${headers}\r\n\r\n`],
  ])("the deadline ends who sends %s", async (_name, bytes) => {
    const place = await open("wss", { connectMilliseconds }, false);
    const socket = place.socket().resume() as TLSSocket;
    await once(socket, "secureConnect");
    socket.write(bytes);
    if (!socket.closed) await closed(socket);
    expect(place.lines).toMatchObject([{ reason: "connect.deadline", detail: "waited for CONNECT" }]);
  });

  it("a body is not waited for where there is nothing to post", async () => {
    const place = await open("wss");
    const socket = place.socket();
    socket.write("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx");
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 426 /);
    if (!socket.closed) await closed(socket);
  });

  it("a frame beyond the limit for packets ends the connection before it has come", async () => {
    const place = await open("wss", { packetBytes: 4096 });
    const socket = place.web();
    await once(socket, "open");
    socket.send(Buffer.alloc(4097));
    expect((await closed(socket))[0]).toBe(1009);
    expect(place.received()).toHaveLength(0);
  });

  it("a message in pieces beyond the limit ends the connection", async () => {
    const place = await open("wss", { packetBytes: 4096 });
    const socket = place.web();
    await once(socket, "open");
    for (let n = 0; n < 9; n++) socket.send(Buffer.alloc(512), { fin: false });
    expect((await closed(socket))[0]).toBe(1009);
    expect(place.received()).toHaveLength(0);
  });

  it("who is not settled is ended by more bytes than a CONNECT may have", async () => {
    const place = await open("wss", { connectBytes: 2048, packetBytes: 65_536 }, false);
    const socket = place.web();
    await once(socket, "open");
    for (let n = 0; n < 8; n++) socket.send(Buffer.alloc(512), { fin: false });
    await closed(socket);
    expect(place.lines).toMatchObject([{ reason: "packet.too-large" }]);
    expect(place.received()).toHaveLength(0);
  });

  it("who is settled may send more than a CONNECT may have", async () => {
    const place = await open("wss", { connectBytes: 2048 });
    const socket = place.web();
    await once(socket, "open");
    socket.send(Buffer.alloc(100_000));
    while (place.received().length < 100_000) await once(place.events, "received");
    expect(place.lines).toEqual([]);
  });

  it("text ends the connection and reaches nobody", async () => {
    const place = await open("wss");
    const socket = place.web();
    await once(socket, "open");
    socket.send("this is text");
    await closed(socket);
    expect(place.received()).toHaveLength(0);
  });

  it("a ping is answered, many that nobody reads the answers of cost no memory", async () => {
    const pongs = vi.spyOn(WebSocket.prototype, "pong");
    const place = await open("wss");
    const socket = place.web();
    await once(socket, "open");
    socket.ping("here");
    expect(String((await once(socket, "pong"))[0])).toBe("here");

    socket.pause();
    const [many, payload] = [200_000, Buffer.alloc(125)];
    for (let n = 0; n < many; n++) socket.ping(payload);
    socket.send(Buffer.from("x"));
    await once(place.events, "received");
    expect(pongs.mock.calls.length).toBeLessThan(many / 2);
  });
});
