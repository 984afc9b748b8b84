/** Limits of the gate that are lowered: how deep a topic and how long a token may be. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPublicKey } from "../../shared/cose-key.ts";
import { openFixture, userName } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";

let f: Fixture;
beforeAll(async () => {
  f = await openFixture({ topicLevels: 3, tokenBytes: 480 });
});
afterAll(() => f.close());

describe("topics of three levels at most", () => {
  const allow = ["pubsub:a/#"];

  it("are subscribed, published and delivered", async () => {
    const wire = await f.enter(f.device(), { allow });
    expect(await wire.subscribe(["a/b/c", "a/b/#"])).toEqual([0, 0]);
    await wire.publish("a/b/c", "here", { qos: 1 });
    expect((await wire.message()).topic).toBe("a/b/c");
  });

  it("leave a deeper filter refused", async () => {
    const wire = await f.enter(f.device(), { allow });
    expect(await wire.subscribe(["a/b/c/d", "a/+/+/#", "a/#"])).toEqual([128, 128, 0]);
    expect(f.lastReason("subscribe")).toBe("topic.filter");
  });

  it("end a session that publishes to a deeper one", async () => {
    const wire = await f.enter(f.device(), { allow });
    await wire.publish("a/b/c/d");
    await wire.closed;
    expect(f.lastReason("publish")).toBe("topic.name");
  });

  it("refuse a will of a deeper one", async () => {
    const will = { topic: "a/b/c/d", payload: Buffer.from("x"), qos: 0, retain: false } as const;
    await expect(f.enter(f.device(), { allow }, { will })).rejects.toThrow("connack 5");
    expect(f.lastReason("connect")).toBe("topic.name");
  });
});

describe("tokens of 480 bytes at most", () => {
  const allow = Array.from({ length: 20 }, (_, i) => `pub:some/topic/${i}/of/many`);

  it("leave a client with a short one in, and one with a longer one out", async () => {
    await expect(f.enter(f.device())).resolves.toBeDefined();
    const device = f.device();
    await expect(f.enter(device, { allow })).rejects.toThrow("connack 4");
    expect(f.lastReason("connect")).toBe("credential.too-large");
  });

  it("count a JWT's own characters, not those that base64url adds to a CWT", async () => {
    const device = f.device();
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    const jwt = f.jwt(device.id, { cnf, allow: ["pub:t"] });
    expect(jwt.length).toBeGreaterThan(480);
    expect(jwt.length).toBeLessThan(640);
    const wire = await f.open();
    const password = wire.prove(device.privateKey);
    expect((await wire.connect({ clientId: device.id, username: userName(jwt), password })).returnCode).toBe(4);
    expect(f.lastReason("connect")).toBe("token.too-large");
  });

  it("hold on authz-info as well", async () => {
    const device = f.device();
    const wire = await f.enter(device);
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    await wire.publish("authz-info", Buffer.from(f.cwt(device.id, { cnf, allow })));
    await wire.closed;
    expect(f.lastReason("authz-info")).toBe("token.too-large");
  });
});
