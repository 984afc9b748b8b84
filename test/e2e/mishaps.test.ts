/** What goes wrong at the start of `postern up`: one line that says it, exit code 1 or, for wrong usage, 2. */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openDatabase } from "../../broker/registry/database.ts";
import { executable, makeFolder, openInstallation, postern, start, startPostern, within } from "./fixture.ts";
import type { Installation, Outcome, StartOptions } from "./fixture.ts";

const freePorts = "--http-port 0 --mqtts-port 0 --wss-port 0";
/** Somebody who owns nothing here; only root can be somebody else. */
const nobody = process.getuid?.() === 0 ? { userId: 65_534 } : {};
/** Where the program lies in a folder that is closed to others, nobody else can start it. */
const canStart =
  nobody.userId === undefined ||
  spawnSync(process.execPath, [executable, "--version"], { cwd: "/", uid: nobody.userId }).status === 0;

let installation: Installation;
/** The data of an installation that has run and ended. */
let kept: string;

beforeAll(async () => {
  const before = await openInstallation();
  await before.json("project create acme");
  await before.up.stop();
  kept = before.dataDir;
  installation = await openInstallation();
});

function up(words: string, options?: StartOptions): Promise<Outcome> {
  return postern(`up --log-level silent ${words}`, options);
}

function failed(why: string | RegExp, exitCode = 1): object {
  const text = typeof why === "string" ? why.replaceAll(/[.()/]/g, "\\$&") : why.source;
  return { stdout: "", stderr: expect.stringMatching(new RegExp(`^postern: up: ${text}\\n$`)), exitCode };
}

/** A copy of the kept data, changed. */
function dataWith(change: (dir: string) => void): string {
  const dir = join(makeFolder(), "data");
  cpSync(kept, dir, { recursive: true });
  change(dir);
  return dir;
}

function configWith(toml: string): string {
  const file = join(makeFolder(), "postern.toml");
  writeFileSync(file, toml);
  return file;
}

describe("ports", () => {
  it.each(["http", "mqtts", "wss"] as const)("the %s port of another is in use", async (name) => {
    const others = freePorts.replace(`--${name}-port 0`, `--${name}-port ${installation.port[name]}`);
    const dir = join(makeFolder(), "data");
    expect(await up(`--data ${dir} ${others}`)).toEqual(failed(`port ${installation.port[name]} is in use`));
  });

  it("the plain MQTT port is in use", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const dir = join(makeFolder(), "data");
    expect(await up(`--data ${dir} ${freePorts} --mqtt-port ${port}`)).toEqual(failed(`port ${port} is in use`));
    server.close();
  });

  it("a second start fails, and the first goes on", async () => {
    const { http, mqtts, wss } = installation.port;
    const second = await up(
      `--data ${join(makeFolder(), "data")} --http-port ${http} --mqtts-port ${mqtts} --wss-port ${wss}`,
    );
    expect(second).toEqual(failed(/port \d+ is in use/));
    expect(await installation.json("project list")).toEqual([]);
  });

  it.each([
    ["the same ports", () => installation.port],
    ["others", () => ({ http: 0, mqtts: 0, wss: 0 })],
  ])("a second start on the same data and %s leaves the first's data alone", async (_name, ports) => {
    const { http, mqtts, wss } = ports();
    const line = `--data ${installation.dataDir} --http-port ${http} --mqtts-port ${mqtts} --wss-port ${wss}`;
    const address = readFileSync(join(installation.dataDir, "authority.json"), "utf8");
    expect(await up(line)).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/^postern: up: [^\n]+\n$/) });
    expect(readFileSync(join(installation.dataDir, "authority.json"), "utf8")).toBe(address);
    expect(await installation.json("project list")).toEqual([]);
  });
});

describe("the data folder", () => {
  it("is a file", async () => {
    const file = join(makeFolder(), "data");
    writeFileSync(file, "");
    const outcome = await up(`--data ${file} ${freePorts}`);
    expect(outcome).toEqual(failed(/[^\n]+/));
    expect(outcome.stderr).toContain(file);
    expect(outcome.stderr).not.toContain("internal error");
  });

  it("lies in a file", async () => {
    const file = join(makeFolder(), "file");
    writeFileSync(file, "");
    const outcome = await up(`--data ${join(file, "data")} ${freePorts}`);
    expect(outcome).toEqual(failed(/[^\n]+/));
    expect(outcome.stderr).toContain(file);
  });

  it.skipIf(!existsSync("/proc/self"))("is in a place where nothing can be made", async () => {
    const outcome = await up(`--data /proc/postern/data ${freePorts}`);
    expect(outcome).toEqual(failed(/[^\n]+/));
    expect(outcome.stderr).toContain("/proc/postern");
  });

  it.skipIf(!canStart)("cannot be made", async () => {
    const parent = makeFolder();
    chmodSync(parent, 0o555);
    const dir = join(parent, "data");
    expect(await up(`--data ${dir} ${freePorts}`, { cwd: "/", ...nobody })).toEqual(failed(`not permitted: ${dir}`));
  });

  it.skipIf(!canStart)("cannot be written", async () => {
    const parent = makeFolder();
    chmodSync(parent, 0o755);
    const dir = join(parent, "data");
    mkdirSync(dir);
    chmodSync(dir, 0o555);
    const outcome = await up(`--data ${dir} ${freePorts}`, { cwd: "/", ...nobody });
    // who owns the folder may be let write to it
    if (nobody.userId === undefined) return;
    expect(outcome).toEqual(failed(/[^\n]+/));
    expect(outcome.stderr).toContain(dir);
    expect(outcome.stderr).not.toContain("internal error");
  });
});

