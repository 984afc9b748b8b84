import fc from "fast-check";
import mqttPacket from "mqtt-packet";
import type { Packet } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { checkFrame, readFrameHead } from "../../broker/mqtt/frame.ts";
import { Refusal } from "../../shared/refusal.ts";

const limits = { filtersPerPacket: 3 };

const hex = (...parts: string[]): Buffer => Buffer.from(parts.join("").replaceAll(" ", ""), "hex");
const frameOf = (first: number, ...parts: (Buffer | number[])[]): Buffer => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const length: number[] = [];
  for (let rest = body.length; length.length === 0 || rest > 0; rest = Math.floor(rest / 128)) {
    length.push((rest % 128) + (rest >= 128 ? 128 : 0));
  }
  return Buffer.concat([Buffer.from([first, ...length]), body]);
};
const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};

function check(frame: Buffer): void {
  const head = readFrameHead(frame, 0);
  if (head === undefined) throw new Error("not a whole head");
  expect(head.headBytes + head.length).toBe(frame.length);
  checkFrame(frame, head, limits);
}

function reasonOf(run: () => void): string | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
  return undefined;
}

const id = [0, 7];
const connectFrame = (
  flags: number,
  fields: Buffer[],
  { name = "MQTT", level = 4 }: { name?: string; level?: number } = {},
): Buffer => frameOf(0x10, text(name), [level, flags, 0, 60], ...fields);

describe("the head of a frame", () => {
  it.each([
    ["a PINGREQ", "c000", { kind: 12, flags: 0, headBytes: 2, length: 0 }],
    ["a PUBLISH with all its flags", "3b05", { kind: 3, flags: 11, headBytes: 2, length: 5 }],
    ["a length of two bytes", "308001", { kind: 3, flags: 0, headBytes: 3, length: 128 }],
    ["the longest there is", "30ffffff7f", { kind: 3, flags: 0, headBytes: 5, length: 268_435_455 }],
    ["a SUBSCRIBE", "820a", { kind: 8, flags: 2, headBytes: 2, length: 10 }],
  ])("of %s is read, wherever it begins", (_name, bytes, head) => {
    expect(readFrameHead(hex(bytes), 0)).toEqual(head);
    expect(readFrameHead(hex("ff", bytes, "00"), 1)).toEqual(head);
  });

  it.each(["", "30", "3080", "30ffffff"])("is waited for after %j", (bytes) => {
    expect(readFrameHead(hex(bytes), 0)).toBeUndefined();
  });

  it.each([
    ["type 0", "00"],
    ["type 15", "f0"],
    ["a PUBLISH of QoS 3", "36"],
    ["a PUBLISH of QoS 3 that is a duplicate", "3e"],
    ["a duplicate at QoS 0", "38"],
    ["a CONNECT with flags", "11"],
    ["a SUBSCRIBE without its flag", "80"],
    ["a SUBSCRIBE of QoS 2", "84"],
    ["an UNSUBSCRIBE without its flag", "a0"],
    ["a PUBREL without its flag", "60"],
    ["a PUBACK with flags", "42"],
    ["a PINGREQ with flags", "c1"],
    ["a DISCONNECT with flags", "e8"],
    ["a length of five bytes", "30ffffffff"],
  ])("with %s is refused as soon as it is there", (_name, bytes) => {
    expect(reasonOf(() => readFrameHead(hex(bytes), 0))).toBe("packet.malformed");
  });

  it("is the same that another reader finds", () => {
    fc.assert(
      fc.property(fc.nat({ max: 70_000 }), fc.integer({ min: 0, max: 2 }), (size, qos) => {
        const publish = { cmd: "publish", topic: "t", payload: Buffer.alloc(size), retain: false, dup: false } as const;
        const frame = mqttPacket.generate({ ...publish, qos: qos as 0 | 1 | 2, ...(qos > 0 && { messageId: 1 }) });
        const head = readFrameHead(frame, 0)!;
        expect(head.headBytes + head.length).toBe(frame.length);
        checkFrame(frame, head, limits);
      }),
    );
  });
});

