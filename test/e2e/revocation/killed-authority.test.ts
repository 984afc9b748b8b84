/**
 * kill -9 of the authority while it takes back, over and over: what it acknowledged counts after the next start, what it did
 * not acknowledge is done as a whole or not at all, and what it had begun to write out it finishes.
 *
 * Most rounds are of the authority without a broker, which starts sooner; some are of all of it, and there what was taken back
 * is refused at CONNECT too.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import {
  openCertificateAuthority,
  type CertificateAuthority,
} from "../../../broker/authority/certificates/certificates.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { nextTokenId, recordIssued } from "../../../broker/registry/issued.ts";
import { openRegistry } from "../../../broker/registry/open-registry.ts";
import type { Registry } from "../../../broker/registry/registry.ts";
import { revokeAll } from "../../../broker/registry/revocations.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import { makeDevice, type Device } from "../../authority/fixture.ts";
import { seeded } from "../../fuzz/random.ts";
import { findPorts, openInstallation, start } from "../fixture.ts";
import type { Installation, Running } from "../fixture.ts";
import { connectBearer, connectCertificate, type Served } from "../mqtt-peer.ts";
import { Desk, expectRefused, nextSecond, until, type Service } from "./room.ts";

/** What one request takes back. */
interface Wished {
  readonly wish: Readonly<Record<string, readonly unknown[]>>;
}

/** Two tokens, a certificate and a client: all of it, or nothing. */
interface Mixed extends Wished {
  readonly wish: Readonly<Record<"tokens" | "certificates" | "clients", readonly string[]>>;
}

/** A part that shows at a broker too. */
interface Shown extends Wished {
  /** Rejects unless it is taken back. */
  readonly assertGone: (at: Served, desk: Desk) => Promise<void>;
}

/** An authority that runs. */
interface Alone {
  readonly running: Running;
  readonly desk: Desk;
}

const aloneRounds = 28;
const wholeRounds = 8;
const random = seeded(4);

let installation: Installation;
let folder: string;
let dataDir: string;
const ports = findPorts();

beforeAll(async () => {
  installation = await openInstallation({ ports: await ports });
  ({ folder, dataDir } = installation);
  const desk = new Desk(installation.ready);
  await desk.makeProject("acme");
  await desk.makeApi("acme", "tele");
  await desk.makeProject("big");
  desk.close();
  await installation.up.stop();
});

/** How long an answer took lately, of the quicker ones: what is a moment on a busy machine. */
let answerMs = 2;

/**
 * Sends wishes in two lanes, kills at a moment that nobody chose, and gives back those that were acknowledged: never all of
 * them, and no fewer than the moment begins with.
 */
async function killWithin<W extends Wished>(desk: Desk, running: Running, wishes: readonly W[]): Promise<W[]> {
  const acknowledged: W[] = [];
  // the last two: one is under way then, and the other is not sent
  const most = wishes.length - 2;
  const enough = random.below(most + 1);
  // when the next one is sent, when it is worked on, or when it is done
  const halves = random.below(6);
  const look = (): void => {
    const many = acknowledged.length;
    if (many === most) running.signal("SIGKILL");
    else if (many === enough) setTimeout(() => running.signal("SIGKILL"), halves * Math.max(1, answerMs / 2));
  };
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < wishes.length) {
      const wished = wishes[next++]!;
      const sentAt = performance.now();
      const { status } = await desk.send("POST", "/v1/revocations", { body: wished.wish });
      expect(status).toBe(200);
      acknowledged.push(wished);
      const tookMs = performance.now() - sentAt;
      // the first of a process are slow
      answerMs = Math.min(tookMs, (answerMs + tookMs) / 2);
      look();
    }
  };
  look();
  const lanes = await Promise.allSettled([lane(), lane()]);
  await kill({ running, desk });
  for (const one of lanes) if (one.status === "rejected") expect(one.reason).toHaveProperty("code");
  return acknowledged;
}

