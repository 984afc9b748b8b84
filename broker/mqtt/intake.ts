/**
 * What arrives from one client: takes the place of Aedes' reading, so that nothing reaches a parser that was not looked at.
 *
 * Splits the bytes into packets, refuses one that is too large as soon as its length is known, checks each whole one
 * (`frame.ts`), and hands on a bounded number in one turn of the event loop, so that no client has it to itself. Reads
 * no further while what it sent is being worked on, or faster than it may. Between CONNECT and CONNACK nothing is read.
 */
import type { Duplex } from "node:stream";
import { refuse } from "../../shared/refusal.ts";
import type { EngineClient } from "./aedes-client.ts";
import { checkFrame, readFrameHead } from "./frame.ts";
import type { FrameHead } from "./frame.ts";
import type { WireLimits } from "./limits.ts";
import { packetType } from "./publish-frame.ts";

/** What all intakes of a broker share. */
export interface IntakeDesk {
  readonly limits: WireLimits;
  /** Shared by all clients of a broker. */
  readonly turns: Turns;
  /** Ends a connection for a reason, which is logged. */
  end(client: EngineClient, error: unknown): void;
}

/** What is done with a client's packets. */
export interface Taker {
  /** Takes one packet. False: it is not finished, and `finished` will be called. */
  take(frame: Buffer, head: FrameHead): boolean;
}

/** How many clients have more to be read than one turn allows. */
export interface Turns {
  waiting: number;
}

/** Packets that are handled in one turn, of all clients and of one. */
const packetsPerTurn = 512;
const mostPerTurn = 128;
const fewestPerTurn = 8;
/** Bytes that are taken from a connection at a time, and in one turn. */
const bytesAtATime = 16 * 1024;
const bytesPerTurn = 128 * 1024;
/** Packets of one client that may be unfinished. */
const mostUnfinished = 1000;
const smallestPart = 4096;

type Phase = "connect" | "connack" | "open";

/** One client's way in. */
export class Intake {
  readonly client: EngineClient;
  readonly #desk: IntakeDesk;
  readonly #taker: Taker;
  #phase: Phase = "connect";
  #unfinished = 0;
  /** Beginning of a packet whose end has not arrived, in the first `#partBytes` of a buffer that grows with it. */
  #part: Buffer | undefined;
  #partBytes = 0;
  #holds = 0;
  #isReading = false;
  #isResting = false;
  #secondSince = 0;
  #packetsInSecond = 0;

  constructor(client: EngineClient, desk: IntakeDesk, taker: Taker) {
    this.client = client;
    this.#desk = desk;
    this.#taker = taker;
    client.conn.on("readable", () => this.read());
  }

  /** CONNACK has left: the client's packets are read. */
  open(): void {
    this.#phase = "open";
    this.#rest();
  }

