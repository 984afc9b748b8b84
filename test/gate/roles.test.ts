/** What becomes of live sessions, and of who comes, when the roles of a client change. */
import type { KeyObject } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPublicKey } from "../../shared/cose-key.ts";
import { parsePermission } from "../../shared/scope.ts";
import { AUDIENCE, openFixture, userName } from "./fixture.ts";
import type { Fixture, TokenWish } from "./fixture.ts";
import type { Wire } from "./wire.ts";

let f: Fixture;
let witness: Wire;
beforeAll(async () => {
  f = await openFixture();
  witness = await f.enter(f.device(), { allow: ["pubsub:#"] });
});
afterAll(() => f.close());

interface Device {
  readonly id: string;
  readonly privateKey: KeyObject;
}
const NEWS = "$postern/session";

/** Says what the roles allow on the api of the tokens here. */
function allow({ id }: Device, ...permissions: string[]): void {
  const grants = [{ audience: AUDIENCE, grants: permissions.map(parsePermission) }];
  f.trust.learnClient({ id, enabled: true, grants });
}

const bound = ({ privateKey }: Device) => ({ cnf: { kind: "key", key: readPublicKey(privateKey) } }) as const;

async function news(wire: Wire): Promise<Record<string, unknown>> {
  const message = await wire.message();
  expect(message.topic).toBe(NEWS);
  return JSON.parse(message.payload) as Record<string, unknown>;
}

/** Opens a session on one of the two things that a session stands on. */
const ways: [string, (device: Device, packet?: object) => Promise<Wire>][] = [
  ["a token", (device, packet) => f.enter(device, { allow: ["pubsub:r/#"] }, packet)],
  [
    "a certificate alone",
    async (device, packet) => {
      const wire = await f.open(await f.certificate(device));
      expect((await wire.connect({ clientId: device.id, ...packet })).returnCode).toBe(0);
      return wire;
    },
  ],
];

describe.each(ways)("a session on %s", (_name, open) => {
  it("has the rights of the new roles at once, loses subscriptions and is told which", async () => {
    const device = f.device();
    allow(device, "pubsub:r/#");
    const wire = await open(device);
    expect(await wire.subscribe([NEWS, "r/1/#", "r/2/#"], 1)).toEqual([1, 1, 1]);
    await wire.publish("r/1/a", "", { qos: 1 });
    expect((await wire.message()).topic).toBe("r/1/a");

    allow(device, "pubsub:r/2/#");
    expect(await news(wire)).toEqual({ event: "changed", removed: ["r/1/#"] });
    for (const topic of ["r/1/a", "r/2/a"]) await witness.publish(topic, "", { qos: 1 });
    expect((await wire.message()).topic).toBe("r/2/a");
    await wire.publish("r/2/b", "", { qos: 1 });
    expect(await wire.subscribe(["r/1/#"])).toEqual([128]);
    await wire.publish("r/1/a");
    await wire.closed;
    expect(f.lastReason("publish")).toBe("publish.topic");
  });

  it("gets back what roles that return allow, and nothing of what it had subscribed", async () => {
    const device = f.device();
    allow(device, "pubsub:r/#");
    const wire = await open(device, { clean: false });
    await wire.subscribe([NEWS, "r/1"], 1);
    allow(device);
    expect(await news(wire)).toEqual({ event: "changed", removed: ["r/1"] });
    allow(device, "pubsub:r/#");
    expect(await news(wire)).toEqual({ event: "changed", removed: [] });
    await witness.publish("r/1", "", { qos: 1 });
    await wire.publish("r/3", "", { qos: 1 });
    expect(wire.all("publish")).toEqual([]);
    await wire.leave();
    const again = await open(device, { clean: false });
    await again.settled();
    expect(again.all("publish")).toEqual([]);
  });

  it("hears nothing of a change that changes nothing for it", async () => {
    const device = f.device();
    allow(device, "pubsub:r/#");
    const wire = await open(device);
    await wire.subscribe([NEWS]);
    f.trust.learnClient({ ...f.trust.client(device.id)!, tokensAfter: 0 });
    await wire.settled();
    expect(wire.all("publish")).toEqual([]);
  });

  it.each([
    ["loses a will that the roles cover no longer, also when they return", ["pubsub:r/1/#"], []],
    ["keeps a will that they still cover", ["pub:r/will"], ["r/will"]],
  ])("%s", async (_row, left, published) => {
    const device = f.device();
    allow(device, "pubsub:r/#");
    await witness.subscribe(["r/will", "r/end"]);
    const will = { topic: "r/will", payload: Buffer.from("w"), qos: 0 as const, retain: false };
    const wire = await open(device, { will });
    const { connection } = f.gate.sessions.by("client", device.id)[0]!;
    const grounds = f.gate.groundsOf(connection)!;
    allow(device, ...left);
    expect(f.gate.mayFireStored(grounds, "r/will")).toBe(published.length > 0);
    allow(device, "pubsub:r/#");
    wire.drop();
    await new Promise<void>((resolve) => connection.conn.once("close", resolve));
    await witness.publish("r/end");
    const heard: string[] = [];
    while (heard.at(-1) !== "r/end") heard.push((await witness.message()).topic);
    expect(heard).toEqual([...published, "r/end"]);
    expect(f.gate.mayFireStored(grounds, "r/will")).toBe(true);
  });
});

