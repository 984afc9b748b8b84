/** What is taken back at the very moment that something else is under way. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSigner } from "../../shared/es256.ts";
import { makePrivateKey } from "./certificates.ts";
import { openFixture, userName } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";
import { cnfOf, hashesOf, openHolders, will } from "./holders.ts";
import type { Holders } from "./holders.ts";
import type { Wire } from "./wire.ts";

let h: Holders;
let f: Fixture;
let witness: Wire;
beforeAll(async () => {
  h = await openHolders();
  ({ f, witness } = h);
});
afterAll(() => f.close());

describe("at the very moment", () => {
  it("that a CONNECT is decided and CONNACK has not left, the session ends and nothing of it is kept", async () => {
    const holder = await h.hold();
    f.when(
      (line) => line.msg === "session opened" && line.clientId === holder.id,
      () => f.trust.revokeTokens(hashesOf(holder.cwt)),
    );
    await expect(h.connect("proof", holder, { will, clean: false })).rejects.toThrow("closed before connack");
    expect(await h.heard()).toEqual([]);
    expect(f.gate.sessions.by("client", holder.id)).toEqual([]);
  });

  it("that a CONNECT waits for keys, its token is asked for again afterwards", async () => {
    let answer: () => void = () => {};
    let isAsked: () => void = () => {};
    const asked = new Promise<void>((resolve) => (isAsked = resolve));
    const refreshKeys = (): Promise<void> => {
      isAsked();
      return new Promise((resolve) => (answer = resolve));
    };
    const own = await openFixture({}, { refreshKeys });
    const device = own.device();
    const signer = createSigner("new", makePrivateKey());
    const token = own.cwt(device.id, { cnf: cnfOf(device.privateKey), signer });
    const wire = await own.open();
    const connack = wire.connect({
      clientId: device.id,
      username: userName(token),
      password: wire.prove(device.privateKey),
    });
    await asked;
    own.trust.revokeTokens(hashesOf(token));
    own.trust.learnKey("new", signer.publicKey);
    answer();
    expect([(await connack).returnCode, own.lastReason("connect")]).toEqual([4, "token.revoked"]);
    await own.close();
  });

  it("of a takeover, what was taken back of the one does not end the other", async () => {
    const holder = await h.hold();
    const first = await h.connect("proof", holder, { will });
    const fresh = f.cwt(holder.id, { cnf: cnfOf(holder.privateKey), allow: ["pubsub:#"] });
    f.when(
      (line) => line.msg === "session opened" && line.clientId === holder.id,
      () => f.trust.revokeTokens(hashesOf(holder.cwt)),
    );
    const second = await h.connect("proof", { ...holder, cwt: fresh });
    await first.closed;
    await second.publish("still/here", "", { qos: 1 });
    expect(await h.heard()).toEqual([]);
    f.trust.revokeTokens(hashesOf(fresh));
    await second.closed;
  });

  it("of a publish, subscription or delivery, whatever comes after is refused", async () => {
    const holder = await h.hold();
    const wire = await h.connect("proof", holder, { clean: false });
    await wire.subscribe(["m"], 1);
    const { connection } = h.sessionOf(holder);
    const { hooks } = f.gate;
    const publish = (): string | undefined => {
      let message: string | undefined;
      hooks.authorizePublish(
        connection,
        { topic: "m", payload: "", retain: false },
        (error) => (message = error?.message),
      );
      return message;
    };
    expect(publish()).toBeUndefined();
    f.trust.revokeTokens(hashesOf(holder.cwt));
    expect(publish()).toMatch(/^session\.closed/);
    expect(hooks.authorizeForward(connection, { topic: "m" })).toBeNull();
    expect(f.gate.mayStore(connection, "m")).toBe(false);
    let granted: unknown;
    hooks.authorizeSubscribe(connection, { topic: "m" }, (_error, subscription) => (granted = subscription));
    expect(granted).toBeNull();
    await wire.closed;
  });

  it("that the connection breaks by itself, the will is not published either", async () => {
    const holder = await h.hold();
    await h.connect("proof", holder, { will });
    const { conn } = h.sessionOf(holder).connection;
    conn.destroy();
    f.trust.revokeTokens(hashesOf(holder.cwt));
    await new Promise<void>((resolve) => conn.once("close", resolve));
    expect(await h.heard()).toEqual([]);
  });

  it("that retained messages are on their way, no more of them leave", async () => {
    const holder = await h.hold();
    const payload = "x".repeat(100_000);
    for (let index = 0; index < 40; index++) await witness.publish(`kept/${index}`, payload, { qos: 1, retain: true });
    const wire = await h.connect("proof", holder);
    wire.pause();
    wire.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "kept/#", qos: 0 }] });
    const { conn } = h.sessionOf(holder).connection;
    while (conn.writableLength === 0) await delay(1);
    f.trust.revokeTokens(hashesOf(holder.cwt));
    wire.resume();
    await wire.closed;
    expect(wire.all("publish").length).toBeLessThan(40);
    for (let index = 0; index < 40; index++) await witness.publish(`kept/${index}`, "", { retain: true });
  });

  it.each([1, 2] as const)("that a queue of QoS %i is being sent, no more of it leaves", async (qos) => {
    const holder = await h.hold();
    const wire = await h.connect("proof", holder, { clean: false });
    await wire.subscribe(["queue/#"], qos);
    await wire.leave();
    const payload = "x".repeat(50_000);
    for (let index = 0; index < 60; index++) await witness.publish(`queue/${index}`, payload, { qos: 1 });
    const again = await h.connect("proof", holder, { clean: false });
    const seen = (await again.next("publish")) as { messageId: number };
    f.trust.revokeTokens(hashesOf(holder.cwt));
    again.send({ cmd: qos === 1 ? "puback" : "pubrec", messageId: seen.messageId });
    await again.closed;
    expect(again.all("publish").length).toBeLessThan(59);
    expect(again.all("pubrel")).toEqual([]);
  });
});
