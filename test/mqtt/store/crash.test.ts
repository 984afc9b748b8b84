/** What the store has promised is there when its process was killed at any moment. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { attach, openStore, subscribe, waiting } from "./fixture.ts";

const writer = fileURLToPath(new URL("writer.mjs", import.meta.url));
const rounds = 20;

/** Runs the writer until it is killed, at some point after it has stored something; returns what it noted, by its words. */
async function killWriter(file: string, notes: string, first: number): Promise<(word: string) => number[]> {
  const child = fork(writer, [file, notes, `${first}`], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const exit = once(child, "exit");
  let left = Math.ceil(Math.random() * 200);
  child.on("message", () => {
    if (--left === 0) setTimeout(() => child.kill("SIGKILL"), Math.random() * 10);
  });
  expect(await exit).toEqual([null, "SIGKILL"]);
  const lines = readFileSync(notes, "utf8").split("\n").slice(0, -1);
  const noted = lines.map((line) => line.split(" "));
  return (word) => noted.filter(([first]) => first === word).map(([, number]) => Number(number));
}

it(`killed ${rounds} times while it writes, it has lost nothing it promised, and nothing is there twice`, async () => {
  const limits = { queueMessages: 60_000 };
  const { store: begun, file } = await openStore({ limits });
  for (const client of ["here", "away", "publisher"])
    await subscribe(begun, client, [client === "publisher" ? "none" : "t/#", 2]);
  begun.close();

  let promised = 0;
  for (let round = 0; round < rounds; round++) {
    const first = round * 1000 * 1000;
    const noted = await killWriter(file, `${file}.notes`, first);
    const stored = noted("stored");
    promised += stored.length;

    const { store } = await openStore({ file, limits });
    const away = (await waiting(store, "away")).map(Number);
    expect(new Set(away).size).toBe(away.length);
    expect(away).toEqual(away.toSorted((a, b) => a - b));
    expect(stored.filter((number) => !away.includes(number))).toEqual([]);

    const queue = await attach(store, "here");
    const here = queue.take(60_000);
    const numbers = new Set(here.map(({ payload }) => Number(payload)));
    expect(numbers.size).toBe(here.length);
    const removing = new Set(noted("removing"));
    expect(stored.filter((number) => !numbers.has(number) && !removing.has(number))).toEqual([]);
    // whether it was sent is not known
    expect(here.every(({ wasSent }) => wasSent)).toBe(true);

    const releasing = new Set(noted("releasing"));
    const released = noted("released");
    const isKnown = (number: number) => store.hasReceipt({ clientId: "publisher", messageId: (number % 60_000) + 1 });
    expect(stored.filter((number) => !releasing.has(number) && !isKnown(number))).toEqual([]);
    expect(released.filter(isKnown)).toEqual([]);

    // the next round begins with empty queues
    for (const entry of here) queue.remove(entry);
    queue.detach();
    await store.cleanSubscriptions({ id: "away" });
    await store.cleanIncoming({ id: "publisher" });
    await subscribe(store, "away", ["t/#", 2]);
    store.close();
  }
  expect(promised).toBeGreaterThan(rounds);
}, 300_000);
