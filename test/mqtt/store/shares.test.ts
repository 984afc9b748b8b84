/** What one project takes of a limit of the whole installation, and what that leaves to others. */
import { copyFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { StoreLimits } from "../../../broker/mqtt/limits.ts";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import type { Parts } from "../../../broker/mqtt/store/parts.ts";
import { Shares, tenantOf } from "../../../broker/mqtt/store/shares.ts";
import type { Database } from "../../../broker/sqlite/database.ts";
import { attach, durable, message, newFile, openStore, subscribe, waiting } from "./fixture.ts";

/** Numbers from 0 to below n, the same for the same seed. */
function dice(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

describe("who something counts for", () => {
  it.each([
    ["acme.gate", "acme"],
    ["acme.gate:a", "acme"],
    ["acme.gate.b", "acme"],
    ["gate", ""],
    ["gate:a.b", ""],
    [".gate", ""],
    ["", ""],
  ])("%s: %s", (clientId, tenant) => {
    expect(tenantOf(clientId)).toBe(tenant);
  });
});

describe("a share", () => {
  it.each([
    { limit: 1, uses: [], takes: 1 },
    { limit: 2, uses: [], takes: 2 },
    { limit: 3, uses: [], takes: 3 },
    // half of one is none
    { limit: 3, uses: [2], takes: 0 },
    { limit: 120, uses: [], takes: 120 },
    // what is left of the first half, or half of the other
    { limit: 120, uses: [10], takes: 50 },
    { limit: 120, uses: [59], takes: 30 },
    { limit: 120, uses: [60], takes: 30 },
    { limit: 121, uses: [61], takes: 30 },
    { limit: 120, uses: [60, 30], takes: 10 },
    { limit: 120, uses: [60, 30, 10], takes: 5 },
    { limit: 120, uses: [1, 1, 1], takes: 57 },
    // a limit that was higher, once
    { limit: 120, uses: [120], takes: 0 },
    { limit: 120, uses: [100], takes: 20 },
    { limit: 120, uses: [95, 95], takes: 0 },
  ])("of $limit, beside those who have $uses, is $takes", ({ limit, uses, takes }) => {
    const shares = new Shares(limit);
    for (const [i, use] of uses.entries()) shares.add(`p${i}`, use);
    let inAll = uses.reduce((sum, use) => sum + use, 0);
    let taken = 0;
    for (; shares.mayTake("new", 1, inAll + 1); taken++, inAll++) shares.add("new", 1);
    expect(taken).toBe(takes);
    // all of it in one piece, and not a piece more
    shares.add("new", -taken);
    expect(shares.uses.has("new")).toBe(false);
    expect([shares.mayTake("new", takes, inAll), shares.mayTake("new", takes + 1, inAll + 1)]).toEqual([
      inAll <= limit,
      false,
    ]);
  });

  it("is not needed for what makes nothing more", () => {
    const shares = new Shares(10);
    shares.add("a", 9);
    shares.add("b", 1);
    expect([shares.mayTake("a", 0, 10), shares.mayTake("a", -1, 9), shares.mayTake("a", 1, 10)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it.each([1, 2, 3, 4, 5])("is there for whoever comes next, whatever others took and gave back (%i)", (seed) => {
    const limit = 100_000;
    const roll = dice(seed);
    const shares = new Shares(limit);
    // nobody is ever alone
    const residents = ["one", "other"];
    for (const tenant of residents) shares.add(tenant, 1);
    let inAll = residents.length;
    const take = (tenant: string, most: number): void => {
      for (let step = most; step >= 1; step = Math.floor(step / 2)) {
        while (shares.mayTake(tenant, step, inAll + step)) {
          shares.add(tenant, step);
          inAll += step;
        }
      }
    };
    for (let round = 0; round < 3000; round++) {
      const tenant = `t${roll(30)}`;
      const use = shares.uses.get(tenant) ?? 0;
      const what = roll(4);
      if (what === 0) {
        const back = roll(2) === 0 ? use : roll(use + 1);
        shares.add(tenant, -back);
        inAll -= back;
      } else if (what === 1) take(tenant, limit);
      else take(tenant, 1 + roll(limit));
      const others = shares.uses.size;
      const share = limit / 2 / (others * (others + 1));
      expect(inAll).toBeLessThanOrEqual(limit);
      expect(shares.mayTake("next", Math.floor(share), inAll + Math.floor(share))).toBe(true);
    }
  });
});

/** A project takes as much as it gets; returns how often it was let. */
function flood(most: number, take: (i: number) => boolean): number {
  let count = 0;
  for (let i = 0; i < most; i++) if (take(i)) count++;
  return count;
}

const retain = (store: Store, clientId: string, topic: string, payload = "x") =>
  store.accept(message(topic, payload, { retain: true, clientId }));

describe("a project that is alone", () => {
  it("has all of a limit, until there is another", async () => {
    const limits = { retainedTopics: 12, storeBytes: 120, sessions: 12 };
    const { store, drops } = await openStore({ limits });
    expect(flood(20, (i) => retain(store, `home.c${i}`, `home/${i}`))).toBe(12);
    await subscribe(store, "home.a", ["q", 1]);
    expect(flood(20, () => store.accept(message("q", "123456789")))).toBe(12);
    expect(drops).toEqual([...Array<string>(8).fill("retained-topics"), ...Array<string>(8).fill("store-bytes")]);
    let sessions = 1;
    for (; store.mayKeepSession(`home.c${sessions}`); sessions++) await subscribe(store, `home.c${sessions}`, ["t", 1]);
    expect(sessions).toBe(12);
    // what is full is full
    expect([retain(store, "late.c", "late"), store.mayKeepSession("late.c")]).toEqual([false, false]);
    for (let i = 1; i < 4; i++) retain(store, `home.c${i}`, `home/${i}`, "");
    expect([retain(store, "late.c", "late"), retain(store, "home.c1", "home/1")]).toEqual([true, false]);
  });
});

describe("a project at its share", () => {
  it("retains no more topics, and others do", async () => {
    const { store, drops } = await openStore({ limits: { retainedTopics: 120 } });
    const evil = (i: number) => retain(store, `evil.c${i % 7}`, `evil/${i}`);
    const home = (i: number) => retain(store, `home.c${i % 3}:s`, `home/${i}`);
    expect(home(0)).toBe(true);
    expect(flood(200, evil)).toBe(59);
    expect(new Set(drops)).toEqual(new Set(["retained-topics"]));
    expect(flood(200, home)).toBe(30);
    // what it has it may change and remove, and of what it removed it may take again what its share allows
    expect([evil(0), retain(store, "evil.c0", "evil/1", ""), evil(1)]).toEqual([true, true, false]);
    // the topic of another counts for who takes it
    expect([retain(store, "evil.c0", "home/0"), retain(store, "third.c", "home/0")]).toEqual([false, true]);
  });

  it("retains no more bytes, and others do", async () => {
    const { store, drops } = await openStore({ limits: { retainedBytes: 1200 } });
    const evil = (i: number) => retain(store, `evil.c${i % 7}`, `evil/${i}`, "0123456789");
    const home = (i: number) => retain(store, "home.c", `home/${i}`, "0123456789");
    expect(home(0)).toBe(true);
    expect(flood(200, evil)).toBe(59);
    expect(new Set(drops)).toEqual(new Set(["retained-bytes"]));
    expect(flood(200, home)).toBe(30);
    // the same again, smaller, larger
    expect([evil(0), retain(store, "evil.c0", "evil/0", "1"), evil(0)]).toEqual([true, true, false]);
    expect([retain(store, "home.c", "home/0", "1"), retain(store, "home.c", "home/0", "0123456789")]).toEqual([
      true,
      true,
    ]);
    // in place of what another has: that makes room in all, not in a share
    expect(retain(store, "evil.c0", "home/0", "0123456789")).toBe(false);
  });

  it("has no more stored for it, and others do", async () => {
    const { store, drops } = await openStore({ limits: { storeBytes: 1200 } });
    for (const client of ["evil.a", "evil.b:1", "home.a"]) {
      await subscribe(store, client, [`${client.slice(0, 4)}/#`, 1]);
    }
    const home = () => store.accept(message("home/x", "1234", { clientId: "evil.a" }));
    expect(home()).toBe(true);
    // a message of ten bytes in two queues is one
    expect(flood(200, () => store.accept(message("evil/x", "1234", { clientId: "home.a" })))).toBe(59);
    expect([drops.length, new Set(drops)]).toEqual([282, new Set(["store-bytes"])]);
    expect(flood(200, home)).toBe(29);
    await durable(store);
    expect([(await waiting(store, "evil.b:1")).length, (await waiting(store, "home.a")).length]).toEqual([59, 30]);
  });

  it("keeps nothing from others of one and the same message", async () => {
    const { store, drops } = await openStore({ limits: { storeBytes: 120 } });
    await subscribe(store, "evil.a", ["t", 1], ["evil", 1]);
    await subscribe(store, "home.a", ["t", 1]);
    expect(store.accept(message("t", "123456789"))).toBe(true);
    flood(9, () => store.accept(message("evil", "123456", { clientId: "p" })));
    expect(drops).toEqual(["store-bytes", "store-bytes", "store-bytes", "store-bytes"]);
    expect(store.accept(message("t", "123456789"))).toBe(true);
    await durable(store);
    expect(drops).toHaveLength(5);
    expect([(await waiting(store, "evil.a")).length, (await waiting(store, "home.a")).length]).toEqual([6, 2]);
  });

  it("is not charged for what another has already, in all", async () => {
    const { store, drops } = await openStore({ limits: { storeBytes: 40, retainedBytes: 40 } });
    for (const client of ["evil.a", "home.a"]) await subscribe(store, client, ["t", 1]);
    store.accept(message("t", "x".repeat(19)));
    // what is replaced makes room
    expect([retain(store, "evil.a", "r", "x".repeat(20)), retain(store, "home.a", "r", "x".repeat(20))]).toEqual([
      true,
      true,
    ]);
    await durable(store);
    expect([(await waiting(store, "evil.a")).length, (await waiting(store, "home.a")).length, drops]).toEqual([
      1,
      1,
      [],
    ]);
  });

  it("begins no more sessions, and others do", async () => {
    const { store } = await openStore({ limits: { sessions: 12 } });
    const begin = async (client: string): Promise<boolean> => {
      if (!store.mayKeepSession(client)) return false;
      await subscribe(store, client, ["t", 1]);
      return true;
    };
    expect(await begin("home.first")).toBe(true);
    const begun: Record<string, number> = {};
    for (const project of ["evil", "home", "third"]) {
      for (let i = 0; i < 20; i++) if (await begin(`${project}.c${i}`)) begun[project] = (begun[project] ?? 0) + 1;
    }
    expect(begun).toEqual({ evil: 5, home: 2, third: 1 });
    expect([store.mayKeepSession("evil.c0"), store.mayKeepSession("evil.c0:1")]).toEqual([true, false]);
    // those that end make room, also at once
    store.endSessions("evil.c0");
    expect(store.mayKeepSession("third.c1")).toBe(false);
    for (let i = 1; i < 6; i++) await store.cleanSubscriptions({ id: `evil.c${i}` });
    expect([store.mayKeepSession("third.c1"), store.mayKeepSession("evil.c0")]).toEqual([true, true]);
  });

  it("and nine more such projects leave the next a share", async () => {
    const limits = { retainedTopics: 2200, storeBytes: 22_000, sessions: 2200, queueMessages: 9999 };
    const { store } = await openStore({ limits });
    // with one of each
    await subscribe(store, "stays.c", ["stays/q", 1]);
    expect([store.accept(message("stays/q", "xxx")), retain(store, "stays.c", "stays/r")]).toEqual([true, true]);
    for (let p = 0; p <= 10; p++) {
      const project = `p${p}`;
      let sessions = 0;
      for (; store.mayKeepSession(`${project}.c${sessions}`); sessions++) {
        void subscribe(store, `${project}.c${sessions}`, [sessions === 0 ? `${project}/q` : "none", 1]);
      }
      await durable(store);
      const stored = flood(2500, () => store.accept(message(`${project}/q`, "x".repeat(8 - project.length))));
      const retained = flood(2500, (i) => retain(store, `${project}.c${i % 9}`, `${project}/${i}`));
      const share = p === 0 ? 1099 : Math.floor(1100 / (p + 1) / (p + 2));
      expect([project, sessions, stored, retained]).toEqual([project, share, share, share]);
    }
  });
});

/** What is on disk, by project: topics and bytes retained, sessions, bytes that wait. */
function onRecord(db: Database, clients: Map<number, string>): Record<string, Record<string, number>> {
  const record: Record<string, Record<string, number>> = { topics: {}, bytes: {}, sessions: {}, queues: {} };
  const projectOf = (clientId: string): string => /^([^.:]*)\./.exec(clientId)?.[1] ?? "";
  const add = (what: string, clientId: string, amount: number): void => {
    const tenant = projectOf(clientId);
    record[what]![tenant] = (record[what]![tenant] ?? 0) + amount;
  };
  const all = (sql: string) => db.prepare(sql).raw().all() as [string, number][];
  for (const [publisher, bytes] of all("SELECT coalesce(publisher, ''), octet_length(payload) FROM retained")) {
    add("topics", publisher, 1);
    add("bytes", publisher, bytes);
  }
  for (const [client, id] of all("SELECT client, id FROM session")) {
    add("sessions", client, 1);
    clients.set(id, client);
  }
  const counted = new Set<string>();
  const entries = `SELECT session, message, octet_length(topic) + octet_length(payload)
    FROM queue JOIN message ON message.id = queue.message`;
  for (const [session, id, bytes] of db.prepare(entries).raw().iterate() as IterableIterator<number[]>) {
    // also of sessions that are over, until their queues are cleared
    const client = clients.get(session!)!;
    const once = `${id} ${projectOf(client)}`;
    if (!counted.has(once)) add("queues", client, bytes!);
    counted.add(once);
  }
  return record;
}

function inMemory(store: Store): Record<string, Record<string, number>> {
  const { retained, sessions, queues } = (store as unknown as { parts: Parts }).parts;
  const { topics, bytes } = retained.shares;
  const all = { topics, bytes, sessions: sessions.shares, queues: queues.weights.shares };
  return Object.fromEntries(Object.entries(all).map(([what, { uses }]) => [what, Object.fromEntries(uses)]));
}

describe("what is counted is what is on record", () => {
  const clients = ["a.1", "a.1:s", "a.2", "b.1", "b.2:s", "c.1", "plain", "plain:a.b"];
  const filters = ["t/+", "t/1", "t/2", "u/+", "#"];
  const limits: Partial<StoreLimits> = {
    retainedTopics: 14,
    retainedBytes: 150,
    storeBytes: 900,
    sessions: 10,
    queueSeconds: 100,
    sessionSeconds: 300,
  };

  it.each([1, 2, 3, 4, 5, 6])(
    "after whatever happens, what could not be written, and restarts (%i)",
    async (seed) => {
      const roll = dice(seed);
      const pick = <T>(list: readonly T[]): T => list[roll(list.length)]!;
      let { store, db, clock, file, drops } = await openStore({ limits });
      const seen = { dropped: new Set<string>(), failed: 0 };
      let byId = new Map<number, string>();
      const act = async (): Promise<void> => {
        const client = pick(clients);
        const what = roll(20);
        if (what < 10) {
          const payload = roll(8) === 0 ? "" : "x".repeat(1 + roll(30));
          const more = { retain: roll(2) === 0, clientId: pick(clients), qos: pick([0, 1, 2] as const) };
          store.accept(message(`${pick(["t", "u"])}/${roll(8)}`, payload, more));
        } else if (what < 13) {
          if (store.mayKeepSession(client)) void subscribe(store, client, [pick(filters), 1]).catch(() => undefined);
        } else if (what < 16) {
          if (!store.hasSession(client)) return;
          const queue = await attach(store, client).catch(() => undefined);
          for (const entry of queue?.take(1 + roll(20)) ?? []) if (roll(3) > 0) queue!.remove(entry);
          queue?.detach();
        } else if (what === 16) void store.cleanSubscriptions({ id: client }).catch(() => undefined);
        else if (what === 17) store.endSessions(client.split(":", 1)[0]!, pick([client, undefined]));
        else if (what === 18) store.purgeRetained(client.split(":", 1)[0]!, "client", () => roll(2) === 0);
        else {
          clock.now += roll(60);
          void store.tidy();
        }
      };
      for (let round = 0; round < 250; round++) {
        for (let i = roll(12); i >= 0; i--) await act();
        if (roll(4) === 0 && db.inTransaction) {
          // refers to nothing, which the commit refuses
          db.exec("INSERT OR REPLACE INTO subscription (session, filter, qos) VALUES (999999, 'x', 1)");
          await expect(durable(store)).rejects.toThrow("FOREIGN KEY");
          seen.failed++;
        }
        // what need not be waited for goes with something that is
        store.accept(message("none", "", { qos: 2 }), { clientId: "p", messageId: 1 + (round % 60_000) });
        await durable(store);
        const record = onRecord(db, byId);
        expect([round, inMemory(store)]).toEqual([round, record]);
        const weight = db
          .prepare("SELECT total(octet_length(topic) + octet_length(payload)) FROM message")
          .pluck()
          .get();
        expect([round, store.sizes.queuedBytes]).toEqual([round, weight]);
        for (const why of drops) seen.dropped.add(why);
        if (roll(10) !== 0) continue;
        const before = clock.now;
        if (roll(2) === 0) {
          // as a process leaves it that is killed now
          const copy = newFile();
          for (const suffix of ["", "-wal"]) copyFileSync(`${file}${suffix}`, `${copy}${suffix}`);
          ({ store, db, clock, file, drops } = await openStore({ file: copy, limits, now: before }));
        } else {
          store.close();
          ({ store, db, clock, file, drops } = await openStore({ file, limits, now: before }));
        }
        byId = new Map();
        expect([round, inMemory(store)]).toEqual([round, onRecord(db, byId)]);
        store.takeBack({ isTakenBack: () => false, purgesOf: () => () => true });
      }
      expect(seen.failed).toBeGreaterThan(5);
      expect([...seen.dropped]).toEqual(expect.arrayContaining(["retained-topics", "retained-bytes", "store-bytes"]));
    },
    60_000,
  );
});
