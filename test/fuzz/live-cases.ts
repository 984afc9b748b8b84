/**
 * Cases for a broker that runs: a client sends a spoiled stream and, some cases later, leaves. The broker must close the
 * connection, go on serving, and send the client nothing that it may not have.
 */
import { connect } from "node:net";
import type { Arena } from "../attacks/engine/arena.ts";
import type { Wire } from "../gate/wire.ts";
import { caseSeed, seeded, type Random } from "./random.ts";
import { cut, ground, makeConnect, makeStream, mutate } from "./streams.ts";

/** What is published where no fuzzed client may read. */
const canary = "canary-7f3a";
const patienceMs = 10_000;

/** Clients that have sent their stream and have not left: what they cause may come while others send theirs. */
const lingering = 8;

/** A broker with one that watches it. */
export interface Range {
  /** Begins a case and ends an earlier one; rejects with what went wrong and the bytes that did it. */
  run(index: number): Promise<void>;
  /** Rejects when the broker does not serve any more or has let something through. */
  check(): Promise<void>;
  /** Ends the cases that have only begun. */
  drain(): Promise<void>;
}

/** A case that has begun. */
interface Begun {
  readonly index: number;
  readonly bytes: Buffer;
  /** Leaves; resolves with what came back once the broker has closed. */
  readonly leave: () => Promise<Buffer>;
}

/** Opens the range. Cases of one seed are the same but for the tokens in them. */
export async function openRange(arena: Arena, seed: number): Promise<Range> {
  const watcher = await arena.enter({ allow: ["pubsub:#"], ttlSeconds: 24 * 3600 });
  await watcher.subscribe(["#"], 0);
  // no more than that, so that cases find what others have left in their sessions
  const subs = Array.from({ length: 30 }, () => arena.client());
  const tokens = subs.map((sub) => ({ sub, allow: [`pubsub:${ground}/#`], ttlSeconds: 24 * 3600 }));
  const connects = tokens.map((token) => [true, false].map((clean) => arena.connectBytes(token, { clean })));
  const begun: Begun[] = [];
  let checks = 0;

  const end = async ({ index, bytes, leave }: Begun): Promise<void> => {
    const received = await leave().catch((error: unknown) => {
      throw new Error(`case ${index}: ${String(error)}; it sent ${bytes.toString("hex")}`);
    });
    if (received.includes(canary)) {
      throw new Error(`case ${index} was sent the canary; it sent ${bytes.toString("hex")}`);
    }
  };
  return {
    async run(index) {
      const random = seeded(caseSeed(seed, index));
      const bytes = makeCase(random, connects);
      begun.push({ index, bytes, leave: send(arena.port.mqtt, cut(bytes, random)) });
      if (begun.length > lingering) await end(begun.shift()!);
    },
    async check() {
      const topic = `secret/${++checks}`;
      await within("the broker does not answer", watcher.publish(topic, canary, { qos: 1, retain: checks === 1 }));
      await within("the broker does not deliver", takeUntil(watcher, topic));
    },
    async drain() {
      for (const one of begun.splice(0)) await end(one);
    },
  };
}

function makeCase(random: Random, connects: readonly (readonly Buffer[])[]): Buffer {
  // spoiled before CONNECT is accepted, or only after it
  if (random.oneIn(3)) return Buffer.concat(mutate([makeConnect(random), ...makeStream(random)], random));
  const connectBytes = random.pick(random.pick(connects));
  if (random.oneIn(4)) return Buffer.concat(mutate([connectBytes, ...makeStream(random)], random));
  return Buffer.concat([connectBytes, ...mutate(makeStream(random), random)]);
}

/** Sends the pieces and stays; what is given back leaves. */
function send(port: number, pieces: readonly Buffer[]): Begun["leave"] {
  const received: Buffer[] = [];
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("data", (chunk: Buffer) => received.push(chunk));
  let failure: NodeJS.ErrnoException | undefined;
  socket.on("error", (error) => (failure = error));
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  for (const piece of pieces) socket.write(piece);
  return async () => {
    socket.end();
    await within("the connection is not closed", closed);
    if (failure?.code === "ECONNREFUSED") throw new Error("the broker is gone, by this case or one of the last");
    return Buffer.concat(received);
  };
}

/** Takes messages until this one; all of them must be where somebody may publish. */
async function takeUntil(watcher: Wire, last: string): Promise<void> {
  for (let topic = ""; topic !== last;) {
    ({ topic } = await watcher.message());
    if (topic !== ground && !topic.startsWith(`${ground}/`) && !topic.startsWith("secret/"))
      throw new Error(`a message on ${topic}`);
  }
}

async function within<T>(otherwise: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), patienceMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
