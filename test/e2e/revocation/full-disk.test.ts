/**
 * An authority that cannot write: what was to be taken back is not, nothing of it, and whoever wanted it is told; what was is
 * taken back still; and when there is room again, it works. And a broker elsewhere that cannot: it refuses all the same.
 *
 * Two ways to have no room: a file system that is full, where this machine lets us make one, and a bound on the size of files.
 */
import { spawnSync } from "node:child_process";
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { executable, makeFolder, openInstallation, postern, posternJson, start, within } from "../fixture.ts";
import type { Outcome, Running } from "../fixture.ts";
import { connectBearer, connectCertificate } from "../mqtt-peer.ts";
import { Desk, expectRefused, openEdge } from "./room.ts";

/** An authority whose room can be taken away. */
interface Cramped {
  readonly running: Running;
  readonly dataDir: string;
  readonly fill: () => void;
  readonly free: () => void;
}

const freePorts = ["--http-port", "0", "--mqtts-port", "0", "--wss-port", "0"];
const mount = "mount -t tmpfs -o size=12m,mode=0700 tmpfs";
const canMount = spawnSync("unshare", ["-rm", "sh", "-c", `${mount} "$0"`, makeFolder()]).status === 0;
const canLimit = spawnSync("prlimit", ["--pid", `${process.pid}`]).status === 0;

/** On a file system of its own, which only it sees. */
function startOnFullDisk(): Cramped {
  const folder = makeFolder();
  const script = `${mount} "$0" && exec "$@"`;
  const own = [process.execPath, executable, "up", "--json", "--data", join(folder, "data"), ...freePorts];
  const running = start("unshare", ["-rm", "sh", "-euc", script, folder, ...own]);
  const seen = join(`/proc/${running.pid}/root`, folder);
  const filler = join(seen, "filler");
  return {
    running,
    dataDir: join(seen, "data"),
    fill() {
      const { bavail, bsize } = statfsSync(seen);
      writeFileSync(filler, Buffer.alloc(bavail * bsize));
    },
    free: () => rmSync(filler),
  };
}

/** Bounds the size of the files of a process. */
function limitFiles({ pid }: Running, bytes: "4096" | "unlimited"): void {
  expect(spawnSync("prlimit", ["--pid", `${pid}`, `--fsize=${bytes}:`]).status).toBe(0);
}

/** With files that may not grow. */
function startBounded(): Cramped {
  const folder = makeFolder();
  const dataDir = join(folder, "data");
  const running = start(process.execPath, [executable, "up", "--json", "--data", dataDir, ...freePorts]);
  return { running, dataDir, fill: () => limitFiles(running, "4096"), free: () => limitFiles(running, "unlimited") };
}

/** The commands, each for something of its own. */
const lines = (held: { token: string; serial: string; kid: string }): readonly string[] => [
  `token revoke ${held.token}`,
  `cert revoke ${held.serial}`,
  "client disable acme.shut",
  "client delete acme.old",
  "project revoke-tokens shed --before 2026-01-01T00:00:00Z",
  `key revoke ${held.kid}`,
];

