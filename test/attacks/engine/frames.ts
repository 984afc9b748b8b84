/**
 * Packets of MQTT 3.1.1 by hand: whole ones, wrong ones, and the beginnings of some that never end. A library would not
 * write most of them.
 */

type Bytes = Uint8Array;
type Text = string | Bytes;

export interface PublishFrame {
  readonly qos?: 0 | 1 | 2 | 3;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly id?: number;
  readonly payload?: Text;
}

export interface ConnectFrame {
  readonly clientId: Text;
  readonly username?: Text;
  readonly password?: Text;
  readonly clean?: boolean;
  readonly keepalive?: number;
  readonly protocol?: string;
  readonly level?: number;
  readonly will?: { readonly topic: Text; readonly payload?: Text; readonly qos?: number; readonly retain?: boolean };
}

/** A packet: first byte, remaining length, the rest. */
export function packet(first: number, ...parts: readonly Bytes[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([header(first, body.length), body]);
}

/** A fixed header that announces so many bytes; the packet's beginning when they do not follow. */
export function header(first: number, remaining: number): Buffer {
  const bytes = [first];
  do {
    const digit = remaining % 128;
    remaining = Math.floor(remaining / 128);
    bytes.push(remaining > 0 ? digit + 128 : digit);
  } while (remaining > 0);
  return Buffer.from(bytes);
}

/** Two bytes of length, then the bytes. */
export function text(value: Text): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : Buffer.from(value);
  return Buffer.concat([number(bytes.length), bytes]);
}

/** Two bytes. */
export function number(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

export function connectFrame(connect: ConnectFrame): Buffer {
  const { clientId, username, password, clean = true, keepalive = 0, protocol = "MQTT", level = 4, will } = connect;
  let flags = clean ? 2 : 0;
  if (will !== undefined) flags |= 4 | ((will.qos ?? 0) << 3) | (will.retain === true ? 32 : 0);
  if (password !== undefined) flags |= 64;
  if (username !== undefined) flags |= 128;
  // an MQTT 5 CONNECT says here that it has no properties
  const properties = Buffer.alloc(level === 5 ? 1 : 0);
  const parts = [text(protocol), Buffer.from([level, flags]), number(keepalive), properties, text(clientId)];
  if (will !== undefined) parts.push(text(will.topic), text(will.payload ?? ""));
  if (username !== undefined) parts.push(text(username));
  if (password !== undefined) parts.push(text(password));
  return packet(0x10, ...parts);
}

export function publishFrame(topic: Text, options: PublishFrame = {}): Buffer {
  const { qos = 0, retain = false, dup = false, id = 1, payload = "" } = options;
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  const body = typeof payload === "string" ? Buffer.from(payload) : payload;
  return packet(first, text(topic), ...(qos > 0 ? [number(id)] : []), body);
}

export function subscribeFrame(filters: readonly Text[], qos = 0, id = 1): Buffer {
  return packet(0x82, number(id), ...filters.flatMap((filter) => [text(filter), Buffer.from([qos])]));
}

export function unsubscribeFrame(filters: readonly Text[], id = 1): Buffer {
  return packet(0xa2, number(id), ...filters.map(text));
}

export const pingFrame = Buffer.from([0xc0, 0]);

/** Many of them as one piece of bytes. */
export function repeat(count: number, make: (index: number) => Bytes): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}
