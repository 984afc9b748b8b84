/** Peers that begin and do not go on: before the handshake, within it, after it, and within a packet. */
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { expect } from "vitest";
import type { Arena } from "./arena.ts";
import { connectFrame, header, publishFrame } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";

/** As short as the test has patience for, and longer than many handshakes at once on a busy machine. */
const limits = { connectMilliseconds: 3000 };

/** Resolves when a socket is closed, in whatever way. */
function closeOf(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Opens sockets and, on each, sends the bytes; resolves when the broker has closed all of them. */
async function closedByBroker(port: number, count: number, bytes: Uint8Array): Promise<void> {
  const sockets = Array.from({ length: count }, () => connectTcp(port, "127.0.0.1"));
  const closed = sockets.map(async (socket) => {
    socket.once("connect", () => socket.write(bytes));
    socket.resume();
    await closeOf(socket);
  });
  await Promise.all(closed);
}

/** Writes as much as is taken; resolves with how much that was when the broker closes. */
async function pour(socket: Socket, chunk: Buffer, most: number): Promise<number> {
  let sent = 0;
  const closed = closeOf(socket);
  const more = (): void => {
    while (!socket.destroyed && sent < most) {
      sent += chunk.length;
      if (!socket.write(chunk)) return;
    }
  };
  socket.on("drain", more);
  more();
  await closed;
  return sent;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const clientHello = Buffer.from("16030100f4010000f00303", "hex");
const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n";

const silent: [string, number, (arena: Arena) => number, Uint8Array | string][] = [
  ["200 silent peers on the plain port", 200, (arena) => arena.port.mqtt, ""],
  ["200 silent peers on the TLS port", 200, (arena) => arena.port.mqtts, ""],
  ["200 silent peers on the WebSocket port", 200, (arena) => arena.port.wss, ""],
  ["200 handshakes that stop in the first message", 200, (arena) => arena.port.mqtts, clientHello],
  ["the same on the WebSocket port", 200, (arena) => arena.port.wss, clientHello],
  ["2,000 connections that send the first byte of a CONNECT", 1900, (arena) => arena.port.mqtt, Buffer.from([0x10])],
];

const rows: Row[] = [
  ...silent.map(([name, count, portOf, bytes]): Row => ({
    name,
    async attack(arena) {
      await closedByBroker(portOf(arena), count, Buffer.from(bytes));
      return "all closed";
    },
  })),
  {
    name: "40 handshakes that are finished and say nothing",
    async attack(arena) {
      const wires = await Promise.all(Array.from({ length: 40 }, () => arena.open({ transport: "tls" })));
      await Promise.all(wires.map((wire) => wire.closed));
      return "all closed";
    },
  },
  {
    name: "40 WebSockets that are open and say nothing",
    async attack(arena) {
      const wires = await Promise.all(Array.from({ length: 40 }, () => arena.open({ transport: "wss" })));
      await Promise.all(wires.map((wire) => wire.closed));
      return "all closed";
    },
  },
  {
    name: "40 requests for a WebSocket that never end",
    async attack(arena) {
      const closed = Array.from({ length: 40 }, async () => {
        const socket = connectTls({ port: arena.port.wss, host: "localhost", ca: arena.caPem }).resume();
        const closed = closeOf(socket);
        await once(socket, "secureConnect");
        socket.write(upgrade);
        await closed;
      });
      await Promise.all(closed);
      return "all closed";
    },
  },
  {
    name: "20 CONNECT, one byte after the other, slowly",
    async attack(arena) {
      const bytes = arena.connectBytes({ allow: [] });
      const cut = Array.from({ length: 20 }, async () => {
        const wire = await arena.open();
        let sent = 0;
        const drip = setInterval(() => {
          if (sent < bytes.length) wire.sendBytes(bytes.subarray(sent, ++sent));
        }, 100);
        await wire.closed;
        clearInterval(drip);
        return sent;
      });
      const most = Math.max(...(await Promise.all(cut)));
      expect(most).toBeLessThan(bytes.length);
      return `cut after ${most} of ${bytes.length} bytes`;
    },
  },
  {
    name: "a CONNECT in single bytes, fast",
    async attack(arena) {
      const wire = await arena.open();
      for (const byte of arena.connectBytes({ allow: [] })) wire.sendBytes(Uint8Array.of(byte));
      expect(await wire.next("connack")).toMatchObject({ returnCode: 0 });
      return "let in";
    },
  },
  {
    name: "a CONNECT that announces 200 MB, on two connections that send 64 MB each",
    async attack(arena) {
      const sent = await Promise.all(
        [0, 1].map(async () => {
          const socket = connectTcp(arena.port.mqtt, "127.0.0.1").resume();
          socket.write(header(0x10, 200_000_000));
          return pour(socket, Buffer.alloc(65_536), 64_000_000);
        }),
      );
      return `closed after ${megabytes(Math.max(...sent))}`;
    },
  },
  {
    name: "the same over TLS",
    async attack(arena) {
      const socket = connectTls({ port: arena.port.mqtts, host: "localhost", ca: arena.caPem });
      socket.resume();
      await once(socket, "secureConnect");
      socket.write(header(0x10, 200_000_000));
      return `closed after ${megabytes(await pour(socket, Buffer.alloc(65_536), 64_000_000))}`;
    },
  },
  {
    name: "a PUBLISH that announces 200 MB, on two connections that send 64 MB each",
    async attack(arena) {
      const sent = await Promise.all(
        [0, 1].map(async () => {
          const socket = connectTcp(arena.port.mqtt, "127.0.0.1").resume();
          socket.write(arena.connectBytes({ allow: [`pub:${arena.at}`] }));
          await once(socket, "data");
          socket.write(header(0x30, 200_000_000));
          return pour(socket, Buffer.alloc(65_536), 64_000_000);
        }),
      );
      return `closed after ${megabytes(Math.max(...sent))}`;
    },
  },
  {
    name: "a PUBLISH of 300 KB, whole",
    async attack(arena) {
      const subscriber = await arena.enter({ allow: [`sub:${arena.at}`] });
      await subscriber.subscribe([arena.at]);
      const publisher = await arena.enter({ allow: [`pub:${arena.at}`] });
      publisher.sendBytes(publishFrame(arena.at, { payload: Buffer.alloc(300_000) }));
      await publisher.closed;
      const other = await arena.enter({ allow: [`pub:${arena.at}`] });
      await other.publish(arena.at, Buffer.alloc(200_000), { qos: 1 });
      expect((await subscriber.message()).payload).toHaveLength(200_000);
      return "closed; one of 200 KB delivered";
    },
  },
  {
    name: "a length of five bytes, before and after CONNECT",
    async attack(arena) {
      const endless = Buffer.from("10ffffffffff7f", "hex");
      const stranger = await arena.open();
      stranger.sendBytes(endless);
      await stranger.closed;
      const client = await arena.enter({ allow: [] });
      client.sendBytes(Buffer.concat([Buffer.from([0x30]), endless.subarray(1)]));
      await client.closed;
      return "closed";
    },
  },
  {
    name: "a client that stops in the middle of a packet, with a keepalive of one second",
    async attack(arena) {
      const wire = await arena.enter({ allow: [`pub:${arena.at}`] }, { keepalive: 1 });
      wire.sendBytes(publishFrame(arena.at, { payload: Buffer.alloc(1000) }).subarray(0, 500));
      await wire.closed;
      return "closed";
    },
  },
  {
    name: "refused clients that do not close their end",
    async attack(arena) {
      const bytes = connectFrame({ clientId: "acme.m0", username: "x", password: "y".repeat(100) });
      const closed = Array.from({ length: 50 }, async () => {
        const socket = connectTcp({ port: arena.port.mqtt, host: "127.0.0.1", allowHalfOpen: true });
        socket.on("error", () => {}).resume();
        const ended = once(socket, "end");
        socket.write(bytes);
        await ended;
        socket.destroy();
      });
      await Promise.all(closed);
      return "all closed";
    },
  },
];

describeAttacks("deadlines and sizes", rows, { limits });
