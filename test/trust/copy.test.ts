/** The copy of trust on disk: what it holds after a restart, and what an authority from a backup may not take back. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { randomBytes, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import { openCopy, type Copy } from "../../broker/trust/copy.ts";
import { createMemoryTrust, type MemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { TrustNews } from "../../broker/trust/trust.ts";
import { readPublicKey } from "../../shared/cose-key.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { HASH_BYTES, type TrlPatch } from "../../shared/trl.ts";
import type { TrustEntry, TrustPart } from "../../shared/trust-entries.ts";
import { generatePrivateKey } from "../../shared/es256.ts";

const ISSUER = "https://authority.test:8443";
const NOW = 1_800_000_000.25;
const SINCE = 1_799_999_000;
const DAY = 24 * 3600;
const key = readPublicKey(generatePrivateKey());
const otherKey = readPublicKey(generatePrivateKey());

const hash = (number: number): Buffer => {
  const bytes = Buffer.alloc(HASH_BYTES, 7);
  bytes[0] = 1;
  bytes.writeUInt32BE(number, 1);
  return bytes;
};
const pack = (...numbers: number[]): Buffer => Buffer.concat(numbers.map(hash));
const patch = (added: number[], removed: number[] = []): TrlPatch => ({
  added: pack(...added),
  removed: pack(...removed),
});
const api: TrustEntry = {
  kind: "api",
  audience: "farm.tele",
  api: { kind: "mqtt", bearer: true, topics: ["f/#"], purge: "always" },
};
const client = (id: string, tokensAfter = 0): TrustEntry => ({
  kind: "client",
  id,
  client: {
    enabled: true,
    tokensAfter,
    grants: [{ audience: "farm.tele", grants: [{ filter: "f/1", pub: true, sub: false }] }],
  },
});
const liveKey: TrustEntry = { kind: "key", kid: "k1", key };
const certificate = (name: string, isRevoked = true): TrustEntry => ({ kind: "certificate", name, isRevoked });

let directory: string;
let file: string;
let caDer: Uint8Array;
let copy: Copy;
let trust: MemoryTrust;
let lines: Record<string, unknown>[] = [];
const log = pino({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "postern-copy-"));
  caDer = (await openCertificateAuthority(directory)).caCertificate.raw;
});
afterAll(() => rmSync(directory, { recursive: true }));
beforeEach(() => {
  file = join(directory, `${randomBytes(8).toString("hex")}.db`);
  open();
});
afterEach(() => copy.close());

function open(issuer = ISSUER): void {
  trust = createMemoryTrust({ issuer });
  copy = openCopy({ file, issuer, trust, log });
  lines = [];
}
function reopen(issuer = ISSUER): void {
  copy.close();
  open(issuer);
}
function told(entries: TrustEntry[], part: Partial<TrustPart> = {}, sent = "run.1") {
  return { sent, part: { isReset: false, cursor: "run.2", more: false, entries, ...part } };
}
/** What the first contact brings. */
async function begin(entries: TrustEntry[] = [liveKey, api, client("farm.a")], hashes = pack(1, 2, 3)): Promise<void> {
  await copy.takeList({ hashes, cursor: 7 }, told(entries, { isReset: true }, ""), NOW);
}
const revoked = (...numbers: number[]): boolean[] =>
  numbers.map((number) => trust.isTokenRevoked([hash(number).toString("hex")]));

