/**
 * An authority that cannot write: what was to be taken back is not, nothing of it, and whoever wanted it is told; what was is
 * taken back still; and when there is room again, it works. And a broker elsewhere that cannot: it refuses all the same.
 */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failed } from "../../cli/transcript.ts";
import { canLimit, canMount, limitFiles, startBounded, startOnFullDisk, type Cramped } from "../cramped.ts";
import { makeFolder, openInstallation, postern, posternJson, within, type Outcome } from "../fixture.ts";
import { connectBearer, connectCertificate } from "../mqtt-peer.ts";
import { Desk, expectRefused, openEdge } from "./room.ts";

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
    const told = `postern: ${what}: nothing could be written, and nothing was changed: ${code}`;
    expect(await run(line)).toEqual(failed(told));
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

describe("without room, taking back fails and changes nothing; with room again, it works", { timeout: 300_000 }, () => {
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
