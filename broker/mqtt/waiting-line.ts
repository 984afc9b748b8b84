/**
 * Messages of QoS 1 and 2 that wait in memory for a client without a stored session, bounded in number and bytes.
 */
import type { DeliveryLimits } from "./limits.ts";
import type { Message } from "./message.ts";

/** One that waits, with the QoS it is to be delivered at. */
export interface Waiting {
  readonly message: Message;
  readonly qos: 1 | 2;
}

/** First in, first out; taking the first does not move the others. */
export class WaitingLine {
  readonly #limits: Pick<DeliveryLimits, "waitingMessages" | "waitingBytes">;
  #items: (Waiting | undefined)[] = [];
  #first = 0;
  #bytes = 0;

  constructor(limits: Pick<DeliveryLimits, "waitingMessages" | "waitingBytes">) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#first === this.#items.length;
  }

  get hasRoom(): boolean {
    return this.#count < this.#limits.waitingMessages && this.#bytes < this.#limits.waitingBytes;
  }

  get isHalfFull(): boolean {
    return this.#count >= this.#limits.waitingMessages / 2 || this.#bytes >= this.#limits.waitingBytes / 2;
  }

  /** False when there is no room, and then the message is not taken. */
  push(message: Message, qos: 1 | 2): boolean {
    if (!this.hasRoom) return false;
    this.#items.push({ message, qos });
    this.#bytes += message.payload.length;
    return true;
  }

  shift(): Waiting | undefined {
    const item = this.#items[this.#first];
    if (item === undefined) return undefined;
    this.#items[this.#first++] = undefined;
    this.#bytes -= item.message.payload.length;
    if (this.#first === this.#items.length || this.#first > 512) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }

  get #count(): number {
    return this.#items.length - this.#first;
  }
}
