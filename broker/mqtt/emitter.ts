/**
 * Hands each message to whoever listens to a filter that matches its topic: what Aedes takes for its `mq`, with the contract
 * of mqemitter 7, and the home of shared subscriptions (`groups.ts`).
 *
 * Nothing recurses, however many messages are done at once or are emitted from within a notify or a callback: what comes
 * while a message is handed out, or a callback runs, waits until that has returned. Otherwise `emit` hands out at once, and
 * calls back before it returns when everyone was done before. Waiting publishers are served in turn, each in its order, and
 * other work of the process has its turn in between.
 *
 * A message goes to those who listen when it is handed out; one who leaves while it is may still get it. It holds nothing
 * back by itself: who listens calls back when the publisher may go on, and one that never does holds up that message alone.
 */
import { FairQueue } from "./fair-queue.ts";
import type { Waiting } from "./fair-queue.ts";
import { FilterTree } from "./filter-tree.ts";
import type { FilterSyntax } from "./filter-tree.ts";
import { Groups } from "./groups.ts";
import type { Call, Offer, SharedChoice } from "./groups.ts";
import type { Message, Notify } from "./message.ts";

export type { SharedChoice } from "./groups.ts";

/** How an emitter reads filters, and how much it hands out at a time. */
export interface EmitterOptions extends Omit<FilterSyntax, "hidesDollar"> {
  /** Messages that may be with their listeners at one time; default 0, which is as many as there are. */
  readonly concurrency?: number | undefined;
  /** Told what a listener or a callback threw; default a warning of the process. */
  readonly error?: ((error: unknown) => void) | undefined;
}

/** Called when a message is done, with an error when it was not handed out. */
export type Emitted = (error?: Error) => void;

/** Messages handed out so many at a time before other work of the process has its turn. */
const turn = 1000;
/** Calls of listeners in one turn beyond a few of each message; messages that come then wait for the next. */
const callsInTurn = 4096;
const few = 8;

const noOffers: readonly Offer[] = [];

/** An emitter. Filters `$share/<group>/<filter>` join a group; see {@link Groups}. */
export function emitter(options: EmitterOptions = {}): Emitter {
  return new Emitter(options);
}

/** What {@link emitter} makes. */
export class Emitter {
  readonly concurrency: number;
  /** Messages that are with their listeners. */
  current = 0;
  closed = false;
  readonly #filters: FilterTree<Notify>;
  readonly #groups: Groups;
  readonly #error: (error: unknown) => void;
  readonly #waiting = new FairQueue<Delivery>();
  // done, and to be called back
  #firstDone: Delivery | undefined;
  #lastDone: Delivery | undefined;
  #isRunning = false;
  #isResting = false;
  /** Calls of listeners in this turn, beyond a few of each message. */
  #spent = 0;

  constructor(options: EmitterOptions) {
    const { separator = "/", wildcardOne, wildcardSome, matchEmptyLevels } = options;
    this.concurrency = options.concurrency ?? 0;
    this.#filters = new FilterTree({ separator, wildcardOne, wildcardSome, matchEmptyLevels });
    this.#groups = new Groups({ separator, wildcardOne, wildcardSome, matchEmptyLevels });
    this.#error = options.error ?? ((error) => process.emitWarning(error instanceof Error ? error : String(error)));
  }

  /** Messages that wait for their turn. */
  get length(): number {
    return this.#waiting.size;
  }

