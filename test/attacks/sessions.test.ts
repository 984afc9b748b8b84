/** What a stored session keeps, and what it must not: refused filters, interrupted deliveries, sessions that are over. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openFixture } from "../gate/fixture.ts";
import type { Fixture } from "../gate/fixture.ts";
import type { Wire } from "../gate/wire.ts";

let f: Fixture;
let witness: Wire;
beforeAll(async () => {
  f = await openFixture({ subscriptions: 3 });
  witness = await f.enter(f.device(), { allow: ["pubsub:#"] });
});
afterAll(() => f.close());

describe("a filter that was refused because of the number of subscriptions", () => {
  it("is not kept for the session's return", async () => {
    const device = f.device();
    const allow = ["sub:n/#"];
    const first = await f.enter(device, { allow }, { clean: false });
    expect(await first.subscribe(["n/1", "n/2", "n/3", "n/4"], 1)).toEqual([1, 1, 1, 128]);
    first.send({ cmd: "unsubscribe", messageId: 5, unsubscriptions: ["n/1"] });
    await first.next("unsuback");
    await first.leave();
    await witness.publish("n/4", "refused", { qos: 1 });
    await witness.publish("n/3", "granted", { qos: 1 });

    const second = await f.enter(device, { allow }, { clean: false });
    expect((await second.message()).topic).toBe("n/3");
    await witness.publish("n/4", "refused again", { qos: 1 });
    await witness.publish("n/2", "granted", { qos: 1 });
    expect((await second.message()).topic).toBe("n/2");
  });
});

describe("a QoS 1 message for a stored session", () => {
  const count = 200;
  const topics = Array.from({ length: count }, (_, i) => `s/${i}`);

  it("stays when the connection breaks while the queue is delivered", async () => {
    const device = f.device();
    const allow = ["sub:s/#"];
    const first = await f.enter(device, { allow }, { clean: false });
    await first.subscribe(["s/+"], 1);
    await first.leave();
    for (const topic of topics) await witness.publish(topic, "", { qos: 1 });

    const second = await f.enter(device, { allow }, { clean: false });
    second.drop();
    await second.closed;
    await witness.publish("s/last", "", { qos: 1 });

    const third = await f.enter(device, { allow }, { clean: false });
    const seen = new Set<string>();
    while (!seen.has("s/last")) seen.add((await third.message()).topic);
    expect(topics.filter((topic) => !seen.has(topic))).toEqual([]);
  });

  it("stays when the session is over at the moment it arrives", async () => {
    const device = f.device();
    const allow = ["sub:o/#"];
    const first = await f.enter(device, { allow }, { clean: false });
    await first.subscribe(["o/+"], 1);
    const session = f.gate.sessions.by("client", device.id)[0]!;
    // as the first delivery after the end of the token, before the timer, finds it
    session.replace({ ...session.rights, expiresAt: 0 });
    await witness.publish("o/1", "", { qos: 1 });
    await first.closed;

    await witness.publish("o/2", "", { qos: 1 });
    const second = await f.enter(device, { allow }, { clean: false });
    expect((await second.message()).topic).toBe("o/1");
    expect((await second.message()).topic).toBe("o/2");
  });

  it("stays while its session is told that its renewal was refused", async () => {
    const device = f.device();
    const allow = ["sub:r/#"];
    const first = await f.enter(device, { allow }, { clean: false });
    await first.subscribe(["r/+", "$postern/session"], 1);
    first.send({ cmd: "publish", topic: "authz-info", payload: "x", qos: 0, retain: false, dup: false });
    await f.logged((line) => line.at === "authz-info");
    await witness.publish("r/1", "", { qos: 1 });
    await first.closed;
    await witness.publish("r/2", "", { qos: 1 });
    const second = await f.enter(device, { allow }, { clean: false });
    expect((await second.message()).topic).toBe("r/1");
  });
});

describe("the number of subscriptions", () => {
  it("holds also when filters are given up and taken in one breath", async () => {
    const device = f.device();
    const wire = await f.enter(device, { allow: ["sub:u/#"] });
    for (let i = 0; i < 10; i++) {
      const topic = `u/${i}`;
      wire.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic, qos: 0 }] });
      wire.send({ cmd: "unsubscribe", messageId: 2, unsubscriptions: [topic] });
      wire.send({ cmd: "subscribe", messageId: 3, subscriptions: [{ topic, qos: 0 }] });
      await wire.settled();
      await wire.settled();
    }
    const { connection } = f.gate.sessions.by("client", device.id)[0]!;
    expect(Object.keys(connection.subscriptions).length).toBeLessThanOrEqual(3);
  });
});
