/**
 * The members of Aedes' broker and client that the engine room reads, calls and replaces. Those that begin with `_`, and
 * `deliver0` and `deliverQoS`, are not its public interface: the version is pinned, and `test/mqtt/aedes-client.test.ts`
 * says when one of them is no longer what it was.
 */
import type { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Message, Notify } from "./message.ts";

/** A packet that is not a message, as the parser gives it. */
export interface ControlPacket {
  readonly cmd: string;
  readonly messageId?: number;
}

/** A live subscription. */
export interface Subscription {
  readonly qos: 0 | 1 | 2;
  readonly func: Notify;
}

/** A client connection. */
export interface EngineClient extends EventEmitter {
  readonly id: string;
  readonly clean: boolean;
  readonly conn: Duplex;
  readonly req?: IncomingMessage | undefined;
  readonly closed: boolean;
  readonly connackSent: boolean;
  readonly broker: EngineBroker;
  subscriptions: Record<string, Subscription>;
  deliver0: Notify;
  deliverQoS: Notify;
  close(done?: () => void): void;
  /** Waits until what was written can be read on. */
  waitForDrain(done: (error: Error | null, client: EngineClient) => void): void;
  /** What parses; replaced, because one parser serves all connections. */
  _parser: EngineParser;
  /** Called when a packet was handled; listens to `readable` until the intake takes over. */
  _nextBatch: (error?: Error | null) => void;
  /** Packets being handled; the first packet is taken only when it is the only one. */
  _parsingBatch: number;
  /** Stops watching for the end of the connection, with many listeners. */
  _eos: () => void;
  /** Of QoS 2 that Aedes takes itself. */
  _inboundInflight: Set<number>;
  /** The last message of each broker that Aedes delivered itself. */
  duplicates: Record<string, number>;
  readonly _keepaliveInterval: number;
  readonly _keepaliveTimer: NodeJS.Timeout | null;
}

/** The part of a client's parser that its client uses. */
export interface EngineParser {
  _queue: unknown;
  listeners(event: string): unknown[];
  removeAllListeners(event?: string): unknown;
}

/** A broker. */
export interface EngineBroker extends EventEmitter {
  readonly id: string;
  readonly closed: boolean;
  /** Numbers the messages that are routed. */
  counter: number;
  /** The connected clients by id. */
  readonly clients: Record<string, EngineClient>;
  /** How many there are. */
  connectedClients: number;
  /** Replaced; ends whoever is connected under the same id. */
  registerClient(client: EngineClient): void;
  unregisterClient(client: EngineClient): void;
  readonly mq: {
    emit(message: Message, done: () => void): unknown;
    removeListener(filter: string, notify: Notify): unknown;
  };
  unsubscribe(filter: string, notify: Notify, done?: (error?: Error | null) => void): void;
  readonly persistence: object;
  readonly handle: (connection: Duplex, request?: IncomingMessage) => EngineClient;
  authorizePublish(client: EngineClient, packet: Message, done: (error?: Error | null) => void): void;
  authorizeForward(client: EngineClient, packet: Message): Message | null;
  published(packet: Message, client: EngineClient, done: (error?: Error | null) => void): void;
  publish(packet: object, done: (error?: Error | null) => void): void;
}