describe("a copy", () => {
  it("begins with nothing, and goes from place to place", async () => {
    expect(copy.place).toEqual({ trlCursor: null, trustCursor: "", list: "plain", sweep: "no" });
    await copy.takeList({ hashes: pack(1), cursor: 0 }, told([liveKey], { isReset: true, more: true }, ""), NOW);
    expect(copy.place).toMatchObject({
      trlCursor: 0,
      trustCursor: "run.2",
      list: "no",
      sweep: "plain",
    });
    copy.takeUpdates([], 0, told([api]));
    expect(copy.place).toMatchObject({ sweep: "no" });
  });

  it("has everything again after a restart", async () => {
    const authority = new X509Certificate(caDer);
    const id = nameAuthority(authority);
    await begin([
      liveKey,
      api,
      client("farm.a", 2 ** 40),
      certificate(`${id}:1f`),
      { kind: "project", slug: "farm", tokensSince: SINCE - 5 },
      { kind: "authority", id, authority: { der: caDer, needsList: true, listEndsAt: SINCE + 60 } },
    ]);
    const seen = () => ({
      key: trust.keyFor("k1")?.thumbprint,
      api: trust.api("farm.tele"),
      client: trust.client("farm.a"),
      certificate: trust.isCertificateRevoked(`${id}:1f`),
      since: trust.tokensSince("farm"),
      authorities: trust.deviceAuthorities.map(({ certificate: { fingerprint256 }, ...rest }) => [
        rest,
        fingerprint256,
      ]),
      revoked: revoked(1, 2, 3, 4),
      place: copy.place,
    });
    const before = seen();
    expect(before).toMatchObject({
      key: key.thumbprint,
      api: { audience: "farm.tele", bearer: true, topics: ["f/#"], purge: "always" },
      client: { tokensAfter: 2 ** 40, grants: [{ audience: "farm.tele" }] },
      certificate: true,
      since: SINCE - 5,
      authorities: [[{ id, needsList: true, listEndsAt: SINCE + 60 }, authority.fingerprint256]],
      revoked: [true, true, true, false],
      place: { trlCursor: 7, trustCursor: "run.2" },
    });
    reopen();
    expect(seen()).toEqual(before);
  });

  it("tells of what is new, and of nothing again", async () => {
    await begin();
    const news: TrustNews[] = [];
    trust.onNews((one) => news.push(one));
    await begin();
    expect(news).toEqual([]);
    copy.takeUpdates([patch([5])], 8, told([{ kind: "client", id: "farm.a", client: undefined }]));
    expect(news).toEqual([
      { kind: "tokens", hashes: [hash(5).toString("hex")] },
      { kind: "client", id: "farm.a" },
    ]);
  });

  it("takes updates in the order of their making", async () => {
    await begin();
    // the newest first
    copy.takeUpdates([patch([], [4]), patch([4, 5], [1])], 9, told([]));
    expect([revoked(1, 2, 3, 4, 5), copy.place.trlCursor]).toEqual([[false, true, true, false, true], 9]);
    reopen();
    expect([revoked(1, 2, 3, 4, 5), copy.place.trlCursor]).toEqual([[false, true, true, false, true], 9]);
  });

  it("lets go of what a full list does not have any more, for it has expired", async () => {
    await begin();
    await copy.takeList({ hashes: pack(3, 4), cursor: 12 }, told([]), NOW);
    expect(revoked(1, 2, 3, 4)).toEqual([false, false, true, true]);
    reopen();
    expect([revoked(1, 2, 3, 4), copy.place.trlCursor]).toEqual([[false, false, true, true], 12]);
  });

  it("drops what a reading from the beginning does not tell of", async () => {
    await begin([liveKey, api, client("farm.a"), client("farm.b"), certificate("aa:1"), certificate("aa:2")]);
    copy.restart("plain");
    expect(copy.place).toMatchObject({ trustCursor: "", list: "plain", sweep: "plain" });
    const part = { isReset: true, more: true };
    await copy.takeList({ hashes: pack(1), cursor: 9 }, told([api, client("farm.b")], part, ""), NOW);
    expect(trust.client("farm.a")).toBeDefined();
    reopen();
    copy.takeUpdates([], 9, told([certificate("aa:2"), liveKey]));
    const seen = () => [
      trust.client("farm.a"),
      trust.client("farm.b")?.id,
      trust.isCertificateRevoked("aa:1"),
      trust.isCertificateRevoked("aa:2"),
      trust.keyFor("k1") !== undefined,
    ];
    expect(seen()).toEqual([undefined, "farm.b", false, true, true]);
    reopen();
    expect(seen()).toEqual([undefined, "farm.b", false, true, true]);
  });

  it("starts empty for another issuer", async () => {
    await begin();
    reopen("https://other.test");
    expect([trust.keyFor("k1"), trust.client("farm.a"), trust.revokedTokens]).toEqual([undefined, undefined, 0]);
    expect(copy.place).toMatchObject({ trustCursor: "" });
  });

  it("remembers the time", () => {
    expect(copy.remembered).toBeUndefined();
    const time = { notedAt: NOW + 0.25, ageSeconds: 12.5, authorityAt: NOW + 300, offsetSeconds: 299.75 };
    copy.remember(time);
    reopen();
    expect(copy.remembered).toEqual(time);
  });

  it("takes everything else where a device authority cannot be read, which then is none", async () => {
    await begin();
    const authority = (der: Uint8Array): TrustEntry => ({
      kind: "authority",
      id: "x",
      authority: { der, needsList: false },
    });
    copy.takeUpdates([], 7, told([authority(caDer)]));
    expect(trust.deviceAuthorities).toHaveLength(1);
    copy.takeUpdates([patch([9])], 8, told([client("farm.z"), authority(Buffer.from("no"))]));
    expect(trust.deviceAuthorities).toEqual([]);
    expect([revoked(9), trust.client("farm.z")?.id, copy.place.trlCursor]).toEqual([[true], "farm.z", 8]);
    expect(lines.filter(({ msg }) => String(msg).includes("cannot be read"))).toMatchObject([
      { level: 50, authority: "x" },
    ]);
  });

  it("gives up a full list when told to, and is at the old place then", async () => {
    await begin();
    const stop = AbortSignal.abort(new Error("closing"));
    await expect(copy.takeList({ hashes: pack(9), cursor: 20 }, told([]), NOW, stop)).rejects.toThrow("closing");
    expect([copy.place.trlCursor, revoked(1, 2, 3)]).toEqual([7, [true, true, true]]);
  });
});

