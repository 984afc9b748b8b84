/**
 * What leaves for one client: messages of QoS 0 as they come, messages of QoS 1 and 2 within a window of unacknowledged
 * ones, those of a stored session out of its queue in the store and nowhere else (MQTT 3.1.1, sections 4.3, 4.4, 4.6).
 *
 * A client that reads slowly hurts itself (`pace.ts`): while it is behind, QoS 0 is dropped, and QoS 1 and 2 wait in its queue
 * as long as that has room.
 */
import { Refusal } from "../../shared/refusal.ts";
import type { EngineClient } from "./aedes-client.ts";
import type { DurableStore, Entry, SessionQueue } from "./durable.ts";
import type { DeliveryLimits } from "./limits.ts";
import { notTaken } from "./message.ts";
import type { Message } from "./message.ts";
import type { EngineMeter } from "./meter.ts";
import { InFlight } from "./in-flight.ts";
import type { Sent } from "./in-flight.ts";
import { Pace } from "./pace.ts";
import type { GoOn, Paced } from "./pace.ts";
import { packetType, writeAcknowledgement, writePublish } from "./publish-frame.ts";
import { Subscriptions } from "./subscriptions.ts";
import { WaitingLine } from "./waiting-line.ts";

/** What all connections of a broker share. */
export interface OutboundDesk {
  readonly limits: DeliveryLimits;
  readonly meter: EngineMeter;
  /** Whether the session of this client may not have this message; false when the session is over. */
  isRefused(client: object, topic: string): boolean;
  /** Ends a connection for a reason, which is logged. */
  end(client: EngineClient, error: unknown): void;
  /** Where sessions are kept, if that is our store. */
  readonly store?: DurableStore | undefined;
}

/** One client's way out. */
export class Outbound implements Paced {
  readonly client: EngineClient;
  readonly subscriptions: Subscriptions;
  readonly #desk: OutboundDesk;
  readonly #pace: Pace;
  readonly #inFlight = new InFlight();
  #store: DurableStore | undefined;
  #queue: SessionQueue | undefined;
  #waiting: WaitingLine | undefined;
  #isCorked = false;
  #lastBroker: string | undefined;
  #lastCounter: number | undefined;

