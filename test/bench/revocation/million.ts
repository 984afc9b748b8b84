/**
 * A million entries: from SQLite into memory at start, looked up, written and read as the answer of the list's endpoint, and
 * asked for by HTTP.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { decode as decodeCborX, encode as encodeCborX } from "cbor-x";
import { decodeTrl, encodeTrl, HASH_BYTES } from "../../../shared/trl.ts";
import { cpuMicrosecondsOf, residentBytesOf } from "../broker/cpu-time.ts";
import { startLoad } from "../broker/load-child.ts";
import { startChild } from "../child.ts";
import { HttpConnection, toRequest } from "../http-load.ts";
import type { Installation } from "../installation.ts";
import { median } from "../rounds.ts";
import { formatGoal, printHeading, printNote, printTable } from "../table.ts";
import type { InMemory, Subject } from "./in-memory.ts";
import { copyWithList, LISTED_FILE } from "./listed.ts";
import { formatMilliseconds, spread } from "./milliseconds.ts";

/** How much is measured. */
export interface MillionPlan {
  readonly length: number;
  readonly rounds: number;
}

const goals = { seconds: 0.5, mebibytes: 70, microseconds: 1.5 } as const;
const mebibyte = 1024 ** 2;
const executable = fileURLToPath(new URL("in-memory.js", import.meta.url));
const names: Readonly<Record<Subject, string>> = {
  strings: "Set of latin1 strings",
  table: "the table alone, from bytes",
  start: "the registry opened: SQLite to table",
};

export async function benchMillion(installation: Installation, plan: MillionPlan): Promise<void> {
  const copy = copyWithList(installation, plan.length);
  try {
    printHeading(`A list of ${plan.length}`);
    await benchMemory(copy.dataDir, plan);
    benchCoding(copy.dataDir, plan);
    await benchQuery(copy.dataDir, plan);
  } finally {
    copy.remove();
  }
}

async function benchMemory(dataDir: string, { length, rounds }: MillionPlan): Promise<void> {
  const found: Record<Subject, InMemory[]> = { strings: [], table: [], start: [] };
  for (let round = 0; round < rounds; round++) {
    for (const subject of ["strings", "table", "start"] as const)
      found[subject].push(await measureAlone(subject, dataDir));
  }
  printNote(
    `${length} hashes of revoked tokens in memory; ${rounds} rounds, each in a process of its own; medians. Memory is resident ` +
      "memory after garbage collection, less what there was before; “most” is the same at its highest on the way; in the " +
      "last row up to 16 MiB of it are the page cache of SQLite. Look-ups are of hashes all over the list in no order: as bytes, " +
      "and in the last row as the gate asks, in hex. The first row is what would be written without a thought for memory; the " +
      "ratio of a look-up is to it.",
  );
  const look = (one: InMemory): number => Math.max(one.microseconds.hit, one.microseconds.miss);
  const rows = (["strings", "table", "start"] as const).map((subject) => {
    const all = found[subject];
    const pick = (read: (one: InMemory) => number): number => median(all.map(read));
    const [seconds, mebibytes, microseconds] = [
      pick((one) => one.seconds),
      pick((one) => one.bytes) / mebibyte,
      pick(look),
    ];
    const isJudged = subject === "start";
    const judged = [
      formatGoal(seconds, goals.seconds, " s"),
      formatGoal(mebibytes, goals.mebibytes, " MiB"),
      formatGoal(microseconds, goals.microseconds, " µs"),
    ];
    return [
      names[subject],
      seconds.toFixed(2),
      mebibytes.toFixed(0),
      (pick((one) => one.most) / mebibyte).toFixed(0),
      (pick((one) => one.externalBytes) / mebibyte).toFixed(0),
      pick((one) => one.microseconds.hit).toFixed(2),
      pick((one) => one.microseconds.miss).toFixed(2),
      median(all.map((one, round) => look(one) / look(found.strings[round]!))).toFixed(2),
      isJudged ? judged.join("; ") : "",
    ];
  });
  printTable(
    [["list", "built in s", "MiB", "most", "outside the heap", "hit µs", "miss µs", "ratio", "goal"], ...rows],
    [0, 8],
  );
}