describe("after an authority was restored from a backup", () => {
  const restored = { isReset: true, cursor: "run3.1" };

  test("what it took back since stays taken back, and what it knows is followed", async () => {
    await begin([liveKey, api, client("farm.a"), client("farm.new", 90), certificate("aa:1")]);
    copy.takeUpdates([], 7, told([{ kind: "key", kid: "k1", key: undefined }]));
    copy.takeUpdates([], 7, told([{ kind: "project", slug: "farm", tokensSince: SINCE }]));

    copy.takeUpdates([], 7, told([liveKey, client("farm.a")], { ...restored, more: true }));
    expect(copy.place).toMatchObject({ list: "restored", sweep: "restored" });
    reopen();
    const rest: TrustEntry[] = [{ kind: "project", slug: "farm", tokensSince: SINCE - 500 }];
    await copy.takeList({ hashes: pack(3), cursor: 2 }, told(rest, {}, "run3.1"), NOW);
    const seen = () => [
      trust.keyFor("k1"),
      trust.isCertificateRevoked("aa:1"),
      trust.tokensSince("farm"),
      revoked(1, 2, 3),
      trust.client("farm.a")?.id,
      trust.client("farm.new"),
      trust.api("farm.tele"),
    ];
    const expected = [undefined, true, SINCE, [true, true, true], "farm.a", undefined, undefined];
    expect(seen()).toEqual(expected);
    expect(lines.find((line) => line["kept"] !== undefined)).toMatchObject({ kept: 2, revoked: 3, level: 40 });
    reopen();
    expect(seen()).toEqual(expected);
    expect(copy.place).toMatchObject({ list: "no", sweep: "no", trlCursor: 2 });
  });

  test("a new key under the name of a revoked one is another key", async () => {
    await begin();
    copy.takeUpdates([], 7, told([{ kind: "key", kid: "k1", key: undefined }]));
    copy.takeUpdates([], 7, told([{ kind: "key", kid: "k1", key: otherKey }]));
    expect(trust.keyFor("k1")?.thumbprint).toBe(otherKey.thumbprint);
  });

  test("it stays a restored one until all was read", async () => {
    await begin();
    copy.restart("restored");
    copy.restart("plain");
    copy.takeUpdates([], 7, told([], { isReset: true, more: true }, ""));
    expect(copy.place).toMatchObject({ list: "restored", sweep: "restored" });
    await copy.takeList({ hashes: pack(3), cursor: 2 }, told([]), NOW);
    expect([revoked(1), copy.place]).toMatchObject([[true], { list: "no", sweep: "no" }]);
  });

  test("a kept token that it lists again goes as any other", async () => {
    await begin();
    copy.restart("restored");
    await copy.takeList({ hashes: pack(3), cursor: 2 }, told([], { isReset: true }, ""), NOW);
    await copy.takeList({ hashes: pack(2, 3), cursor: 3 }, told([]), NOW);
    await copy.takeList({ hashes: pack(3), cursor: 4 }, told([]), NOW);
    expect(revoked(1, 2, 3)).toEqual([true, false, true]);
  });

  test("a key that was never seen alive stays revoked whatever comes under its name", async () => {
    await begin([{ kind: "key", kid: "k9", key: undefined }]);
    copy.takeUpdates([], 7, told([{ kind: "key", kid: "k9", key }]));
    expect(trust.keyFor("k9")).toBeUndefined();
  });

  test("tokens that it does not list are kept for as long as a token lives, through every full list", async () => {
    await begin();
    copy.restart("restored");
    await copy.takeList({ hashes: pack(3), cursor: 2 }, told([], { isReset: true }, ""), NOW);
    await copy.takeList({ hashes: pack(3, 4), cursor: 3 }, told([]), NOW + 29 * DAY);
    expect(revoked(1, 2, 3, 4)).toEqual([true, true, true, true]);
    // what it lists again is like any other
    copy.takeUpdates([patch([2])], 4, told([]));
    await copy.takeList({ hashes: pack(3, 4), cursor: 5 }, told([]), NOW + 29 * DAY);
    expect(revoked(1, 2, 3, 4)).toEqual([true, false, true, true]);
    await copy.takeList({ hashes: pack(3, 4), cursor: 5 }, told([]), NOW + 30 * DAY + 1);
    expect(revoked(1, 2, 3, 4)).toEqual([false, false, true, true]);
    reopen();
    expect(revoked(1, 2, 3, 4)).toEqual([false, false, true, true]);
  });
});

