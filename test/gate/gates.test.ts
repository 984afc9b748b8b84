/** The five gates behind CONNECT's own: will, subscribe, publish, delivery, resumed session. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPublicKey } from "../../shared/cose-key.ts";
import { AUDIENCE, openFixture } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";
import type { Wire } from "./wire.ts";

let f: Fixture;
let witness: Wire;
beforeAll(async () => {
  f = await openFixture();
  witness = await f.enter(f.device(), { allow: ["pubsub:#"] });
  await witness.subscribe(["#"], 1);
});
afterAll(() => f.close());

/** What the witness, who may hear everything, hears until a message that is sent after all of it. */
async function heard(): Promise<string[]> {
  const end = `end/${Math.random()}`;
  await witness.publish(end, "", { qos: 1 });
  const topics: string[] = [];
  for (;;) {
    const { topic } = await witness.message();
    if (topic === end) return topics;
    topics.push(topic);
  }
}

describe("publish", () => {
  it.each([0, 1, 2] as const)("takes and delivers what the token grants, QoS %i", async (qos) => {
    const wire = await f.enter(f.device(), { allow: ["pub:p/+/x"] });
    await wire.publish(`p/${qos}/x`, "hello", { qos });
    if (qos === 0) await wire.settled();
    expect(await heard()).toEqual([`p/${qos}/x`]);
  });

  it.each([
    ["a topic outside the grant", "p/a/y", "publish.topic"],
    ["a topic that is granted for subscribing", "s/a", "publish.topic"],
    ["the parent level of a granted filter", "p", "publish.topic"],
    ["a control character", "p/\u0007/x", "topic.name"],
    ["broken UTF-8", "p/\ufffd/x", "topic.name"],
    ["33 levels", Array(33).fill("h").join("/"), "topic.name"],
    ["more than 512 bytes", `h/${"x".repeat(512)}`, "topic.name"],
    ["$SYS", "$SYS/x/new/clients", "topic.reserved"],
    ["another reserved topic", "$postern/session", "topic.reserved"],
    ["a shared subscription", "$share/g/p", "topic.reserved"],
  ])("refuses %s", async (_name, topic, reason) => {
    for (const qos of [0, 1, 2] as const) {
      const wire = await f.enter(f.device(), { allow: ["pub:p/+/x", "sub:s/#", "pub:h/#"] });
      await wire.publish("p/before/x", "", { qos: 1 });
      wire.send({
        cmd: "publish",
        topic,
        payload: "x",
        qos,
        messageId: 50,
        retain: true,
        dup: false,
      });
      await wire.closed;
      expect(f.lastReason("publish")).toBe(reason);
      expect([...wire.all("puback"), ...wire.all("pubrec")]).toEqual([]);
      expect(await heard()).toEqual(["p/before/x"]);
    }
  });

  it("closes the connection for a NUL, which is malformed", async () => {
    const wire = await f.enter(f.device(), { allow: ["pub:#"] });
    wire.send({ cmd: "publish", topic: "p/\u0000/x", payload: "x", qos: 0, retain: false, dup: false });
    await wire.closed;
    expect(f.lastReason("wire")).toBe("packet.malformed");
  });

  it("refuses a wildcard and closes the connection", async () => {
    const wire = await f.enter(f.device(), { allow: ["pub:#"] });
    wire.send({ cmd: "publish", topic: "p/+/x", payload: "", qos: 1, messageId: 1, retain: false, dup: false });
    await wire.closed;
    expect(wire.all("puback")).toEqual([]);
  });

  it("cannot end another's connection through $SYS", async () => {
    const victim = f.device();
    const wire = await f.enter(victim);
    const attacker = await f.enter(f.device(), { allow: ["pub:#", "pub:$SYS/#"] });
    await attacker.publish("$SYS/other/new/clients", victim.id);
    await attacker.closed;
    await expect(wire.settled()).resolves.toBeUndefined();
  });
});

describe("will", () => {
  const will = (topic: string) => ({ will: { topic, payload: Buffer.from("gone"), qos: 1 as const, retain: false } });

  it("is published when the connection breaks, and not after DISCONNECT", async () => {
    const first = await f.enter(f.device(), { allow: ["pub:w/1"] }, will("w/1"));
    await first.leave();
    const second = await f.enter(f.device(), { allow: ["pub:w/2"] }, will("w/2"));
    second.drop();
    await expect(witness.message()).resolves.toMatchObject({ topic: "w/2", payload: "gone" });
    expect(await heard()).toEqual([]);
  });

  it("of a client with subscriptions is published too", async () => {
    const wire = await f.enter(f.device(), { allow: ["pub:w/5", "sub:w/#"] }, will("w/5"));
    await wire.subscribe(["w/+", "w/#"], 1);
    wire.drop();
    await expect(witness.message()).resolves.toMatchObject({ topic: "w/5" });
  });

  it("is published when a publish was refused", async () => {
    const wire = await f.enter(f.device(), { allow: ["pub:w/3"] }, will("w/3"));
    await wire.publish("elsewhere");
    await wire.closed;
    await expect(witness.message()).resolves.toMatchObject({ topic: "w/3" });
  });

  it("is published when the client takes its own connection over", async () => {
    const device = f.device();
    await f.enter(device, { allow: ["pub:w/4"] }, will("w/4"));
    await f.enter(device);
    await expect(witness.message()).resolves.toMatchObject({ topic: "w/4" });
  });
});

