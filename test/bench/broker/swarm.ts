/**
 * Publishers and subscribers of one broker, all in this process, and rounds of messages between them.
 *
 * Of QoS 1 each publisher keeps a window of unacknowledged messages. Of QoS 0 publishers either keep a bounded lead over
 * what is delivered, so that no buffer on the way grows, or flood: then they write whenever the socket takes it.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { writePublishes, type Frames } from "./frames.ts";
import { Link } from "./link.ts";

/** Who takes part. Frames of CONNECT as they are sent. */
export interface SwarmSpec {
  readonly port: number;
  readonly publishers: readonly { readonly connect: Uint8Array; readonly topic: string }[];
  /** Without a filter they have their subscription from before. */
  readonly subscribers: readonly { readonly connect: Uint8Array; readonly filter?: string | undefined }[];
  readonly qos: 0 | 1;
  readonly payloadBytes: number;
  /** Deliveries that one message makes. */
  readonly copies: number;
  /** PUBLISH of one publisher that wait for PUBACK. */
  readonly window: number;
  /** QoS 0: messages published and not delivered; null floods. */
  readonly lead: number | null;
  /** Of each publisher in a second; null as many as the socket takes. */
  readonly perSecond?: number | null;
}

/** What a round came to. */
export interface RoundOutcome {
  /** From the first PUBLISH to the last delivery or acknowledgement. */
  readonly seconds: number;
  readonly sent: number;
  readonly delivered: number;
}

interface Publisher {
  readonly link: Link;
  readonly frames: Frames;
  /** Where in the prepared frames the next one is. */
  next: number;
  sent: number;
  quota: number;
  /** Of a flood at a given rate: what it was allowed until now. */
  due: number;
  isBlocked: boolean;
}

const preparedFrames = 1000;
const batch = 200;
/** Nothing more comes when nothing has come for so long. */
const silentMs = 1000;
const tickMs = 10;
/** At a given rate each publisher writes every so many ticks. */
const turns = 4;

/** Connected and subscribed. */
export class Swarm {
  readonly #spec: SwarmSpec;
  readonly #publishers: Publisher[] = [];
  readonly #subscribers: Link[] = [];
  #delivered = 0;
  /** Deliveries that are given up: a lead is not kept over what was dropped. */
  #lost = 0;
  #progressAt = 0;

  private constructor(spec: SwarmSpec) {
    this.#spec = spec;
  }

  static async open(spec: SwarmSpec): Promise<Swarm> {
    const swarm = new Swarm(spec);
    const { port, qos, payloadBytes } = spec;
    for (const { connect, filter } of spec.subscribers) {
      const link = await Link.open(port, Buffer.from(connect));
      if (filter !== undefined) await link.subscribe(filter, qos);
      swarm.#subscribers.push(link);
    }
    for (const { connect, topic } of spec.publishers) {
      const link = await Link.open(port, Buffer.from(connect));
      const frames = writePublishes({ topic, qos, payloadBytes }, preparedFrames);
      const publisher = { link, frames, next: 0, sent: 0, quota: 0, due: 0, isBlocked: false };
      link.socket.on("drain", () => {
        publisher.isBlocked = false;
        swarm.#pump(publisher);
      });
      swarm.#publishers.push(publisher);
    }
    swarm.#count();
    return swarm;
  }

