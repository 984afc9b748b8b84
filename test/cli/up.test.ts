/** `postern up` as the process that it is: the ready line, what the first run makes, and its end. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Wire } from "../gate/wire.ts";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

let dir: string;
const started: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "postern-up-"));
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true });
});

interface Running {
  readonly child: ChildProcess;
  readonly stdout: string[];
  readonly stderr: string[];
  readonly exited: Promise<unknown>;
  firstLine(): Promise<string>;
}

function up(...flags: string[]): Running {
  const ports = ["--http-port", "0", "--mqtts-port", "0", "--wss-port", "0"];
  const child = spawn(process.execPath, [program, "up", "--data", join(dir, "data"), ...ports, ...flags], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  const [stdout, stderr]: [string[], string[]] = [[], []];
  const lines = createInterface(child.stdout);
  lines.on("line", (line) => stdout.push(line));
  createInterface(child.stderr).on("line", (line) => stderr.push(line));
  const exited = once(child, "close").then(([code]) => code);
  return {
    child,
    stdout,
    stderr,
    exited,
    firstLine: async () => stdout[0] ?? ((await once(lines, "line"))[0] as string),
  };
}

it("says one JSON line when it is ready, and SIGTERM ends it with exit code 0", async () => {
  const running = up("--json", "--log-level", "silent");
  const ready = JSON.parse(await running.firstLine());
  expect(ready).toEqual({
    event: "ready",
    issuer: expect.stringMatching(/^https:\/\/localhost:\d+$/),
    mqtts: expect.stringMatching(/^mqtts:\/\/localhost:\d+$/),
    wss: expect.stringMatching(/^wss:\/\/localhost:\d+$/),
    mqtt: null,
    ca: join(dir, "data", "ca.pem"),
    adminKey: join(dir, "data", "admin.key"),
  });
  expect(statSync(ready.adminKey).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(join(dir, "data", "authority.json"), "utf8"))).toEqual({
    url: ready.issuer,
    local: ready.issuer,
  });
  running.child.kill("SIGTERM");
  expect(await running.exited).toBe(0);
  expect(running.stdout).toHaveLength(1);
  expect(running.stderr).toEqual([]);
  // the database is closed: nothing is left in its log
  expect(readdirSync(join(dir, "data")).filter((name) => name.endsWith("-wal"))).toEqual([]);
});

it("says one calm line to people, logs to stderr, and ends on SIGINT as well", async () => {
  const running = up("--mqtt-port", "0");
  expect(await running.firstLine()).toMatch(
    /^postern is ready: authority https:\S+, broker mqtts:\S+, wss:\S+, mqtt:\S+, trust \S+ca\.pem, admin key in \S+$/,
  );
  running.child.kill("SIGINT");
  expect(await running.exited).toBe(0);
  expect(running.stdout).toHaveLength(1);
  for (const line of running.stderr) expect(JSON.parse(line)).toHaveProperty("msg");
});

it("prints nothing while no client acts: a connected one is a line when it comes, and none while it stays", async () => {
  const running = up("--json");
  const { mqtts, ca } = JSON.parse(await running.firstLine());
  const port = Number(new URL(mqtts).port);
  const wires = [];
  for (let i = 0; i < 2; i++) {
    const wire = await Wire.open({ port, ca: readFileSync(ca, "utf8") });
    expect((await wire.connect({})).returnCode).toBe(0);
    await wire.settled();
    wires.push(wire);
  }
  await wires[0]!.leave();
  await wires[1]!.settled();
  running.child.kill("SIGTERM");
  expect(await running.exited).toBe(0);
  expect(running.stdout).toHaveLength(1);
  expect(running.stderr.map((line) => JSON.parse(line).msg)).toEqual(["session opened", "session opened", "closing"]);
});

it("refuses a limit that is none, in one line", async () => {
  const config = join(dir, "postern.toml");
  writeFileSync(config, "[limits]\npacket_bytes = 0\n");
  const running = up("--config", config);
  expect(await running.exited).toBe(1);
  expect([running.stdout, running.stderr]).toEqual([
    [],
    [expect.stringMatching(/^postern: up: \S+postern\.toml: limits\.packet_bytes: \S/)],
  ]);
});

it("refuses a folder and a port that are in use, in one line", async () => {
  const running = up("--json", "--log-level", "silent");
  const { issuer } = JSON.parse(await running.firstLine());
  const second = up("--log-level", "silent");
  expect(await second.exited).toBe(1);
  expect([second.stdout, second.stderr]).toEqual([
    [],
    [`postern: up: ${join(dir, "data")} is in use by another process`],
  ]);
  const { port } = new URL(issuer);
  const third = up("--log-level", "silent", "--data", join(dir, "other"), "--http-port", port);
  expect(await third.exited).toBe(1);
  expect([third.stdout, third.stderr]).toEqual([[], [`postern: up: port ${port} is in use`]]);
  running.child.kill("SIGTERM");
  expect(await running.exited).toBe(0);
});

it.each<[string, (bytes: Buffer) => Buffer]>([
  ["overwritten in its middle", (bytes) => bytes.fill(0xa5, 4096)],
  ["cut short", (bytes) => bytes.subarray(0, 9_000)],
  ["overwritten at its head", (bytes) => bytes.fill(0xa5, 0, 100)],
])("refuses a database that was %s, in one line", async (_, damage) => {
  const running = up("--json", "--log-level", "silent");
  await running.firstLine();
  running.child.kill("SIGTERM");
  expect(await running.exited).toBe(0);
  const file = join(dir, "data", "postern.db");
  writeFileSync(file, damage(readFileSync(file)));
  const again = up("--log-level", "silent");
  expect(await again.exited).toBe(1);
  expect([again.stdout, again.stderr]).toEqual([
    [],
    [expect.stringMatching(/^postern: up: \S+postern\.db (is damaged; put back a copy of it|is not a database)$/)],
  ]);
});
