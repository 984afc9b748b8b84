/**
 * PUBLISH and its acknowledgements as bytes (MQTT 3.1.1, sections 3.3 to 3.7): the packets of every message, read from
 * frames that were checked and written without a detour. All others are the library's to parse and to write.
 */
import type { FrameHead } from "./frame.ts";
import type { Message } from "./message.ts";

/** Packet types, the upper four bits of the first byte. */
export const packetType = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
} as const;

/**
 * A PUBLISH as it arrived, with everything that it will have when it is routed, so that it keeps its shape. The payload of
 * QoS 0 is a view of the frame.
 */
export function readPublish(frame: Buffer, head: FrameHead, clientId?: string): Message {
  const qos = ((head.flags >> 1) & 3) as 0 | 1 | 2;
  const topicAt = head.headBytes + 2;
  const topicEnd = topicAt + frame.readUInt16BE(head.headBytes);
  const payload = frame.subarray(qos === 0 ? topicEnd : topicEnd + 2);
  return {
    cmd: "publish",
    topic: frame.toString("utf8", topicAt, topicEnd),
    // what may wait must not keep alive the whole of what the socket read
    payload: qos === 0 ? payload : Buffer.from(payload),
    qos,
    retain: (head.flags & 1) !== 0,
    dup: (head.flags & 8) !== 0,
    messageId: qos === 0 ? undefined : frame.readUInt16BE(topicEnd),
    clientId,
    brokerId: undefined,
    brokerCounter: undefined,
  };
}

/** The packet identifier of a PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function readPacketId(frame: Buffer, head: FrameHead): number {
  return frame.readUInt16BE(head.headBytes);
}

/** A PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function writeAcknowledgement(type: 4 | 5 | 6 | 7, packetId: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes[0] = (type << 4) | (type === packetType.pubrel ? 2 : 0);
  bytes[1] = 2;
  bytes.writeUInt16BE(packetId, 2);
  return bytes;
}

/** What differs between two deliveries of a message. */
export interface Delivery {
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly isRepeated?: boolean;
  readonly packetId?: number;
}

/** Larger payloads are not copied behind their header. */
const copiedPayload = 4096;

let lastTopic = "";
let lastPayload: Buffer | undefined;
let lastKind = -1;
let lastHead: Buffer | undefined;

/**
 * The bytes of a PUBLISH, in one piece or, with a large payload, two. The same message for many clients is put together
 * once: nothing in it but the packet identifier is the client's.
 */
export function writePublish(topic: string, payload: Buffer, delivery: Delivery): readonly Buffer[] {
  const { qos, retain, isRepeated = false, packetId } = delivery;
  const kind = (isRepeated ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  const isWhole = payload.length <= copiedPayload;
  if (lastHead === undefined || lastPayload !== payload || lastKind !== kind || lastTopic !== topic) {
    lastHead = composePublish(topic, payload, kind, isWhole);
    lastTopic = topic;
    lastPayload = payload;
    lastKind = kind;
  }
  let bytes = lastHead;
  if (qos > 0) {
    // the packet identifier stands before the payload
    bytes = Buffer.allocUnsafe(lastHead.length);
    lastHead.copy(bytes);
    bytes.writeUInt16BE(packetId!, bytes.length - (isWhole ? payload.length : 0) - 2);
  }
  return isWhole ? [bytes] : [bytes, payload];
}

function composePublish(topic: string, payload: Buffer, flags: number, isWhole: boolean): Buffer {
  const topicBytes = Buffer.byteLength(topic);
  const idBytes = (flags & 6) === 0 ? 0 : 2;
  const length = 2 + topicBytes + idBytes + payload.length;
  const lengthBytes = length < 128 ? 1 : length < 16_384 ? 2 : length < 2_097_152 ? 3 : 4;
  const headBytes = 1 + lengthBytes + 2 + topicBytes + idBytes;
  const bytes = Buffer.allocUnsafe(headBytes + (isWhole ? payload.length : 0));
  bytes[0] = 0x30 | flags;
  let rest = length;
  for (let at = 1; at <= lengthBytes; at++) {
    bytes[at] = (rest & 127) | (at < lengthBytes ? 128 : 0);
    rest >>>= 7;
  }
  bytes.writeUInt16BE(topicBytes, 1 + lengthBytes);
  bytes.write(topic, 3 + lengthBytes, "utf8");
  if (isWhole) payload.copy(bytes, headBytes);
  return bytes;
}
