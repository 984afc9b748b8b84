/** A session whose rights change while its subscriptions do. */
import mqttPacket from "mqtt-packet";
import { expect, it, vi } from "vitest";
import type { Emitter } from "../../../broker/mqtt/emitter.ts";
import { openGround, patienceMs, turns } from "./ground.ts";

it("a subscription that is made anew while it is taken away is there, and ends with its client", async () => {
  const ground = await openGround();
  const wire = await ground.enter("acme.a");
  const filter = "$share/g/t";
  await wire.subscribe([filter], 0);
  const renew = (allow: string[]): Buffer => {
    const payload = ground.token("acme.a", allow);
    return mqttPacket.generate({ cmd: "publish", topic: "authz-info", payload, qos: 0, dup: false, retain: false });
  };
  const subscribe = mqttPacket.generate({
    cmd: "subscribe",
    messageId: 1,
    subscriptions: [{ topic: filter, qos: 1 }],
  });
  wire.sendBytes(Buffer.concat([renew(["sub:none"]), renew(["pubsub:#"]), subscribe]));
  await wire.next("suback");
  await turns();
  await wire.publish("t", "x", { qos: 1 });
  expect(await wire.message()).toMatchObject({ payload: "x", qos: 1 });
  await wire.leave();
  const mq = ground.broker.mq as unknown as Emitter;
  const message = { cmd: "publish", topic: "t", payload: Buffer.alloc(0), qos: 1, retain: false, dup: false } as const;
  await vi.waitFor(() => expect(mq.choose(message).groups.size).toBe(0), patienceMs);
});