describe("a frame", () => {
  const packets: readonly [string, Packet][] = [
    ["a CONNECT with nothing", { cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clean: true, clientId: "" }],
    [
      "a CONNECT with everything",
      {
        cmd: "connect",
        protocolId: "MQIsdp",
        protocolVersion: 3,
        clean: true,
        clientId: "acme.ü",
        username: "x",
        password: Buffer.from([0, 255]),
        will: { topic: "w/ö", payload: Buffer.from([0, 255]), qos: 2, retain: true },
      },
    ],
    [
      "a CONNECT of MQTT 5",
      {
        cmd: "connect",
        protocolId: "MQTT",
        protocolVersion: 5,
        clean: true,
        clientId: "a",
        properties: { receiveMaximum: 7 },
      },
    ],
    ["a PUBLISH", { cmd: "publish", topic: "a//€/b", payload: "\u0000", qos: 0, retain: true, dup: false }],
    [
      "a PUBLISH again",
      { cmd: "publish", topic: "/", payload: "", qos: 2, retain: false, dup: true, messageId: 65_535 },
    ],
    ["a PUBACK", { cmd: "puback", messageId: 1 }],
    ["a PUBREC", { cmd: "pubrec", messageId: 256 }],
    ["a PUBREL", { cmd: "pubrel", messageId: 1 }],
    ["a PUBCOMP", { cmd: "pubcomp", messageId: 1 }],
    [
      "a SUBSCRIBE",
      {
        cmd: "subscribe",
        messageId: 1,
        subscriptions: [
          { topic: "#", qos: 0 },
          { topic: "+/a/+/", qos: 1 },
          { topic: "$share/g/a/#", qos: 2 },
        ],
      },
    ],
    ["an UNSUBSCRIBE", { cmd: "unsubscribe", messageId: 1, unsubscriptions: ["a", "$SYS/#", "$share/ü/+"] }],
    ["a PINGREQ", { cmd: "pingreq" }],
    ["a DISCONNECT", { cmd: "disconnect" }],
  ];
  it.each(packets)("that is %s is taken", (_name, packet) => {
    expect(reasonOf(() => check(mqttPacket.generate(packet)))).toBeUndefined();
  });

  it.each(packets.filter(([, { cmd }]) => cmd !== "publish"))(
    "that is %s and has a byte less is refused",
    (_n, packet) => {
      const frame = mqttPacket.generate(packet);
      if (frame.length === 2 || (packet.cmd === "connect" && packet.protocolVersion === 5)) return;
      const shorter = frame.subarray(0, -1);
      shorter[1]!--;
      expect(reasonOf(() => check(shorter))).toBe("packet.malformed");
    },
  );

  it("of a bridge, which sets a bit of the level, is read like others", () => {
    expect(reasonOf(() => check(connectFrame(2, [text("")], { level: 0x84 })))).toBeUndefined();
    expect(reasonOf(() => check(connectFrame(3, [text("")], { level: 0x84 })))).toBe("packet.malformed");
  });

  it("of a level that is not known is not read behind it", () => {
    const reasons = [5, 6, 127].map((level) =>
      reasonOf(() => check(connectFrame(0xff, [Buffer.from([1, 2, 3])], { level }))),
    );
    expect(reasons).toEqual([undefined, undefined, undefined]);
  });

  const badText: readonly [string, Buffer][] = [
    ["with U+0000", Buffer.from("a\u0000b")],
    ["with a byte that begins nothing", Buffer.from([0x61, 0xff])],
    ["that is cut off within a character", Buffer.from([0x61, 0xe2, 0x82])],
    ["with a character spelled too long", Buffer.from([0xc0, 0xaf])],
    ["with half a surrogate pair", Buffer.from([0xed, 0xa0, 0x80])],
    ["beyond U+10FFFF", Buffer.from([0xf4, 0x90, 0x80, 0x80])],
  ];
  const badFilters: readonly [string, string][] = [
    ["that is empty", ""],
    ["with # behind text", "a#"],
    ["with # before text", "a/#b"],
    ["with # before the last level", "#/a"],
    ["with # twice", "a/##"],
    ["with + behind text", "a+"],
    ["with + before text", "+a/b"],
    ["with + twice", "a/++/b"],
    ["that is shared without a group", "$share//a"],
    ["that is shared without a filter", "$share/g/"],
    ["that is shared without either", "$share/g"],
    ["that is shared with a wildcard for a group", "$share/+/a"],
    ["that is shared with # in a group", "$share/g#/a"],
    ["that is shared with a wrong filter", "$share/g/a#"],
  ];
  const rows: readonly [string, Buffer, string?][] = [
    ["a PUBLISH with an empty topic", frameOf(0x30, text(""), [1])],
    ["a PUBLISH to +", frameOf(0x30, text("a/+"))],
    ["a PUBLISH to #", frameOf(0x30, text("#"))],
    ["a PUBLISH without a topic", frameOf(0x30)],
    ["a PUBLISH whose topic is longer than itself", frameOf(0x30, [0, 9, 0x61])],
    ["a PUBLISH of QoS 1 with packet identifier 0", frameOf(0x32, text("a"), [0, 0])],
    ["a PUBLISH of QoS 2 without a packet identifier", frameOf(0x34, text("a"), [1])],
    ["a PUBACK for 0", hex("40020000")],
    ["a PUBREC for 0", hex("50020000")],
    ["a PUBREL for 0", hex("62020000")],
    ["a PUBCOMP for 0", hex("70020000")],
    ["a PUBACK of three bytes", hex("4003000100")],
    ["a PUBREC of one byte", hex("500101")],
    ["a PUBREL of nothing", hex("6200")],
    ["a PUBCOMP of three bytes", hex("7003000100")],
    ["a PINGREQ of one byte", hex("c00100")],
    ["a DISCONNECT of one byte", hex("e00100")],
    ["a CONNACK", hex("20020000"), "packet.unexpected"],
    ["a SUBACK", hex("9003000100"), "packet.unexpected"],
    ["an UNSUBACK", hex("b0020001"), "packet.unexpected"],
    ["a PINGRESP", hex("d000"), "packet.unexpected"],
    ["a SUBSCRIBE with packet identifier 0", frameOf(0x82, [0, 0], text("a"), [0])],
    ["a SUBSCRIBE of nothing", frameOf(0x82, id)],
    ["a SUBSCRIBE without a QoS", frameOf(0x82, id, text("a"))],
    ["a SUBSCRIBE for QoS 3", frameOf(0x82, id, text("a"), [3])],
    ["a SUBSCRIBE with a reserved bit", frameOf(0x82, id, text("a"), [4])],
    ["a SUBSCRIBE with bytes behind", frameOf(0x82, id, text("a"), [0, 0])],
    ["a SUBSCRIBE of 4 filters", frameOf(0x82, id, ...[0, 1, 2, 3].flatMap(() => [text("a"), [0]])), "limit.reached"],
    ["an UNSUBSCRIBE with packet identifier 0", frameOf(0xa2, [0, 0], text("a"))],
    ["an UNSUBSCRIBE of nothing", frameOf(0xa2, id)],
    ["an UNSUBSCRIBE with half a length behind", frameOf(0xa2, id, text("a"), [0])],
    ["an UNSUBSCRIBE of 4 filters", frameOf(0xa2, id, ...[0, 1, 2, 3].map(() => text("a"))), "limit.reached"],
    ["a CONNECT of nothing", hex("1000")],
    ["a CONNECT with a name and no level", frameOf(0x10, text("MQTT"))],
    ["a CONNECT without a keep-alive", frameOf(0x10, text("MQTT"), [4, 2, 0])],
    ["a CONNECT of another protocol", connectFrame(2, [text("")], { name: "NMQTT" })],
    ["a CONNECT of a name of 3.1 and a level of 3.1.1", connectFrame(2, [text("")], { name: "MQIsdp" })],
    ["a CONNECT of a name of 3.1.1 and a level of 3.1", connectFrame(2, [text("")], { level: 3 })],
    ["a CONNECT with the reserved flag", connectFrame(3, [text("")])],
    ["a CONNECT with a will of QoS 3", connectFrame(0x1e, [text(""), text("w"), text("")])],
    ["a CONNECT with the QoS of a will it has not", connectFrame(0x0a, [text("")])],
    ["a CONNECT that retains a will it has not", connectFrame(0x22, [text("")])],
    ["a CONNECT with a password and no user name", connectFrame(0x42, [text(""), text("p")])],
    ["a CONNECT without a client id", connectFrame(2, [])],
    ["a CONNECT without the will it announces", connectFrame(6, [text("")])],
    ["a CONNECT with a will without a payload", connectFrame(6, [text(""), text("w")])],
    ["a CONNECT with an empty will topic", connectFrame(6, [text(""), text(""), text("")])],
    ["a CONNECT without the user name it announces", connectFrame(0x82, [text("")])],
    ["a CONNECT without the password it announces", connectFrame(0xc2, [text(""), text("u")])],
    ["a CONNECT with bytes behind", connectFrame(2, [text(""), Buffer.alloc(1)])],
    ...badFilters.flatMap(([how, filter]): [string, Buffer][] => [
      [`a SUBSCRIBE to a filter ${how}`, frameOf(0x82, id, text("good"), [0], text(filter), [0])],
      [`an UNSUBSCRIBE of a filter ${how}`, frameOf(0xa2, id, text("good"), text(filter))],
    ]),
    ...badText.flatMap(([how, bytes]): [string, Buffer][] => [
      [`a PUBLISH to a name ${how}`, frameOf(0x30, text(bytes), [1])],
      [`a SUBSCRIBE to a filter ${how}`, frameOf(0x82, id, text(bytes), [0])],
      [`an UNSUBSCRIBE of a filter ${how}`, frameOf(0xa2, id, text(bytes))],
      [`a CONNECT with a client id ${how}`, connectFrame(2, [text(bytes)])],
      [`a CONNECT with a user name ${how}`, connectFrame(0x82, [text(""), text(bytes)])],
      [`a CONNECT with a will topic ${how}`, connectFrame(6, [text(""), text(bytes), text("")])],
    ]),
  ];
  it.each(rows)("that is %s is refused", (_name, frame, reason = "packet.malformed") => {
    expect(reasonOf(() => check(frame))).toBe(reason);
  });

  it("of any bytes is taken or refused, and never anything else", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 14 }), fc.uint8Array({ maxLength: 80 }), (kind, body) => {
        const flags = [6, 8, 10].includes(kind) ? 2 : 0;
        const frame = frameOf((kind << 4) | flags, Buffer.from(body));
        const reason = reasonOf(() => check(frame));
        expect(reason).toBeOneOf([undefined, "packet.malformed", "packet.unexpected", "limit.reached"]);
      }),
      { numRuns: 2000 },
    );
  });

  it("with filters whose wildcards stand alone is taken", () => {
    const filter = fc.array(fc.constantFrom("a", "ü", "+", "", "b c"), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.array(filter, { minLength: 1, maxLength: 3 }), (filters) => {
        const names = filters.map((levels) => levels.join("/")).filter((name) => name !== "");
        if (names.length === 0) return;
        const frame = mqttPacket.generate({ cmd: "unsubscribe", messageId: 1, unsubscriptions: names });
        expect(reasonOf(() => check(frame))).toBe(names.length > 3 ? "limit.reached" : undefined);
      }),
    );
  });
});
