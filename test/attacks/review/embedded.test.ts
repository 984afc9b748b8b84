/** A program that runs an Aedes of its own with some of the four pieces: what is served then, and what is refused. */
import { once, type EventEmitter } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { Aedes } from "aedes";
import * as persistence from "aedes-persistence";
import mqemitter from "mqemitter";
import { pino } from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { createGate, durableStore, emitter, guard } from "../../../broker/index.ts";
import type { Piece } from "../../../broker/mqtt/pieces.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { createSigner } from "../../../shared/es256.ts";
import { mintJwt } from "../../../shared/jwt.ts";
import { parsePermission } from "../../../shared/scope.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import { Wire } from "../../gate/wire.ts";
import { turns } from "./ground.ts";

// it exports what its types do not say
const memoryPersistence = (persistence as unknown as { readonly default: () => object }).default;
const issuer = "https://issuer.test";
const audience = "acme.open";
const signer = createSigner("k", makePrivateKey());
const keys = { keys: [{ ...toJwk(signer.publicKey), kid: "k" }] };

interface Program {
  readonly broker: Aedes;
  readonly log: { readonly msg: string; readonly level: number; readonly err?: { readonly message: string } }[];
  open(): Promise<Wire>;
  enter(clientId: string, clean?: boolean, allow?: readonly string[]): Promise<Wire>;
}

interface Choice {
  readonly without?: readonly Piece[];
  readonly isGuarded?: boolean;
  /** Changes the options of the broker, as a program may. */
  readonly change?: object;
  readonly stockEmitter?: boolean;
  readonly stockStore?: boolean;
}

async function run(choice: Choice): Promise<Program> {
  const { without = [], isGuarded = !without.includes("guard") } = choice;
  const log: Program["log"] = [];
  const logger = pino({ level: "debug" }, { write: (line: string) => void log.push(JSON.parse(line) as never) });
  const store = choice.stockStore === true ? memoryPersistence() : durableStore({ file: ":memory:" });
  const mq = choice.stockEmitter === true ? mqemitter({ concurrency: 100 }) : emitter();
  const gate = await createGate({ issuer, audience, keys, bearer: true, emitter: mq, store, without, log: logger });
  const broker = await Aedes.createBroker({ ...gate.options, ...choice.change });
  onTestFinished(async () => {
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    gate.close();
  });
  const door = isGuarded ? guard(broker, gate) : { handle: broker.handle, close() {} };
  const server = createServer((socket) => void door.handle(socket));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const wires: Wire[] = [];
  onTestFinished(() => {
    for (const wire of wires) wire.drop();
    door.close();
    server.close();
  });
  const program: Program = {
    broker,
    log,
    async open() {
      const wire = await Wire.open({ port: (server.address() as AddressInfo).port, transport: "tcp" });
      wires.push(wire);
      return wire;
    },
    async enter(clientId, clean = true, allow = ["pubsub:#"]) {
      const wire = await program.open();
      const iat = Math.floor(Date.now() / 1000);
      const scope = allow.map(parsePermission);
      const token = mintJwt(
        { iss: issuer, sub: clientId, aud: audience, iat, exp: iat + 600, id: Buffer.of(1), scope },
        signer,
      );
      const { returnCode } = await wire.connect({ clientId, clean, username: "x", password: Buffer.from(token) });
      if (returnCode !== 0) throw new Error(`connack ${returnCode}`);
      return wire;
    },
  };
  return program;
}

const combinations: readonly [string, Choice][] = [
  ["all four", {}],
  ["another emitter", { without: ["emitter"], stockEmitter: true }],
  ["another store", { without: ["store"], stockStore: true }],
  ["another emitter and store", { without: ["emitter", "store"], stockEmitter: true, stockStore: true }],
  ["no guard", { without: ["guard"] }],
  ["no guard and another emitter", { without: ["guard", "emitter"], stockEmitter: true }],
  ["no guard and another store", { without: ["guard", "store"], stockStore: true }],
  ["the gate alone", { without: ["guard", "emitter", "store"], stockEmitter: true, stockStore: true }],
];

describe.each(combinations)("with %s", (_name, choice) => {
  it("what is granted is delivered at every QoS, and what is refused is not", async () => {
    const program = await run(choice);
    const reader = await program.enter("acme.reader", true, ["sub:a/#"]);
    expect(await reader.subscribe(["a/#", "b/#"], 2)).toEqual([2, 128]);
    const publisher = await program.enter("acme.publisher");
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish("b/1", "no", { qos });
      await publisher.publish("a/1", `yes ${qos}`, { qos });
      expect(await reader.message()).toMatchObject({ payload: `yes ${qos}`, topic: "a/1" });
    }
    expect(reader.isClosed).toBe(false);
  });

  it("a stored session gets what it missed, and nothing of a filter that was refused", async () => {
    const program = await run(choice);
    const reader = await program.enter("acme.reader", false, ["sub:a/#"]);
    expect(await reader.subscribe(["a/#", "b/#"], 1)).toEqual([1, 128]);
    await reader.leave();
    const publisher = await program.enter("acme.publisher");
    for (const topic of ["b/1", "a/1"]) await publisher.publish(topic, topic, { qos: 1 });
    const again = await program.enter("acme.reader", false, ["sub:a/#"]);
    expect((await again.message()).topic).toBe("a/1");
    await again.settled();
    expect(again.all("publish")).toEqual([]);
  });

  it(`a shared subscription is ${choice.without === undefined ? "shared" : "refused"}`, async () => {
    const program = await run(choice);
    const members = [await program.enter("acme.one"), await program.enter("acme.two", false)];
    const granted = await Promise.all(members.map((member) => member.subscribe(["$share/g/a"], 1)));
    const code = choice.without === undefined ? 1 : 128;
    expect(granted).toEqual([[code], [code]]);
    if (code === 128) return;
    const publisher = await program.enter("acme.publisher");
    const got: string[] = [];
    for (const member of members) {
      void (async () => {
        for (;;) got.push((await member.message()).payload);
      })().catch(() => undefined);
    }
    for (let n = 0; n < 10; n++) await publisher.publish("a", `${n}`, { qos: 1 });
    while (got.length < 10 && members.every(({ isClosed }) => !isClosed)) await turns(1);
    expect([got.length, ...members.map(({ isClosed }) => isClosed)]).toEqual([10, false, false]);
  });
});

it("a program that puts no guard before its broker serves nobody, and the log says why", async () => {
  const program = await run({ isGuarded: false });
  await expect(program.enter("acme.a")).rejects.toThrow("closed before connack");
  expect(program.log.some(({ level, err }) => level >= 50 && err?.message.includes("wire guard") === true)).toBe(true);
});

it.each(["preConnect", "authenticate", "authorizePublish", "authorizeSubscribe", "authorizeForward"])(
  "a guard does not stand before a broker whose %s is not the gate's",
  async (hook) => {
    await expect(run({ change: { [hook]: () => undefined } })).rejects.toThrow("lacks our gate");
  },
);

it.each([
  ["emitter", { stockEmitter: true }],
  ["store", { stockStore: true }],
])("a guard does not stand before a broker with another %s that nobody named", async (piece, choice) => {
  await expect(run(choice)).rejects.toThrow(`lacks our ${piece}`);
});

it("a broker that fails is logged, and does not end a program that does not listen", async () => {
  const { broker, log } = await run({});
  (broker as EventEmitter).emit("error", new Error("no disk"));
  expect(log.some(({ level, err }) => level >= 50 && err?.message === "no disk")).toBe(true);
});
