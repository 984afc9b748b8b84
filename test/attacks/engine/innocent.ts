/**
 * The innocent pair, alone in its process so that whoever attacks does not hold it up: a publisher that sends a message of
 * QoS 1 every ten milliseconds, and a subscriber that notes what arrives and the longest time in which nothing did.
 *
 * Started with one argument, {@link PairOptions} as JSON. `begin` starts a count, `end` waits until all that was sent
 * since has arrived and is acknowledged (not for ever) and is answered with the count.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import mqttPacket from "mqtt-packet";
import type { IConnectPacket, IPublishPacket, Packet } from "mqtt-packet";

export interface PairOptions {
  readonly port: number;
  readonly topic: string;
  readonly publisher: Partial<IConnectPacket>;
  readonly subscriber: Partial<IConnectPacket>;
}

/** What became of the messages since `begin`. */
export interface PairCount {
  readonly sent: number;
  readonly lost: number;
  readonly unacknowledged: number;
  readonly disconnects: number;
  readonly longestGapMs: number;
}

export type PairQuestion = "begin" | "end" | "stop";
export type PairMessage = "ready" | PairCount;

const everyMs = 10;
const sentAfter = 10;
/** After it, what has not arrived counts as lost. */
const patienceMs = 30_000;

const options = JSON.parse(process.argv[2]!) as PairOptions;
const pending = new Set<number>();
const unacknowledged = new Set<number>();
const tally = { sent: 0, disconnects: 0, longestGapMs: 0, lastArrival: performance.now() };
let isStopping = false;

const subscriber = await open(options.subscriber);
subscriber.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: options.topic, qos: 1 }] });
await subscriber.next("suback");
const publisher = await open(options.publisher);

subscriber.on("publish", (packet) => {
  const { payload, messageId } = packet as IPublishPacket;
  subscriber.send({ cmd: "puback", messageId: messageId! });
  const now = performance.now();
  tally.longestGapMs = Math.max(tally.longestGapMs, now - tally.lastArrival);
  tally.lastArrival = now;
  pending.delete(Number(payload.toString()));
});
publisher.on("puback", (packet) => unacknowledged.delete(packet.messageId!));

let number = 0;
setInterval(() => {
  number++;
  const messageId = (number % 65_000) + 1;
  pending.add(number);
  unacknowledged.add(messageId);
  tally.sent++;
  const packet = { qos: 1, retain: false, dup: false, messageId } as const;
  publisher.send({ cmd: "publish", topic: options.topic, payload: String(number), ...packet });
}, everyMs);

process.on("message", (question: PairQuestion) => {
  if (question === "stop") {
    isStopping = true;
    process.disconnect();
  } else if (question === "begin") begin();
  else void end().then((count) => process.send?.(count));
});
process.on("disconnect", () => process.exit());
process.send?.("ready" satisfies PairMessage);

function begin(): void {
  pending.clear();
  unacknowledged.clear();
  Object.assign(tally, { sent: 0, disconnects: 0, longestGapMs: 0, lastArrival: performance.now() });
}

async function end(): Promise<PairCount> {
  const until = performance.now() + patienceMs;
  // what is sent once the attack is over belongs to it too
  const enough = tally.sent + sentAfter;
  while (tally.sent < enough) await new Promise((resolve) => setTimeout(resolve, everyMs));
  const awaited = [...pending];
  const acknowledged = [...unacknowledged];
  const isThere = (): boolean =>
    !awaited.some((one) => pending.has(one)) && !acknowledged.some((one) => unacknowledged.has(one));
  while (!isThere() && tally.disconnects === 0 && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  // a gap that has not ended counts as well
  const { sent, disconnects } = tally;
  return {
    sent,
    lost: awaited.filter((one) => pending.has(one)).length,
    unacknowledged: acknowledged.filter((one) => unacknowledged.has(one)).length,
    disconnects,
    longestGapMs: Math.max(tally.longestGapMs, performance.now() - tally.lastArrival),
  };
}

interface Peer {
  send(packet: Packet): void;
  next(cmd: string): Promise<void>;
  on(cmd: string, listener: (packet: Packet) => void): void;
}

async function open(connectPacket: Partial<IConnectPacket>): Promise<Peer> {
  const socket: Socket = connect({ port: options.port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  const listeners = new Map<string, (packet: Packet) => void>();
  parser.on("packet", (packet: Packet) => listeners.get(packet.cmd)?.(packet));
  socket.on("data", (bytes) => parser.parse(bytes));
  socket.on("error", () => {});
  socket.on("close", () => {
    if (!isStopping) tally.disconnects++;
  });
  const peer: Peer = {
    send: (packet) => void socket.write(mqttPacket.generate(packet)),
    next: (cmd) => new Promise((resolve) => listeners.set(cmd, () => resolve())),
    on: (cmd, listener) => void listeners.set(cmd, listener),
  };
  peer.send({
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 4,
    clean: true,
    clientId: "",
    keepalive: 4,
    ...connectPacket,
  });
  await peer.next("connack");
  return peer;
}
