/**
 * An authority that comes back from a copy of its data: what it took back after that copy it does not know any more, and its
 * numbers begin again where they were. A broker elsewhere notices, says so, goes on refusing what it was told, and follows.
 */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { findPorts, openInstallation, within, type Installation } from "../fixture.ts";
import { connectBearer, connectCertificate, type MqttPeer } from "../mqtt-peer.ts";
import { Desk, expectRefused, openEdge, until, type Edge } from "./room.ts";

interface Held {
  readonly id: string;
  readonly token: string;
}

it(
  "goes on refusing what a restored authority has forgotten, and follows it from there",
  { timeout: 300_000 },
  async () => {
    const ports = await findPorts();
    let installation = await openInstallation({ ports });
    let desk = new Desk(installation.ready);
    const { folder, dataDir } = installation;
    await desk.makeProject("acme");
    await desk.makeApi("acme", "tele");
    await desk.json("POST", "/v1/projects/acme/clients", { name: "pi", kind: "device", roles: ["tele"] });
    const pi = await installation.enrol("acme.pi");
    const make = async (name: string): Promise<Held> => {
      const service = await desk.makeService(`acme.${name}`);
      return { id: service.id, token: await desk.token(service) };
    };
    const reopen = async (): Promise<void> => {
      installation = await openInstallation({ folder, ports });
      desk = new Desk(installation.ready);
    };
    const stop = async ({ up }: Installation): Promise<void> => {
      desk.close();
      expect((await up.stop()).exitCode).toBe(0);
    };

    const [before, lost, later, good] = [
      await make("before"),
      await make("lost"),
      await make("later"),
      await make("good"),
    ];
    const more = await Promise.all(Array.from({ length: 5 }, (_, at) => make(`more${at}`)));
    const edge = await openEdge({ desk });
    await desk.revoke({ tokens: [before.token] });
    await stop(installation);
    const copy = join(folder, "copy");
    cpSync(dataDir, copy, { recursive: true });

    await reopen();
    const connect = (at: Edge, { id, token }: Held): Promise<MqttPeer> => connectBearer(at, "mqtts", id, token);
    const steady = await connect(edge, good);
    const [{ serial }] = (await desk.json("GET", "/v1/certificates?client=acme.pi")).items;
    // several updates, so that the places of the restored one lie before those of the broker
    for (const { token } of more) await desk.revoke({ tokens: [token] });
    await desk.revoke({ tokens: [lost.token], certificates: [serial] });
    const gone = [before, lost, ...more];
    await until(() => Promise.all(gone.map((one) => expectRefused(connect(edge, one)))));
    await expectRefused(connectCertificate(edge, pi, "acme.pi"), 5);

    await stop(installation);
    rmSync(dataDir, { recursive: true });
    cpSync(copy, dataDir, { recursive: true });
    await reopen();
    await edge.process.stderr.next(/all is read again/).catch(() => {
      throw new Error(edge.process.stderr.text);
    });
    await edge.process.stderr.next(/the authority is older than this broker/);
    // it has forgotten
    (await connectBearer(installation, "mqtts", lost.id, lost.token)).end();
    await Promise.all(gone.map((one) => expectRefused(connect(edge, one))));
    await expectRefused(connectCertificate(edge, pi, "acme.pi"), 5);

    const live = await connect(edge, later);
    await desk.revoke({ tokens: [later.token] });
    await within("the end of the session", live.closed);
    await expectRefused(connect(edge, later));
    expect(steady.isClosed).toBe(false);

    // and so it is after a restart
    await edge.kill();
    const again = await openEdge({ dir: edge.dir });
    await Promise.all([...gone, later].map((one) => expectRefused(connect(again, one))));
    (await connect(again, good)).end();
  },
);
