/** A feed between an authority that does harm, or a disk that takes nothing, and a gate that must not let in what it has heard of. */
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { openCertificateAuthority } from "../../../broker/authority/certificates/certificates.ts";
import { openFile } from "../../../broker/sqlite/database.ts";
import { copySchema } from "../../../broker/trust/copy-schema.ts";
import { openCopy, type Copy } from "../../../broker/trust/copy.ts";
import { openFeedClock } from "../../../broker/trust/feed-clock.ts";
import { followAuthority, type Feed, type FeedOutcome } from "../../../broker/trust/feed.ts";
import type { FeedLimits } from "../../../broker/trust/feed-limits.ts";
import { createMemoryTrust, type MemoryTrust } from "../../../broker/trust/memory-trust.ts";
import type { TrustEntry } from "../../../shared/trust-entries.ts";
import { hash, ScriptedAuthority, type Credential } from "../../trust/scripted-authority.ts";

const client = (name: string, enabled = true): TrustEntry => ({
  kind: "client",
  id: `farm.${name}`,
  client: { enabled, tokensAfter: 0, grants: [] },
});

let directory: string;
let caPem: string;
let server: Credential;
let authority: ScriptedAuthority;
let url: string;
let copy: Copy;
let trust: MemoryTrust;
let feed: Feed;
let outcomes: FeedOutcome[];
let lines: Record<string, unknown>[];
let file: string;
let files = 0;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "postern-hostile-feed-"));
  const ca = await openCertificateAuthority(directory);
  caPem = ca.caPem;
  server = await ca.issueServer([]);
});
afterAll(() => rmSync(directory, { recursive: true }));

beforeEach(async () => {
  authority = new ScriptedAuthority(server);
  url = await authority.listen();
  outcomes = [];
  lines = [];
  file = join(directory, `${++files}.db`);
  authority.entries = [client("a"), client("b")];
  authority.revoke(1, 2);
});
afterEach(async () => {
  await stop();
  await authority.close();
});

async function stop(): Promise<void> {
  await feed.close();
  copy.close();
}
function follow(limits: Partial<FeedLimits> = {}): void {
  const log = pino({}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  trust = createMemoryTrust({ issuer: url, isStale: () => feed.isStale });
  copy = openCopy({ file, issuer: url, trust, log });
  feed = followAuthority({
    authority: { url, caPem, credential: () => server },
    copy,
    clock: openFeedClock(log, copy.remembered),
    log,
    limits: { firstRetryMilliseconds: 5, longestRetryMilliseconds: 20, ...limits },
    contact: (outcome) => outcomes.push(outcome),
  });
}
const revoked = (...numbers: number[]): boolean[] =>
  numbers.map((number) => trust.isTokenRevoked([hash(number).toString("hex")]));
const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 20_000, interval: 5 });
const held = (): Promise<void> => until(() => expect(authority.holding).toBe(1));

describe("a disk that takes nothing", () => {
  /** As if it were full: nothing of an answer is written. */
  const fill = (): void =>
    alter(file, "CREATE TRIGGER full BEFORE UPDATE ON follower BEGIN SELECT RAISE(ABORT, 'full'); END");
  const empty = (): void => alter(file, "DROP TRIGGER full");

  it("does not keep what is taken back from holding, and has all of it once it takes something again", async () => {
    follow();
    await held();
    fill();
    authority.revoke(3);
    await until(() => expect(revoked(3)).toEqual([true]));
    authority.tell(client("a", false));
    authority.tell(client("c"));
    await until(() => expect(trust.client("farm.a")?.enabled).toBe(false));
    // who is new is nobody while it cannot be written, and the view grows old
    expect(trust.client("farm.c")).toBeUndefined();
    expect(lines.filter(({ msg }) => String(msg).includes("could not be taken"))).toMatchObject([{ level: 50 }]);
    empty();
    await until(() => expect(trust.client("farm.c")?.enabled).toBe(true));
    await held();
    await stop();
    authority.fault = (response) => void response.destroy();
    follow();
    expect([revoked(1, 2, 3), trust.client("farm.a")?.enabled]).toEqual([[true, true, true], false]);
  });

  it("has on it what was only heard of, also where a full list brings it", async () => {
    follow();
    await held();
    fill();
    authority.revoke(3);
    await until(() => expect(revoked(3)).toEqual([true]));
    // the update itself does not come again
    authority.forget(2);
    authority.revoke(4);
    empty();
    await until(() => expect(revoked(4)).toEqual([true]));
    await held();
    await stop();
    authority.fault = (response) => void response.destroy();
    follow();
    expect(revoked(1, 2, 3, 4)).toEqual([true, true, true, true]);
  });

  it("does not keep what is new from being heard when it is time to read everything", async () => {
    follow({ everythingSeconds: 0.1, waitSeconds: 0 });
    await feed.first;
    fill();
    await until(() => expect(outcomes).toContain("failed"));
    // it has been time for that for a while
    await delay(300);
    authority.revoke(3);
    await until(() => expect(revoked(3)).toEqual([true]));
    empty();
  });
});

describe("an authority", () => {
  it("that never knows where the broker was is asked with patience, and is believed what it takes back", async () => {
    follow();
    await held();
    let runs = 0;
    authority.fault = () => {
      authority.run = `run-${++runs}`;
      return false;
    };
    authority.revoke(3);
    await until(() => expect(revoked(3)).toEqual([true]));
    await until(() => expect(outcomes.filter((one) => one === "malformed").length).toBeGreaterThan(2));
    authority.fault = undefined;
    await until(() => expect(copy.place).toMatchObject({ list: "no", sweep: "no" }));
    await held();
    expect(revoked(1, 2, 3)).toEqual([true, true, true]);
  });

  it("that tells of a device authority that cannot be read is heard in all else", async () => {
    follow();
    await held();
    authority.tell({ kind: "authority", id: "x", authority: { der: Buffer.from("no"), needsList: false } });
    authority.tell(client("a", false));
    await until(() => expect(trust.client("farm.a")?.enabled).toBe(false));
    await held();
    expect([trust.deviceAuthorities, outcomes.filter((one) => one !== "heard")]).toEqual([[], []]);
  });
});

describe("a copy of trust that is not what was written", () => {
  const rows: [string, () => void][] = [
    ["cut", () => truncateSync(file, 8192)],
    ["overwritten", () => writeFileSync(file, Buffer.alloc(9000, "x"))],
    ["with a page of something else", () => overwrite(Buffer.alloc(4096, 255), 3 * 4096)],
    ["with a client that is none", () => alter(file, "UPDATE client SET state = '{'")],
    ["with a key that is none", () => alter(file, "INSERT INTO signing_key VALUES ('k', x'00', 'x', 0, 1)")],
  ];
  function overwrite(bytes: Buffer, at: number): void {
    const target = openSync(file, "r+");
    writeSync(target, bytes, 0, bytes.length, at);
    closeSync(target);
  }

  it.each(rows)("is named, and nothing of it is taken for true: %s", async (_name, spoil) => {
    authority.entries = Array.from({ length: 500 }, (_, index) => client(`c${index}`));
    follow();
    await held();
    await stop();
    spoil();
    expect(() => follow()).toThrow(file);
    rmSync(file);
    follow();
    await feed.first;
    expect([revoked(1, 2), trust.client("farm.c499")?.enabled]).toEqual([[true, true], true]);
  });
});

function alter(of: string, sql: string): void {
  const db = openFile(of, copySchema);
  db.exec(sql);
  db.close();
}