/** The authority alone; `changes`: after so many it is killed. */
async function startAlone(changes?: number): Promise<Alone> {
  const program = fileURLToPath(new URL("authority-alone.mjs", import.meta.url));
  const running = start(process.execPath, [program, dataDir, ...(changes === undefined ? [] : [`${changes}`])]);
  const { issuer } = await running.stdout.json({ event: "ready" });
  return { running, desk: new Desk({ ...installation.ready, issuer }) };
}

async function kill({ running, desk }: Alone): Promise<void> {
  running.signal("SIGKILL");
  await running.ended();
  desk.close();
}

/** Work on the data while no process has it. `agoSeconds`: the time is that long ago. */
async function prepare<T>(
  work: (at: { readonly registry: Registry; readonly ca: CertificateAuthority }) => T | Promise<T>,
  agoSeconds = 0,
): Promise<T> {
  const nowSeconds = (): number => Math.floor(Date.now() / 1000) - agoSeconds;
  const sink = createMemoryTrust({ issuer: "" });
  const registry = openRegistry({ file: join(dataDir, "postern.db"), sink, nowSeconds });
  try {
    return await work({ registry, ca: await openCertificateAuthority(dataDir) });
  } finally {
    registry.close();
  }
}

/** Tokens of a client as the authority has them on record, by their hashes. */
function record(registry: Registry, clientId: string, count: number): string[] {
  const token = { clientId, audience: "acme.tele", kid: "k", exp: Math.floor(Date.now() / 1000) + 3600 };
  const hashes = Array.from({ length: count }, () => `01${randomBytes(32).toString("hex")}`);
  registry.append(() => {
    for (const hash of hashes) recordIssued(registry, { ...token, hashes: [hash], id: nextTokenId(registry) });
  });
  return hashes;
}

/** Of each wish, which of its parts count. */
async function readEffects(desk: Desk): Promise<(mixed: Mixed) => readonly boolean[]> {
  const listed = await desk.listed();
  const certificates = await desk.list("/v1/certificates");
  const revoked = new Set(certificates.filter((one) => one.revoked_at !== null).map(({ serial }) => serial));
  const clients = await desk.list("/v1/projects/acme/clients");
  const disabled = new Set(clients.filter(({ enabled }) => !enabled).map(({ id }) => id));
  return ({ wish }) => [
    ...wish.tokens.map((hash) => listed.has(hash)),
    ...wish.certificates.map((serial) => revoked.has(serial)),
    ...wish.clients.map((id) => disabled.has(id)),
  ];
}

it(`keeps what it acknowledged, ${aloneRounds} times`, { timeout: 300_000 }, async () => {
  const perRound = 10;
  const mixed = await prepare(async (at) => {
    const made: Mixed[] = [];
    for (let number = 0; number < aloneRounds * perRound; number++) {
      const name = `n${number}`;
      createClient(at.registry, { project: "acme", name, kind: "device", roles: ["tele"] });
      const { id, serial } = await makeDevice(at, `acme.${name}`);
      made.push({ wish: { tokens: record(at.registry, "acme.none", 2), certificates: [serial], clients: [id] } });
    }
    return made;
  });

  const acknowledged: Mixed[] = [];
  let before: readonly Mixed[] = [];
  for (let round = 0; round < aloneRounds; round++) {
    const { running, desk } = await startAlone();
    const effects = await readEffects(desk);
    for (const one of before) expect(effects(one)).toEqual([true, true, true, true]);
    before = await killWithin(desk, running, mixed.slice(round * perRound, (round + 1) * perRound));
    acknowledged.push(...before);
    // else it was killed too late to show anything
    expect(before.length).toBeLessThan(perRound);
  }

  const { running, desk } = await startAlone();
  const effects = await readEffects(desk);
  for (const one of acknowledged) expect(effects(one)).toEqual([true, true, true, true]);
  const known = new Set(acknowledged);
  for (const one of mixed) if (!known.has(one)) expect(new Set(effects(one)).size).toBe(1);
  // or too early
  expect(acknowledged.length).toBeGreaterThan(aloneRounds);
  await kill({ running, desk });
});

