/** PUBLISH and its acknowledgements, byte for byte what the library writes and reads. */
import fc from "fast-check";
import mqttPacket from "mqtt-packet";
import type { Packet } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { readFrameHead } from "../../broker/mqtt/frame.ts";
import {
  packetType,
  readPacketId,
  readPublish,
  writeAcknowledgement,
  writePublish,
} from "../../broker/mqtt/publish-frame.ts";

const messages = fc.record({
  topic: fc.string({ minLength: 1, maxLength: 40, unit: fc.constantFrom("a", "/", "é", "水", "😀", "7") }),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.integer({ min: 4000, max: 20_000 }).map((length) => new Uint8Array(length).fill(7)),
  ),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  retain: fc.boolean(),
  isRepeated: fc.boolean(),
  packetId: fc.integer({ min: 1, max: 65_535 }),
});

describe("PUBLISH", () => {
  it("is written as the library writes it, and read as it was written", () => {
    fc.assert(
      fc.property(messages, ({ topic, payload: bytes, qos, retain, isRepeated, packetId }) => {
        const payload = Buffer.from(bytes);
        const dup = isRepeated && qos > 0;
        const written = Buffer.concat(writePublish(topic, payload, { qos, retain, isRepeated: dup, packetId }));
        const expected = {
          cmd: "publish",
          topic,
          payload,
          qos,
          retain,
          dup,
          messageId: qos > 0 ? packetId : undefined,
        };
        expect(written.equals(mqttPacket.generate(expected as Packet))).toBe(true);
        expect(readPublish(written, readFrameHead(written, 0)!)).toMatchObject(expected);
      }),
    );
  });

  it("is put together anew when anything but the packet identifier differs from the one before", () => {
    const payload = Buffer.from("same");
    const variants = [
      ["a", payload, { qos: 1, retain: false, packetId: 1 }],
      ["a", payload, { qos: 1, retain: false, packetId: 2 }],
      ["b", payload, { qos: 1, retain: false, packetId: 2 }],
      ["b", payload, { qos: 2, retain: false, packetId: 2 }],
      ["b", payload, { qos: 2, retain: true, packetId: 2 }],
      ["b", payload, { qos: 2, retain: true, isRepeated: true, packetId: 2 }],
      ["b", Buffer.from("same"), { qos: 0, retain: true }],
      ["b", Buffer.from("else"), { qos: 0, retain: true }],
    ] as const;
    const written = variants.map(([topic, bytes, delivery]) => Buffer.concat(writePublish(topic, bytes, delivery)));
    const read = written.map((bytes) => {
      const { topic, payload: got, qos, retain, dup, messageId } = readPublish(bytes, readFrameHead(bytes, 0)!);
      return [topic, got.toString(), qos, retain, dup, messageId];
    });
    expect(read).toEqual([
      ["a", "same", 1, false, false, 1],
      ["a", "same", 1, false, false, 2],
      ["b", "same", 1, false, false, 2],
      ["b", "same", 2, false, false, 2],
      ["b", "same", 2, true, false, 2],
      ["b", "same", 2, true, true, 2],
      ["b", "same", 0, true, false, undefined],
      ["b", "else", 0, true, false, undefined],
    ]);
  });
});

it.each(["puback", "pubrec", "pubrel", "pubcomp"] as const)("%s is written as the library writes it", (cmd) => {
  for (const messageId of [1, 255, 256, 65_535]) {
    const bytes = writeAcknowledgement(packetType[cmd], messageId);
    expect(bytes).toEqual(mqttPacket.generate({ cmd, messageId }));
    expect(readPacketId(bytes, readFrameHead(bytes, 0)!)).toBe(messageId);
  }
});
