/**
 * One measurement of a long list, alone in a process that is new for it and can collect its garbage: how long it takes to be
 * built, what memory it takes, and how long a look-up is. `in-memory.js start|table|strings DIR`; the answer goes over IPC.
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { openRegistry } from "../../../broker/registry/open-registry.ts";
import { HashSet } from "../../../broker/trust/hash-set.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import { HASH_BYTES } from "../../../shared/trl.ts";
import { drawHashes, LISTED_FILE } from "./listed.ts";

/** Of a list that is there, and a question for it. */
export interface InMemory {
  readonly seconds: number;
  /** Resident memory after collection, less what there was before. */
  readonly bytes: number;
  /** The most there was at any moment, less what there was before. */
  readonly most: number;
  /** Of which outside the heap. */
  readonly externalBytes: number;
  /** Of one look-up, of a hash that is on the list and of one that is not. */
  readonly microseconds: { readonly hit: number; readonly miss: number };
}

export type Subject = keyof typeof subjects;

/** Asked by these, which are spread over all of the list. */
const askedAtMost = 100_000;

/** Builds the list; returns how to look a hash up. */
type Build = () => (hash: Asked) => boolean;

interface Asked {
  readonly bytes: Uint8Array;
  readonly hex: string;
}

const subjects = {
  /** What `postern up` does with its registry before it listens, and what the gate asks of it. */
  start: (dataDir: string): Build => {
    // what a registry takes however short its list is
    openRegistry({ file: ":memory:", sink: createMemoryTrust({ issuer: "" }) });
    const file = join(dataDir, "postern.db");
    return () => {
      const trust = createMemoryTrust({ issuer: "" });
      openRegistry({ file, sink: trust });
      return ({ hex }) => trust.isTokenRevoked([hex]);
    };
  },
  /** The table that is behind it. */
  table: (dataDir: string): Build => {
    const packed = readFileSync(join(dataDir, LISTED_FILE));
    return () => {
      const set = new HashSet();
      for (let at = 0; at < packed.length; at += HASH_BYTES) set.addAt(packed, at);
      return ({ bytes }) => set.has(bytes);
    };
  },
  /** What would be written without thinking of memory. */
  strings: (dataDir: string): Build => {
    const packed = readFileSync(join(dataDir, LISTED_FILE));
    return () => {
      const set = new Set<string>();
      for (let at = 0; at < packed.length; at += HASH_BYTES) set.add(packed.toString("latin1", at, at + HASH_BYTES));
      return ({ bytes }) => set.has(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"));
    };
  },
};

function measure(subject: Subject, dataDir: string): InMemory {
  const build = subjects[subject](dataDir);
  const listed = readSome(dataDir);
  const others = drawHashes(listed.length);
  const unlisted = listed.map((_, index) => toAsked(others.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES)));
  collect();
  const before = process.memoryUsage();
  const startedAt = performance.now();
  const has = build();
  const seconds = (performance.now() - startedAt) / 1000;
  const most = process.resourceUsage().maxRSS * 1024;
  collect();
  const after = process.memoryUsage();
  return {
    seconds,
    bytes: after.rss - before.rss,
    most: most - before.rss,
    externalBytes: after.external - before.external,
    microseconds: { hit: time(has, listed, true), miss: time(has, unlisted, false) },
  };
}

/** The second time over, because nothing that serves is new to its work. */
function time(has: (hash: Asked) => boolean, asked: readonly Asked[], expected: boolean): number {
  let seconds = Number.NaN;
  for (let times = 0; times < 2; times++) {
    const startedAt = performance.now();
    let found = 0;
    for (const hash of asked) if (has(hash)) found++;
    seconds = (performance.now() - startedAt) / 1000;
    if (found !== (expected ? asked.length : 0)) throw new Error("a look-up is wrong");
  }
  return (seconds * 1_000_000) / asked.length;
}

/** Some of those on the list, read one by one, so that memory is as it was before. */
function readSome(dataDir: string): Asked[] {
  const file = openSync(join(dataDir, LISTED_FILE), "r");
  const count = fstatSync(file).size / HASH_BYTES;
  const chosen = Math.min(count, askedAtMost);
  const asked = Array.from({ length: chosen }, (_, index) => {
    const bytes = new Uint8Array(HASH_BYTES);
    readSync(file, bytes, 0, HASH_BYTES, Math.floor((index * count) / chosen) * HASH_BYTES);
    return toAsked(bytes);
  });
  closeSync(file);
  // in no order: by their last bytes, which are random
  return asked.toSorted((one, other) => (one.hex.slice(-16) < other.hex.slice(-16) ? -1 : 1));
}

function toAsked(bytes: Uint8Array): Asked {
  return { bytes, hex: Buffer.from(bytes).toString("hex") };
}

function collect(): void {
  for (let times = 0; times < 3; times++) globalThis.gc?.();
}

const [subject, dataDir] = process.argv.slice(2) as [Subject, string];
process.send?.(measure(subject, dataDir));
process.disconnect?.();