it("a will that the roles cover no longer goes from the store too", async () => {
  const device = f.device();
  allow(device, "pubsub:r/#");
  const will = { topic: "r/will", payload: Buffer.from("w"), qos: 0 as const, retain: false };
  await f.enter(device, { allow: ["pub:r/will"] }, { will });
  const { connection } = f.gate.sessions.by("client", device.id)[0]!;
  const store = connection.broker.persistence as unknown as { getWill(client: object): Promise<object | undefined> };
  expect(await store.getWill({ id: device.id, brokerId: connection.broker.id })).toMatchObject({ topic: "r/will" });
  allow(device, "sub:r/#");
  expect(await store.getWill({ id: device.id, brokerId: connection.broker.id })).toBeUndefined();
});

it("a subscription that is only being made goes with the others", async () => {
  const device = f.device();
  allow(device, "pubsub:r/#");
  const wire = await f.enter(device, { allow: ["pubsub:r/#"] });
  await wire.subscribe([NEWS]);
  const { connection } = f.gate.sessions.by("client", device.id)[0]!;
  f.gate.hooks.authorizeSubscribe(connection, { topic: "r/1" }, () => {});
  expect(f.gate.mayStore(connection, "r/1")).toBe(true);
  allow(device);
  expect(await news(wire)).toEqual({ event: "changed", removed: ["r/1"] });
  allow(device, "pubsub:r/#");
  expect(f.gate.mayStore(connection, "r/1")).toBe(false);
});

describe("a token beside roles", () => {
  it("is worth what both allow at CONNECT and at renewal", async () => {
    const device = f.device();
    allow(device, "pub:r/1", "sub:r/#");
    const wire = await f.enter(device, { allow: ["pubsub:r/1", "pub:r/2"] });
    await wire.publish("r/1", "", { qos: 1 });
    expect(await wire.subscribe(["r/1", "r/2"])).toEqual([0, 128]);
    const renewed = f.cwt(device.id, { ...bound(device), allow: ["pub:r/1", "sub:r/2", "pub:r/3"] });
    await wire.publish("authz-info", Buffer.from(renewed), { qos: 1 });
    expect(await wire.subscribe(["r/2"])).toEqual([0]);
    await wire.publish("r/3");
    await wire.closed;
    expect(f.lastReason("publish")).toBe("publish.topic");
  });

  it("of another api than the roles gets nothing of them", async () => {
    const device = f.device();
    f.trust.learnClient({
      id: device.id,
      enabled: true,
      grants: [{ audience: "acme.other", grants: [parsePermission("pubsub:#")] }],
    });
    await expect(f.enter(device, { allow: ["pub:r/1"] })).rejects.toThrow("connack 5: client.grants");
  });

  const refusals: [string, TokenWish, string[]][] = [
    ["of which nothing is left", { allow: ["pub:r/1"] }, ["sub:r/1"]],
    ["of a client without roles", { allow: ["pub:r/1"] }, []],
  ];
  it.each(refusals)("%s is refused at CONNECT and at renewal", async (_name, wish, roles) => {
    const device = f.device();
    allow(device, "pub:r/1");
    const wire = await f.enter(device, wish);
    allow(device, ...roles);
    wire.send({
      cmd: "publish",
      topic: "authz-info",
      payload: Buffer.from(f.cwt(device.id, { ...bound(device), ...wish })),
      qos: 1,
      messageId: 2,
      dup: false,
      retain: false,
    });
    await wire.closed;
    expect(f.lastReason("authz-info")).toBe("client.grants");
    const again = await f.open();
    const username = userName(f.cwt(device.id, { ...bound(device), ...wish }));
    const connack = await again.connect({ clientId: device.id, username, password: again.prove(device.privateKey) });
    expect([connack.returnCode, f.lastReason("connect")]).toEqual([5, "client.grants"]);
  });

  it("does not let a will through that the roles do not cover", async () => {
    const device = f.device();
    allow(device, "pub:r/1");
    const will = { topic: "r/2", payload: Buffer.from("w"), qos: 0 as const, retain: false };
    await expect(f.enter(device, { allow: ["pub:r/#"] }, { will })).rejects.toThrow("will.topic");
  });
});

it("a session whose rights come to more pieces than there is room for is ended", async () => {
  const device = f.device();
  allow(device, "pub:r/#");
  const grants = (side: (n: number) => string): string[] => Array.from({ length: 17 }, (_, n) => `pub:r/${side(n)}`);
  const wire = await f.enter(device, { allow: grants((n) => `${n}/+`) });
  allow(device, ...grants((n) => `+/${n}`));
  await wire.closed;
  expect(f.log.findLast((line) => line.msg === "session taken back")).toMatchObject({
    clientId: device.id,
    reason: "client.grants",
  });
});