  /** Listens to a filter; the same function listens once, however often it is added. `done` is called later. */
  on(filter: string, notify: Notify, done?: () => void): this {
    assertListener(filter, notify);
    if (!this.#groups.add(filter, notify)) this.#filters.add(filter, notify);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  /** Listens no longer, from now on. `done` is called later. */
  removeListener(filter: string, notify: Notify, done?: () => void): this {
    assertListener(filter, notify);
    if (!this.#groups.remove(filter, notify)) this.#filters.remove(filter, notify);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  /** Nobody listens to a filter any longer, from now on. `done` is called later. */
  removeAllListeners(filter: string, done?: () => void): this {
    if (!this.#groups.remove(filter)) this.#filters.removeAll(filter);
    if (done !== undefined) setImmediate(done);
    return this;
  }

  /** Which members of groups a message is for; `emit` of the same object keeps to it. */
  choose(message: Message): SharedChoice {
    return this.#groups.choose(message);
  }

  /** Hands a message out. `callback` is called once: when all who listen are done, or with an error after {@link close}. */
  emit(message: Message, callback?: Emitted): this {
    if (typeof message?.topic !== "string") throw new TypeError("a message needs a topic");
    if (this.closed) {
      this.#settle(new Delivery(message, callback, this.#settle, new Error("emitter is closed")));
    } else if (this.#isRunning || this.#waiting.size > 0 || this.#isFull || this.#isSpent) {
      this.#waiting.push(new Delivery(message, callback, this.#settle));
    } else {
      this.#isRunning = true;
      this.#handOut(message, callback);
      this.#run();
    }
    return this;
  }

  /** Takes no more messages; those emitted before are handed out. `done` is called later. */
  close(done?: () => void): this {
    this.closed = true;
    if (done !== undefined) setImmediate(done);
    return this;
  }

  get #isFull(): boolean {
    return this.concurrency > 0 && this.current >= this.concurrency;
  }

  /** Calls back what is done and hands out what waits, until nothing is left to do now. */
  #run(): void {
    let left = turn;
    for (;;) {
      const done = this.#firstDone;
      if (done !== undefined) {
        this.#firstDone = done.next;
        if (done.next === undefined) this.#lastDone = undefined;
        this.#callBack(done.callback, done.error);
        if (done.error === undefined) this.current -= 1;
        continue;
      }
      if (this.#waiting.size === 0 || this.#isFull || this.#isSpent) break;
      if (left === 0) {
        this.#rest();
        break;
      }
      left -= 1;
      const delivery = this.#waiting.shift()!;
      this.#handOut(delivery.message, delivery.callback, delivery);
    }
    this.#isRunning = false;
  }

  get #isSpent(): boolean {
    return this.#spent > callsInTurn;
  }

  #spend(calls: number): void {
    if (this.#spent === 0) setImmediate(this.#renew);
    this.#spent += calls;
  }

  /** A new turn: what waits for it goes on. */
  readonly #renew = (): void => {
    this.#spent = 0;
    if (this.#waiting.size === 0 || this.#isResting) return;
    this.#isRunning = true;
    this.#run();
  };

  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    setImmediate(() => {
      this.#isResting = false;
      this.#isRunning = true;
      this.#run();
    });
  }

  #handOut(message: Message, callback: Emitted | undefined, waited?: Delivery): void {
    this.current += 1;
    const listeners = this.#filters.match(message.topic);
    const offers = this.#groups.isEmpty ? noOffers : this.#groups.offers(message);
    const count = listeners.length + offers.length;
    if (count > few) this.#spend(count - few);
    if (count === 0) {
      this.#callBack(callback);
      this.current -= 1;
      return;
    }
    const delivery = waited ?? new Delivery(message, callback, this.#settle);
    delivery.open = count;
    for (const notify of listeners) {
      const done = delivery.answer();
      if (!this.#call(notify, message, done)) done();
    }
    for (const offer of offers) offer.make(message, this.#call, delivery.answer());
  }

  readonly #call: Call = (notify, message, done) => {
    try {
      notify.call(this, message, done);
      return true;
    } catch (error) {
      this.#report(error);
      return false;
    }
  };

  /** Takes a delivery that is done, to call it back. */
  readonly #settle = (delivery: Delivery): void => {
    delivery.next = undefined;
    if (this.#lastDone === undefined) this.#firstDone = delivery;
    else this.#lastDone.next = delivery;
    this.#lastDone = delivery;
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#run();
  };

  #callBack(callback: Emitted | undefined, error?: Error): void {
    if (callback === undefined) return;
    try {
      if (error === undefined) callback.call(this);
      else callback.call(this, error);
    } catch (thrown) {
      this.#report(thrown);
    }
  }

  #report(error: unknown): void {
    try {
      this.#error(error);
    } catch {
      // nobody is left to tell
    }
  }
}

/** A message that waits, or is with its listeners. */
class Delivery implements Waiting<Delivery> {
  readonly owner: string | undefined;
  readonly message: Message;
  readonly callback: Emitted | undefined;
  readonly error: Error | undefined;
  next: Delivery | undefined = undefined;
  /** How many are to answer. */
  open = 0;
  readonly #settle: (delivery: Delivery) => void;

  constructor(message: Message, callback: Emitted | undefined, settle: (delivery: Delivery) => void, error?: Error) {
    this.owner = message.clientId;
    this.message = message;
    this.callback = callback;
    this.error = error;
    this.#settle = settle;
  }

  /** What one listener calls; it counts once. */
  answer(): () => void {
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      this.open -= 1;
      if (this.open === 0) this.#settle(this);
    };
  }
}

function assertListener(filter: unknown, notify: unknown): void {
  if (typeof filter !== "string" || filter === "") throw new TypeError("a listener needs a filter");
  if (typeof notify !== "function") throw new TypeError("a listener is a function");
}
