/**
 * kill -9 of a broker elsewhere while it is told what was taken back, over and over: whom it has closed it refuses from its
 * first moment, also where the authority cannot be reached, and when it can, the rest follows.
 */
import { join } from "node:path";
import { expect, it } from "vitest";
import { Sqlite } from "../../../broker/sqlite/sqlite.ts";
import { seeded } from "../../fuzz/random.ts";
import { connectBearer, type MqttPeer } from "../mqtt-peer.ts";
import { expectRefused, openEdge, until, type Desk, type Edge } from "./room.ts";
import { openWired } from "./wire.ts";

const rounds = 16;
const perRound = 8;
const random = seeded(9);

interface Held {
  readonly id: string;
  readonly token: string;
}

function connect(edge: Edge, { id, token }: Held): Promise<MqttPeer> {
  return connectBearer(edge, "mqtts", id, token);
}

/** Every other one loses its token, the rest are disabled; gives back those for which it was acknowledged. */
async function takeBack(desk: Desk, held: readonly Held[]): Promise<void> {
  for (const [at, { id, token }] of held.entries()) {
    await desk.revoke(at % 2 === 0 ? { tokens: [token] } : { clients: [id] });
  }
}

it(`refuses whom it has closed, ${rounds} times`, { timeout: 300_000 }, async () => {
  const { installation, wire, desk } = await openWired();
  await desk.makeProject("acme");
  await desk.makeApi("acme", "tele");
  const make = async (name: string): Promise<Held> => {
    const service = await desk.makeService(`acme.${name}`);
    return { id: service.id, token: await desk.token(service) };
  };
  const good = await make("good");
  let edge = await openEdge({ desk });
  const { dir } = edge;
  let isCut = 0;

  for (let round = 0; round < rounds; round++) {
    const held = await Promise.all(Array.from({ length: perRound }, (_, at) => make(`n${round}-${at}`)));
    const live = await Promise.all(held.map((one) => until(() => connect(edge, one))));
    // as many, and as soon, as nobody chose
    const enough = 1 + random.below(perRound);
    const ended = (): number => live.filter(({ isClosed }) => isClosed).length;
    const done = takeBack(desk, held);
    while (ended() < enough) await Promise.race(live.filter(({ isClosed }) => !isClosed).map(({ closed }) => closed));
    const closed = held.filter((_, at) => live[at]!.isClosed);
    wire.turn("cut");
    await edge.kill();
    await done;
    if (closed.length < perRound) isCut++;

    const copy = new Sqlite(join(dir, "trust.db"));
    expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
    copy.close();
    edge = await openEdge({ dir });
    await Promise.all(closed.map((one) => expectRefused(connect(edge, one))));
    (await connect(edge, good)).end();

    wire.turn("through");
    for (const one of held) await until(() => expectRefused(connect(edge, one)));
    (await connect(edge, good)).end();
  }
  // else it was always killed when all was over
  expect(isCut).toBeGreaterThan(rounds / 4);
  expect((await edge.process.stop()).exitCode).toBe(0);
  expect((await installation.up.stop()).exitCode).toBe(0);
  await wire.close();
});
