/** Shared subscriptions whose members come, go and refuse while a message is on its way: it reaches one of them. */
import { expect, it } from "vitest";
import { openGround } from "./ground.ts";

it("a message that its chosen member may not have goes to a member with a stored session", async () => {
  const ground = await openGround();
  const { broker } = ground;
  const stored = await ground.enter("acme.stored", { clean: false });
  const clean = await ground.enter("acme.clean");
  await stored.subscribe(["$share/g/t/#"], 1);
  await clean.subscribe(["$share/g/t/#"], 1);
  const may = broker.authorizeForward.bind(broker);
  broker.authorizeForward = (client, packet) => (client.id === "acme.clean" ? null : may(client, packet));
  const publisher = await ground.enter("acme.publisher");
  const texts = ["1", "2", "3", "4"];
  for (const text of texts) await publisher.publish("t/a", text, { qos: 1 });
  for (const text of texts) expect((await stored.message()).payload).toBe(text);
});

it("a message for a group whose only member is about to return waits for it", async () => {
  const ground = await openGround();
  const { broker } = ground;
  const first = await ground.enter("acme.stored", { clean: false });
  await first.subscribe(["$share/g/t/#"], 1);
  await first.leave();
  // its subscriptions are back, its CONNACK has not left
  broker.on("client", ({ id }: { id: string }) => {
    const message = { topic: "t/a", payload: Buffer.from("x"), qos: 1 };
    if (id === "acme.stored") broker.publish(message, () => undefined);
  });
  const again = await ground.enter("acme.stored", { clean: false });
  expect((await again.message()).payload).toBe("x");
});
