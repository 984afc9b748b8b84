/** MQTT.js through everything that it can do, over TLS and over WebSocket. */
import mqtt, { type IClientOptions, type IConnackPacket, type IPublishPacket, type MqttClient } from "mqtt";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { undisturbed } from "../undisturbed.ts";
import { openRoom } from "./room.ts";
import type { Credentials, Room } from "./room.ts";

type Transport = "mqtts" | "wss";

let room: Room;
beforeAll(async () => {
  room = await openRoom();
});
afterAll(() => room.close());

const clients: MqttClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) await client.endAsync(true);
});

/** A client that waits for what it gets. */
class Peer {
  readonly client: MqttClient;
  readonly #messages: { topic: string; payload: Buffer; packet: IPublishPacket }[] = [];
  #wake: (() => void) | undefined;

  constructor(client: MqttClient) {
    this.client = client;
    clients.push(client);
    client.on("error", () => undefined);
    client.on("message", (topic, payload, packet) => {
      this.#messages.push({ topic, payload, packet });
      this.#wake?.();
    });
  }

  async next(): Promise<{ topic: string; payload: Buffer; packet: IPublishPacket }> {
    while (this.#messages.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#messages.shift()!;
  }

  /** Topic, text, QoS and retain flag of the next message. */
  async text(): Promise<[string, string, number, boolean]> {
    const { topic, payload, packet } = await this.next();
    return [topic, payload.toString(), packet.qos, packet.retain];
  }

  /** The texts of as many messages. */
  async texts(count: number): Promise<string[]> {
    const texts: string[] = [];
    while (texts.length < count) texts.push((await this.next()).payload.toString());
    return texts;
  }

  async subscribe(filter: string | string[], qos: 0 | 1 | 2 = 2): Promise<number[]> {
    return (await this.client.subscribeAsync(filter, { qos })).map((grant) => grant.qos);
  }

  async publish(topic: string, payload: string | Buffer, qos: 0 | 1 | 2 = 2, retain = false): Promise<void> {
    await this.client.publishAsync(topic, payload, { qos, retain });
  }
}

function start(
  transport: Transport,
  options: IClientOptions = {},
  credentials: Credentials = room.credentials(),
): Peer {
  const { authority, engine } = room.fixture;
  const port = transport === "wss" ? engine.wssPort : engine.mqttsPort;
  const once = { reconnectPeriod: 0, protocolVersion: 4, keepalive: 0 } as const;
  return new Peer(
    mqtt.connect(`${transport}://localhost:${port}`, { ...once, ca: authority.cert, ...credentials, ...options }),
  );
}

async function connect(transport: Transport, options?: IClientOptions, credentials?: Credentials): Promise<Peer> {
  const peer = start(transport, options, credentials);
  await connected(peer.client);
  return peer;
}

/** What CONNACK says; rejects with the error that comes instead. */
function connected(client: MqttClient): Promise<IConnackPacket> {
  return new Promise((resolve, reject) => {
    client.once("connect", resolve);
    client.once("error", reject);
  });
}

/** When the connection is over, with or without an error. */
function closed(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once("close", () => resolve()));
}

