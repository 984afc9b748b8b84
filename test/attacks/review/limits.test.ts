/** What one client asks for and how often: it costs that client its turn and nobody else theirs. */
import mqttPacket from "mqtt-packet";
import { expect, it } from "vitest";
import { emitter } from "../../../broker/mqtt/emitter.ts";
import type { Message } from "../../../broker/mqtt/message.ts";
import { TopicTree } from "../../../broker/mqtt/topic-tree.ts";
import type { Wire } from "../../gate/wire.ts";
import { openGround, turns } from "./ground.ts";

it("a search that finds nothing goes step by step", () => {
  const tree = new TopicTree<string>();
  for (let n = 0; n < 10_000; n++) tree.set(`t/${n}/a`, "x");
  const steps = [...tree.search("t/+/b")];
  expect(steps.length).toBeGreaterThan(20);
  expect(steps.filter((found) => found !== undefined)).toEqual([]);
});

it("others are served while a client searches many retained topics for what is not there", async () => {
  const ground = await openGround();
  const publisher = await ground.enter("acme.publisher");
  for (let n = 0; n < 5000; n++) {
    publisher.send({ cmd: "publish", topic: `t/${n}/a`, payload: "x", qos: 0, dup: false, retain: true });
  }
  await publisher.settled();
  const searcher = await ground.enter("acme.searcher");
  const filters = Array.from({ length: 200 }, (_, n) => `t/+/b${n}`);
  await searcher.subscribe([...filters, "t/1/a"], 1);
  let others = 0;
  const found = searcher.message();
  const state = { isOver: false };
  void found.then(() => (state.isOver = true));
  while (!state.isOver) {
    await publisher.settled();
    others++;
  }
  expect(others).toBeGreaterThan(50);
});

it("others have their turn between messages that many listeners get", async () => {
  const mq = emitter();
  let calls = 0;
  for (let n = 0; n < 1000; n++) {
    mq.on("t", (_message, done) => {
      calls++;
      done();
    });
  }
  const message = (n: number): Message => {
    return { cmd: "publish", topic: "t", payload: Buffer.of(n), qos: 0, retain: false, dup: false };
  };
  const order: number[] = [];
  for (let n = 0; n < 20; n++) mq.emit(message(n), () => order.push(n));
  const inOneTurn = [calls];
  while (order.length < 20) {
    calls = 0;
    await turns(1);
    inOneTurn.push(calls);
  }
  expect(Math.max(...inOneTurn)).toBeLessThanOrEqual(5000);
  expect(order).toEqual(order.toSorted((a, b) => a - b));
});

it("a session is renewed so many times in a second and no more", async () => {
  const ground = await openGround();
  const wire = await ground.enter("acme.a");
  const renewal = (): Buffer =>
    mqttPacket.generate({
      cmd: "publish",
      topic: "authz-info",
      payload: ground.token("acme.a"),
      qos: 0,
      dup: false,
      retain: false,
    });
  wire.sendBytes(Buffer.concat(Array.from({ length: 100 }, renewal)));
  await wire.closed;
  await turns();
  expect(ground.log.filter(({ msg }) => msg === "session renewed").length).toBeLessThanOrEqual(20);
  expect(ground.log.some(({ reason }) => reason === "rate.limited")).toBe(true);
});

it("retained messages reach a stored session that has subscribed before without the mark of retained ones", async () => {
  const ground = await openGround();
  const reader = await ground.enter("acme.reader", { clean: false });
  await reader.subscribe(["t"], 1);
  const publisher = await ground.enter("acme.publisher");
  await publisher.publish("t", "live", { qos: 1, retain: true });
  expect(await reader.message()).toMatchObject({ payload: "live", retain: false });
  const other = await ground.enter("acme.other");
  await other.subscribe(["t"], 1);
  expect(await other.message()).toMatchObject({ payload: "live", retain: true });
});

it("refused filters of many sessions are logged so many times in a second and no more", async () => {
  const ground = await openGround();
  const news = "$postern/session";
  const wires: Wire[] = [];
  for (let n = 0; n < 40; n++) wires.push(await ground.enter(`acme.a:${n}`, {}, ["sub:zz"]));
  for (const wire of wires) expect(await wire.subscribe([news])).toEqual([0]);
  const filters = Array.from({ length: 10 }, (_, n) => `no/${n}`);
  await Promise.all(wires.map((wire) => wire.subscribe(filters)));
  // those that are told to a session, and those that have a line all the same, in the two seconds it may have taken
  expect(ground.log.filter(({ reason }) => reason === "subscribe.filter").length).toBeLessThanOrEqual(2 * 110 + 2);
});