async function measureAlone(subject: Subject, dataDir: string): Promise<InMemory> {
  const child = fork(executable, [subject, dataDir], { execArgv: ["--expose-gc"] });
  const failed = once(child, "exit").then(([code]: unknown[]): never => {
    throw new Error(`measuring ${subject} ended with ${String(code)}`);
  });
  failed.catch(() => {});
  const [answer] = (await Promise.race([once(child, "message"), failed])) as [InMemory];
  return answer;
}

/** Ours and what a CBOR library makes of the same answer. */
function benchCoding(dataDir: string, { length, rounds }: MillionPlan): void {
  const packed = new Uint8Array(readFileSync(join(dataDir, LISTED_FILE)));
  const seconds = {
    ours: { encode: [] as number[], decode: [] as number[] },
    library: { encode: [] as number[], decode: [] as number[] },
  };
  let bytes = encodeTrl({ fullSet: packed, cursor: 0 });
  for (let round = 0; round < rounds; round++) {
    seconds.ours.encode.push(time(() => (bytes = encodeTrl({ fullSet: packed, cursor: 0 }))));
    seconds.ours.decode.push(time(() => decodeTrl(bytes)));
    const hashes = Array.from({ length }, (_, index) => packed.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES));
    const answer = new Map<number, unknown>([
      [0, hashes],
      [2, 0],
    ]);
    seconds.library.encode.push(time(() => encodeCborX(answer)));
    seconds.library.decode.push(time(() => void decodeCborX(bytes)));
  }
  printNote(
    `The answer to a full query, ${(bytes.length / mebibyte).toFixed(1)} MiB, written and read; ${rounds} rounds in one process, ` +
      "medians; the ratio is to the CBOR library cbor-x, which makes a value of each hash.",
  );
  const toRow = (what: "encode" | "decode"): string[] => [
    what,
    median(seconds.ours[what]).toFixed(2),
    median(seconds.library[what]).toFixed(2),
    median(seconds.ours[what].map((one, round) => one / seconds.library[what][round]!)).toFixed(2),
  ];
  printTable([["answer", "ours, s", "cbor-x, s", "ratio"], toRow("encode"), toRow("decode")]);
}

function time(work: () => void): number {
  const startedAt = performance.now();
  work();
  return (performance.now() - startedAt) / 1000;
}

/** A full query, while somebody else asks for something small all the time. */
async function benchQuery(dataDir: string, { length, rounds }: MillionPlan): Promise<void> {
  const server = await startChild("postern", dataDir);
  const authorization = `Bearer ${readFileSync(join(dataDir, "admin.key"), "utf8").trim()}`;
  const caPem = readFileSync(join(dataDir, "ca.pem"), "utf8");
  const load = startLoad();
  const neighbour = await HttpConnection.open({ port: server.httpPort, caPem });
  const small = toRequest("GET", "/healthz", {}, "");
  const before = residentBytesOf(server.pid);
  const [seconds, cpu, longest] = [[] as number[], [] as number[], [] as number[]];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const used = cpuMicrosecondsOf(server.pid);
    const over = new AbortController();
    const asking = load.ask("fetchWhole", { port: server.httpPort, caPem, path: "/revoke/trl", authorization });
    const answered = asking.finally(() => over.abort());
    const waits: number[] = [];
    while (!over.signal.aborted) {
      const startedAt = performance.now();
      await neighbour.ask(small);
      waits.push(performance.now() - startedAt);
      await sleep(1);
    }
    const fetched = await answered;
    bytes = fetched.bytes;
    seconds.push(fetched.seconds);
    cpu.push((cpuMicrosecondsOf(server.pid) - used) / 1_000_000);
    longest.push(spread(waits).longest);
  }
  const more = residentBytesOf(server.pid) - before;
  neighbour.close();
  await load.stop();
  await server.stop();
  printNote(
    `A full query of ${length} entries by HTTP with the admin key, ${rounds} times, medians. “Others wait” is the longest time that ` +
      "a small request of somebody else took meanwhile. Memory is resident memory of the server after the last answer, less " +
      "what it had before the first.",
  );
  printTable(
    [
      ["answer, MiB", "s", "server CPU s", "others wait ms", "more memory, MiB"],
      [
        (bytes / mebibyte).toFixed(1),
        median(seconds).toFixed(2),
        median(cpu).toFixed(2),
        formatMilliseconds(median(longest)),
        (more / mebibyte).toFixed(0),
      ],
    ],
    [],
  );
}
