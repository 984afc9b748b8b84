/**
 * How a client keeps up with what is sent to it: who waits for it and for how long, and when it is given up.
 *
 * While there is much for a client, whoever publishes to it waits, for a moment; after that the client is behind until it
 * has caught up, and nobody waits for it. One that is behind and reads nothing at all is disconnected.
 */
import type { EngineClient } from "./aedes-client.ts";
import type { DeliveryLimits } from "./limits.ts";

/** The way out whose pace it is. */
export interface Paced {
  readonly client: EngineClient;
  /** Whether there is so much for the client that publishers should wait a moment. */
  readonly isFull: boolean;
  /** The client does not read. */
  giveUp(): void;
}

/** Called when somebody may go on. */
export type GoOn = (outcome?: unknown) => void;

const nothing = Buffer.alloc(0);

/** The pace of one client. */
export class Pace {
  /** Nobody waits for the client, until it has caught up. */
  isBehind = false;
  readonly #out: Paced;
  readonly #limits: DeliveryLimits;
  #held: GoOn[] | undefined;
  #patient: GoOn[] | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Bytes handed to the connection; less what it has not written, what left. */
  #handed = 0;
  #acknowledged = 0;
  /** What had left, and was acknowledged, when a publisher began to wait. */
  #leftAtHold = 0;
  #acknowledgedAtHold = 0;
  /** What had left when the client, which is behind, was last looked at. */
  #leftAtLook = 0;
  /** How many wait until all that was written has left, and what had left when they were last looked at. */
  #leaving = 0;
  #leftAtWait = 0;
  #patience: NodeJS.Timeout | undefined;

  constructor(out: Paced, limits: DeliveryLimits) {
    this.#out = out;
    this.#limits = limits;
  }

  /** So many bytes were handed to the connection. */
  handed(bytes: number): void {
    this.#handed += bytes;
  }

  /** A message was acknowledged. */
  acknowledged(): void {
    this.#acknowledged++;
  }

  /** Lets a publisher go on: at once, or when the client has caught up a little, or after a moment. */
  hold(goOn: GoOn): void {
    if (this.isBehind || !this.#out.isFull) return goOn();
    (this.#held ??= []).push(goOn);
    if (this.#timer === undefined) this.#limitHold();
  }

  /** For messages of which one follows the other, retained ones: goes on when there is room again. */
  wait(goOn: GoOn): void {
    if (!this.#out.isFull) return goOn();
    (this.#patient ??= []).push(goOn);
  }

  /** Calls back when all that was written has left; a client that lets nothing leave for long is given up. */
  whenLeft(done: () => void): void {
    if (++this.#leaving === 1) this.#waitForReader();
    this.#out.client.conn.write(nothing, () => {
      if (--this.#leaving === 0) clearTimeout(this.#patience);
      done();
    });
  }

  /** There is not much for the client any more. */
  eased(): void {
    if (this.isBehind && this.#out.client.conn.writableLength === 0) {
      this.isBehind = false;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    this.#release();
    this.#releasePatient();
  }

  /** Nobody waits for the client from here on, until it has caught up; it is watched instead. */
  fallBehind(): void {
    if (this.#out.client.closed || this.isBehind) return;
    this.isBehind = true;
    this.#leftAtLook = -1;
    this.#release();
    clearTimeout(this.#timer);
    this.#watch();
  }

  /** The connection is over: everybody goes on. */
  end(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#patience);
    this.#release();
    this.#releasePatient();
  }

  /** Bytes that have left the process. */
  get #left(): number {
    return this.#handed - this.#out.client.conn.writableLength;
  }

  /** Whoever waits goes on after a moment, unless the client is quick and there was only much for it. */
  #limitHold(): void {
    const { holdMilliseconds, sendBytes, waitingMessages } = this.#limits;
    this.#leftAtHold = this.#left;
    this.#acknowledgedAtHold = this.#acknowledged;
    this.#timer = setTimeout(() => {
      const isQuick =
        this.#left - this.#leftAtHold >= sendBytes / 8 ||
        this.#acknowledged - this.#acknowledgedAtHold >= waitingMessages / 8;
      if (isQuick) this.#limitHold();
      else this.fallBehind();
    }, holdMilliseconds);
  }

  #release(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    if (!this.isBehind) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    for (const goOn of held) goOn();
  }

  #releasePatient(): void {
    const patient = this.#patient;
    if (patient === undefined) return;
    this.#patient = undefined;
    for (const goOn of patient) setImmediate(goOn);
  }

  #watch(): void {
    const left = this.#left;
    if (this.#out.client.conn.writableLength > 0 && left === this.#leftAtLook) return this.#out.giveUp();
    this.#leftAtLook = left;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#out.client.closed && this.isBehind) this.#watch();
    }, this.#limits.stallMilliseconds);
    this.#timer.unref();
  }

  #waitForReader(): void {
    this.#leftAtWait = this.#left;
    this.#patience = setTimeout(() => {
      if (this.#left === this.#leftAtWait) this.#out.giveUp();
      else this.#waitForReader();
    }, this.#limits.stallMilliseconds);
    this.#patience.unref();
  }
}
