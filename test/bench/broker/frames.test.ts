/**
 * The load generator counts what a broker sends, however it is cut, and acknowledges each message of QoS 1 once.
 */
import fc from "fast-check";
import mqttPacket, { type Packet } from "mqtt-packet";
import { describe, expect, test } from "vitest";
import { FrameCounter, writePublishes } from "./frames.ts";

const topic = "home/bench/published";

function publish(qos: 0 | 1 | 2, messageId: number, payloadBytes: number): Buffer {
  const payload = Buffer.alloc(payloadBytes, 0xff);
  return mqttPacket.generate({ cmd: "publish", topic, payload, qos, retain: false, dup: false, messageId });
}

const puback = (messageId: number): Buffer => mqttPacket.generate({ cmd: "puback", messageId });

/** Feeds the bytes in pieces that are cut at these places, and puts together what is answered. */
function feed(counter: FrameCounter, bytes: Buffer, cuts: readonly number[]): Buffer {
  const places = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].toSorted((a, b) => a - b);
  const pieces = places.slice(1).map((end, index) => Buffer.from(bytes.subarray(places[index], end)));
  const answers = pieces.map((piece) => {
    const answer = counter.feed(piece);
    // a socket's buffer is used again
    piece.fill(0xee);
    return answer ?? Buffer.alloc(0);
  });
  return Buffer.concat(answers);
}

describe("what a broker sends", () => {
  const bytes = Buffer.concat([
    mqttPacket.generate({ cmd: "connack", returnCode: 0, sessionPresent: false }),
    mqttPacket.generate({ cmd: "suback", messageId: 1, granted: [1] }),
    publish(0, 0, 0),
    publish(1, 7, 64),
    puback(3),
    publish(1, 65_535, 200),
    publish(0, 0, 20_000),
    mqttPacket.generate({ cmd: "pingresp" }),
    publish(1, 8, 300_000),
    puback(4),
  ]);

  test("is counted and acknowledged wherever it is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (cuts) => {
        const counter = new FrameCounter();
        const answered = feed(counter, bytes, cuts);
        expect(counter).toMatchObject({ connack: 0, suback: 1, publishes: 5, pubacks: 2 });
        expect(answered).toEqual(Buffer.concat([puback(7), puback(65_535), puback(8)]));
      }),
    );
  });

  test("is counted byte by byte", () => {
    const small = bytes.subarray(0, 600);
    const counter = new FrameCounter();
    const every = Array.from({ length: small.length }, (_, index) => index);
    feed(counter, small, every);
    expect(counter).toMatchObject({ connack: 0, suback: 1, publishes: 3, pubacks: 1 });
  });

  test("is not counted before it is whole", () => {
    const counter = new FrameCounter();
    const frame = publish(1, 9, 64);
    expect(counter.feed(frame.subarray(0, -1))).toBeUndefined();
    expect(counter.publishes).toBe(0);
    expect(counter.feed(frame.subarray(-1))).toEqual(puback(9));
    expect(counter.publishes).toBe(1);
  });

  test("says why a client is refused", () => {
    const counter = new FrameCounter();
    counter.feed(Buffer.from([0x20, 2, 0, 5, 0x90, 3, 0, 1, 0x80]));
    expect(counter).toMatchObject({ connack: 5, suback: 0x80 });
  });

  test("ends the generator when it is no MQTT", () => {
    expect(() => new FrameCounter().feed(Buffer.alloc(6, 0xff))).toThrow(/remaining length/);
  });
});

test("prepared messages are what a parser reads, with packet identifiers from 1 on", () => {
  const { bytes, count, frameBytes } = writePublishes({ topic, qos: 1, payloadBytes: 64 }, 3);
  const packets: Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  parser.on("packet", (packet) => packets.push(packet));
  parser.parse(bytes);
  expect(bytes).toHaveLength(count * frameBytes);
  expect(packets).toMatchObject([1, 2, 3].map((messageId) => ({ cmd: "publish", topic, qos: 1, messageId })));
});
