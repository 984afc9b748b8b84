/** The feed of a broker elsewhere: what it asks, what it takes for an answer, and what it makes of everything else. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test, vi } from "vitest";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import { openCopy, type Copy } from "../../broker/trust/copy.ts";
import { openFeedClock, type FeedClock } from "../../broker/trust/feed-clock.ts";
import { followAuthority, type Feed, type FeedOutcome } from "../../broker/trust/feed.ts";
import type { FeedLimits } from "../../broker/trust/feed-limits.ts";
import { createMemoryTrust, type MemoryTrust } from "../../broker/trust/memory-trust.ts";
import { TRL_CBOR, encodeTrl } from "../../shared/trl.ts";
import type { TrustEntry } from "../../shared/trust-entries.ts";
import { watchStalls } from "../undisturbed.ts";
import { hash, ScriptedAuthority, type Credential, type Fault } from "./scripted-authority.ts";

const client = (name: string, enabled = true): TrustEntry => ({
  kind: "client",
  id: `farm.${name}`,
  client: { enabled, tokensAfter: 0, grants: [] },
});

let directory: string;
let caPem: string;
let server: Credential;
let strange: Credential;
let authority: ScriptedAuthority;
let url: string;
let copy: Copy;
let trust: MemoryTrust;
let clock: FeedClock;
let feed: Feed;
let outcomes: FeedOutcome[];
let lines: Record<string, unknown>[];
/** The clocks of this machine, seconds beside the real ones. */
let wallAhead = 0;
let monotonicAhead = 0;
let shown: Credential;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "postern-feed-"));
  const ca = await openCertificateAuthority(directory);
  caPem = ca.caPem;
  server = shown = await ca.issueServer([]);
  const elsewhere = mkdtempSync(join(directory, "elsewhere-"));
  strange = await (await openCertificateAuthority(elsewhere)).issueServer([]);
});
afterAll(() => rmSync(directory, { recursive: true }));

beforeEach(async () => {
  authority = new ScriptedAuthority(server);
  url = await authority.listen();
  outcomes = [];
  lines = [];
  wallAhead = monotonicAhead = 0;
  shown = server;
  authority.entries = [client("a"), client("b")];
  authority.revoke(1, 2);
});
afterEach(async () => {
  await feed.close();
  copy.close();
  await authority.close();
});