describe("subscribe", () => {
  it.each([
    ["outside the grant", "other", "subscribe.filter"],
    ["wider than the grant", "s/#", "subscribe.filter"],
    ["granted for publishing", "p/a", "subscribe.filter"],
    ["of everything", "#", "subscribe.filter"],
    ["shared and outside the grant", "$share/g/other", "subscribe.filter"],
    ["shared and wider than the grant", "$share/g/s/#", "subscribe.filter"],
    ["shared and reserved", "$share/g/$SYS/#", "topic.reserved"],
    ["shared twice", "$share/g/$share/h/s/a", "topic.reserved"],
    ["of the news of a session, shared", "$share/g/$postern/session", "topic.reserved"],
    ["of a group with a control character in its name", "$share/g\u0007/s/a", "subscribe.shared"],
    ["of $SYS", "$SYS/#", "topic.reserved"],
    ["of a reserved topic", "$postern/other", "topic.reserved"],
    ["of authz-info", "authz-info", "topic.reserved"],
    ["with a control character", "s/\u0007", "topic.filter"],
    ["with 33 levels", Array(33).fill("s").join("/"), "topic.filter"],
  ])("refuses a filter %s with 0x80 and grants the others of the packet", async (_name, filter, reason) => {
    const wire = await f.enter(f.device(), { allow: ["sub:s/+", "pub:p/#"] });
    expect(await wire.subscribe(["s/a", filter, "s/+"], 1)).toEqual([1, 128, 1]);
    expect(f.lastReason("subscribe")).toBe(reason);
    await wire.settled();
  });

  it.each([
    ["with # inside a level", "a#"],
    ["with + inside a level", "+a"],
    ["with a NUL", "s/\u0000"],
    ["of a group without a name", "$share//s/a"],
    ["of a group with a wildcard in its name", "$share/+/s/a"],
    ["that is a group and nothing else", "$share/g"],
  ])("closes the connection for a filter %s, which is malformed", async (_name, filter) => {
    const wire = await f.enter(f.device(), { allow: ["sub:s/+"] });
    await expect(wire.subscribe(["s/a", filter], 1)).rejects.toThrow("closed before suback");
    expect(f.lastReason("wire")).toBe("packet.malformed");
  });

  it.each(["authz-info", "$SYS/#", "$share/g/$SYS/#"])("refuses %s to one who may hear everything", async (filter) => {
    const wire = await f.enter(f.device(), { allow: ["sub:#", "sub:$SYS/#"] });
    expect(await wire.subscribe([filter])).toEqual([128]);
  });

  it("a refused filter never takes effect later", async () => {
    const device = f.device();
    const allow = ["sub:yes/#"];
    const first = await f.enter(device, { allow }, { clean: false });
    expect(await first.subscribe(["yes/#", "no/#"], 1)).toEqual([1, 128]);
    await first.leave();
    for (const topic of ["no/1", "yes/1", "no/2"]) await witness.publish(topic, "", { qos: 1 });
    expect(await heard()).toEqual(["no/1", "yes/1", "no/2"]);

    // not even when the rights become wide enough
    const second = await f.enter(device, { allow: ["sub:yes/#", "sub:no/#"] }, { clean: false });
    await witness.publish("no/3", "", { qos: 1 });
    await witness.publish("yes/2", "", { qos: 1 });
    expect([(await second.message()).topic, (await second.message()).topic]).toEqual(["yes/1", "yes/2"]);
    expect(await heard()).toEqual(["no/3", "yes/2"]);
    expect(second.all("publish")).toEqual([]);
  });

  it("stores each granted filter of a packet with many", async () => {
    const device = f.device();
    const filters = Array.from({ length: 900 }, (_, i) => `many/${i}`);
    const first = await f.enter(device, { allow: ["sub:many/+"] }, { clean: false });
    expect(new Set(await first.subscribe(filters, 1))).toEqual(new Set([1]));
    await first.leave();
    await witness.publish("many/899", "", { qos: 1 });
    const second = await f.enter(device, { allow: ["sub:many/+"] }, { clean: false });
    expect((await second.message()).topic).toBe("many/899");
    expect(await heard()).toEqual(["many/899"]);
  });
});

describe("the number of subscriptions", () => {
  it.each([true, false])("of a session is limited, and giving one up makes room (clean session: %s)", async (clean) => {
    const small = await openFixture({ subscriptions: 3 });
    const wire = await small.enter(small.device(), { allow: ["sub:#"] }, { clean });
    expect(await wire.subscribe(["a", "b", "c", "d"], 1)).toEqual([1, 1, 1, 128]);
    expect(small.lastReason("subscribe")).toBe("limit.reached");
    expect(await wire.subscribe(["a"])).toEqual([0]);
    wire.send({ cmd: "unsubscribe", messageId: 5, unsubscriptions: ["b"] });
    await wire.next("unsuback");
    expect(await wire.subscribe(["d", "e"])).toEqual([0, 128]);
    await small.close();
  });
});

