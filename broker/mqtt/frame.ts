/**
 * Frames of MQTT 3.1 and 3.1.1: found in bytes by their fixed header, and checked before anything else reads them.
 *
 * What the protocol calls malformed is thrown and ends the connection: wrong lengths and flags, packet identifier 0, text
 * that is not UTF-8 or holds U+0000, wildcards where none may stand, filters that no MQTT 3.1.1 server may take
 * (section 4.7.1), shared ones without a group or a filter (MQTT 5, section 4.8.2). What is well-formed and merely not allowed
 * here, too long, too deep or not granted, is the gate's to refuse. Reads no payload, and of a PUBLISH makes no object.
 */
import { isUtf8 } from "node:buffer";
import { refuse } from "../../shared/refusal.ts";

/** The control packet types of MQTT 3.1.1 (section 2.2.1). */
export const kinds = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
} as const;

/** A fixed header (section 2.2). */
export interface FrameHead {
  /** One of {@link kinds}. */
  readonly kind: number;
  /** The lower four bits of the first byte. */
  readonly flags: number;
  /** Bytes of the fixed header. */
  readonly headBytes: number;
  /** The remaining length: bytes behind the fixed header. */
  readonly length: number;
}

/** What of a frame is limited beyond what the protocol says. */
export interface FrameLimits {
  readonly filtersPerPacket: number;
}

// by type; -1 stands for types that are reserved, and PUBLISH has flags of its own
const requiredFlags: readonly number[] = [-1, 0, 0, 0, 0, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, -1];

/**
 * The fixed header at a place in the bytes; undefined when more bytes are needed to tell. Throws `packet.malformed` as soon as
 * the bytes that are there rule one out.
 */
export function readFrameHead(bytes: Uint8Array, at: number): FrameHead | undefined {
  if (at >= bytes.length) return undefined;
  const kind = bytes[at]! >> 4;
  const flags = bytes[at]! & 15;
  if (kind === kinds.publish) assertPublishFlags(flags);
  else if (flags !== requiredFlags[kind]) refuse("packet.malformed", "a type or flags that are reserved");
  let length = 0;
  for (let i = 0; i < 4; i++) {
    if (at + 1 + i >= bytes.length) return undefined;
    const digit = bytes[at + 1 + i]!;
    length += (digit & 127) << (7 * i);
    if (digit < 128) return { kind, flags, headBytes: 2 + i, length };
  }
  return refuse("packet.malformed", "a remaining length of more than four bytes");
}

/**
 * Checks a frame that a client sent; `frame` is all of it, fixed header included. Throws `packet.malformed`, `packet.unexpected`
 * for what only a server sends, `limit.reached` for too many filters.
 */
export function checkFrame(frame: Buffer, head: FrameHead, limits: FrameLimits): void {
  const at = head.headBytes;
  switch (head.kind) {
    case kinds.publish:
      return checkPublish(frame, at, head.flags);
    case kinds.puback:
    case kinds.pubrec:
    case kinds.pubrel:
    case kinds.pubcomp:
      assertLength(head, 2);
      return void afterPacketId(frame, at);
    case kinds.pingreq:
    case kinds.disconnect:
      return assertLength(head, 0);
    case kinds.subscribe:
      return checkFilters(frame, at, 1, limits.filtersPerPacket);
    case kinds.unsubscribe:
      return checkFilters(frame, at, 0, limits.filtersPerPacket);
    case kinds.connect:
      return checkConnect(frame, at);
    default:
      refuse("packet.unexpected", "a packet that a server sends");
  }
}

function assertPublishFlags(flags: number): void {
  const qos = (flags >> 1) & 3;
  if (qos === 3) refuse("packet.malformed", "a PUBLISH of QoS 3"); // MQTT-3.3.1-4
  if (qos === 0 && (flags & 8) !== 0) refuse("packet.malformed", "DUP at QoS 0"); // MQTT-3.3.1-2
}

function assertLength({ length }: FrameHead, expected: number): void {
  if (length !== expected) refuse("packet.malformed", `a remaining length of ${length} for ${expected}`);
}

function checkPublish(frame: Buffer, at: number, flags: number): void {
  const end = endOfField(frame, at);
  if (end === at + 2) refuse("packet.malformed", "an empty topic name"); // MQTT-4.7.3-1
  if (findWildcard(frame, at + 2, end)) refuse("packet.malformed", "a wildcard in a topic name"); // MQTT-3.3.2-2
  assertText(frame, at + 2, end);
  if ((flags & 6) !== 0) afterPacketId(frame, end);
}

/** The filters of a SUBSCRIBE, each with a QoS behind it, or of an UNSUBSCRIBE. */
function checkFilters(frame: Buffer, from: number, qosBytes: 0 | 1, most: number): void {
  let at = afterPacketId(frame, from);
  if (at >= frame.length) refuse("packet.malformed", "no filter"); // MQTT-3.8.3-3, MQTT-3.10.3-2
  for (let count = 1; at < frame.length; count++) {
    if (count > most) refuse("limit.reached", `more than ${most} filters in a packet`);
    const end = endOfField(frame, at);
    checkFilter(frame, at + 2, end);
    if (qosBytes === 1) {
      if (end >= frame.length) refuse("packet.malformed", "cut off");
      if (frame[end]! > 2) refuse("packet.malformed", "a requested QoS that is none"); // MQTT-3.8.3-4
    }
    at = end + qosBytes;
  }
}

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;
const shareBytes = Buffer.from("$share/");