describe("what is in the data folder", () => {
  const broken: readonly [name: string, why: RegExp, change: (dir: string) => void][] = [
    [
      "a newer database",
      /[^\n]*postern\.db has schema 9999 and this version of postern knows \d+: it was written by a newer one( \([a-z.]+\))?/,
      (dir) => {
        const db = openDatabase(join(dir, "postern.db"));
        db.pragma("user_version = 9999");
        db.close();
      },
    ],
    [
      "a database of something else",
      /[^\n]*postern\.db is the database of something else( \([a-z.]+\))?/,
      (dir) => {
        const db = openDatabase(join(dir, "postern.db"));
        db.pragma("user_version = 0");
        db.close();
      },
    ],
    [
      "no database at all in its place",
      /[^\n]*postern\.db is not a database( \([a-z.]+\))?/,
      (dir) => writeFileSync(join(dir, "postern.db"), "not a database, and long enough to be looked at\n".repeat(200)),
    ],
    [
      "a folder in place of the database",
      /[^\n]*postern\.db[^\n]*/,
      (dir) => {
        rmSync(join(dir, "postern.db"));
        mkdirSync(join(dir, "postern.db"));
      },
    ],
    ["an admin key that is too short", /[^\n]*admin\.key[^\n]*/, (dir) => writeFileSync(join(dir, "admin.key"), "x\n")],
    ["a CA certificate that is none", /[^\n]*ca\.pem[^\n]*/, (dir) => writeFileSync(join(dir, "ca.pem"), "x\n")],
    ["a CA key that is none", /[^\n]*ca\.key[^\n]*/, (dir) => writeFileSync(join(dir, "ca.key"), "x\n")],
    [
      "the CA key of another",
      /[^\n]*ca\.pem[^\n]*ca\.key[^\n]*/,
      (dir) => cpSync(join(installation.dataDir, "ca.key"), join(dir, "ca.key")),
    ],
    ["a server key that is none", /[^\n]*server\.key[^\n]*/, (dir) => writeFileSync(join(dir, "server.key"), "x\n")],
  ];

  it.each(broken)("is %s", async (_name, why, change) => {
    const outcome = await up(`--data ${dataWith(change)} ${freePorts}`);
    expect(outcome).toEqual(failed(why));
    expect(outcome.stderr).not.toContain("internal error");
  });

  it("is a server certificate that is none: another is made", async () => {
    const dir = dataWith((at) => writeFileSync(join(at, "server.pem"), "x\n"));
    const running = startPostern(`up --json --data ${dir} ${freePorts}`);
    await running.stdout.json({ event: "ready" });
    expect(readFileSync(join(dir, "server.pem"), "utf8")).toContain("BEGIN CERTIFICATE");
    expect(await running.stop()).toMatchObject({ exitCode: 0 });
  });
});

describe("settings", () => {
  it.each([
    ["is not TOML", "ports = [", /[^\n]*postern\.toml is not TOML: [^\n]+/],
    ["holds a name that is not known", "prots = 1", /[^\n]*postern\.toml: [^\n]*prots[^\n]*/],
    ["holds a port that is none", "[ports]\nhttp = 70000", /[^\n]*postern\.toml: ports\.http: [^\n]+/],
    ["is empty of sense", "\u0000\u0001", /[^\n]*postern\.toml is not TOML: [^\n]+/],
  ])("the file %s", async (_name, toml, why) => {
    const dir = join(makeFolder(), "data");
    expect(await up(`--data ${dir} --config ${configWith(toml)}`)).toEqual(failed(why));
  });

  it("the file is not there", async () => {
    expect(await up("--config /nowhere/postern.toml")).toEqual(failed("/nowhere/postern.toml cannot be read (ENOENT)"));
  });

  it.each(["--http-port 99999", "--http-port x", "--bogus", "--mqtts-port", "extra", "--log-level loud"])(
    "%s is wrong usage",
    async (words) => {
      expect(await up(words, { cwd: makeFolder() })).toEqual(failed(/[^\n]+/, 2));
    },
  );

  it.each(["a host", "-x.example", "https://localhost", "a\nb"])("%j is no host", async (host) => {
    const dir = join(makeFolder(), "data");
    const running = start(process.execPath, [executable, "up", "--data", dir, ...freePorts.split(" "), "--host", host]);
    const isReady = running.stdout.next(/ready/).then(
      () => true,
      () => false,
    );
    expect(await isReady).toBe(false);
    const outcome = await running.ended();
    expect(outcome).toMatchObject({ exitCode: expect.toBeOneOf([1, 2]), stdout: "" });
    expect(outcome.stderr).toMatch(/^postern: up: [^\n]+\n$/);
    expect(outcome.stderr).not.toContain("internal error");
  });

  it("an address of another machine cannot be listened on", async () => {
    const outcome = await up(`--data ${join(makeFolder(), "data")} ${freePorts} --bind 192.0.2.1`);
    expect(outcome).toEqual(failed(/[^\n]*192\.0\.2\.1[^\n]*/));
  });
});

it("ends cleanly when it is signalled while it starts", async () => {
  const parent = makeFolder();
  const watcher = watch(parent);
  const made = once(watcher, "change");
  const running = startPostern(`up --json --log-level error --data ${join(parent, "data")} ${freePorts}`);
  await within("the data folder", made);
  watcher.close();
  running.signal("SIGTERM");
  expect(await running.ended()).toMatchObject({ exitCode: 0, stderr: "" });
});