describe("delivery", () => {
  it("is live and retained, and by QoS", async () => {
    const wire = await f.enter(f.device(), { allow: ["sub:d/#"] });
    await witness.publish("d/kept", "1", { qos: 1, retain: true });
    await wire.subscribe(["d/+"], 1);
    expect(await wire.message()).toMatchObject({ topic: "d/kept", retain: true, qos: 1 });
    await witness.publish("d/now", "2", { qos: 1 });
    expect(await wire.message()).toMatchObject({ topic: "d/now", retain: false, qos: 1 });
    await witness.publish("d/kept", "", { retain: true });
    await heard();
  });

  it("goes to a session that resumes, of what its token now grants, in order; the rest is gone for good", async () => {
    const device = f.device();
    const wide = { allow: ["sub:q/#"] };
    const first = await f.enter(device, wide, { clean: false });
    await first.subscribe(["q/a/+", "q/b/+"], 1);
    await first.leave();
    for (const topic of ["q/a/1", "q/b/1", "q/a/2", "q/b/2", "q/a/3"]) await witness.publish(topic, "", { qos: 1 });

    const second = await f.enter(device, { allow: ["sub:q/a/#"] }, { clean: false });
    for (const topic of ["q/a/1", "q/a/2", "q/a/3"]) expect((await second.message()).topic).toBe(topic);
    await second.settled();
    await second.leave();
    expect(f.log.find((line) => line.at === "subscribe" && line.clientId === device.id)?.reason).toBe(
      "subscribe.filter",
    );

    await witness.publish("q/b/3", "", { qos: 1 });
    const third = await f.enter(device, wide, { clean: false });
    await witness.publish("q/b/4", "", { qos: 1 });
    await witness.publish("q/a/4", "", { qos: 1 });
    expect((await third.message()).topic).toBe("q/a/4");
    await heard();
  });

  it("that is refused to an online persistent session costs none of the others", async () => {
    const device = f.device();
    const roles = (filters: string[]) => filters.map((filter) => ({ filter, pub: false, sub: true }));
    f.trust.learnClient({ id: device.id, enabled: true, grants: [{ audience: AUDIENCE, grants: roles(["m/#"]) }] });
    const wire = await f.open(await f.certificate(device));
    await wire.connect({ clientId: device.id, clean: false });
    await wire.subscribe(["m/#"], 1);

    // the filter stays with the session here: the gate alone refuses the deliveries
    const session = f.gate.sessions.by("client", device.id)[0]!;
    session.replace({ ...session.rights, grants: roles(["m/yes/#"]) });
    const topics = Array.from({ length: 40 }, (_, i) => (i % 4 === 1 ? `m/no/${i}` : `m/yes/${i}`));
    for (const topic of topics) await witness.publish(topic, "", { qos: 1 });
    const allowed = topics.filter((topic) => topic.startsWith("m/yes"));
    for (const topic of allowed) expect((await wire.message()).topic).toBe(topic);
    await wire.settled();
    expect(f.log.filter((line) => line.reason === "deliver.topic").length).toBeGreaterThan(0);
    await wire.leave();

    // and nothing of what was refused is kept for later
    session.replace({ ...session.rights, grants: roles(["m/#"]) });
    const again = await f.open(await f.certificate(device));
    await again.connect({ clientId: device.id, clean: false });
    await witness.publish("m/yes/last", "", { qos: 1 });
    expect((await again.message()).topic).toBe("m/yes/last");
    await heard();
  });

  it("leaves nothing of a consumed token to route, and lets nobody else speak for the gate", async () => {
    const device = f.device();
    const wire = await f.enter(device);
    const { connection } = f.gate.sessions.by("client", device.id)[0]!;
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    const payload = Buffer.from(f.cwt(device.id, { cnf }));
    const packet = { topic: "authz-info", payload, retain: true };
    f.gate.hooks.authorizePublish(connection, packet, (error) => expect(error).toBeNull());
    expect(packet).toEqual({
      topic: expect.stringMatching(/^\$SYS\//) as string,
      payload: Buffer.alloc(0),
      retain: false,
    });
    expect(f.gate.hooks.authorizeForward(connection, { topic: "$postern/session", brokerId: "b" })).toBeNull();
    await wire.settled();
  });

  it("never happens on authz-info, whoever listens to everything", async () => {
    const device = f.device();
    const wire = await f.enter(device);
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    await wire.publish("authz-info", Buffer.from(f.cwt(device.id, { cnf })), { qos: 1, retain: true });
    expect(await heard()).toEqual([]);
    const late = await f.enter(f.device(), { allow: ["sub:#"] });
    await late.subscribe(["#"]);
    await late.settled();
    expect(late.all("publish")).toEqual([]);
  });
});