  constructor(client: EngineClient, desk: OutboundDesk) {
    this.client = client;
    this.#desk = desk;
    this.#pace = new Pace(this, desk.limits);
    this.subscriptions = new Subscriptions(this);
    client.subscriptions = this.subscriptions.record;
    client.conn.on("drain", () => this.#flush());
  }

  /** Whether the client is there and keeps up. */
  get isReady(): boolean {
    return !this.client.closed && this.client.connackSent && !this.#pace.isBehind;
  }

  /** Takes QoS 1 and 2 from its stored queue, or will when its CONNACK has left. */
  get isStored(): boolean {
    const { client } = this;
    return this.#queue !== undefined || (this.#desk.store !== undefined && !client.clean && !client.connackSent);
  }

  /** Puts a message into its stored queue, whatever it subscribes to. False: it may not have it. */
  keep(message: Message, subscribed: 1 | 2): boolean {
    const { client } = this;
    const store = this.#store ?? this.#desk.store;
    if (client.closed || client.clean || store === undefined) return false;
    const allowed = client.broker.authorizeForward(client, message);
    if (!allowed || client.closed) return false;
    const qos = subscribed < message.qos ? subscribed : message.qos;
    store.enqueue(client.id, { ...allowed, qos, retain: false });
    return true;
  }

  /** CONNACK has left: what waits for the client in the store follows. */
  begin(store: DurableStore | undefined): void {
    if (store === undefined || this.client.clean) return;
    this.#queue = store.attach(this.client.id, () => this.#flush());
    this.#store = store;
    setImmediate(() => this.#flush());
  }

  /** The connection is over. */
  end(): void {
    this.#queue?.detach();
    this.#waiting = undefined;
    this.#inFlight.clear();
    this.#pace.end();
  }

  /** Delivers a routed message, at the highest QoS of the filters that match it. */
  deliver(message: Message, given: GoOn): void {
    const { client } = this;
    // retained messages, which a new subscription brings, name no broker; whoever brings them knows of no groups
    const isRetained = message.retain && !message.brokerId;
    const done: GoOn = isRetained ? () => given() : given;
    if (client.closed || !client.connackSent) return done(notTaken);
    // a message that matches several filters arrives once for each, one after the other
    const { brokerId, brokerCounter } = message;
    if (brokerId && brokerId === this.#lastBroker && brokerCounter === this.#lastCounter) return done();
    this.#lastBroker = brokerId;
    this.#lastCounter = brokerCounter;

    const qos = message.qos === 0 ? 0 : this.subscriptions.qosOf(message.topic, message.qos);
    if (qos > 0 && this.#queue !== undefined && !isRetained) return this.#pace.hold(done);

    const allowed = client.broker.authorizeForward(client, message);
    if (!allowed || client.closed) return done(notTaken);
    if (qos === 0) this.#deliverAtMostOnce(allowed, isRetained, done);
    else if (this.#queue !== undefined) {
      this.#store!.enqueue(client.id, { ...allowed, qos });
      this.#pace.wait(done);
    } else this.#deliverAcknowledged(allowed, qos, isRetained, done);
  }

  /** Sends what is no message; in order with the messages. */
  write(bytes: Buffer): void {
    const { client } = this;
    const { conn } = client;
    if (client.closed || conn.destroyed) return;
    if (!this.#isCorked) {
      this.#isCorked = true;
      conn.cork();
      // everything of one turn leaves together
      process.nextTick(uncork, this, conn);
    }
    this.#pace.handed(bytes.length);
    conn.write(bytes);
  }
  uncorked(): void {
    this.#isCorked = false;
  }

  /** Resolves when the client has room for a retained message, or is gone. */
  async room(): Promise<void> {
    while (!this.client.closed && this.isFull) await new Promise<void>((resolve) => this.#pace.wait(() => resolve()));
  }

  /** More was written than its connection takes at once. */
  get isUnread(): boolean {
    return this.client.conn.writableNeedDrain;
  }

  /** Calls back when all that was written has left; a client that lets nothing leave for long is disconnected. */
  whenLeft(done: () => void): void {
    this.#pace.whenLeft(done);
  }

  giveUp(): void {
    this.#desk.end(this.client, new Refusal("limit.reached", "the client does not read"));
  }

  /** PUBACK. */
  acknowledged(packetId: number): void {
    const sent = this.#inFlight.get(packetId);
    if (sent?.qos === 1) this.#complete(packetId, sent);
  }

  /** PUBREC; what follows is PUBREL, also for one that is not known any more. */
  received(packetId: number): void {
    const sent = this.#inFlight.get(packetId);
    const release = (): void => this.write(writeAcknowledgement(packetType.pubrel, packetId));
    if (sent?.qos !== 2) return release();
    if (sent.entry === undefined) return release();
    this.#queue!.release(sent.entry);
    this.#store!.whenDurable((error) => {
      if (error === undefined) release();
      else this.#desk.end(this.client, new Refusal("internal", error.message));
    });
  }

  /** PUBCOMP. */
  completed(packetId: number): void {
    const sent = this.#inFlight.get(packetId);
    if (sent?.qos === 2) this.#complete(packetId, sent);
  }

  #complete(packetId: number, sent: Sent): void {
    this.#pace.acknowledged();
    this.#inFlight.delete(packetId);
    if (sent.entry !== undefined) this.#queue?.remove(sent.entry);
    this.#flush();
  }

  #deliverAtMostOnce(message: Message, isRetained: boolean, done: GoOn): void {
    const { meter, limits } = this.#desk;
    if (this.client.conn.writableLength >= limits.sendBytes) {
      if (isRetained) return this.#pace.wait(() => this.#deliverAtMostOnce(message, true, done));
      meter.dropped("slow-reader");
      this.#pace.fallBehind();
      return done(notTaken);
    }
    this.#publish(message, { qos: 0, retain: message.retain });
    if (isRetained) this.#pace.wait(done);
    else this.#pace.hold(done);
  }

  #deliverAcknowledged(message: Message, qos: 1 | 2, isRetained: boolean, done: GoOn): void {
    const waiting = (this.#waiting ??= new WaitingLine(this.#desk.limits));
    if (!waiting.isEmpty || !this.#hasRoom()) {
      if (isRetained && !waiting.hasRoom) {
        return this.#pace.wait(() => this.#deliverAcknowledged(message, qos, true, done));
      }
      if (!waiting.push(message, qos)) {
        this.#desk.meter.dropped("waiting-full");
        this.#pace.fallBehind();
        return done(notTaken);
      }
    } else this.#send(message, qos);
    if (isRetained) this.#pace.wait(done);
    else this.#pace.hold(done);
  }

  /** Sends what may go now. */
  #flush(): void {
    if (this.client.closed || !this.client.connackSent) return;
    while (this.#hasRoom()) {
      const next = this.#waiting?.shift();
      if (next === undefined) break;
      const allowed = this.client.broker.authorizeForward(this.client, next.message);
      if (this.client.closed) return;
      if (allowed) this.#send(allowed, next.qos);
    }
    if (this.#queue !== undefined) this.#flushQueue(this.#queue);
    if (this.isFull) return;
    this.#pace.eased();
  }

  /** Takes several at a time: what waits on disk is read in one go. */
  #flushQueue(queue: SessionQueue): void {
    const { window } = this.#desk.limits;
    while (this.#hasRoom()) {
      const room = window - this.#inFlight.size;
      if (room < window / 4 && this.#inFlight.size > 0) return;
      const entries = queue.take(room);
      if (entries.length === 0) return;
      for (const entry of entries) if (!this.#sendEntry(queue, entry)) return;
    }
  }

  /** Whether to go on: not when the session is over, for which what is left waits. */
  #sendEntry(queue: SessionQueue, entry: Entry): boolean {
    const { client } = this;
    const { packetId, qos, isReleased } = entry;
    if (isReleased) {
      this.#inFlight.set(packetId, { qos: 2, entry });
      this.write(writeAcknowledgement(packetType.pubrel, packetId));
      return true;
    }
    const { topic, payload, retain } = entry;
    const message: Message = { cmd: "publish", topic, payload, qos, retain, dup: false, brokerId: client.broker.id };
    if (!client.broker.authorizeForward(client, message)) {
      if (client.closed || !this.#desk.isRefused(client, entry.topic)) return false;
      queue.remove(entry);
      return true;
    }
    this.#inFlight.set(packetId, { qos, entry });
    this.#publish(message, { qos, retain: entry.retain, isRepeated: entry.wasSent, packetId });
    return true;
  }

  #send(message: Message, qos: 1 | 2): void {
    const packetId = this.#inFlight.takeId();
    this.#inFlight.set(packetId, { qos, entry: undefined });
    this.#publish(message, { qos, retain: message.retain, packetId });
  }

  #publish(message: Message, delivery: Parameters<typeof writePublish>[2]): void {
    for (const bytes of writePublish(message.topic, message.payload, delivery)) this.write(bytes);
    this.#desk.meter.sent(delivery.qos);
  }

  #hasRoom(): boolean {
    const { window, sendBytes } = this.#desk.limits;
    return this.#inFlight.size < window && this.client.conn.writableLength < sendBytes;
  }

  get isFull(): boolean {
    const { sendBytes } = this.#desk.limits;
    return (
      this.client.conn.writableLength >= sendBytes / 4 ||
      (this.#waiting !== undefined && this.#waiting.isHalfFull) ||
      (this.#queue !== undefined && this.#queue.isHalfFull)
    );
  }
}

function uncork(outbound: Outbound, conn: EngineClient["conn"]): void {
  outbound.uncorked();
  conn.uncork();
}