describe.each<Transport>(["mqtts", "wss"])("MQTT.js over %s", (transport) => {
  it.each([0, 1, 2] as const)("sends and receives QoS %i", async (qos) => {
    const topic = room.newTopic();
    const peer = await connect(transport);
    expect(await peer.subscribe(topic, qos)).toEqual([qos]);
    await peer.publish(topic, "hello", qos);
    expect(await peer.text()).toEqual([topic, "hello", qos, false]);
  });

  it("gets and clears what is retained", async () => {
    const topic = room.newTopic();
    const [writer, reader] = [await connect(transport), await connect(transport)];
    await writer.publish(topic, "kept", 1, true);
    await reader.subscribe(topic);
    expect(await reader.text()).toEqual([topic, "kept", 1, true]);
    await writer.publish(topic, "", 1, true);
    expect(await reader.text()).toEqual([topic, "", 1, false]);
    const late = await connect(transport);
    await late.subscribe(topic);
    await writer.publish(topic, "live", 1);
    expect(await late.text()).toEqual([topic, "live", 1, false]);
  });

  it("leaves a will when its connection breaks, and none when it ends", async () => {
    const topic = room.newTopic();
    const reader = await connect(transport);
    await reader.subscribe(topic);
    const will = (payload: string) => ({
      will: { topic, payload: Buffer.from(payload), qos: 1 as const, retain: false },
    });
    await (await connect(transport, will("ended"))).client.endAsync();
    (await connect(transport, will("broken"))).client.stream.destroy();
    expect(await reader.text()).toEqual([topic, "broken", 1, false]);
  });

  it("comes back by itself, to its session and to what was published meanwhile", async () => {
    const topic = room.newTopic();
    const [writer, reader] = [
      await connect(transport),
      await connect(transport, { clean: false, reconnectPeriod: 20 }),
    ];
    await reader.subscribe(topic);
    const back = connected(reader.client);
    const gone = closed(reader.client);
    reader.client.stream.destroy();
    await gone;
    for (const qos of [1, 2] as const) await writer.publish(topic, `of ${qos}`, qos);
    expect((await back).sessionPresent).toBe(true);
    expect((await reader.texts(2)).sort()).toEqual(["of 1", "of 2"]);
  });

  it("gets in another run what was published while it was away", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const options = { clean: false, resubscribe: false };
    const first = await connect(transport, options, credentials);
    await first.subscribe(topic);
    await first.client.endAsync();
    const writer = await connect(transport);
    for (const qos of [1, 2, 1] as const) await writer.publish(topic, `of ${qos}`, qos);
    const second = await connect(transport, options, credentials);
    // what has QoS 2 is handed on when it is released
    expect((await second.texts(3)).sort()).toEqual(["of 1", "of 1", "of 2"]);
  });

  it("sends after it came back what it was told while it was away", async () => {
    const topic = room.newTopic();
    const reader = await connect(transport);
    await reader.subscribe(topic);
    const writer = await connect(transport, { clean: false, reconnectPeriod: 20 });
    const gone = closed(writer.client);
    writer.client.stream.destroy();
    await gone;
    await Promise.all([writer.publish(topic, "one", 1), writer.publish(topic, "two", 2)]);
    expect((await reader.texts(2)).sort()).toEqual(["one", "two"]);
  });

  it("unsubscribes", async () => {
    const topic = room.newTopic();
    const peer = await connect(transport);
    await peer.subscribe([`${topic}/a`, `${topic}/b`]);
    await peer.client.unsubscribeAsync([`${topic}/a`, `${topic}/nothing`]);
    await peer.publish(`${topic}/a`, "no");
    await peer.publish(`${topic}/b`, "yes");
    expect(await peer.texts(1)).toEqual(["yes"]);
  });

  it("is told which filters are refused, and gets the others", async () => {
    const topic = room.newTopic();
    const peer = await connect(transport, {}, room.credentials(undefined, [`pubsub:${topic}/#`]));
    // 0x80 for one of them is an error here
    await expect(peer.subscribe([`${topic}/a`, "other"])).rejects.toThrow(/./);
    await peer.publish(`${topic}/a`, "mine");
    expect(await peer.texts(1)).toEqual(["mine"]);
  });

  it("carries any bytes, few and many", async () => {
    const topic = room.newTopic();
    const peer = await connect(transport);
    await peer.subscribe(topic);
    const all = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    for (const payload of [Buffer.alloc(0), Buffer.from([0]), all, Buffer.alloc(256 * 1024 - 64, all)]) {
      await peer.publish(topic, payload);
      expect((await peer.next()).payload.equals(payload)).toBe(true);
    }
  });

  it("is disconnected with a payload of more than 256 KiB", async () => {
    const peer = await connect(transport);
    peer.client.publish(room.newTopic(), Buffer.alloc(256 * 1024), { qos: 0 });
    await closed(peer.client);
    expect(peer.client.connected).toBe(false);
  });

  it("shares a subscription", async () => {
    const topic = room.newTopic();
    const peers = [await connect(transport), await connect(transport, { clean: false })];
    for (const peer of peers) expect(await peer.subscribe(`$share/g/${topic}`, 1)).toEqual([1]);
    const writer = await connect(transport);
    const texts = Array.from({ length: 10 }, (_, index) => `${index}`);
    for (const text of texts) await writer.publish(topic, text, 1);
    expect((await Promise.all(peers.map((peer) => peer.texts(5)))).flat().sort()).toEqual(texts);
  });

  it.each<[0 | 1 | 2, boolean]>([
    [0, true],
    [1, true],
    [1, false],
    [2, true],
    [2, false],
  ])(
    "has 1,000 messages of QoS %i on their way at once, each arriving once and in order (clean %s)",
    async (qos, clean) => {
      const topic = room.newTopic();
      const [writer, reader] = [await connect(transport), await connect(transport, { clean })];
      await reader.subscribe(topic, qos);
      const texts = Array.from({ length: 1000 }, (_, index) => `${index}`);
      await Promise.all(texts.map((text) => writer.publish(topic, text, qos)));
      expect(await reader.texts(1000)).toEqual(texts);
      await writer.publish(topic, "end", qos);
      expect(await reader.texts(1)).toEqual(["end"]);
    },
  );

  it("is refused with the code of CONNACK", async () => {
    const wrong = { ...room.credentials(), password: Buffer.from("no token") };
    const { client } = start(transport, {}, wrong);
    await expect(connected(client)).rejects.toMatchObject({ code: 4 });
  });

  it("is not let in with MQTT 5", async () => {
    const { client } = start(transport, { protocolVersion: 5 });
    let isIn = false;
    client.once("connect", () => (isIn = true));
    await closed(client);
    expect(isIn).toBe(false);
  });

  it("is let in with MQTT 3.1", async () => {
    const topic = room.newTopic();
    const peer = await connect(transport, { protocolVersion: 3, protocolId: "MQIsdp" });
    await peer.subscribe(topic);
    await peer.publish(topic, "old and good");
    expect(await peer.texts(1)).toEqual(["old and good"]);
  });

  it("stays when it is kept alive by its pings", async () => {
    await undisturbed(500, async () => {
      const peer = await connect(transport, { keepalive: 2 });
      // longer than it would be kept without them, which is half as long again as that
      await (
        await room.enter({ keepalive: 3 })
      ).closed;
      expect(peer.client.connected).toBe(true);
      const topic = room.newTopic();
      await peer.subscribe(topic);
      await peer.publish(topic, "still here");
      expect(await peer.texts(1)).toEqual(["still here"]);
    });
  });
});
