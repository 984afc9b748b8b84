/**
 * A broker, and clients of it that may publish and subscribe everything: each with a token of its own, over plain TCP, with
 * nothing between the test and the packets.
 */
import { connect as connectTcp } from "node:net";
import type { Socket } from "node:net";
import type { IConnackPacket, IConnectPacket, IPublishPacket, Packet, QoS } from "mqtt-packet";
import { BEARER_AUDIENCE, openFixture } from "../gate/fixture.ts";
import type { Fixture } from "../gate/fixture.ts";
import type { Wire } from "../gate/wire.ts";
import { field } from "./frames.ts";

/** What names a client and lets it in. */
export interface Credentials {
  readonly clientId: string;
  readonly username: string;
  readonly password: Buffer;
}

/** What a CONNECT may say; `allow` goes into the token. */
export type Wish = Partial<IConnectPacket> & { readonly allow?: readonly string[] };

/** A broker with its clients. */
export interface Room {
  readonly fixture: Fixture;
  /** Clients and topics that no other test has. */
  newClientId(): string;
  newTopic(): string;
  credentials(clientId?: string, allow?: readonly string[]): Credentials;
  /** A connection on which nothing was sent. */
  open(): Promise<Wire>;
  /** The same with nothing that reads packets. */
  openSocket(): Socket;
  /** A client that was let in, and what CONNACK said. */
  enter(wish?: Wish): Promise<Wire>;
  enterWith(wish: Wish): Promise<[Wire, IConnackPacket]>;
  /** The client comes back to its stored session. */
  resume(credentials: Credentials): Promise<Wire>;
  /** A new client that has subscribed to a topic. */
  readerOf(topic: string, qos?: QoS, clean?: boolean): Promise<Wire>;
  close(): Promise<void>;
}

/** A message that arrived, acknowledged as far as its QoS asks. */
export interface Received {
  readonly topic: string;
  readonly payload: string;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly dup: boolean;
}

export const idsOf = (packets: readonly Packet[]) => packets.map(({ messageId }) => messageId);
export const nextMessage = (wire: Wire) => wire.next<IPublishPacket>("publish");

export async function openRoom(): Promise<Room> {
  const fixture = await openFixture();
  let clients = 0;
  let topics = 0;
  const room: Room = {
    fixture,
    newClientId() {
      const id = `acme.c${++clients}`;
      fixture.trust.learnClient({ id, enabled: true });
      return id;
    },
    newTopic: () => `t${++topics}`,
    credentials(clientId = room.newClientId(), allow = ["pubsub:#"]) {
      const token = fixture.jwt(clientId.split(":", 1)[0]!, { aud: BEARER_AUDIENCE, allow });
      return { clientId, username: "any", password: Buffer.from(token) };
    },
    open: () => fixture.open({ transport: "tcp" }),
    openSocket: () => connectTcp(fixture.engine.mqttPort!, "127.0.0.1").on("error", () => undefined),
    async enter(wish = {}) {
      return (await room.enterWith(wish))[0];
    },
    resume: (credentials) => room.enter({ ...credentials, clean: false }),
    async readerOf(topic, qos = 2, clean = true) {
      const reader = await room.enter({ clean });
      await reader.subscribe([topic], qos);
      return reader;
    },
    async enterWith({ allow, ...packet }) {
      const wire = await room.open();
      const connack = await wire.connect({ ...room.credentials(packet.clientId, allow), ...packet });
      if (connack.returnCode !== 0) throw new Error(`connack ${connack.returnCode}: ${fixture.lastReason()}`);
      return [wire, connack];
    },
    close: () => fixture.close(),
  };
  return room;
}

/** The fields of a CONNECT behind the keep alive, for flags 0xC0. */
export function presented({ clientId, username, password }: Credentials): Buffer {
  return Buffer.concat([field(clientId), field(username), field(password)]);
}

/** What the broker makes of bytes: closes the connection, or goes on. */
export async function verdict(wire: Wire, bytes: Uint8Array): Promise<"closed" | "open"> {
  wire.sendBytes(bytes);
  return wire.settled().then(
    () => "open",
    () => "closed",
  );
}

/** What the broker makes of a CONNECT: the code of CONNACK, or nothing before it closes. */
export async function answerTo(wire: Wire, bytes: Uint8Array): Promise<number | "closed"> {
  wire.sendBytes(bytes);
  return wire.next<IConnackPacket>("connack").then(
    ({ returnCode }) => returnCode!,
    () => "closed",
  );
}

/** The next message, acknowledged. */
export async function receive(wire: Wire): Promise<Received> {
  const { topic, payload, qos, retain, dup, messageId } = await wire.next<IPublishPacket>("publish");
  if (qos === 1) wire.send({ cmd: "puback", messageId: messageId! });
  if (qos === 2) {
    wire.send({ cmd: "pubrec", messageId: messageId! });
    const released = await wire.next<{ cmd: "pubrel"; messageId: number }>("pubrel");
    wire.send({ cmd: "pubcomp", messageId: released.messageId });
  }
  return { topic, payload: payload.toString(), qos, retain, dup };
}

/** All messages up to the one that says `last`, without that one. */
export async function receiveUntil(wire: Wire, last: string): Promise<Received[]> {
  const received: Received[] = [];
  for (;;) {
    const message = await receive(wire);
    if (message.payload === last) return received;
    received.push(message);
  }
}

/** The payloads of all messages up to the one that says `last`. */
export async function payloadsUntil(wire: Wire, last: string): Promise<string[]> {
  return (await receiveUntil(wire, last)).map(({ payload }) => payload);
}
