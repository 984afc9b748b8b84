/** mosquitto_pub and mosquitto_sub through everything that they can do, over TLS, with a bearer token or a certificate. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { parsePermission } from "../../shared/scope.ts";
import { makeFolder, run, start } from "../e2e/fixture.ts";
import { AUDIENCE } from "../gate/fixture.ts";
import type { Outcome, Running } from "../e2e/fixture.ts";
import { testWith } from "../peers.ts";
import { openRoom } from "./room.ts";
import type { Room } from "./room.ts";

const peers = ["mosquitto_sub", "mosquitto_pub", "stdbuf"];
let room: Room;
let folder: string;
/** Where, whom to trust, and with what. */
let place: string[];

beforeAll(async () => {
  room = await openRoom();
  folder = makeFolder();
  writeFileSync(join(folder, "ca.pem"), room.fixture.authority.cert);
  place = ["-h", "localhost", "-p", String(room.fixture.engine.mqttsPort), "--cafile", join(folder, "ca.pem")];
});
afterAll(() => room.close());

/** A client: its id, user name and password. */
function newClient(allow?: readonly string[]): string[] {
  const { clientId, username, password } = room.credentials(undefined, allow);
  return ["-i", clientId, "-u", username, "-P", password.toString()];
}

interface Extra {
  readonly stdin?: string | Uint8Array;
  readonly client?: readonly string[];
}

async function publish(
  topic: string,
  words: readonly string[],
  { stdin, client = newClient() }: Extra = {},
): Promise<Outcome> {
  return run("mosquitto_pub", [...place, ...client, "-t", topic, ...words], stdin === undefined ? {} : { stdin });
}

/** A subscriber that is subscribed. What arrives it says as the format asks, by default QoS, retain flag, topic and payload. */
async function subscribe(filter: string, words: readonly string[] = [], client = newClient()): Promise<Running> {
  // -d says what the broker answers, on stdout, which is kept back in blocks unless told otherwise
  const format = words.includes("-F") ? [] : ["-F", "got %q %r %t %p"];
  const args = ["mosquitto_sub", ...place, ...client, "-t", filter, ...format, ...words, "-d"];
  const reader = start("stdbuf", ["-oL", ...args]);
  await reader.stdout.next(/^Subscribed/);
  return reader;
}

const gotOf = ({ stdout }: Outcome): string[] => stdout.split("\n").filter((line) => line.startsWith("got "));
const ok = { exitCode: 0 };