async function failAndWorkLater({ running, dataDir, fill, free }: Cramped, code: string): Promise<Outcome> {
  const said = await running.stdout.json({ event: "ready" });
  const ready = { ...said, ca: join(dataDir, "ca.pem"), adminKey: join(dataDir, "admin.key") };
  const installation = { ready };
  const desk = new Desk(ready);
  await desk.makeProject("acme");
  await desk.makeProject("shed");
  await desk.makeApi("acme", "tele");
  for (const name of ["pi", "shut", "old"]) {
    await desk.json("POST", "/v1/projects/acme/clients", { name, kind: "device", roles: ["tele"] });
  }
  const [{ ticket }, live, gone] = await Promise.all([
    desk.json("POST", "/v1/projects/acme/tickets", { client: "pi" }),
    desk.makeService("acme.live"),
    desk.makeService("acme.gone"),
  ]);
  const pi = join(makeFolder(), "pi");
  const { serial } = await posternJson(`agent enrol ${ticket} --dir ${pi}`);
  const [token, goneToken] = [await desk.token(live), await desk.token(gone)];
  await desk.revoke({ tokens: [goneToken] });
  const [peer, device] = await Promise.all([
    connectBearer(installation, "mqtts", live.id, token),
    connectCertificate(installation, pi, "acme.pi"),
  ]);
  const readAll = async (): Promise<unknown> => [
    [...(await desk.listed())],
    await desk.list("/v1/certificates"),
    await desk.list("/v1/projects/acme/clients"),
    (await desk.json("GET", "/v1/keys")).items,
  ];
  const before = await readAll();
  const kid = (await desk.json("GET", "/v1/keys")).items[0].kid;
  const commands = lines({ token, serial: serial ?? (await desk.list("/v1/certificates"))[0].serial, kid });
  const run = (line: string): Promise<Outcome> => postern(`${line} --data ${dataDir}`);

  fill();
  for (const line of commands) {
    const what = line.split(" ", 2).join(" ");
    const failed = {
      exitCode: 1,
      stdout: "",
      stderr: `postern: ${what}: nothing could be written, and nothing was changed: ${code}
`,
    };
    expect(await run(line)).toEqual(failed);
    await running.stderr.next(/"storage\.failed"/);
  }
  expect(await readAll()).toEqual(before);
  expect([peer.isClosed, device.isClosed]).toEqual([false, false]);
  await expectRefused(connectBearer(installation, "mqtts", gone.id, goneToken));

  free();
  for (const line of commands) expect(await run(line)).toMatchObject({ exitCode: 0, stderr: "" });
  await Promise.all([peer, device].map(({ closed }) => within("the end of the session", closed)));
  await expectRefused(connectBearer(installation, "mqtts", live.id, token));
  return running.stop();
}

describe("without room, taking back fails and changes nothing; with room again, it works", { timeout: 40_000 }, () => {
  it.skipIf(!canMount)("on a file system that is full", async () => {
    expect((await failAndWorkLater(startOnFullDisk(), "SQLITE_FULL")).exitCode).toBe(0);
  });
  it.skipIf(!canLimit)("with files that may not grow", async () => {
    expect((await failAndWorkLater(startBounded(), "SQLITE_IOERR_WRITE")).exitCode).toBe(0);
  });
});

it.skipIf(!canLimit)("a broker elsewhere that cannot write refuses what it is told of all the same", async () => {
  const installation = await openInstallation();
  const desk = new Desk(installation.ready);
  await desk.makeProject("acme");
  await desk.makeApi("acme", "tele");
  const [one, good] = [await desk.makeService("acme.one"), await desk.makeService("acme.good")];
  const [token, goodToken] = [await desk.token(one), await desk.token(good)];
  const edge = await openEdge({ desk });
  const peer = await connectBearer(edge, "mqtts", one.id, token);
  limitFiles(edge.process, "4096");
  await desk.revoke({ tokens: [token] });
  await within("the end of the session", peer.closed);
  const line = await edge.process.stderr.next(/an answer could not be taken/);
  expect(JSON.parse(line)).toMatchObject({ level: 50, fault: "failed" });
  await expectRefused(connectBearer(edge, "mqtts", one.id, token));
  (await connectBearer(edge, "mqtts", good.id, goodToken)).end();

  // with room again it is written down, and counts after a restart without the authority
  limitFiles(edge.process, "unlimited");
  await edge.process.stderr.next(/the authority answers again/);
  installation.up.signal("SIGKILL");
  await edge.kill();
  const again = await openEdge({ dir: edge.dir });
  await expectRefused(connectBearer(again, "mqtts", one.id, token));
  (await connectBearer(again, "mqtts", good.id, goodToken)).end();
});
