/**
 * One connection behind the guard: its intake, exchange and outbound, and the way to Aedes for the packets that are Aedes' own.
 */
import { Readable } from "node:stream";
import mqttPacket from "mqtt-packet";
import type { ISubscribePacket, IUnsubscribePacket, Packet } from "mqtt-packet";
import { Refusal } from "../../shared/refusal.ts";
import type { EngineClient, EngineParser } from "./aedes-client.ts";
import { Exchange } from "./exchange.ts";
import type { ExchangeDesk } from "./exchange.ts";
import { isKnownVersion } from "./frame.ts";
import type { FrameHead } from "./frame.ts";
import { Intake } from "./intake.ts";
import type { IntakeDesk } from "./intake.ts";
import type { EngineLimits } from "./limits.ts";
import type { Notify } from "./message.ts";
import { Outbound } from "./outbound.ts";
import type { OutboundDesk } from "./outbound.ts";
import { packetType } from "./publish-frame.ts";

/** What all connections of a broker share. */
export interface LineDesk extends IntakeDesk, OutboundDesk {
  readonly limits: EngineLimits;
  /** Absent where the store is not ours: then messages of QoS 1 and 2 are Aedes' own. */
  readonly exchange: ExchangeDesk | undefined;
  parse(frame: Buffer, head: FrameHead): Packet;
}

type Listener = (this: object, packet: Packet) => void;

/** A CONNECT that is answered with code 1 (MQTT-3.1.2-2). */
const unknownVersion = { cmd: "connect", protocolVersion: 0, clientId: "", clean: true } as unknown as Packet;

/** In place of a client's own parser: one that was never given anything, with nothing to let go of. */
const inertParser: EngineParser = { _queue: null, listeners: () => [], removeAllListeners: () => undefined };

/** In place of what Aedes would note of messages that it does not take or deliver: shared, and never written to. */
const nothingInFlight = new Set<number>();
const noDuplicates: Record<string, number> = Object.freeze({});

/** Filters of one client whose retained messages may wait to be delivered. */
const mostWanted = 10_000;

/** Takes the place of a client's reading and delivering. To Aedes it is the parser that a packet came from. */
export class Line {
  readonly client: EngineClient;
  readonly intake: Intake;
  readonly outbound: Outbound;
  readonly _queue = null;
  readonly #desk: LineDesk;
  readonly #exchange: Exchange | undefined;
  readonly #listener: Listener;
  readonly #nextBatch: EngineClient["_nextBatch"];
  /** Filters whose retained messages are asked for and not all delivered, and the end of the last that were asked for. */
  #wanted = 0;
  #retained: Promise<void> | undefined;

  constructor(client: EngineClient, desk: LineDesk) {
    this.client = client;
    this.#desk = desk;
    this.#listener = client._parser.listeners("packet")[0] as Listener;
    // the parser of a client serves nobody: one serves all
    client._parser.removeAllListeners();
    client._parser = inertParser;
    client.conn.removeListener("readable", client._nextBatch);

    this.outbound = new Outbound(client, desk);
    this.intake = new Intake(client, desk, this);
    this.#exchange = desk.exchange && new Exchange(desk.exchange, this.intake, this.outbound);
    this.#nextBatch = (error) => {
      if (error) client.emit("error", error);
      else this.intake.finished();
    };
    client._nextBatch = this.#nextBatch;
    const deliver: Notify = (message, done) => this.outbound.deliver(message, done);
    client.deliver0 = deliver;
    if (desk.exchange !== undefined) {
      client.deliverQoS = deliver;
      client._inboundInflight = nothingInFlight;
      client.duplicates = noDuplicates;
    }
    // whoever reads, though slowly, is not given up
    client.waitForDrain = (done) => this.outbound.whenLeft(() => setImmediate(done, null, client));
    // one listener sees what a dozen of them would see
    client._eos();
    client._eos = () => undefined;
    client.conn.on("close", () => {
      client.close();
      this.outbound.end();
    });
  }

  /** Takes a packet that was checked; false when it is not finished yet. */
  take(frame: Buffer, head: FrameHead): boolean {
    if (this.#exchange !== undefined && Exchange.takes(head)) return this.#exchange.take(frame, head);
    // the first packet is taken when it is the only one
    if (head.kind === packetType.connect) this.client._parsingBatch = 0;
    // of another version nothing but that is told to the broker, which answers it so
    const packet = isKnownVersion(frame, head) ? this.#desk.parse(frame, head) : unknownVersion;
    if (packet.cmd === "subscribe" || packet.cmd === "unsubscribe") this.#alter(packet);
    else this.#listener(packet);
    return false;
  }

  emit(): void {}

  /**
   * The retained messages that a SUBSCRIBE asks for: those of one after those of the other, each when there is room for it,
   * so that who asks and does not read has none of them in memory.
   */
  retained(filters: readonly string[], open: () => Readable): Readable {
    this.#wanted += filters.length;
    if (this.#wanted > mostWanted) {
      this.#desk.end(this.client, new Refusal("limit.reached", "retained messages that are asked for"));
    }
    const before = this.#retained;
    const messages = Readable.from(this.#inTurn(before, open), { objectMode: true, highWaterMark: 1 });
    // nobody else listens
    messages.on("error", (error) => this.#desk.end(this.client, error));
    this.#retained = new Promise((resolve) => {
      messages.once("close", () => {
        this.#wanted -= filters.length;
        resolve();
      });
    });
    return messages;
  }

  async *#inTurn(before: Promise<void> | undefined, open: () => Readable): AsyncGenerator<object, void, undefined> {
    await before;
    if (this.client.closed) return;
    for await (const packet of open()) {
      await this.outbound.room();
      if (this.client.closed) return;
      yield packet as object;
    }
  }

  /** Subscriptions change one packet after the other, and what follows is worked off when they have. */
  #alter(packet: ISubscribePacket | IUnsubscribePacket): void {
    const answer = packet.cmd === "subscribe" ? answerForEach(packet, this.outbound) : undefined;
    this.intake.hold();
    this.client._nextBatch = (error) => {
      answer?.();
      this.intake.release();
      this.#nextBatch(error);
    };
    this.#listener(packet);
    this.client._nextBatch = this.#nextBatch;
  }
}

/**
 * Has a SUBSCRIBE that names a filter twice answered by us, with a code for each (MQTT-3.8.4-5); returns what does so.
 */
function answerForEach(packet: ISubscribePacket, outbound: Outbound): (() => void) | undefined {
  const { messageId, subscriptions } = packet;
  const filters = subscriptions.map(({ topic }) => topic);
  if (new Set(filters).size === filters.length) return undefined;
  delete packet.messageId;
  return () => {
    // in this turn, but when it is known what was granted
    process.nextTick(() => {
      const granted = new Map(packet.subscriptions.map(({ topic, qos }) => [topic, qos as number]));
      const codes = filters.map((filter) => granted.get(filter) ?? 128);
      outbound.write(mqttPacket.generate({ cmd: "suback", messageId: messageId!, granted: codes }));
    });
  };
}