it("finishes the list of what died with a project, however often it is killed on the way", async () => {
  const count = 20_000;
  const hashes = await prepare(({ registry }) => record(registry, "big.none", count), 10);
  const readListed = (): Promise<number> =>
    prepare(({ registry }) => registry.db.prepare("SELECT count(*) FROM revoked_token").pluck().get() as number);
  const before = await readListed();
  await prepare(({ registry }) => {
    revokeAll(registry, { projects: [{ project: "big", before: registry.nowSeconds() }] }, { issuer: "" });
  });
  let listed = (await readListed()) - before;
  for (let round = 0; round < 4; round++) {
    // by itself, when so many slices are done: from here it would come when all of it was over, or nothing yet
    const { running, desk } = await startAlone(2);
    await running.ended();
    desk.close();
    const more = (await readListed()) - before;
    expect([more > listed, more < count]).toEqual([true, true]);
    listed = more;
  }
  const last = await startAlone();
  await until(async () => {
    const listed = await last.desk.listed();
    expect(hashes.filter((hash) => !listed.has(hash)).length).toBe(0);
  }, 60_000);
  await kill(last);
});

it(`is refused by the broker too what it acknowledged, ${wholeRounds} times`, { timeout: 300_000 }, async () => {
  const devices = await prepare(async (at) => {
    const made: Device[] = [];
    for (let round = 0; round < wholeRounds; round++) {
      createClient(at.registry, { project: "acme", name: `w${round}`, kind: "device", roles: ["tele"] });
      made.push(await makeDevice(at, `acme.w${round}`));
    }
    return made;
  });
  let whole = await openWhole();
  const rounds: (readonly Shown[])[] = [];
  for (const [round, device] of devices.entries()) rounds.push(await makeShown(whole.desk, round, device));
  const good = await whole.desk.makeService("acme.good");
  const goodToken = await whole.desk.token(good);
  // the tokens of a project are those of the seconds before
  await nextSecond();

  let count = 0;
  for (const shown of rounds) {
    const done = await killWithin(whole.desk, whole.installation.up, shown);
    whole = await openWhole();
    await Promise.all(done.map(({ assertGone }) => assertGone(whole.installation, whole.desk)));
    (await connectBearer(whole.installation, "mqtts", good.id, goodToken)).end();
    count += done.length;
  }
  expect(count).toBeGreaterThan(wholeRounds);
  expect((await whole.installation.up.stop()).exitCode).toBe(0);
});

async function openWhole(): Promise<{ readonly installation: Installation; readonly desk: Desk }> {
  const opened = await openInstallation({ folder, ports: await ports });
  return { installation: opened, desk: new Desk(opened.ready) };
}

/** One of each kind that a round may take back, in an order that nobody chose. */
async function makeShown(desk: Desk, round: number, device: Device): Promise<readonly Shown[]> {
  const held = async (id: string): Promise<Service & { readonly token: string }> => {
    const service = await desk.makeService(id);
    return { ...service, token: await desk.token(service) };
  };
  const refused = (at: Served, { id, token }: { id: string; token: string }): Promise<void> =>
    expectRefused(connectBearer(at, "mqtts", id, token));

  const one = await held(`acme.s${round}`);
  const client = await held(`acme.c${round}`);
  const project = `p${round}`;
  await desk.makeProject(project);
  await desk.makeApi(project, "tele", {}, project);
  const ofProject = await held(`${project}.s`);
  const dir = join(folder, device.id);
  mkdirSync(dir);
  writeFileSync(join(dir, "certificate.pem"), device.cert);
  writeFileSync(join(dir, "key.pem"), device.privateKey.export({ type: "pkcs8", format: "pem" }));

  const shown: Shown[] = [
    { wish: { tokens: [one.token] }, assertGone: (at) => refused(at, one) },
    {
      wish: { clients: [client.id] },
      async assertGone(at, desk) {
        await refused(at, client);
        expect((await desk.askToken(client)).status).toBe(401);
      },
    },
    {
      wish: { certificates: [device.serial] },
      assertGone: (at) => expectRefused(connectCertificate(at, dir, device.id), 5),
    },
    {
      wish: { projects: [{ project, before: "now" }] },
      assertGone: (at) => refused(at, ofProject),
    },
  ];
  return shown.toSorted(() => random.below(3) - 1);
}
