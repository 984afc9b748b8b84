/**
 * The end of the process without warning, right after it has acknowledged something: what was acknowledged is there when
 * it is started again on the same data, and agents come back by themselves.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { expect, it } from "vitest";
import { findPorts, openInstallation, postern, posternJson, startPostern, within } from "./fixture.ts";
import type { Installation } from "./fixture.ts";

/** Creates clients of `/v1`, several at a time, and counts what is acknowledged. */
function openCreator({ ready }: Installation) {
  const agent = new Agent({ keepAlive: true, maxSockets: 4, ca: readFileSync(ready.ca) });
  const authorization = `Bearer ${readFileSync(ready.adminKey, "utf8").trim()}`;
  const acknowledged: string[] = [];
  let wake = (): void => undefined;
  const create = (name: string): Promise<boolean> =>
    new Promise((resolve) => {
      const headers = { authorization, "content-type": "application/json" };
      const url = new URL("/v1/projects/acme/clients", ready.issuer);
      const sent = request(url, { method: "POST", agent, headers }, (response) => {
        // the status line is the acknowledgement
        if (response.statusCode === 201) acknowledged.push(name);
        wake();
        response.resume().once("error", () => resolve(false));
        response.once("close", () => resolve(response.complete));
      });
      sent.once("error", () => resolve(false));
      sent.end(JSON.stringify({ name, kind: "device", roles: ["sensor"] }));
    });
  return {
    acknowledged,
    /** Creates `prefix0`, `prefix1` … in four lanes until the connection breaks. */
    async flood(prefix: string): Promise<void> {
      let count = 0;
      const lane = async (): Promise<void> => {
        while (await create(`${prefix}${count++}`));
      };
      await Promise.all([lane(), lane(), lane(), lane()]);
      agent.destroy();
    },
    /** Resolves when so many were acknowledged. */
    reached: (many: number) =>
      within(
        `${many} acknowledgements`,
        new Promise<void>((resolve) => {
          wake = () => {
            if (acknowledged.length >= many) resolve();
          };
          wake();
        }),
      ),
  };
}

it("keeps what it acknowledged through kill -9, and agents come back", async () => {
  const ports = await findPorts();
  const first = await openInstallation({ ports });
  await first.json("project create acme");
  await first.json("api create telemetry --project acme --kind mqtt --topics acme/#");
  await first.json("role create sensor --project acme --api telemetry --allow pubsub:acme/${name}/#");
  for (const name of ["pi", "late", "gone"]) {
    await first.json(`client create ${name} --project acme --kind device --role sensor`);
  }
  const pi = await first.enrol("acme.pi");
  const { ticket: unused } = await first.json("ticket create --client acme.late");
  const { ticket: used } = await first.json("ticket create --project acme --role sensor --uses 1");
  await posternJson(`agent enrol ${used} --dir ${join(first.folder, "used")}`);
  const { token } = await posternJson(`agent token --dir ${pi}`);
  const keys = await first.json("key list");
  const certificates = await first.json("cert list --project acme");

  const agent = startPostern(`agent run --json --dir ${pi}`);
  const reader = startPostern(`agent subscribe acme/pi/# --json --dir ${pi}`);
  await agent.stdout.json({ event: "connected" });
  await reader.stderr.next(/^subscribed/);

  const creator = openCreator(first);
  const flood = creator.flood("d");
  await creator.reached(25);
  await first.json("client disable acme.gone");
  first.up.signal("SIGKILL");
  expect((await first.up.ended()).exitCode).toBe(null);
  await flood;
  await agent.stdout.json({ event: "disconnected" });

  const second = await openInstallation({ folder: first.folder, ports });
  expect(second.ready).toEqual(first.ready);
  const clients: { id: string; enabled: boolean }[] = await second.json("client list --project acme");
  const ids = new Set(clients.map(({ id }) => id));
  expect(creator.acknowledged.filter((name) => !ids.has(`acme.${name}`))).toEqual([]);
  expect(creator.acknowledged.length).toBeGreaterThanOrEqual(25);
  expect(clients.find(({ id }) => id === "acme.gone")).toMatchObject({ enabled: false });
  expect(await second.json("key list")).toEqual(keys);
  expect(await second.json("cert list --project acme")).toEqual(certificates);
  expect(readFileSync(second.ready.adminKey, "utf8")).toBe(readFileSync(first.ready.adminKey, "utf8"));

  // the agent and the subscriber are back, with the token of before
  await agent.stdout.json({ event: "connected" });
  expect((await posternJson(`agent token --dir ${pi}`)).token).toBe(token);
  const heard = reader.stdout.json({ topic: "acme/pi/machine" });
  const over = heard.then(() => true);
  const publish = async (): Promise<boolean> => {
    const { exitCode } = await postern(`agent publish acme/pi/machine --dir ${pi}`, { stdin: "after" });
    expect(exitCode).toBe(0);
    return false;
  };
  // the subscriber says nothing when it is back: publish until it hears
  while (!(await Promise.race([over, publish()])));
  expect(await heard).toMatchObject({ payload: "after" });

  expect(await postern(`agent enrol ${used} --dir ${join(first.folder, "again")}`)).toMatchObject({ exitCode: 1 });
  expect(await posternJson(`agent enrol ${unused} --dir ${join(first.folder, "late")}`)).toMatchObject({
    clientId: "acme.late",
  });
  expect(await agent.stop()).toMatchObject({ exitCode: 0 });
  expect(await reader.stop()).toMatchObject({ exitCode: 0 });
  expect(await second.up.stop()).toMatchObject({ exitCode: 0 });
}, 120_000);
