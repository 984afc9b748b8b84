/**
 * What taking back ends, on the broker beside the authority and on one elsewhere alike: live sessions, within a second; their
 * wills, their stored sessions, and of their retained messages those that the api says. And a change of roles, which ends
 * nothing but what is not covered any more.
 */
import type { IClientOptions } from "mqtt";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openInstallation, posternJson, within, type Installation, type Json } from "../fixture.ts";
import { connectBearer, connectCertificate, type MqttPeer, type Served } from "../mqtt-peer.ts";
import { Desk, expectRefused, nextSecond, openEdge, until, type Service } from "./room.ts";

/** One whose access is taken back. */
interface Victim {
  readonly id: string;
  readonly api: string;
  /** Of CONNACK, once it is taken back. */
  readonly code: number;
  /** Connects with what it holds. */
  connect(at: Served, options?: IClientOptions): Promise<MqttPeer>;
  takeBack(): Promise<Json>;
  /** Gets what lets it in again. */
  restore(): Promise<void>;
}

let installation: Installation;
let desk: Desk;
let brokers: readonly Served[];
/** Stands on a certificate alone, which no row of the table touches; one at each broker. */
let watchers: readonly MqttPeer[];
let hut: string;

beforeAll(async () => {
  installation = await openInstallation();
  desk = new Desk(installation.ready);
  await desk.makeProject("acme");
  await desk.makeApi("acme", "tele");
  await desk.makeApi("acme", "loud", { purge: "always" });
  await desk.makeApi("acme", "still", { purge: "never" });
  const roles = ["tele", "loud", "still"];
  await desk.json("POST", "/v1/projects/acme/clients", { name: "hut", kind: "device", roles });
  hut = await installation.enrol("acme.hut");
  brokers = [installation, await openEdge({ desk })];
  watchers = await Promise.all(brokers.map((broker) => connectCertificate(broker, hut, "acme.hut")));
});

async function makeService(name: string, api: string): Promise<Service & { token: string }> {
  const service = await desk.makeService(`acme.${name}`, [api]);
  return { ...service, token: await desk.token(service) };
}

/** A client with a bearer token, which is to lose it. */
async function withToken(name: string, api: string, takeBack: (held: Service & { token: string }) => Promise<Json>) {
  const held = await makeService(name, api);
  return {
    id: held.id,
    api,
    code: 4,
    connect: (at: Served, options?: IClientOptions) => connectBearer(at, "mqtts", held.id, held.token, options),
    takeBack: () => takeBack(held),
    restore: async () => void (held.token = await desk.token(held)),
  };
}

async function withCertificate(name: string): Promise<Victim> {
  const id = `acme.${name}`;
  await desk.json("POST", "/v1/projects/acme/clients", { name, kind: "device", roles: ["tele"] });
  let dir = await installation.enrol(id);
  return {
    id,
    api: "tele",
    code: 5,
    connect: (at, options) => connectCertificate(at, dir, id, options),
    takeBack: async () => {
      const [{ serial }] = (await desk.json("GET", `/v1/certificates?client=${id}`)).items;
      return desk.revoke({ certificates: [serial] });
    },
    restore: async () => {
      const { ticket } = await desk.json("POST", "/v1/projects/acme/tickets", { client: name });
      dir = join(installation.folder, `${id}-again`);
      await posternJson(`agent enrol ${ticket} --dir ${dir}`);
    },
  };
}

async function withClient(name: string, api: string): Promise<Victim> {
  const victim = await withToken(name, api, ({ id }) => desk.revoke({ clients: [id] }));
  return {
    ...victim,
    restore: async () => {
      await desk.json("PATCH", `/v1/projects/acme/clients/${name}`, { enabled: true });
      // what it held before is not what was enabled
      await expectRefused(victim.connect(brokers[0]!));
      await victim.restore();
    },
  };
}

async function currentKid(): Promise<string> {
  const { items } = await desk.json("GET", "/v1/keys");
  return items.find((key: Json) => key.active).kid;
}