describe("mosquitto_pub and mosquitto_sub", () => {
  for (const qos of [0, 1, 2]) {
    testWith(peers, `exchange messages of QoS ${qos}`, async () => {
      const topic = room.newTopic();
      const reader = await subscribe(topic, ["-q", "2", "-C", "2"]);
      expect(await publish(topic, ["-q", `${qos}`, "-m", "one"])).toMatchObject(ok);
      expect(await publish(topic, ["-q", `${qos}`, "-m", "two"])).toMatchObject(ok);
      const outcome = await reader.ended();
      expect([outcome.exitCode, gotOf(outcome)]).toEqual([
        0,
        [`got ${qos} 0 ${topic} one`, `got ${qos} 0 ${topic} two`],
      ]);
    });

    testWith(peers, `exchange many messages of QoS ${qos} on one connection, in order`, async () => {
      const topic = room.newTopic();
      const lines = Array.from({ length: 300 }, (_, index) => `${index}`);
      const reader = await subscribe(topic, ["-q", "2", "-C", "300"]);
      expect(await publish(topic, ["-q", `${qos}`, "-l"], { stdin: `${lines.join("\n")}\n` })).toMatchObject(ok);
      expect(gotOf(await reader.ended())).toEqual(lines.map((line) => `got ${qos} 0 ${topic} ${line}`));
    });
  }

  for (const version of ["mqttv31", "mqttv311"]) {
    testWith(peers, `speak ${version}`, async () => {
      const topic = room.newTopic();
      const reader = await subscribe(topic, ["-V", version, "-q", "1", "-C", "1"]);
      expect(await publish(topic, ["-V", version, "-q", "2", "-m", "hello"])).toMatchObject(ok);
      expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic} hello`]);
    });
  }

  testWith(peers, "are told that MQTT 5 is not spoken", async () => {
    const { exitCode, stdout, stderr } = await publish("t", ["-V", "mqttv5", "-m", ""]);
    expect([exitCode === 0, `${stdout}${stderr}`]).toEqual([false, expect.stringMatching(/protocol|refused/i)]);
  });

  testWith(peers, "set, read, replace and clear what is retained", async () => {
    const topic = room.newTopic();
    await publish(topic, ["-r", "-q", "1", "-m", "first"]);
    await publish(topic, ["-r", "-q", "1", "-m", "second"]);
    const reader = await subscribe(topic, ["-q", "1", "-C", "1"]);
    expect(gotOf(await reader.ended())).toEqual([`got 1 1 ${topic} second`]);

    expect(await publish(topic, ["-r", "-q", "1", "-n"])).toMatchObject(ok);
    const late = await subscribe(topic, ["-q", "1", "-C", "1"]);
    await publish(topic, ["-q", "1", "-m", "live"]);
    expect(gotOf(await late.ended())).toEqual([`got 1 0 ${topic} live`]);
  });

  testWith(peers, "leave out what is stale, and what is retained only", async () => {
    const topic = room.newTopic();
    await publish(`${topic}/a`, ["-r", "-q", "1", "-m", "retained"]);
    const fresh = await subscribe(`${topic}/#`, ["-R", "-q", "1", "-C", "1"]);
    const retained = await subscribe(`${topic}/#`, ["--retained-only", "-q", "1", "-C", "1"]);
    await publish(`${topic}/a`, ["-q", "1", "-m", "live"]);
    expect(gotOf(await fresh.ended())).toEqual([`got 1 0 ${topic}/a live`]);
    expect(gotOf(await retained.ended())).toEqual([`got 1 1 ${topic}/a retained`]);
  });

  testWith(peers, "clear what is retained below a filter", async () => {
    const topic = room.newTopic();
    for (const name of ["a", "b"]) await publish(`${topic}/${name}`, ["-r", "-q", "1", "-m", name]);
    const eraser = await subscribe(`${topic}/#`, ["-q", "1", "--remove-retained"]);
    for (let count = 0; count < 2; count++) await eraser.stdout.next(/received PUBACK/);
    // killed, not asked to end: a signal that comes while the line above is being written may stop nothing
    eraser.signal("SIGKILL");
    await eraser.ended();
    const reader = await subscribe(`${topic}/#`, ["-q", "1", "-C", "1"]);
    await publish(`${topic}/end`, ["-q", "1", "-m", "end"]);
    expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic}/end end`]);
  });

  testWith(peers, "have a will that is published when the process is killed, and not when it ends", async () => {
    const topic = room.newTopic();
    const reader = await subscribe(`${topic}/#`, ["-q", "2", "-C", "2"]);
    const will = (name: string): string[] => [
      "--will-topic",
      `${topic}/${name}`,
      "--will-payload",
      "bye",
      "--will-qos",
      "1",
    ];
    const ending = await subscribe(`${topic}/unused`, [...will("ended"), "-C", "1"]);
    await publish(`${topic}/unused`, ["-q", "1", "-m", "stop"]);
    expect((await ending.ended()).exitCode).toBe(0);
    const killed = await subscribe(`${topic}/unused`, [...will("killed"), "--will-retain"]);
    killed.signal("SIGKILL");
    await killed.ended();
    expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic}/unused stop`, `got 1 0 ${topic}/killed bye`]);
    const late = await subscribe(`${topic}/killed`, ["-q", "1", "-C", "1"]);
    expect(gotOf(await late.ended())).toEqual([`got 1 1 ${topic}/killed bye`]);
  });

  testWith(peers, "get with a persistent session what was published while nobody was there", async () => {
    const topic = room.newTopic();
    const client = newClient();
    const before = await subscribe(topic, ["-c", "-q", "2", "-C", "1"], client);
    await publish(topic, ["-q", "1", "-m", "live"]);
    expect(gotOf(await before.ended())).toEqual([`got 1 0 ${topic} live`]);
    await publish(topic, ["-q", "0", "-m", "at most once"]);
    await publish(topic, ["-q", "1", "-m", "at least once"]);
    await publish(topic, ["-q", "2", "-m", "exactly once"]);
    const back = await subscribe(topic, ["-c", "-q", "2", "-C", "2"], client);
    expect(gotOf(await back.ended())).toEqual([`got 1 0 ${topic} at least once`, `got 2 0 ${topic} exactly once`]);
  });

  testWith(peers, "end subscriptions, also of a session that comes back", async () => {
    const topic = room.newTopic();
    const client = newClient();
    await (await subscribe(`${topic}/a`, ["-c", "-q", "1", "-E"], client)).ended();
    const reader = await subscribe(`${topic}/b`, ["-c", "-q", "1", "-U", `${topic}/a`, "-C", "1"], client);
    await publish(`${topic}/a`, ["-q", "1", "-m", "no"]);
    await publish(`${topic}/b`, ["-q", "1", "-m", "yes"]);
    expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic}/b yes`]);
  });

  testWith(peers, "carry a payload of nearly 256 KiB, of any bytes", async () => {
    const topic = room.newTopic();
    const payload = Buffer.alloc(256 * 1024 - 64, Buffer.from(Array.from({ length: 251 }, (_, index) => index)));
    for (const qos of ["0", "2"]) {
      const reader = await subscribe(topic, ["-q", "2", "-C", "1", "-F", "%x"]);
      expect(await publish(topic, ["-q", qos, "-s"], { stdin: payload })).toMatchObject(ok);
      const { stdout } = await reader.ended();
      expect(stdout.split("\n").some((line) => line === payload.toString("hex"))).toBe(true);
    }
  });

  testWith(peers, "are disconnected with a payload of more than 256 KiB, which reaches nobody", async () => {
    const topic = room.newTopic();
    const reader = await subscribe(`${topic}/#`, ["-q", "1", "-C", "1", "-F", "got %l"]);
    const { exitCode } = await publish(topic, ["-q", "1", "-s"], { stdin: Buffer.alloc(256 * 1024) });
    expect(exitCode).not.toBe(0);
    await publish(topic, ["-q", "1", "-m", "small"]);
    expect(gotOf(await reader.ended())).toEqual(["got 5"]);
  });

  testWith(peers, "subscribe to several filters, and get what matches two of them once", async () => {
    const topic = room.newTopic();
    const reader = await subscribe(`${topic}/#`, ["-t", `${topic}/+`, "-t", `${topic}/a`, "-q", "1", "-C", "2"]);
    await publish(`${topic}/a`, ["-q", "1", "-m", "once"]);
    await publish(`${topic}/a/b`, ["-q", "1", "-m", "deep"]);
    expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic}/a once`, `got 1 0 ${topic}/a/b deep`]);
  });

  testWith(peers, "share a subscription", async () => {
    const topic = room.newTopic();
    const readers = [
      await subscribe(`$share/g/${topic}`, ["-q", "1", "-C", "5"]),
      await subscribe(`$share/g/${topic}`, ["-q", "1", "-C", "5"]),
    ];
    const lines = Array.from({ length: 10 }, (_, index) => `${index}`);
    await publish(topic, ["-q", "1", "-l"], { stdin: `${lines.join("\n")}\n` });
    const got = (await Promise.all(readers.map((reader) => reader.ended()))).map(gotOf);
    expect(got.map(({ length }) => length)).toEqual([5, 5]);
    expect(got.flat().sort()).toEqual(lines.map((line) => `got 1 0 ${topic} ${line}`));
  });

  testWith(peers, "are kept alive by their pings", async () => {
    const topic = room.newTopic();
    // the least that they allow is 5 seconds; another client is closed for its silence after 1.5
    const reader = await subscribe(topic, ["-k", "5", "-q", "1", "-C", "1"]);
    await (
      await room.enter({ keepalive: 1 })
    ).closed;
    await publish(topic, ["-q", "1", "-m", "still here"]);
    expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic} still here`]);
  });
});

