/** Packets of MQTT 3.1.1 byte by byte, right ones and wrong ones. */

/** A field of two bytes of length and its content (section 1.5.3). */
export function field(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([number(bytes.length), bytes]);
}

/** A number of two bytes. */
export function number(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

/** A packet: its first byte, the remaining length, and the rest. */
export function frame(first: number, ...parts: readonly Uint8Array[]): Buffer {
  const rest = Buffer.concat(parts);
  const length: number[] = [];
  let left = rest.length;
  do {
    length.push((left & 127) | (left > 127 ? 128 : 0));
    left >>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from([first, ...length]), rest]);
}

export interface ConnectParts {
  readonly name?: string;
  readonly level?: number;
  readonly flags?: number;
  readonly keepAlive?: number;
  /** Everything behind the keep alive. */
  readonly fields: Uint8Array;
}

/** CONNECT; unless told otherwise with a user name, a password and a clean session. */
export function connectFrame({ name = "MQTT", level = 4, flags = 0xc2, keepAlive = 0, fields }: ConnectParts): Buffer {
  return frame(0x10, field(name), Buffer.from([level, flags]), number(keepAlive), fields);
}

/** PUBLISH. */
export function publishFrame(
  topic: string | Uint8Array,
  payload: string,
  { qos = 0, messageId = 1, dup = false, retain = false } = {},
): Buffer {
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  const id = qos > 0 ? number(messageId) : Buffer.alloc(0);
  return frame(first, field(topic), id, Buffer.from(payload));
}

/** SUBSCRIBE, each filter with a byte of options behind it. */
export function subscribeFrame(filters: readonly (readonly [string | Uint8Array, number])[], messageId = 1): Buffer {
  return frame(0x82, number(messageId), ...filters.flatMap(([filter, qos]) => [field(filter), Buffer.from([qos])]));
}

/** UNSUBSCRIBE. */
export function unsubscribeFrame(filters: readonly (string | Uint8Array)[], messageId = 1): Buffer {
  return frame(0xa2, number(messageId), ...filters.map((filter) => field(filter)));
}

export const pingreq = frame(0xc0);
export const disconnect = frame(0xe0);
