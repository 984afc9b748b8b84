/** Clients that do not read, or not at once, what they asked for: what waits for them is bounded, and they keep what is theirs. */
import mqttPacket from "mqtt-packet";
import { expect, it } from "vitest";
import type { EngineClient } from "../../../broker/mqtt/aedes-client.ts";
import { openGround, turns, type Ground } from "./ground.ts";

const publish = (topic: string, qos: 0 | 1 | 2, messageId?: number): Buffer =>
  mqttPacket.generate({
    cmd: "publish",
    topic,
    payload: "",
    qos,
    dup: false,
    retain: false,
    ...(messageId !== undefined && { messageId }),
  });

/** Has nothing of what is written to a client leave. */
function block(ground: Ground, id: string): EngineClient {
  const client = ground.broker.clients[id]!;
  client.conn._writev = () => undefined;
  client.conn._write = () => undefined;
  return client;
}

it("acknowledgements that nobody reads are not piled up without end", async () => {
  const ground = await openGround({ limits: { packetsPerSecond: 1_000_000 } });
  const wire = await ground.enter("acme.a");
  const { conn } = block(ground, "acme.a");
  const frames = Buffer.concat(Array.from({ length: 1000 }, (_, index) => publish("t", 1, index + 1)));
  let written = 0;
  while (written < 40_000 && !wire.isClosed) {
    wire.sendBytes(frames);
    written += 1000;
    await turns(60);
  }
  // PUBACK has four bytes, and what is written waits from this mark on
  expect((conn.writableLength - conn.writableHighWaterMark) / 4).toBeLessThan(2000);
});

it("a client that asks for retained messages again and again, and acknowledges none, has few of them in memory", async () => {
  const ground = await openGround();
  const publisher = await ground.enter("acme.publisher");
  const bytes = 100_000;
  for (let topic = 0; topic < 40; topic++) {
    await publisher.publish(`t/${topic}`, Buffer.alloc(bytes), { qos: 1, retain: true });
  }
  const reader = await ground.enter("acme.reader");
  const before = process.memoryUsage().arrayBuffers;
  for (let asked = 0; asked < 60; asked++) await reader.subscribe(["t/#"], 1);
  await turns(100);
  const read = reader.all("publish").length * bytes;
  console.log(reader.all("publish").length, process.memoryUsage().arrayBuffers - before, read);
  const held = process.memoryUsage().arrayBuffers - before - read;
  expect(held / bytes).toBeLessThan(200);
});