  /** Publishes `messages` in all, and waits for every delivery and acknowledgement, or until none comes any more. */
  async run(messages: number): Promise<RoundOutcome> {
    const [sentBefore, deliveredBefore] = [this.#sent(), this.#delivered];
    for (const [index, publisher] of this.#publishers.entries()) {
      publisher.quota += share(messages, this.#publishers.length, index);
    }
    const started = performance.now();
    this.#progressAt = started;
    this.#pumpAll();
    while (!this.#isDone()) {
      await sleep(tickMs);
      if (this.#publishers.some(({ link }) => link.isClosed) || this.#subscribers.some(({ isClosed }) => isClosed)) {
        throw new Error("the server closed a connection");
      }
      if (performance.now() - this.#progressAt < silentMs) continue;
      this.#lost = this.#sent() * this.#spec.copies - this.#delivered;
      if (this.#isAllSent()) break;
      this.#progressAt = performance.now();
      this.#pumpAll();
    }
    const seconds = (this.#progressAt - started) / 1000;
    // the last acknowledgements of subscribers are read by then
    await sleep(2 * tickMs);
    return { seconds, sent: this.#sent() - sentBefore, delivered: this.#delivered - deliveredBefore };
  }

  /** The same, but one message of the first publisher at a time, so many in a second. */
  async runSteadily(messages: number, perSecond: number): Promise<RoundOutcome> {
    const [publisher, deliveredBefore] = [this.#publishers[0]!, this.#delivered];
    const started = performance.now();
    for (let sent = 0; sent < messages; sent++) {
      await sleep(Math.max(1, started + (sent * 1000) / perSecond - performance.now()));
      publisher.quota++;
      this.#pump(publisher);
    }
    const { sent } = await this.run(0);
    const seconds = (this.#progressAt - started) / 1000;
    return { seconds, sent: sent + messages, delivered: this.#delivered - deliveredBefore };
  }

  /** Waits until so many messages were delivered since the connections were made, or until none comes any more. */
  async receive(messages: number): Promise<number> {
    this.#progressAt = performance.now();
    while (this.#delivered < messages && performance.now() - this.#progressAt < silentMs) await sleep(1);
    return this.#delivered;
  }

  /** Publishes until {@link close}, not more than `perSecond` if the spec says so. */
  flood(): void {
    const { perSecond } = this.#spec;
    if (perSecond === undefined || perSecond === null) {
      for (const publisher of this.#publishers) publisher.quota = Infinity;
      this.#pumpAll();
      return;
    }
    const started = performance.now();
    let tick = 0;
    const timer = setInterval(() => {
      const due = Math.floor(((performance.now() - started) / 1000) * perSecond);
      tick++;
      for (const [index, publisher] of this.#publishers.entries()) {
        if (index % turns !== tick % turns) continue;
        // what could not be sent in its time is not made up for
        publisher.quota = Math.min(publisher.quota + due - publisher.due, publisher.sent + perSecond / 10);
        publisher.due = due;
        this.#pump(publisher);
      }
      if (this.#publishers.every(({ link }) => link.isClosed)) clearInterval(timer);
    }, tickMs);
    timer.unref();
  }

  async close(): Promise<void> {
    for (const publisher of this.#publishers) publisher.quota = 0;
    await Promise.all([...this.#publishers.map(({ link }) => link), ...this.#subscribers].map((link) => link.close()));
  }

  /** Ends all connections as a crash would. */
  breakOff(): void {
    for (const publisher of this.#publishers) {
      publisher.quota = 0;
      publisher.link.socket.destroy();
    }
    for (const link of this.#subscribers) link.socket.destroy();
  }

  #count(): void {
    for (const link of this.#subscribers) {
      let before = 0;
      link.onProgress = () => {
        const { publishes } = link.frames;
        this.#delivered += publishes - before;
        before = publishes;
        this.#progressAt = performance.now();
        if (this.#spec.qos === 0 && this.#spec.lead !== null) this.#pumpAll();
      };
      // what came before anybody counted
      link.onProgress();
    }
    for (const publisher of this.#publishers) {
      publisher.link.onProgress = () => {
        this.#progressAt = performance.now();
        this.#pump(publisher);
      };
    }
  }

  #pumpAll(): void {
    for (const publisher of this.#publishers) this.#pump(publisher);
  }

  #pump(publisher: Publisher): void {
    const { link, frames } = publisher;
    while (!publisher.isBlocked && !link.isClosed) {
      const free = Math.min(batch, publisher.quota - publisher.sent, this.#allowance(publisher));
      const count = Math.floor(Math.min(free, frames.count - publisher.next));
      if (count < 1) return;
      const from = publisher.next * frames.frameBytes;
      publisher.next = (publisher.next + count) % frames.count;
      publisher.sent += count;
      publisher.isBlocked = !link.socket.write(frames.bytes.subarray(from, from + count * frames.frameBytes));
    }
  }

  #allowance(publisher: Publisher): number {
    const { qos, window, lead, copies } = this.#spec;
    if (qos === 1) return window - (publisher.sent - publisher.link.frames.pubacks);
    return lead === null ? batch : lead - (this.#sent() - (this.#delivered + this.#lost) / copies);
  }

  #sent(): number {
    return this.#publishers.reduce((sum, { sent }) => sum + sent, 0);
  }

  #isAllSent(): boolean {
    return this.#publishers.every(({ sent, quota }) => sent === quota);
  }

  #isDone(): boolean {
    const isAcknowledged = ({ sent, link }: Publisher): boolean => link.frames.pubacks === sent;
    const isDelivered = this.#delivered + this.#lost >= this.#sent() * this.#spec.copies;
    return this.#isAllSent() && isDelivered && (this.#spec.qos === 0 || this.#publishers.every(isAcknowledged));
  }
}

/** What the `index`th of `parts` gets of a whole number. */
function share(whole: number, parts: number, index: number): number {
  return Math.floor((whole * (index + 1)) / parts) - Math.floor((whole * index) / parts);
}