const rows: readonly (readonly [what: string, purged: boolean, make: () => Promise<Victim>])[] = [
  ["a token", false, () => withToken("t1", "tele", ({ token }) => desk.revoke({ tokens: [token] }))],
  [
    "a token of an api that is purged always",
    true,
    () => withToken("t2", "loud", ({ token }) => desk.revoke({ tokens: [token] })),
  ],
  ["a certificate", false, () => withCertificate("c1")],
  ["a client", true, () => withClient("d1", "tele")],
  ["a client of an api that is never purged", false, () => withClient("d2", "still")],
  [
    "the tokens of a project",
    false,
    () =>
      withToken("p1", "tele", async () => {
        // the second in which it was issued must be over
        const time = await nextSecond();
        return desk.revoke({ projects: [{ project: "acme", before: time }] });
      }),
  ],
  ["a signing key", false, () => withToken("k1", "tele", async () => desk.revoke({ keys: [await currentKid()] }))],
];

describe("on the broker of the authority and on one elsewhere", () => {
  it.each(rows)("taking back %s ends its sessions with all that is theirs", async (_what, purged, make) => {
    const victim = await make();
    const { api, id } = victim;
    const [will, queue, kept] = ["wills", "queue", "kept"].map((kind) => `${api}/${kind}/${id}`) as [
      string,
      string,
      string,
    ];
    const options = {
      clean: false,
      will: { topic: will, payload: Buffer.from("gone"), qos: 1 as const, retain: true },
    };
    const live = await Promise.all(brokers.map((broker) => victim.connect(broker, options)));
    for (const peer of live) {
      await peer.subscribe(queue);
      await peer.publish(kept, "kept", { qos: 1, retain: true });
    }
    for (const watcher of watchers) await watcher.subscribe(will);

    await victim.takeBack();
    await Promise.all(live.map((peer) => within("the end of the session", peer.closed, 1000)));
    for (const broker of brokers) await expectRefused(victim.connect(broker, { clean: false }), victim.code);

    await victim.restore();
    for (const [at, broker] of brokers.entries()) {
      const watcher = watchers[at]!;
      await watcher.publish(queue, "for nobody");
      // nothing came before it, and nothing was retained either
      await watcher.publish(will, "the first");
      expect((await watcher.message(({ topic }) => topic === will)).payload).toBe("the first");
      await watcher.subscribe(kept);
      await watcher.publish(kept, "the first");
      expect((await watcher.message(({ topic }) => topic === kept)).payload).toBe(purged ? "the first" : "kept");

      const again = await until(() => victim.connect(broker, options));
      expect(again.isResumed).toBe(false);
      await again.subscribe(queue);
      await again.publish(queue, "the first");
      expect((await again.message()).payload).toBe("the first");
      // without a word, as the connection of a session that nobody takes back may end
      again.end();
      expect((await watcher.message(({ topic }) => topic === will)).payload).toBe("gone");
    }
    expect(watchers.map(({ isClosed }) => isClosed)).toEqual([false, false]);
  });

  it("a change of roles ends what is not covered, and is told", async () => {
    const held = await makeService("r1", "tele");
    const live = await Promise.all(brokers.map((broker) => connectBearer(broker, "mqtts", held.id, held.token)));
    for (const peer of live) {
      await peer.subscribe("$postern/session", 0);
      await peer.subscribe("tele/news");
      await peer.subscribe("tele/own");
    }
    const permissions = ["pub:tele/#", "sub:tele/own"];
    await desk.json("POST", "/v1/projects/acme/roles", { name: "narrow", api: "tele", permissions });
    await desk.json("PATCH", "/v1/projects/acme/clients/r1", { roles: ["narrow"] });
    for (const [at, peer] of live.entries()) {
      const told = await peer.message();
      expect([told.topic, JSON.parse(told.payload)]).toEqual([
        "$postern/session",
        { event: "changed", removed: ["tele/news"] },
      ]);
      await watchers[at]!.publish("tele/news", "not for it");
      await watchers[at]!.publish("tele/own", "for it");
      expect(await peer.message()).toEqual({ topic: "tele/own", payload: "for it" });
      expect(await peer.subscribe("tele/news")).toBe(128);
      peer.end();
    }
  });
});
