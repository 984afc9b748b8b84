/**
 * The wire guard of a broker: every connection comes in through `handle`, and from its first byte on is read, checked and
 * served by an intake, an exchange and an outbound of its own around Aedes' client.
 *
 * Refuses to stand in front of a broker in which a piece is missing: our emitter, our store, or one of the gate's hooks.
 */
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { Duplex } from "node:stream";
import mqttPacket from "mqtt-packet";
import type { Packet } from "mqtt-packet";
import { Refusal } from "../../shared/refusal.ts";
import type { Gate } from "../gate/hooks.ts";
import type { EngineBroker, EngineClient } from "./aedes-client.ts";
import type { FrameHead } from "./frame.ts";
import { defaultLimits } from "./limits.ts";
import type { EngineLimits } from "./limits.ts";
import { Line } from "./line.ts";
import type { LineDesk } from "./line.ts";
import { noMeter } from "./meter.ts";
import type { EngineMeter } from "./meter.ts";
import { missingPieces, storeOf } from "./pieces.ts";
import type { Piece } from "./pieces.ts";
import { packetType } from "./publish-frame.ts";
import { keepRegister } from "./register.ts";
import { followTakenBack } from "./taken-back.ts";

/** What a guard may be told. */
export interface GuardOptions {
  readonly limits?: Partial<EngineLimits> | undefined;
  readonly meter?: EngineMeter | undefined;
  /** Pieces that may be missing; otherwise the guard does not stand in front of a broker that lacks one. */
  readonly without?: readonly Piece[] | undefined;
  /** Called when a connection got its CONNACK. */
  readonly admitted?: ((connection: Duplex, request: IncomingMessage | undefined) => void) | undefined;
}

/** Takes the place of `broker.handle`. */
export type Handle = (connection: Duplex, request?: IncomingMessage) => void;

/** Puts a guard in front of an Aedes broker. Throws a TypeError naming the pieces that are missing. */
export function openGuard(aedes: object, gate: Gate, options: GuardOptions = {}): Handle {
  const broker = aedes as EngineBroker;
  const limits: EngineLimits = { ...defaultLimits, ...options.limits };
  const meter = options.meter ?? noMeter;
  const missing = missingPieces(broker, gate).filter((piece) => options.without?.includes(piece) !== true);
  if (missing.length > 0) {
    throw new TypeError(
      `this broker lacks our ${missing.join(" and our ")}: make it with the gate's options as they are, ` +
        "or name in `without` what it is to do without",
    );
  }

  const store = storeOf(broker.persistence);
  const lines = new WeakMap<object, Line>();
  const end = (client: EngineClient, error: unknown): void => {
    const refusal = gate.report(error, client, "wire");
    if (!client.closed) client.emit("error", refusal);
  };
  const desk: LineDesk = {
    limits,
    meter,
    turns: { waiting: 0 },
    end,
    store,
    isRefused: (client, topic) => gate.isRefused(client, topic),
    parse: openParser(),
    exchange: store && { broker, store, limits, meter, end },
  };

  followTakenBack(broker, gate);
  keepRegister(broker);
  if (!missingPieces(broker, gate).includes("emitter")) unsubscribeAtOnce(broker);
  if (store !== undefined) bringByLine(broker, lines);
  broker.on("connackSent", (connack: { returnCode: number }, client: EngineClient) => {
    const line = lines.get(client);
    if (line === undefined || connack.returnCode !== 0) return;
    // gone while it was written: whoever begins now would not end
    if (client.closed) return;
    // asked for when it was let in, and again now that it begins: many may have been let in meanwhile
    if (!client.clean && store?.mayKeepSession(client.id) === false) {
      return end(client, new Refusal("limit.reached", "stored sessions"));
    }
    options.admitted?.(client.conn, client.req);
    line.outbound.begin(store);
    line.intake.open();
  });

  return (connection, request) => {
    const client = broker.handle(connection, request);
    lines.set(client, new Line(client, desk));
    gate.guarded.add(client);
  };
}

/**
 * Has a subscription end in one go, as our emitter ends it: one of the same filter that begins before its end was told would be
 * taken for it, and never end.
 */
function unsubscribeAtOnce(broker: EngineBroker): void {
  broker.unsubscribe = (filter, notify, done) => {
    broker.mq.removeListener(filter, notify);
    done?.();
  };
}

/**
 * Has the retained messages of a SUBSCRIBE brought by the line of the client that asks, and what waits in its queue by that line
 * alone.
 */
function bringByLine(broker: EngineBroker, lines: WeakMap<object, Line>): void {
  const persistence = broker.persistence as {
    createRetainedStreamCombi(filters: readonly string[]): Readable;
    outgoingStream(client: object): Readable;
  };
  const queued = persistence.outgoingStream.bind(persistence);
  persistence.outgoingStream = (client) => (lines.has(client) ? Readable.from([]) : queued(client));
  const open = persistence.createRetainedStreamCombi.bind(persistence);
  let asking: Line | undefined;
  // told of right before the messages are asked for
  broker.on("subscribe", (_subscriptions: object, client: object) => (asking = lines.get(client)));
  persistence.createRetainedStreamCombi = (filters) => {
    const line = asking;
    asking = undefined;
    return line === undefined ? open(filters) : line.retained(filters, () => open(filters));
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
