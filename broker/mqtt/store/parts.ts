/**
 * The parts of an open store, on one database: who keeps what, and what happens when a session ends.
 */
import { pino, type Logger } from "pino";
import { Checkpoints } from "../../sqlite/checkpoints.ts";
import type { Database } from "../../sqlite/database.ts";
import { defaultLimits, type StoreLimits } from "../limits.ts";
import { noMeter, type EngineMeter } from "../meter.ts";
import { Batch } from "./batch.ts";
import { Drops } from "./drops.ts";
import { Endings } from "./endings.ts";
import type { StorableMessage } from "./entries.ts";
import { OutgoingPackets } from "./outgoing.ts";
import { PurgesUnderWay } from "./purges.ts";
import { Purging } from "./purging.ts";
import { Queues } from "./queues.ts";
import { Receipts } from "./receipts.ts";
import { Retained } from "./retained.ts";
import { addTarget, type Choice, type Targets } from "./routes.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import { Upkeep } from "./upkeep.ts";
import { Wills } from "./wills.ts";

/** How a store works. */
export interface PartsOptions {
  readonly limits?: Partial<StoreLimits>;
  readonly meter?: EngineMeter;
  readonly log?: Logger;
  readonly nowSeconds?: () => number;
}

/** What of a broker the store asks. */
export interface Broker {
  readonly id: string;
  readonly mq?: { choose?: (message: object) => Choice | undefined };
}

/** Everything that a store is made of. */
export class Parts {
  readonly db: Database;
  readonly limits: StoreLimits;
  readonly nowSeconds: () => number;
  readonly batch: Batch;
  readonly sessions: Sessions;
  readonly queues: Queues;
  readonly outgoing: OutgoingPackets;
  readonly retained: Retained;
  readonly receipts: Receipts;
  readonly wills: Wills;
  readonly upkeep: Upkeep;
  readonly endings: Endings;
  readonly purging: Purging;
  readonly #checkpoints: Checkpoints;
  broker: Broker | undefined;

  constructor(db: Database, options: PartsOptions, groundsOf: (client: unknown) => unknown) {
    const { meter = noMeter, log = pino({ level: "silent" }) } = options;
    const limits = { ...defaultLimits, ...options.limits };
    const nowSeconds = options.nowSeconds ?? (() => Math.floor(Date.now() / 1000));
    this.db = db;
    this.limits = limits;
    this.nowSeconds = nowSeconds;
    const batch = (this.batch = new Batch({ db, meter, log }));
    const drops = new Drops(meter, log, nowSeconds);
    const tellDrop = drops.tell;
    const sessions = (this.sessions = new Sessions(db, batch, limits, nowSeconds));
    const queues = (this.queues = new Queues(db, batch, { sessions: sessions.all(), limits, nowSeconds, tellDrop }));
    this.outgoing = new OutgoingPackets(db, batch, queues);
    const purges = new PurgesUnderWay(db, batch);
    const retained = (this.retained = new Retained(db, batch, { limits, tellDrop, purges }));
    this.purging = new Purging(db, batch, purges, retained);
    const receipts = (this.receipts = new Receipts(db, batch, sessions));
    const wills = (this.wills = new Wills(db, batch, groundsOf));
    const safely = <T>(work: () => T): T | undefined => batch.safely(work);
    const end = (session: Session): void => this.end(session);
    this.upkeep = new Upkeep({ sessions, queues, limits, nowSeconds, safely, end }, () => drops.forget());
    const clear = (session: Session): void => this.upkeep.clear(session);
    this.endings = new Endings(db, batch, { sessions, receipts, wills, clear });
    // a session that is taken back leaves its client id to the next
    batch.join(this.endings);
    batch.join(sessions);
    batch.join(queues);
    batch.join(purges);
    this.#checkpoints = new Checkpoints(db, (error) => {
      log.warn({ err: error as Error }, "checkpoints of the store hold the event loop: their thread has failed");
    });
    batch.join(this.#checkpoints);
    this.#recover();
  }

  /** Ends a session, with all that is in it. */
  end(session: Session): void {
    this.receipts.clear(session.client);
    this.sessions.end(session, () => {
      session.attendant?.close();
      session.attendant = undefined;
      this.upkeep.clear(session);
    });
  }

  /** The client of a session is gone; a session with nothing in it goes with it. */
  left(session: Session): void {
    if (!this.db.open || session.isOver) return;
    this.#markLeft(session);
    const isEmpty = session.subscriptions.size === 0 && session.messages === 0;
    if (isEmpty && this.receipts.count(session.client) === 0) this.end(session);
  }

  /** Adds those to whom a message goes because of groups: members that were chosen, and of other groups one each. */
  addShared(targets: Targets, message: StorableMessage): void {
    const { qos, topic } = message;
    if (qos === 0) return;
    const choice = this.broker?.mq?.choose?.(message);
    for (const { clientId, qos: subscribed } of choice?.stored ?? []) {
      const session = this.sessions.get(clientId);
      if (session !== undefined) addTarget(targets, session, subscribed, qos);
    }
    this.sessions.routes.addOfGroups(targets, topic, qos, choice);
  }

  close(): void {
    if (!this.db.open) return;
    this.upkeep.close();
    this.purging.close();
    for (const session of this.sessions.all()) {
      if (session.attendant === undefined) continue;
      session.attendant.close();
      this.#markLeft(session);
    }
    this.batch.close();
    this.#checkpoints.close();
    this.db.close();
  }

  #markLeft(session: Session): void {
    session.leftAt = this.nowSeconds();
    this.sessions.changed(session);
  }

  /** A process that ended without leaving its sessions may have sent all that was in them. */
  #recover(): void {
    for (const session of this.sessions.all()) {
      if (session.leftAt !== null) continue;
      session.sent = session.next - 1;
      this.#markLeft(session);
    }
  }
}
