/** A store on a file of its own, and what puts something into it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Database } from "../../../broker/sqlite/database.ts";
import { openFile } from "../../../broker/sqlite/database.ts";
import type { Entry, SessionQueue } from "../../../broker/mqtt/durable.ts";
import type { StoreLimits } from "../../../broker/mqtt/limits.ts";
import type { Message } from "../../../broker/mqtt/message.ts";
import type { EngineMeter } from "../../../broker/mqtt/meter.ts";
import { noMeter } from "../../../broker/mqtt/meter.ts";
import { storeOn } from "../../../broker/mqtt/store/durable-store.ts";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import { storeSchema } from "../../../broker/mqtt/store/schema.ts";

export const NOW = 1_790_000_000;

/** For what is written in its own time, and later on a busy machine. */
export const patient = { timeout: 20_000 };

/** An open store, its database, its clock, and what it has dropped. */
export interface Fixture {
  readonly store: Store;
  readonly db: Database;
  readonly clock: { now: number };
  readonly drops: string[];
  readonly file: string;
}

/** A path in a directory that is removed after the test. */
export function newFile(): string {
  const directory = mkdtempSync(join(tmpdir(), "postern-store-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return join(directory, "mqtt.db");
}

export interface Wanted {
  readonly file?: string;
  readonly limits?: Partial<StoreLimits>;
  readonly now?: number;
  /** Answers for groups, as an emitter does. */
  readonly choose?: (message: object) => object;
  readonly meter?: Partial<EngineMeter>;
  readonly brokerId?: string;
}

export async function openStore(wanted: Wanted = {}): Promise<Fixture> {
  const file = wanted.file ?? newFile();
  const db = openFile(file, storeSchema);
  const clock = { now: wanted.now ?? NOW };
  const drops: string[] = [];
  const meter = { ...noMeter, dropped: (why: string) => void drops.push(why), ...wanted.meter };
  const store = storeOn(db, { meter, nowSeconds: () => clock.now, ...(wanted.limits && { limits: wanted.limits }) });
  onTestFinished(() => store.close());
  await store.setup({ id: wanted.brokerId ?? "broker-1", mq: { choose: wanted.choose } });
  return { store, db, clock, drops, file };
}

export function message(topic: string, payload: string | Buffer = "1", more: Partial<Message> = {}): Message {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  return { cmd: "publish", topic, payload: bytes, qos: 1, retain: false, dup: false, ...more };
}

/** Resolves when everything so far is on disk. */
export function durable(store: Store): Promise<void> {
  return new Promise((resolve, reject) => {
    store.whenDurable((error) => (error === undefined ? resolve() : reject(error)));
  });
}

export function subscribe(store: Store, client: string, ...filters: [filter: string, qos: 0 | 1 | 2][]): Promise<void> {
  return store.addSubscriptions(
    { id: client },
    filters.map(([topic, qos]) => ({ topic, qos, rh: 0, rap: false, nl: false })),
  );
}

/** The queue of a client that is there, ready to be taken from. */
export async function attach(store: Store, client: string, news = (): void => undefined): Promise<SessionQueue> {
  const queue = store.attach(client, news);
  await durable(store);
  return queue;
}

/** What waits for a client that is not there, as text. */
export async function waiting(store: Store, client: string): Promise<string[]> {
  const list: string[] = [];
  for await (const packet of store.outgoingStream({ id: client })) {
    list.push(String((packet as { payload: Buffer }).payload));
  }
  return list;
}

export function texts(entries: readonly Entry[]): string[] {
  return entries.map(({ payload }) => String(payload));
}

/** How many rows a table has. */
export function rows(db: Database, table: string): number {
  return db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number;
}

/** Writes down each SELECT that is run through a statement prepared from now on. */
export function countReads(db: Database): string[] {
  const reads: string[] = [];
  const prepare = db.prepare.bind(db);
  db.prepare = ((sql: string) => {
    const prepared = prepare(sql);
    if (!sql.startsWith("SELECT")) return prepared;
    for (const method of ["get", "all", "iterate"] as const) {
      const run = prepared[method].bind(prepared) as (...values: unknown[]) => never;
      prepared[method] = (...values: unknown[]) => {
        reads.push(sql);
        return run(...values);
      };
    }
    return prepared;
  }) as typeof db.prepare;
  return reads;
}