function follow(limits: Partial<FeedLimits> = {}, file = ":memory:"): void {
  const log = pino({}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  let made: Feed | undefined;
  trust = createMemoryTrust({ issuer: url, isStale: () => made?.isStale ?? true });
  copy = openCopy({ file, issuer: url, trust, log });
  clock = openFeedClock(log, copy.remembered, {
    wallMs: () => Date.now() + wallAhead * 1000,
    monotonicMs: () => performance.now() + monotonicAhead * 1000,
  });
  made = feed = followAuthority({
    authority: { url, caPem, credential: () => shown },
    copy,
    clock,
    log,
    limits: { firstRetryMilliseconds: 5, longestRetryMilliseconds: 20, ...limits },
    contact: (outcome) => outcomes.push(outcome),
  });
}
const revoked = (...numbers: number[]): boolean[] =>
  numbers.map((number) => trust.isTokenRevoked([hash(number).toString("hex")]));
const until = (what: () => void): Promise<void> => vi.waitFor(what, { timeout: 20_000, interval: 5 });
const held = (): Promise<void> => until(() => expect(authority.holding).toBe(1));
const said = (text: string): Record<string, unknown>[] =>
  lines.filter((line) => String(line["msg"]).includes(text) || String(line["why"]).includes(text));

describe("a feed", () => {
  it("reads everything, then what is new, held until there is news, and never asks twice at once", async () => {
    authority.entriesAtOnce = 1;
    expect(authority.asked).toEqual([]);
    follow();
    expect([feed.isStale, trust.isStale]).toEqual([true, true]);
    await feed.first;
    expect([revoked(1, 2, 3), trust.client("farm.b")?.enabled, feed.isStale]).toEqual([
      [true, true, false],
      true,
      false,
    ]);
    await held();
    authority.revoke(3);
    await until(() => expect(revoked(3)).toEqual([true]));
    await held();
    authority.tell(client("a", false));
    await until(() => expect(trust.client("farm.a")?.enabled).toBe(false));
    await held();
    expect(authority.asked).toEqual([
      { query: "trust=", prefer: undefined },
      { query: "diff=0&cursor=0&trust=run-one.1", prefer: undefined },
      { query: "diff=0&cursor=0&trust=run-one.2", prefer: "wait=25" },
      { query: "diff=0&cursor=1&trust=run-one.2", prefer: "wait=25" },
      { query: "diff=0&cursor=1&trust=run-one.3", prefer: "wait=25" },
    ]);
    expect(authority.mostAtOnce).toBe(1);
    expect([...authority.shown]).toEqual([new X509Certificate(server.cert).fingerprint256]);
  });

  it("shows the certificate that is the one at the time", async () => {
    follow();
    await held();
    shown = strange;
    authority.release();
    await until(() => expect(authority.shown.size).toBe(2));
  });

  it("follows a list that has never had an update", async () => {
    authority.updates = [];
    authority.listed.clear();
    follow();
    await held();
    authority.revoke(5);
    await until(() => expect(revoked(5)).toEqual([true]));
    await held();
    expect([authority.asked.map(({ query }) => query), copy.place.trlCursor]).toEqual([
      ["trust=", "diff=0&trust=run-one.2", "diff=0&cursor=0&trust=run-one.2"],
      0,
    ]);
  });

  it("reads many updates in parts", async () => {
    follow();
    await held();
    authority.batch = 10;
    authority.holds = false;
    for (let number = 10; number < 50; number++)
      authority.updates.push({ added: hash(number), removed: Buffer.alloc(0) });
    authority.release();
    await until(() => expect(revoked(10, 49)).toEqual([true, true]));
    expect(authority.asked.filter(({ prefer }) => prefer === undefined).length).toBeGreaterThanOrEqual(4);
  });

  it("goes on where indexes start again from 0", async () => {
    authority.maxIndex = 1023;
    authority.first = 1023;
    follow({ maxIndex: 1023 });
    await held();
    expect(copy.place.trlCursor).toBe(1023);
    authority.update([3], [1]);
    authority.revoke(4);
    await until(() => expect([revoked(1, 3, 4), copy.place.trlCursor]).toEqual([[false, true, true], 1]));
    expect(authority.asked.filter(({ query }) => !query.includes("diff"))).toHaveLength(1);
  });

  it("reads everything again from time to time", async () => {
    follow({ everythingSeconds: 100 });
    await held();
    authority.listed.delete(1);
    authority.listed.add(7);
    authority.entries = [client("b"), client("c")];
    monotonicAhead = 111;
    authority.release();
    await until(() => expect(revoked(1, 2, 7)).toEqual([false, true, true]));
    await held();
    expect([trust.client("farm.a"), trust.client("farm.c")?.id]).toEqual([undefined, "farm.c"]);
  });

  it("does not ask an authority that does not hold its answers all the time", async () => {
    authority.holds = false;
    follow();
    await until(() => expect(authority.asked.length).toBeGreaterThan(4));
    const [third, , fifth] = authority.askedAtMs.slice(2);
    expect(fifth! - third!).toBeGreaterThan(200);
  });

  it("has answers held for less where a view becomes too old sooner", async () => {
    follow({ maxStalenessSeconds: 9 });
    await held();
    expect(authority.asked.at(-1)?.prefer).toBe("wait=3");
  });

  it("takes the time of the authority", async () => {
    authority.ahead = 3600;
    follow();
    await held();
    expect(Math.round((clock.nowSeconds() - Date.now() / 1000) / 10) * 10).toBe(3600);
    expect(said("clocks of the authority")).toHaveLength(1);
  });
});

describe("what was lost", () => {
  it.each<[string, () => void]>([
    ["updates that are not held any more", () => authority.forget(5)],
    ["updates that an answer left out", () => void (authority.leavesOut = 3)],
  ])("%s: everything is read again", async (_name, lose) => {
    follow();
    await held();
    for (let number = 10; number < 20; number++) {
      authority.listed.add(number);
      authority.updates.push({ added: hash(number), removed: Buffer.alloc(0) });
    }
    lose();
    authority.release();
    await until(() => expect(revoked(10, 14, 19)).toEqual([true, true, true]));
    expect(said("updates of the list are lost")).toHaveLength(1);
    await held();
    expect([authority.asked.filter(({ query }) => !query.includes("diff")).length, copy.place.trlCursor]).toEqual([
      2, 10,
    ]);
  });

  it.each<[string, () => void]>([
    [
      "with fewer updates",
      () => {
        authority.updates = authority.updates.slice(0, 1);
      },
    ],
    [
      "with no updates",
      () => {
        authority.updates = [];
      },
    ],
    [
      "with other updates, in another run",
      () => {
        authority.run = "run-two";
        authority.first = 50;
      },
    ],
    [
      "with as many updates, in another run",
      () => {
        authority.run = "run-two";
      },
    ],
  ])("an authority from a backup, %s: what was taken back stays", async (_name, restore) => {
    authority.revoke(3);
    follow();
    await held();
    authority.listed.delete(3);
    authority.entries = [client("a")];
    restore();
    authority.release();
    await until(() => expect(copy.place).toMatchObject({ list: "no", sweep: "no" }));
    await until(() => expect(trust.client("farm.b")).toBeUndefined());
    await held();
    expect([revoked(1, 2, 3), trust.client("farm.a")?.id]).toEqual([[true, true, true], "farm.a"]);
    expect(said("stay revoked for now")).toHaveLength(1);
    authority.revoke(4);
    await until(() => expect(revoked(3, 4)).toEqual([true, true]));
  });
});

describe("what is no answer", () => {
  const answer = (status: number, body: Uint8Array | string, type: string = TRL_CBOR): Fault => {
    return (response) => void response.writeHead(status, { "content-type": type }).end(body);
  };
  const limits = { listBytes: 100_000, updatesBytes: 100_000, waitSeconds: 0 };
  // short only where something is to come too late: any answer is late in a process that stood still
  const lateAnswer = { ...limits, answerMilliseconds: 150 };
  const lateBody = { ...limits, bodyMilliseconds: 150 };

  it.each<[string, FeedOutcome, Fault, why?: RegExp, wanted?: Partial<FeedLimits>]>([
    ["a connection that is cut", "unreachable", (response) => void response.destroy()],
    [
      "a body that is cut",
      "unreachable",
      (response, body) => {
        response.writeHead(200, { "content-type": TRL_CBOR, "content-length": body.length });
        response.write(body.subarray(0, 3), () => response.destroy());
      },
    ],
    ["no answer in time", "unreachable", () => {}, /no answer in time/, lateAnswer],
    [
      "a body that does not end",
      "unreachable",
      (response) => {
        response.writeHead(200, { "content-type": TRL_CBOR });
        response.write("a");
      },
      /body was not there in time/,
      lateBody,
    ],
    ["a huge body", "unreachable", answer(200, Buffer.alloc(200_000)), /larger than 100000 bytes/],
    ["a fault of the authority", "failed", answer(500, "")],
    ["one that is overloaded", "failed", answer(503, "")],
    ["a redirect", "failed", (response) => void response.writeHead(302, { location: "https://localhost:1/" }).end()],
    [
      "another error",
      "failed",
      answer(400, Buffer.from("a101a10000", "hex"), "application/concise-problem-details+cbor"),
    ],
    ["an error that is none", "failed", answer(400, "no")],
    [
      "another media type",
      "malformed",
      (response, body) => answer(200, body, "application/cbor")(response, body, {} as never),
    ],
    ["garbage", "malformed", answer(200, "<html>")],
    ["nothing", "malformed", answer(200, "")],
    [
      "CBOR that is cut",
      "malformed",
      (response, body) => answer(200, body.subarray(0, -1))(response, body, {} as never),
    ],
    ["an answer to somebody else", "malformed", answer(200, encodeTrl({ diffSet: [], cursor: 0, more: false }))],
    ["an answer without a cursor", "malformed", answer(200, encodeTrl({ fullSet: Buffer.alloc(0) }))],
    ["a broker that was taken back", "refused", answer(403, "")],
    ["a certificate that has ended", "refused", answer(401, "")],
  ])(
    "%s: the view stays and grows old, and the feed catches up by itself",
    async (_name, outcome, fault, why = /./, wanted = limits) => {
      follow(wanted);
      await feed.first;
      authority.fault = fault;
      outcomes.length = lines.length = 0;
      await until(() => expect(outcomes.filter((one) => one !== "heard").length).toBeGreaterThan(1));
      expect(new Set(outcomes.filter((one) => one !== "heard"))).toEqual(new Set([outcome]));
      authority.listed.add(3);
      const age = clock.ageSeconds;
      const stalls = watchStalls();
      expect([revoked(1, 2, 3), trust.client("farm.a")?.id]).toEqual([[true, true, false], "farm.a"]);
      expect(age).toBeGreaterThan(0);
      const isRefused = outcome === "refused";
      const message = expect.stringMatching(why) as string;
      const level = isRefused ? 50 : 40;
      expect(lines.filter((line) => line["fault"] === outcome)).toMatchObject([{ level, why: message }]);
      authority.fault = undefined;
      authority.revoke(4);
      await until(() => expect(revoked(4)).toEqual([true]));
      // one line for each time that it did not, which a process that stood still may have made two
      const began = (): unknown[] => lines.filter((line) => line["fault"] !== undefined);
      await until(() => expect(said("answers again")).toHaveLength(began().length));
      expect(clock.ageSeconds).toBeLessThan(Math.max(age, 0.3) + stalls.longestMs() / 1000);
      stalls.close();
    },
  );

  test("a server with a certificate of somebody else is told nothing", async () => {
    follow(limits);
    await feed.first;
    authority.renewTls(strange);
    const before = authority.asked.length;
    outcomes.length = 0;
    await until(() => expect(outcomes.filter((one) => one === "unreachable").length).toBeGreaterThan(1));
    expect(authority.asked.length - before).toBeLessThanOrEqual(1);
    authority.renewTls(server);
    await until(() => expect(outcomes.at(-1)).toBe("heard"));
  });

  test("an authority whose cursors never fit is asked with patience", async () => {
    follow(limits);
    await feed.first;
    const part = { isReset: false, cursor: "run-one.2", more: false, entries: [] };
    authority.fault = (response, body, request) => {
      const trl = encodeTrl({ diffSet: [], cursor: 77, more: false, trust: part });
      return answer(200, request.url!.includes("diff") ? trl : body)(response, body, request);
    };
    outcomes.length = 0;
    await until(() => expect(outcomes.filter((one) => one === "malformed").length).toBeGreaterThan(2));
    expect(
      lines.filter(({ msg, why }) => msg === "all is read again" && why === "updates of the list are lost"),
    ).toHaveLength(1);
  });
});

describe("a view that grows old", () => {
  it("admits nobody new, says so once, and admits again when the authority was heard", async () => {
    follow({ maxStalenessSeconds: 100 });
    await held();
    authority.fault = (response) => void response.destroy();
    authority.release();
    await until(() => expect(outcomes).toContain("unreachable"));
    monotonicAhead = 90;
    expect(trust.isStale).toBe(false);
    // only backwards or forwards by itself: the wall clock says nothing
    wallAhead = 1e6;
    expect(trust.isStale).toBe(false);
    monotonicAhead = 101;
    expect(trust.isStale).toBe(true);
    await until(() => expect(said("nobody new is admitted")).toMatchObject([{ level: 50 }]));
    authority.fault = undefined;
    await until(() => expect(trust.isStale).toBe(false));
    expect(said("the view is fresh").length).toBe(2);
  });

  it("is as old after a restart, and of no known age where the clock went back", async () => {
    const file = join(directory, "restart.db");
    const limits = { maxStalenessSeconds: 1000 };
    const restart = async (downSeconds = 0): Promise<void> => {
      await feed.close();
      copy.close();
      wallAhead += downSeconds;
      follow(limits, file);
    };
    follow(limits, file);
    await feed.first;
    authority.fault = (response) => void response.destroy();
    await restart();
    expect([trust.isStale, revoked(1), trust.client("farm.a")?.id]).toEqual([false, [true], "farm.a"]);
    monotonicAhead = 500;
    await restart(400);
    expect([trust.isStale, Math.round(clock.ageSeconds / 10)]).toEqual([false, 90]);
    await restart(101);
    expect(trust.isStale).toBe(true);
    await restart(-600);
    expect([trust.isStale, clock.ageSeconds]).toEqual([true, Infinity]);
    authority.fault = undefined;
    await until(() => expect(trust.isStale).toBe(false));
  });
});

test("closing ends the request that is held, at once", async () => {
  follow();
  await held();
  const stalls = watchStalls();
  const begun = performance.now();
  await feed.close();
  expect(performance.now() - begun).toBeLessThan(1000 + stalls.longestMs());
  stalls.close();
  expect(outcomes).not.toContain("unreachable");
});
