/**
 * The wire guard of a broker: every connection comes in through `handle`, and from its first byte on is read, checked and
 * served by an intake, an exchange and an outbound of its own around Aedes' client.
 *
 * Refuses to stand in front of a broker in which a piece is missing: our emitter, our store, or one of the gate's hooks.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import mqttPacket from "mqtt-packet";
import type { ISubscribePacket, IUnsubscribePacket, Packet } from "mqtt-packet";
import { pino } from "pino";
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import type { Gate } from "../gate/hooks.ts";
import type { EngineBroker, EngineClient, EngineParser } from "./aedes-client.ts";
import { Exchange } from "./exchange.ts";
import { isKnownVersion } from "./frame.ts";
import type { FrameHead } from "./frame.ts";
import { Intake } from "./intake.ts";
import { defaultLimits } from "./limits.ts";
import type { EngineLimits } from "./limits.ts";
import { noMeter } from "./meter.ts";
import type { EngineMeter } from "./meter.ts";
import { Outbound } from "./outbound.ts";
import { missingPieces, storeOf } from "./pieces.ts";
import type { Piece } from "./pieces.ts";
import { packetType } from "./publish-frame.ts";

/** What a guard may be told. */
export interface GuardOptions {
  readonly limits?: Partial<EngineLimits> | undefined;
  readonly log?: Logger | undefined;
  readonly meter?: EngineMeter | undefined;
  /** Pieces that may be missing; otherwise the guard does not stand in front of a broker that lacks one. */
  readonly without?: readonly Piece[] | undefined;
  /** Called when a connection got its CONNACK. */
  readonly admitted?: ((connection: Duplex, request: IncomingMessage | undefined) => void) | undefined;
}

/** Takes the place of `broker.handle`. */
export type Handle = (connection: Duplex, request?: IncomingMessage) => void;

interface Attached {
  readonly intake: Intake;
  readonly outbound: Outbound;
}

type Listener = (this: object, packet: Packet) => void;

/** A CONNECT that is answered with code 1 (MQTT-3.1.2-2). */
const unknownVersion = { cmd: "connect", protocolVersion: 0, clientId: "", clean: true } as unknown as Packet;

/** In place of a client's own parser: one that was never given anything, with nothing to let go of. */
const inertParser: EngineParser = { _queue: null, listeners: () => [], removeAllListeners: () => undefined };

/** Puts a guard in front of an Aedes broker. Throws a TypeError naming the pieces that are missing. */
export function openGuard(aedes: object, gate: Gate, options: GuardOptions = {}): Handle {
  const broker = aedes as EngineBroker;
  const limits: EngineLimits = { ...defaultLimits, ...options.limits };
  const log = options.log ?? pino({ level: "silent" });
  const meter = options.meter ?? noMeter;
  const missing = missingPieces(broker, gate).filter((piece) => options.without?.includes(piece) !== true);
  if (missing.length > 0) throw new TypeError(`this broker has no ${missing.join(" and no ")} of ours`);

  const store = storeOf(broker.persistence);
  const attached = new WeakMap<object, Attached>();
  const parse = openParser();
  const turns = { waiting: 0 };

  const end = (client: EngineClient, error: unknown): void => {
    const refusal = gate.report(error, client, "wire");
    if (!client.closed) client.emit("error", refusal);
  };
  const outboundDesk = {
    limits,
    meter,
    end,
    isRefused: (client: object, topic: string) => gate.isRefused(client, topic),
  };
  const exchangeDesk = store && { broker, store, limits, meter, end };

  broker.on("connackSent", (connack: { returnCode: number }, client: EngineClient) => {
    const parts = attached.get(client);
    if (parts === undefined || connack.returnCode !== 0) return;
    options.admitted?.(client.conn, client.req);
    parts.outbound.begin(store);
    parts.intake.open();
  });

  return (connection, request) => {
    const client = broker.handle(connection, request);
    const listener = client._parser.listeners("packet")[0] as Listener;
    // the parser of a client serves nobody: one serves all
    client._parser.removeAllListeners();
    client._parser = inertParser;
    connection.removeListener("readable", client._nextBatch);

    const outbound = new Outbound(client, outboundDesk);
    const stage = { client, _queue: null, emit: () => undefined };
    let exchange: Exchange | undefined;
    const intake = new Intake(client, {
      limits,
      turns,
      end,
      take(frame, head) {
        if (exchange !== undefined && Exchange.takes(head)) return exchange.take(frame, head);
        // the first packet is taken when it is the only one
        if (head.kind === packetType.connect) client._parsingBatch = 0;
        // of another version nothing but that is told to the broker, which answers it so
        const packet = isKnownVersion(frame, head) ? parse(frame, head) : unknownVersion;
        if (packet.cmd === "subscribe" || packet.cmd === "unsubscribe") return alter(packet);
        listener.call(stage, packet);
        return false;
      },
    });
    if (exchangeDesk !== undefined) exchange = new Exchange(exchangeDesk, intake, outbound);
    const nextBatch = (error?: Error | null): void => {
      if (error) client.emit("error", error);
      else intake.finished();
    };
    client._nextBatch = nextBatch;
    /** Subscriptions change one packet after the other, and what follows is worked off when they have. */
    const alter = (packet: ISubscribePacket | IUnsubscribePacket): boolean => {
      const isAnswered = packet.cmd === "subscribe" ? answerForEach(packet, outbound) : undefined;
      intake.hold();
      client._nextBatch = (error) => {
        isAnswered?.();
        intake.release();
        nextBatch(error);
      };
      listener.call(stage, packet);
      client._nextBatch = nextBatch;
      return false;
    };
    client.deliver0 = (message, done) => outbound.deliver(message, done);
    // without our store, QoS 1 and 2 are Aedes' own to deliver
    if (store !== undefined) client.deliverQoS = client.deliver0;
    attached.set(client, { intake, outbound });
    gate.guarded.add(client);
    connection.once("close", () => outbound.end());
    log.trace({ address: request?.socket.remoteAddress }, "connection");
  };
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

/** Parses whole packets that were checked; throws `packet.malformed`. */
function openParser(): (frame: Buffer, head: FrameHead) => Packet {
  let parsed: Packet | undefined;
  let failure: string | undefined;
  const open = (): ReturnType<typeof mqttPacket.parser> => {
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on("packet", (packet) => (parsed = packet));
    parser.on("error", (error) => (failure = error.message));
    return parser;
  };
  const shared = open();
  return (frame, head) => {
    parsed = failure = undefined;
    // CONNECT says how the packets after it are to be read
    const rest = (head.kind === packetType.connect ? open() : shared).parse(frame);
    if (parsed === undefined || failure !== undefined || rest > 0) {
      throw new Refusal("packet.malformed", failure ?? "not one packet");
    }
    return parsed;
  };
}
