import { EventEmitter, once } from "node:events";
import { connect as connectTcp, createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { createServer as createHttpsServer, request } from "node:https";
import { Duplex } from "node:stream";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import type { TLSSocket } from "node:tls";
import { pino } from "pino";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { openArrivals } from "../../broker/mqtt/arrivals.ts";
import type { Arrivals } from "../../broker/mqtt/arrivals.ts";
import { openHandshakes } from "../../broker/mqtt/handshakes.ts";
import type { WireLimits } from "../../broker/mqtt/limits.ts";
import { openRefusalLines } from "../../broker/mqtt/refusal-lines.ts";
import { networkOf, plainAddress } from "../../shared/network.ts";
import { makeAuthority } from "../gate/certificates.ts";
import type { Identity, TestAuthority } from "../gate/certificates.ts";

interface Line {
  readonly reason: string;
  readonly address: string;
  readonly detail: string;
  readonly times: number;
  readonly id: string;
}

let authority: TestAuthority;
let identity: Identity;
/** What a client says first. */
let hello: Buffer;
beforeAll(async () => {
  authority = await makeAuthority();
  identity = await authority.server();
  hello = await captureHello();
});

const opened: { end(): void }[] = [];
afterEach(() => {
  for (const one of opened.splice(0).toReversed()) one.end();
});

async function captureHello(): Promise<Buffer> {
  const server = createTcpServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connectTls({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" }).on("error", () => {});
  const [socket] = (await once(server, "connection")) as [Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  server.close();
  return bytes;
}

interface Place {
  readonly arrivals: Arrivals;
  readonly log: Line[];
  readonly refused: string[];
  /** Connections that reached the server. */
  readonly served: EventEmitter;
  readonly accepted: () => number;
  tcp(from?: string): Socket;
  tls(): TLSSocket;
}

/** A watched server that answers with what it is sent. */
async function open(kind: "tcp" | "tls", limits: Partial<WireLimits> = {}, settles = true): Promise<Place> {
  const log: Line[] = [];
  const refused: string[] = [];
  let accepted = 0;
  const served = new EventEmitter();
  const sockets = new Set<Socket>();
  const serve = (socket: Socket): void => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => socket.write(chunk));
    if (settles) arrivals.settle(socket);
    served.emit("served", socket);
  };
  const arrivals = openArrivals({
    limits,
    log: pino({ level: "info" }, { write: (line) => void log.push(JSON.parse(line) as Line) }),
    refused: (reason) => refused.push(reason),
    meter: { accepted: () => accepted++, received() {}, sent() {}, dropped() {}, stored() {} },
  });
  const server: Server =
    kind === "tcp" ? createTcpServer(serve) : createTlsServer({ cert: identity.cert, key: identity.key }, serve);
  arrivals.watch(server);
  server.on("connection", (socket: Socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const keep = <S extends Socket>(socket: S): S => {
    opened.push({ end: () => socket.destroy() });
    return socket.on("error", () => {});
  };
  opened.push({
    end() {
      server.close();
      for (const socket of sockets) socket.destroy();
      arrivals.close();
    },
  });
  return {
    arrivals,
    log,
    refused,
    served,
    accepted: () => accepted,
    tcp: (from) => keep(connectTcp({ port, host: "127.0.0.1", ...(from !== undefined && { localAddress: from }) })),
    tls: () => keep(connectTls({ port, host: "127.0.0.1", servername: "localhost", ca: authority.cert })),
  };
}

async function echoes(socket: Socket): Promise<boolean> {
  socket.write("x");
  return new Promise((resolve) => {
    socket.once("data", () => resolve(true));
    // a reset before it is an end as well
    socket.once("close", () => resolve(false));
  });
}

async function ended(socket: Socket): Promise<void> {
  socket.resume();
  // a reset is an end as well
  socket.on("error", () => {});
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
}

describe("connections", () => {
  it("beyond the limit for all are refused, until one of them ends", async () => {
    const place = await open("tcp", { connections: 2 });
    const [first, second] = [place.tcp(), place.tcp("127.0.0.2")];
    expect([await echoes(first), await echoes(second)]).toEqual([true, true]);
    await ended(place.tcp("127.0.0.3"));
    expect(place.refused).toEqual(["limit.reached"]);
    expect(place.log).toMatchObject([
      { reason: "limit.reached", address: "127.0.0.3", detail: "connections", times: 1 },
    ]);
    first.destroy();
    let next = place.tcp();
    while (!(await echoes(next))) next = place.tcp();
    expect([await echoes(next), await echoes(second)]).toEqual([true, true]);
  });

  it("beyond the limit of one address are refused, and those of another are not", async () => {
    const place = await open("tcp", { connectionsPerAddress: 1 });
    expect(await echoes(place.tcp())).toBe(true);
    expect(await echoes(place.tcp())).toBe(false);
    expect(await echoes(place.tcp("127.0.0.2"))).toBe(true);
    expect(place.log).toMatchObject([{ address: "127.0.0.1", detail: "connections of one address" }]);
    expect([place.accepted(), place.refused]).toEqual([2, ["limit.reached"]]);
  });

  it("that come too fast from one address are refused before a byte is read of them", async () => {
    const place = await open("tls", { connectsPerMinute: 2 });
    expect([await echoes(place.tls()), await echoes(place.tls())]).toEqual([true, true]);
    const third = place.tcp();
    third.write(hello);
    await ended(third);
    expect(third.bytesRead).toBe(0);
    expect([place.accepted(), place.refused]).toEqual([2, ["rate.limited"]]);
    expect(place.log).toMatchObject([{ reason: "rate.limited", address: "127.0.0.1", times: 1 }]);
    expect(place.log[0]!.id).toMatch(/^[\w-]{12}$/);
  });

  it("of 2,000 silent peers keep nobody out", async () => {
    const place = await open("tls", { handshakes: 1, connectionsPerAddress: 3000 });
    const silent = Array.from({ length: 2000 }, () => place.tcp());
    await Promise.all(silent.map((socket) => once(socket, "connect")));
    expect(await echoes(place.tls())).toBe(true);
  });
});

describe("the deadline", () => {
  /** What a handshake on a busy machine does not take. */
  const connectMilliseconds = 1500;
  const silent: readonly [string, "tcp" | "tls", (place: Place) => Socket, string][] = [
    ["nothing", "tcp", (place) => place.tcp(), "CONNECT"],
    ["nothing, in place of a handshake", "tls", (place) => place.tcp(), "a handshake"],
    ["nothing after a handshake", "tls", (place) => place.tls(), "CONNECT"],
    [
      "a ClientHello and no more",
      "tls",
      (place) => {
        const socket = place.tcp();
        socket.write(hello);
        return socket;
      },
      "a handshake",
    ],
    [
      "a ClientHello, byte by byte",
      "tls",
      (place) => {
        const socket = place.tcp();
        let at = 0;
        const drip = setInterval(() => socket.write(hello.subarray(at, ++at)), 100);
        socket.once("close", () => clearInterval(drip));
        return socket;
      },
      "a handshake",
    ],
  ];
  it.each(silent)("ends a connection that says %s", async (_name, kind, connect, waitsFor) => {
    const place = await open(kind, { connectMilliseconds }, false);
    await ended(connect(place));
    expect(place.refused).toEqual(["connect.deadline"]);
    expect(place.log).toMatchObject([
      { reason: "connect.deadline", address: "127.0.0.1", detail: `waited for ${waitsFor}` },
    ]);
  });

  it.each(["tcp", "tls"] as const)("is over for a %s connection that is settled", async (kind) => {
    const place = await open(kind, { connectMilliseconds });
    const settled = place[kind]();
    expect(await echoes(settled)).toBe(true);
    // one that came later and is not
    place.arrivals.settle = () => {};
    await ended(place[kind]());
    expect(await echoes(settled)).toBe(true);
  });

  it("is nothing to a stream that did not arrive here", async () => {
    const { arrivals } = await open("tcp");
    expect(() => arrivals.settle(new Duplex())).not.toThrow();
    expect(() => arrivals.settle(new Duplex(), { socket: new Duplex() } as never)).not.toThrow();
  });
});

describe("a handshake", () => {
  it("whose peer falls silent gives up its place", async () => {
    const place = await open("tls", { handshakes: 1 });
    const stalled = Array.from({ length: 3 }, () => place.tcp());
    for (const socket of stalled) socket.write(hello);
    // each has had its turn when it is answered
    await Promise.all(stalled.map((socket) => once(socket, "data")));
    expect(await echoes(place.tls())).toBe(true);
    expect(stalled.every((socket) => !socket.destroyed)).toBe(true);
  });

  it("begins whatever pieces its ClientHello comes in", async () => {
    const place = await open("tls");
    const socket = place.tcp();
    await once(socket, "connect");
    socket.setNoDelay(true);
    for (const byte of hello) await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
    const [answer] = (await once(socket, "data")) as [Buffer];
    // a ServerHello (RFC 8446, section 4)
    expect([answer[0], answer[5]]).toEqual([22, 2]);
  });

  it.each([
    ["not one", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["a record that is too long", Buffer.from([22, 3, 1, 255, 255])],
    ["a record and far more", Buffer.concat([Buffer.from([22, 3, 1, 64, 0]), Buffer.alloc(20_000)])],
  ])("is not begun with %s", async (_name, bytes) => {
    const place = await open("tls", { handshakes: 0 });
    const socket = place.tcp();
    socket.write(bytes);
    await ended(socket);
    expect(socket.bytesRead).toBe(0);
  });

  it("is served by a server of others too, over HTTPS", async () => {
    const arrivals = openArrivals();
    const server = createHttpsServer({ cert: identity.cert, key: identity.key }, (asked, answer) => {
      arrivals.settle(asked.socket);
      answer.end("served");
    });
    arrivals.watch(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    opened.push({ end: () => (server.close(), arrivals.close()) });
    const { port } = server.address() as AddressInfo;
    const asking = request({
      port,
      host: "127.0.0.1",
      servername: "localhost",
      ca: authority.cert,
      agent: false,
    }).end();
    const [answer] = (await once(asking, "response")) as [EventEmitter & { statusCode: number }];
    answer.on("data", () => {});
    await once(answer, "end");
    expect(answer.statusCode).toBe(200);
  });
});

it("does not watch a server to which nobody listens yet", () => {
  expect(() => openArrivals().watch(createTcpServer())).toThrow(TypeError);
});

describe("turns", () => {
  class Peer extends Duplex {
    override _read(): void {}
    override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
      done();
    }
  }
  const record = Buffer.from([22, 3, 1, 0, 1, 1]);
  const queueAll = (most: number) => {
    const begun: string[] = [];
    const turn = new EventEmitter();
    const peers = new Map<string, Socket>();
    const cut: Socket[] = [];
    const handshakes = openHandshakes({
      most,
      isServing: () => false,
      ended(socket) {
        cut.push(socket);
        turn.emit("cut");
      },
    });
    opened.push({ end: () => handshakes.close() });
    const queue = (name: string, network: string, bytes = record): Peer => {
      const peer = new Peer();
      peers.set(name, peer as unknown as Socket);
      handshakes.queue(peer as unknown as Socket, network, () => {
        begun.push(name);
        turn.emit("begun", name);
      });
      peer.push(bytes);
      return peer;
    };
    const reach = async (count: number): Promise<void> => {
      while (begun.length < count) await once(turn, "begun");
    };
    return { begun, turn, cut, queue, reach, finish: (name: string) => handshakes.finish(peers.get(name)!) };
  };

  it("go from network to network, and within one in the order of arrival", async () => {
    const { begun, queue, reach, finish } = queueAll(1);
    for (const name of ["a1", "a2", "a3", "a4"]) queue(name, "a");
    for (const name of ["b1", "b2"]) queue(name, "b");
    queue("c1", "c");
    for (let count = 1; count <= 7; count++) {
      await reach(count);
      finish(begun.at(-1)!);
    }
    expect(begun).toEqual(["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
  });

  it("are not for one that left while it waited", async () => {
    const { begun, queue, reach, finish } = queueAll(1);
    queue("a1", "a");
    const gone = queue("a2", "a");
    queue("a3", "a");
    await reach(1);
    const dropped = queue("a4", "a");
    queue("a5", "a");
    gone.push(null);
    await once(gone, "end");
    dropped.destroy();
    finish("a1");
    await reach(2);
    finish("a3");
    await reach(3);
    expect(begun).toEqual(["a1", "a3", "a5"]);
  });

  it("end for a network with 64 unfinished handshakes, and not for another", async () => {
    const { begun, queue, reach, finish } = queueAll(Infinity);
    for (let n = 0; n < 70; n++) queue(`a${n}`, "a");
    await reach(64);
    queue("b", "b");
    await reach(65);
    expect(begun.at(-1)).toBe("b");
    finish("a0");
    await reach(66);
    expect(begun.at(-1)).toBe("a64");
  });

  it("of silent peers of many networks end the oldest at 513", async () => {
    const { begun, turn, cut, queue } = queueAll(Infinity);
    const first = queue("n0 0", "n0");
    for (let n = 1; n < 513; n++) queue(`n${n % 9} ${n}`, `n${n % 9}`);
    await once(turn, "cut");
    expect([begun.length, cut]).toEqual([513, [first]]);
  });

  it("are for those whose ClientHello is whole", async () => {
    const { begun, queue, reach } = queueAll(1);
    const peer = queue("a", "a", record.subarray(0, 5));
    queue("b", "b");
    await reach(1);
    peer.push(record.subarray(5));
    await reach(2);
    expect(begun).toEqual(["b", "a"]);
  });

  it("give back what was read", async () => {
    const { queue, reach } = queueAll(1);
    const peer = queue("a", "a");
    await reach(1);
    expect(peer.read()).toEqual(record);
  });
});

describe("the network of an address", () => {
  it.each([
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["::1", "0:0:0:0::/64"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8::4:5:6:7:8", "2001:db8:0:4::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["64:ff9b::192.0.2.7", "64:ff9b:0:0::/64"],
    ["local", "local"],
  ])("%s is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it.each([
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["::FFFF:127.0.0.1", "127.0.0.1"],
    ["192.0.2.7", "192.0.2.7"],
    ["::1", "::1"],
    ["64:ff9b::192.0.2.7", "64:ff9b::192.0.2.7"],
    ["unknown", "unknown"],
  ])("%s is written down as %s", (address, plain) => {
    expect(plainAddress(address)).toBe(plain);
  });
});

describe("lines of refusals", () => {
  const openLines = () => {
    const written: Line[] = [];
    const log = pino({}, { write: (line) => void written.push(JSON.parse(line) as Line) });
    return { written, lines: openRefusalLines(log) };
  };

  it("are one at once and one a second for each reason and address, and count all", () => {
    vi.useFakeTimers();
    try {
      const { written, lines } = openLines();
      for (let n = 0; n < 1000; n++) lines.note("rate.limited", "192.0.2.1", "");
      lines.note("rate.limited", "192.0.2.2", "");
      lines.note("limit.reached", "192.0.2.1", "");
      expect(written.map(({ times }) => times)).toEqual([1, 1, 1]);
      vi.advanceTimersByTime(1000);
      expect(written.slice(3)).toMatchObject([{ reason: "rate.limited", address: "192.0.2.1", times: 999 }]);
      vi.advanceTimersByTime(1000);
      lines.note("rate.limited", "192.0.2.1", "");
      expect(written.slice(4)).toMatchObject([{ times: 1 }]);
      expect(new Set(written.map(({ id }) => id)).size).toBe(5);
      vi.advanceTimersByTime(5000);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("are few for many addresses too", () => {
    const { written, lines } = openLines();
    for (let n = 0; n < 5000; n++) lines.note("limit.reached", `192.0.2.${n}`, "");
    lines.close();
    expect(written.length).toBeLessThan(110);
    expect(written.reduce((sum, { times }) => sum + times, 0)).toBe(5000);
    expect(written.at(-1)).toMatchObject({ address: "many" });
  });
});