test("a million tokens are there after a restart, and a list of the same million changes nothing", async () => {
  const hashes = randomBytes(1_000_000 * HASH_BYTES);
  for (let at = 0; at < hashes.length; at += HASH_BYTES) hashes[at] = 1;
  await copy.takeList({ hashes, cursor: 1 }, told([], { isReset: true }, ""), NOW);
  reopen();
  expect(trust.revokedTokens).toBe(1_000_000);
  const sample = [0, 1, 77_777, 999_999].map((number) =>
    hashes.subarray(number * HASH_BYTES, (number + 1) * HASH_BYTES),
  );
  expect(sample.map((one) => trust.isTokenRevoked([one.toString("hex")]))).toEqual([true, true, true, true]);
  await copy.takeList({ hashes, cursor: 2 }, told([]), NOW);
  expect([trust.revokedTokens, lines]).toEqual([1_000_000, []]);
}, 180_000);

test("killed at any moment, content and cursor fit", async () => {
  copy.close();
  const writer = fileURLToPath(new URL("copy-writer.mjs", import.meta.url));
  for (let round = 0; round < 6; round++) {
    const child = fork(writer, [file, ISSUER], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    await once(child, "message");
    const exit = once(child, "exit");
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 30);
    expect(await exit).toEqual([null, "SIGKILL"]);
    open();
    const newest = copy.place.trlCursor!;
    const window = Array.from({ length: 10 }, (_, index) => newest - index);
    expect([trust.revokedTokens, ...revoked(...window)]).toEqual([10, ...window.map(() => true)]);
    expect([trust.client(`farm.c${newest}`)?.tokensAfter, copy.place.trustCursor]).toEqual([newest, `run.${newest}`]);
    expect(trust.client(`farm.c${newest + 1}`)).toBeUndefined();
    copy.close();
  }
  open();
});