describe("mosquitto_pub with a certificate", () => {
  async function certificateOf(allow: readonly string[]): Promise<string[]> {
    const { fixture } = room;
    const device = fixture.device();
    const grants = [{ audience: AUDIENCE, grants: allow.map(parsePermission) }];
    fixture.trust.learnClient({ id: device.id, enabled: true, grants });
    const { cert, key } = await fixture.certificate(device);
    const [certFile, keyFile] = [join(folder, `${device.id}.pem`), join(folder, `${device.id}-key.pem`)];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    return ["-i", device.id, "--cert", certFile, "--key", keyFile];
  }

  testWith(peers, "publishes what its roles allow, without a token", async () => {
    const topic = room.newTopic();
    const reader = await subscribe(topic, ["-q", "1", "-C", "1"]);
    const client = await certificateOf([`pub:${topic}`]);
    expect(await publish(topic, ["-q", "1", "-m", "hello"], { client })).toMatchObject(ok);
    expect(gotOf(await reader.ended())).toEqual([`got 1 0 ${topic} hello`]);
    expect((await publish(`${topic}/other`, ["-q", "1", "-m", "no"], { client })).exitCode).not.toBe(0);
  });

  testWith(peers, "of one client under the id of another is refused", async () => {
    const client = await certificateOf(["pub:#"]);
    client[1] = room.newClientId();
    expect((await publish("t", ["-m", "no"], { client })).exitCode).toBe(5);
  });
});