  /** A packet that was taken and not finished is. */
  finished(): void {
    this.#unfinished--;
    if (this.#unfinished === mostUnfinished >> 1 || this.#unfinished === 0) this.read();
  }

  /** Nothing more is taken until as many calls of `release`: a reader of what was published does not keep up. */
  hold(): void {
    this.#holds++;
  }
  release(): void {
    if (--this.#holds === 0) this.read();
  }

  /** Reads what is there, as far as it may. */
  read(): void {
    const { client } = this;
    if (this.#isResting || this.#isReading) return;
    const share = Math.floor(packetsPerTurn / (this.#desk.turns.waiting + 1));
    const allowed = Math.max(fewestPerTurn, Math.min(share, mostPerTurn));
    let budget = allowed;
    let bytes = bytesPerTurn;
    this.#isReading = true;
    try {
      while (budget > 0 && bytes > 0 && this.#mayTake()) {
        const chunk = takeSome(client.conn);
        if (chunk === null) break;
        bytes -= chunk.length;
        budget = this.#consume(this.#part === undefined ? chunk : this.#append(chunk), budget);
      }
    } catch (error) {
      this.#desk.end(client, error);
    } finally {
      this.#isReading = false;
    }
    if (budget < allowed && !client.closed && client._keepaliveInterval > 0) client._keepaliveTimer?.refresh();
    if (budget <= 0 || bytes <= 0) this.#rest();
  }

  #mayTake(): boolean {
    const { client } = this;
    if (this.#phase === "connack" || this.#holds > 0 || this.#unfinished >= mostUnfinished) return false;
    return !client.closed && !client.conn.destroyed;
  }

  /**
   * Hands on whole packets. What is left goes back to the connection, so that its end is noticed after it and not
   * before; a beginning is kept here. Returns what is left of the budget.
   */
  #consume(bytes: Buffer, budgetBefore: number): number {
    let budget = budgetBefore;
    let at = 0;
    while (at < bytes.length) {
      const head = readFrameHead(bytes, at);
      if (head !== undefined) this.#checkHead(head);
      if (head === undefined || at + head.headBytes + head.length > bytes.length) {
        this.#keep(bytes, at);
        return budget;
      }
      if (budget <= 0 || !this.#mayTake()) {
        this.#part = undefined;
        if (!this.client.closed && !this.client.conn.destroyed) this.client.conn.unshift(bytes.subarray(at));
        return budget;
      }
      const end = at + head.headBytes + head.length;
      this.#handOn(bytes.subarray(at, end), head);
      at = end;
      budget = this.#count(budget - 1);
    }
    this.#part = undefined;
    return budget;
  }

  #checkHead(head: FrameHead): void {
    const { connectBytes, packetBytes } = this.#desk.limits;
    const isFirst = this.#phase === "connect";
    if (isFirst && head.kind !== packetType.connect) refuse("packet.unexpected", "before CONNECT");
    if (!isFirst && head.kind === packetType.connect) refuse("packet.unexpected", "a second CONNECT");
    const size = head.headBytes + head.length;
    if (size > (isFirst ? connectBytes : packetBytes)) refuse("packet.too-large", `${size} bytes`);
  }

  #handOn(frame: Buffer, head: FrameHead): void {
    checkFrame(frame, head, this.#desk.limits);
    if (this.#phase === "connect") this.#phase = "connack";
    if (!this.#taker.take(frame, head)) this.#unfinished++;
  }

  /** Counts a packet; the budget of this turn is over when those of the second are used up. */
  #count(budget: number): number {
    if (++this.#packetsInSecond < this.#desk.limits.packetsPerSecond) return budget;
    const now = performance.now();
    const left = this.#secondSince + 1000 - now;
    this.#packetsInSecond = 0;
    this.#secondSince = now;
    if (left <= 0) return budget;
    this.#secondSince += left;
    this.#isResting = true;
    setTimeout(wake, left, this).unref();
    return 0;
  }

  /** Keeps the beginning of a packet; the buffer for it grows with what has arrived, not with what is announced. */
  #keep(bytes: Buffer, at: number): void {
    if (at === 0 && this.#part !== undefined) return;
    this.#part = undefined;
    this.#partBytes = 0;
    this.#append(bytes.subarray(at));
  }

  #append(bytes: Buffer): Buffer {
    const needed = this.#partBytes + bytes.length;
    if (this.#part === undefined || this.#part.length < needed) {
      const larger = Buffer.allocUnsafeSlow(Math.max(smallestPart, needed, 2 * this.#partBytes));
      this.#part?.copy(larger, 0, 0, this.#partBytes);
      this.#part = larger;
    }
    bytes.copy(this.#part, this.#partBytes);
    this.#partBytes = needed;
    return this.#part.subarray(0, needed);
  }

  #rest(): void {
    if (this.#isResting) return;
    this.#isResting = true;
    this.#desk.turns.waiting++;
    setImmediate(wake, this, this.#desk.turns);
  }
  wake(): void {
    this.#isResting = false;
    this.read();
  }
}

function wake(intake: Intake, turns?: Turns): void {
  if (turns !== undefined) turns.waiting--;
  intake.wake();
}

/** Not all that is there: what is left keeps the connection from reading more than it will soon be rid of. */
function takeSome(conn: Duplex): Buffer | null {
  const there = conn.readableLength;
  return conn.read(there > bytesAtATime ? bytesAtATime : undefined) as Buffer | null;
}
