/** What was taken back is not there again when the process was killed at any moment after that was on disk. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import { durable, newFile, openStore, patient, rows, waiting } from "./fixture.ts";

const ender = fileURLToPath(new URL("ender.mjs", import.meta.url));
const rounds = 20;

/** When the ender dies: some moment after its note of this number, or so many turns after it has begun to end something. */
type Death = { readonly lastNote: number } | { readonly turns: number };

/** Runs the ender until it is dead; returns what it noted, by its words. */
async function killEnder(
  file: string,
  notes: string,
  first: number,
  death: Death,
): Promise<(word: string) => number[]> {
  const words = [file, notes, `${first}`, ...("turns" in death ? [`${death.turns}`] : [])];
  const child = fork(ender, words, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  let noted = 0;
  child.on("message", () => {
    if ("turns" in death || ++noted !== death.lastNote) return;
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 10);
  });
  const exit = once(child, "exit");
  expect(await exit).toEqual([null, "SIGKILL"]);
  const lines = readFileSync(notes, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" "));
  return (word) => lines.filter(([first]) => first === word).map(([, number]) => Number(number));
}

async function contents(store: Store, client: string): Promise<number[]> {
  const retained = await store.createRetainedStream(`r/${client}/+`).toArray();
  const ids = [client, `${client}:x`];
  const sessions = ids.filter((id) => store.hasSession(id)).length;
  const wills = await Promise.all(ids.map((id) => store.getWill({ id })));
  const waits = await Promise.all(ids.map((id) => waiting(store, id)));
  const queued = waits.flat().length;
  return [sessions, wills.filter(Boolean).length, queued, retained.length, store.countReceipts(client)];
}

it(`killed ${rounds} times while it ends and purges, nothing comes back, and nothing else is gone`, async () => {
  const file = newFile();
  let ended = 0;
  let unfinished = 0;
  for (let round = 0; round < rounds; round++) {
    // from four notes on there is one that something has ended; and whatever the machine, some die in the midst of a purge
    const death = round % 3 === 2 ? { turns: (round - 2) / 3 } : { lastNote: 4 + (round % 9) };
    const noted = await killEnder(file, `${file}.notes`, round * 1000, death);
    const again = await openStore({ file });
    const { store, db } = again;
    unfinished += rows(db, "purge");
    store.takeBack({ isTakenBack: () => false, purgesOf: () => () => true });
    const ending = new Set(noted("ending"));
    for (const number of noted("ended")) expect(await contents(store, `p.c${number}`)).toEqual([0, 0, 0, 0, 0]);
    for (const number of noted("filled")) {
      if (!ending.has(number)) expect(await contents(store, `p.c${number}`)).toEqual([2, 2, 240, 120, 120]);
    }
    ended += noted("ended").length;
    await durable(store);
    await expect.poll(() => rows(db, "purge"), patient).toBe(0);
    const orphans = db.prepare("SELECT count(*) FROM receipt WHERE session NOT IN (SELECT id FROM session)");
    expect(orphans.pluck().get()).toBe(0);
    for (const number of noted("ended")) {
      const left = db.prepare("SELECT count(*) FROM retained WHERE publisher = ?").pluck().get(`p.c${number}`);
      expect(left).toBe(0);
    }
    // the next round begins with what stayed
    store.close();
  }
  expect(ended).toBeGreaterThan(rounds);
  expect(unfinished).toBeGreaterThan(0);
}, 300_000);
