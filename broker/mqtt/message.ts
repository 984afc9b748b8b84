/**
 * A message on its way through the broker, and who may receive it, as Aedes 1.2 hands both around.
 */

/** A PUBLISH as Aedes routes it. `brokerId` and `brokerCounter` together name one routing of one message. */
export interface Message {
  cmd: "publish";
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  /** Of the client that published it; absent for the broker's own. */
  clientId?: string | undefined;
  brokerId?: string | undefined;
  brokerCounter?: number | undefined;
  messageId?: number | undefined;
}

/** What a filter of a client is registered with at the emitter; calls back when the publisher may go on. */
export type Notify = (message: Message, done: (outcome?: unknown) => void) => void;

/** Given to `done` by a subscriber that did not take the message, so that a group offers it to another member. */
export const notTaken = Symbol("not taken");

/** The client behind a {@link Notify}. */
export interface Subscriber {
  readonly clientId: string;
  /** Takes what has QoS 1 or 2 from its stored queue: the emitter leaves such messages to the store. */
  readonly isStored: boolean;
  /** Connected, and reading what it is sent. */
  readonly isReady: boolean;
  /** QoS of the subscription. */
  readonly qos: 0 | 1 | 2;
  /**
   * Puts a message of QoS 1 or 2 into its stored queue, when it was not chosen for it from the start. False: it may not have
   * it. Absent where there is no such queue.
   */
  keep?(message: Message): boolean;
}

const subscribers = new WeakMap<Notify, Subscriber>();

/** Says whose a notify is. */
export function introduce(notify: Notify, subscriber: Subscriber): void {
  subscribers.set(notify, subscriber);
}

/** Whose a notify is; undefined for one that no client stands behind. */
export function subscriberOf(notify: Notify): Subscriber | undefined {
  return subscribers.get(notify);
}