function checkFilter(frame: Buffer, from: number, end: number): void {
  assertText(frame, from, end);
  let start = from;
  if (end - from >= shareBytes.length && shareBytes.compare(frame, from, from + shareBytes.length) === 0) {
    const group = from + shareBytes.length;
    const slash = frame.indexOf(SLASH, group);
    if (slash <= group || slash >= end) refuse("packet.malformed", "a shared subscription without group or filter");
    if (findWildcard(frame, group, slash)) refuse("packet.malformed", "a wildcard in the name of a group");
    start = slash + 1;
  }
  if (start >= end) refuse("packet.malformed", "an empty filter"); // MQTT-4.7.3-1
  for (let at = start; at < end; at++) {
    const byte = frame[at];
    if (byte !== PLUS && byte !== HASH) continue;
    const isLast = at + 1 === end;
    const isAlone = (at === start || frame[at - 1] === SLASH) && (isLast || frame[at + 1] === SLASH);
    // MQTT-4.7.1-2, MQTT-4.7.1-3
    if (!isAlone || (byte === HASH && !isLast)) refuse("packet.malformed", "a wildcard in the wrong place");
  }
}

/**
 * The protocol name and level, and, of the levels 3 and 4, everything behind. Of another level nothing is known here; the
 * broker answers it with the code for an unknown version.
 */
function checkConnect(frame: Buffer, from: number): void {
  const name = endOfField(frame, from);
  if (name + 1 > frame.length) refuse("packet.malformed", "cut off");
  const spelled = frame.toString("latin1", from + 2, name);
  if (spelled !== "MQTT" && spelled !== "MQIsdp") refuse("packet.malformed", "another protocol");
  // the highest bit is what a bridge of some brokers sets
  const level = frame[name]! & 127;
  if (level !== 3 && level !== 4) return;
  if ((level === 3) !== (spelled === "MQIsdp")) refuse("packet.malformed", "name and level of different protocols");
  if (name + 4 > frame.length) refuse("packet.malformed", "cut off");
  const flags = frame[name + 1]!;
  assertConnectFlags(flags);

  let at = textField(frame, name + 4);
  if ((flags & 4) !== 0) {
    const topic = at;
    at = textField(frame, topic);
    if (at === topic + 2) refuse("packet.malformed", "an empty will topic");
    at = endOfField(frame, at);
  }
  if ((flags & 128) !== 0) at = textField(frame, at);
  if ((flags & 64) !== 0) at = endOfField(frame, at);
  if (at !== frame.length) refuse("packet.malformed", "bytes behind the end");
}

/** False for a CONNECT, which was checked, of neither MQTT 3.1 nor 3.1.1. */
export function isKnownVersion(frame: Buffer, head: FrameHead): boolean {
  if (head.kind !== kinds.connect) return true;
  const level = frame[endOfField(frame, head.headBytes)]! & 127;
  return level === 3 || level === 4;
}

function assertConnectFlags(flags: number): void {
  const willQos = (flags >> 3) & 3;
  if ((flags & 1) !== 0) refuse("packet.malformed", "a reserved flag"); // MQTT-3.1.2-3
  if (willQos === 3) refuse("packet.malformed", "a will of QoS 3"); // MQTT-3.1.2-14
  // MQTT-3.1.2-11, MQTT-3.1.2-13, MQTT-3.1.2-15
  if ((flags & 4) === 0 && (flags & 0x38) !== 0) refuse("packet.malformed", "flags of a will without a will");
  if ((flags & 0xc0) === 0x40) refuse("packet.malformed", "a password without a user name"); // MQTT-3.1.2-22
}

/** Behind the field of two bytes of length and its content that starts here. */
function endOfField(frame: Buffer, at: number): number {
  if (at + 2 > frame.length) refuse("packet.malformed", "cut off");
  const end = at + 2 + (frame[at]! << 8) + frame[at + 1]!;
  if (end > frame.length) refuse("packet.malformed", "cut off");
  return end;
}

function textField(frame: Buffer, at: number): number {
  const end = endOfField(frame, at);
  assertText(frame, at + 2, end);
  return end;
}

function afterPacketId(frame: Buffer, at: number): number {
  if (at + 2 > frame.length) refuse("packet.malformed", "cut off");
  if (frame[at] === 0 && frame[at + 1] === 0) refuse("packet.malformed", "packet identifier 0"); // MQTT-2.3.1-1
  return at + 2;
}

function findWildcard(frame: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (frame[at] === PLUS || frame[at] === HASH) return true;
  return false;
}

/** UTF-8 without U+0000 (MQTT-1.5.3-1, MQTT-1.5.3-2). */
function assertText(frame: Buffer, from: number, end: number): void {
  let highest = 0;
  for (let at = from; at < end; at++) {
    const byte = frame[at]!;
    if (byte === 0) refuse("packet.malformed", "U+0000");
    highest |= byte;
  }
  if (highest > 127 && !isUtf8(frame.subarray(from, end))) refuse("packet.malformed", "text that is not UTF-8");
}
