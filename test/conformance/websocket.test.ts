/** MQTT 3.1.1, section 6: MQTT over WebSocket. */
import { on, once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { connectFrame, pingreq, publishFrame, subscribeFrame } from "./frames.ts";
import { openRoom, presented } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
beforeAll(async () => {
  room = await openRoom();
});
afterAll(() => room.close());

/** Asks for a WebSocket. */
function ask(protocols: string | string[] = "mqtt"): WebSocket {
  const { authority, engine } = room.fixture;
  const socket = new WebSocket(`wss://localhost:${engine.wssPort}`, protocols, { ca: authority.cert });
  return socket.on("error", () => undefined);
}

/** The bytes that arrive from now on, up to so many; frames that come together are heard all. */
async function bytesOf(socket: WebSocket, count: number): Promise<number[]> {
  const bytes: number[] = [];
  for await (const [data, isBinary] of on(socket, "message") as AsyncIterable<[Buffer, boolean]>) {
    expect(isBinary).toBe(true);
    bytes.push(...data);
    if (bytes.length >= count) break;
  }
  return bytes;
}

describe("over WebSocket", () => {
  it("MQTT-6.0.0-3, MQTT-6.0.0-4: mqtt is the protocol that is chosen", async () => {
    const socket = ask(["mqttv3.1", "mqtt"]);
    await once(socket, "open");
    expect(socket.protocol).toBe("mqtt");
    socket.terminate();
  });

  it("MQTT-6.0.0-1: a text frame closes the connection", async () => {
    const socket = ask();
    await once(socket, "open");
    socket.send(connectFrame({ fields: presented(room.credentials()) }).toString("latin1"));
    let hasAnswered = false;
    socket.once("message", () => (hasAnswered = true));
    await once(socket, "close");
    expect(hasAnswered).toBe(false);
  });

  it("MQTT-6.0.0-2: packets and frames need not begin together", async () => {
    const socket = ask();
    await once(socket, "open");
    const topic = room.newTopic();
    const bytes = Buffer.concat([
      connectFrame({ fields: presented(room.credentials()) }),
      subscribeFrame([[topic, 0]]),
      publishFrame(topic, "hello"),
      pingreq,
    ]);
    const expected = [0x20, 2, 0, 0, 0x90, 3, 0, 1, 0, ...publishFrame(topic, "hello"), 0xd0, 0];
    const arrived = bytesOf(socket, expected.length);
    for (let at = 0; at < bytes.length; at += 7) socket.send(bytes.subarray(at, at + 7));
    // what is subscribed may arrive before SUBACK
    const sort = (bytes: readonly number[]): number[] => bytes.toSorted((a, b) => a - b);
    expect(sort(await arrived)).toEqual(sort(expected));
    socket.terminate();
  });
});
