/** A way out to a connection whose reader reads when it is told to, in a broker that is not there. */
import { EventEmitter } from "node:events";
import { Duplex } from "node:stream";
import mqttPacket from "mqtt-packet";
import type { IPublishPacket, Packet } from "mqtt-packet";
import type { EngineClient } from "../../broker/mqtt/aedes-client.ts";
import { defaultLimits } from "../../broker/mqtt/limits.ts";
import type { DeliveryLimits } from "../../broker/mqtt/limits.ts";
import type { Message } from "../../broker/mqtt/message.ts";
import { noMeter } from "../../broker/mqtt/meter.ts";
import type { Drop } from "../../broker/mqtt/meter.ts";
import { Outbound } from "../../broker/mqtt/outbound.ts";
import type { Refusal } from "../../shared/refusal.ts";

/** A connection whose reader reads when it is told to. */
export class Peer extends Duplex {
  isReading = true;
  readonly got: Packet[] = [];
  #blocked: (() => void) | undefined;
  readonly #parser = mqttPacket.parser();

  constructor() {
    super({ writableHighWaterMark: 64 });
    this.#parser.on("packet", (packet: Packet) => this.got.push(packet));
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#parser.parse(chunk);
    if (this.isReading) done();
    else this.#blocked = done;
  }
  readOn(): void {
    this.isReading = true;
    const blocked = this.#blocked;
    this.#blocked = undefined;
    blocked?.();
  }
  get messages(): string[] {
    return this.got
      .filter((packet) => packet.cmd === "publish")
      .map(({ qos, topic, payload, dup, retain }: IPublishPacket) =>
        [topic, payload.toString(), qos, ...(dup ? ["dup"] : []), ...(retain ? ["retain"] : [])].join(" "),
      );
  }
  idOf(index: number): number {
    return (this.got.filter((packet) => packet.cmd === "publish")[index] as IPublishPacket).messageId!;
  }
}

export interface Setting {
  readonly peer: Peer;
  readonly outbound: Outbound;
  readonly client: EngineClient;
  readonly dropped: Drop[];
  readonly ended: string[];
  /** Topics that delivery is refused for. */
  readonly refused: Set<string>;
  readonly subscribe: (filter: string, qos: 0 | 1 | 2) => void;
  /** Delivers; says what `done` was given, or "held" as long as it was not called. */
  readonly deliver: (
    topic: string,
    qos: 0 | 1 | 2,
    payload?: string | Buffer,
    change?: Partial<Message>,
  ) => { outcome: unknown };
}

let counter = 0;

export function open(limits: Partial<DeliveryLimits> = {}, clean = true): Setting {
  const peer = new Peer();
  const dropped: Drop[] = [];
  const ended: string[] = [];
  const refused = new Set<string>();
  const client = Object.assign(new EventEmitter(), {
    id: "acme.a",
    clean,
    conn: peer,
    closed: false,
    connackSent: true,
    subscriptions: {},
    broker: {
      id: "b",
      authorizeForward: (_client: object, message: Message) => (refused.has(message.topic) ? null : message),
    },
  }) as unknown as EngineClient;
  const outbound = new Outbound(client, {
    limits: { ...defaultLimits, ...limits },
    meter: { ...noMeter, dropped: (why) => dropped.push(why) },
    isRefused: (_client, topic) => refused.has(topic),
    end: (_client, error) => ended.push((error as Refusal).detail),
  });
  return {
    peer,
    outbound,
    client,
    dropped,
    ended,
    refused,
    subscribe(filter, qos) {
      client.subscriptions[filter] = { qos, func: () => {} };
    },
    deliver(topic, qos, payload = "x", change = {}) {
      const result = { outcome: "held" as unknown };
      const routed = { brokerId: "b", brokerCounter: ++counter };
      const message: Message = { cmd: "publish", topic, payload: Buffer.from(payload), qos, retain: false, dup: false };
      outbound.deliver({ ...message, ...routed, ...change }, (outcome) => (result.outcome = outcome));
      return result;
    },
  };
}

export async function turns(count = 3): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
