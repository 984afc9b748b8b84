/**
 * PUBLISH and the acknowledgements of QoS 1 and 2, both ways (MQTT 3.1.1, sections 3.3 to 3.7 and 4.3). All other packets
 * go to Aedes.
 *
 * A message is authorized, stored for whom it must be stored, then acknowledged, then routed; what is not on disk is
 * not acknowledged. Messages of one client keep their order on the way, since the store answers in order.
 */
import { refuse, Refusal } from "../../shared/refusal.ts";
import type { EngineBroker, EngineClient } from "./aedes-client.ts";
import type { DurableStore } from "./durable.ts";
import type { FrameHead } from "./frame.ts";
import type { Intake } from "./intake.ts";
import type { WireLimits } from "./limits.ts";
import type { Message } from "./message.ts";
import type { EngineMeter } from "./meter.ts";
import type { Outbound } from "./outbound.ts";
import { packetType, readPacketId, readPublish, writeAcknowledgement } from "./publish-frame.ts";

/** What the exchanges of a broker stand on. */
export interface ExchangeDesk {
  readonly broker: EngineBroker;
  readonly store: DurableStore;
  readonly limits: WireLimits;
  readonly meter: EngineMeter;
  end(client: EngineClient, error: unknown): void;
}

/** Acknowledgements that a client may leave unread before nothing more is taken from it. */
const mostUnread = 1000;

/** The exchange of one client. */
export class Exchange {
  readonly #desk: ExchangeDesk;
  readonly #intake: Intake;
  readonly #outbound: Outbound;
  /** Messages of the client that the store has not answered for. */
  #pending = 0;
  /** Acknowledgements that were written while others had not left. */
  #unread = 0;
  /** QoS 2 of a client without a stored session: what has arrived and is not released. */
  #receipts: Set<number> | undefined;

  constructor(desk: ExchangeDesk, intake: Intake, outbound: Outbound) {
    this.#desk = desk;
    this.#intake = intake;
    this.#outbound = outbound;
  }

  /** Whether this packet is one of those that are exchanged here. */
  static takes(head: FrameHead): boolean {
    return head.kind >= packetType.publish && head.kind <= packetType.pubcomp;
  }

  /** Takes a packet that was checked; false when it is not finished yet. */
  take(frame: Buffer, head: FrameHead): boolean {
    switch (head.kind) {
      case packetType.publish:
        return this.#publish(readPublish(frame, head, this.#intake.client.id));
      case packetType.puback:
        this.#outbound.acknowledged(readPacketId(frame, head));
        return true;
      case packetType.pubrec:
        this.#outbound.received(readPacketId(frame, head));
        this.#weigh();
        return true;
      case packetType.pubcomp:
        this.#outbound.completed(readPacketId(frame, head));
        return true;
      default:
        return this.#released(readPacketId(frame, head));
    }
  }

  #publish(packet: Message): boolean {
    const { broker, meter } = this.#desk;
    const { client } = this.#intake;
    meter.received(packet.qos);
    let answer: boolean | undefined;
    let isLate = false;
    broker.authorizePublish(client, packet, (error) => {
      if (error) client.emit("error", error);
      try {
        // whoever is gone by now publishes nothing
        answer = error || client.closed || broker.closed ? true : this.#accept(packet);
      } catch (failure) {
        answer = true;
        this.#desk.end(client, failure);
      }
      if (isLate && answer) this.#intake.finished();
    });
    if (answer !== undefined) return answer;
    isLate = true;
    return false;
  }

  /** Stores, acknowledges and routes an authorized message. */
  #accept(message: Message): boolean {
    const { store } = this.#desk;
    const { qos } = message;
    if (qos === 0) {
      if (message.retain) store.retain(message);
      this.#route(message);
      return true;
    }
    const messageId = message.messageId!;
    const wasWritten = qos === 1 ? store.accept(message) : this.#acceptOnce(message, messageId);
    if (wasWritten === undefined) return this.#afterwards(() => this.#acknowledge(2, messageId));
    if (!wasWritten && this.#pending === 0) {
      this.#acknowledge(qos, messageId);
      this.#route(message);
      return true;
    }
    return this.#afterwards(() => {
      this.#acknowledge(qos, messageId);
      this.#route(message);
    });
  }

  /** Accepts a message of QoS 2 with its receipt; undefined for one that was accepted before. */
  #acceptOnce(message: Message, messageId: number): boolean | undefined {
    const { store, limits } = this.#desk;
    const { client } = this.#intake;
    const receipt = { clientId: client.id, messageId };
    const isKnown = client.clean ? this.#receipts?.has(messageId) === true : store.hasReceipt(receipt);
    if (isKnown) return undefined;
    const count = client.clean ? (this.#receipts?.size ?? 0) : store.countReceipts(client.id);
    if (count >= limits.receipts) refuse("limit.reached", "messages of QoS 2 that are not released");
    if (!client.clean) return store.accept(message, receipt);
    (this.#receipts ??= new Set()).add(messageId);
    return store.accept(message);
  }

  /** PUBREL: the message identifier is free again, on disk before the client hears of it. */
  #released(messageId: number): boolean {
    const { store } = this.#desk;
    const { client } = this.#intake;
    const complete = (): void => this.#answer(writeAcknowledgement(packetType.pubcomp, messageId));
    if (client.clean) this.#receipts?.delete(messageId);
    else if (store.hasReceipt({ clientId: client.id, messageId })) {
      store.removeReceipt({ clientId: client.id, messageId });
      return this.#afterwards(complete);
    }
    if (this.#pending > 0) return this.#afterwards(complete);
    complete();
    return true;
  }

  /** Goes on when everything so far is on disk. */
  #afterwards(goOn: () => void): boolean {
    let isSynchronous = true;
    let isDone = false;
    this.#pending++;
    this.#desk.store.whenDurable((error) => {
      this.#pending--;
      if (error === undefined) goOn();
      else this.#desk.end(this.#intake.client, new Refusal("internal", `not stored: ${error.message}`));
      if (isSynchronous) isDone = true;
      else this.#intake.finished();
    });
    isSynchronous = false;
    return isDone;
  }

  #acknowledge(qos: 1 | 2, messageId: number): void {
    this.#answer(writeAcknowledgement(qos === 1 ? packetType.puback : packetType.pubrec, messageId));
  }

  #answer(bytes: Buffer): void {
    this.#outbound.write(bytes);
    this.#weigh();
  }

  /** Counts an answer; one who does not read them is read no further. */
  #weigh(): void {
    if (!this.#outbound.isUnread) this.#unread = 0;
    else if (++this.#unread === mostUnread) {
      this.#intake.hold();
      this.#outbound.whenLeft(() => {
        this.#unread = 0;
        this.#intake.release();
      });
    }
  }

  #route(message: Message): void {
    const { broker } = this.#desk;
    const { client } = this.#intake;
    message.brokerId = broker.id;
    message.brokerCounter = ++broker.counter;
    let isRouted = false;
    let isHeld = false;
    broker.mq.emit(message, () => {
      isRouted = true;
      if (isHeld) this.#intake.release();
    });
    if (!isRouted) {
      isHeld = true;
      this.#intake.hold();
    }
    broker.emit("publish", message, client);
    broker.published(message, client, ignore);
  }
}

function ignore(): void {}
