/**
 * What lies between a broker and its authority breaks, or the authority itself goes wrong: nothing that the broker knew is
 * forgotten, nothing that is no answer is believed, who is connected stays, who holds a good token is admitted; and when it
 * is well again, what was taken back meanwhile is applied.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { within } from "../fixture.ts";
import { connectBearer, type MqttPeer } from "../mqtt-peer.ts";
import { Forger, type Forgery } from "./forger.ts";
import { expectRefused, openEdge, until, type Edge } from "./room.ts";
import { openWired, placeOf, type Place, type Wired } from "./wire.ts";

interface Held {
  readonly id: string;
  readonly token: string;
}

/** Full jitter lies between the attempts, of up to ten seconds after many. */
const catchUpMs = 20_000;

let wired: Wired;
let edge: Edge;
let forger: Forger;
let right: Place;
let wrong: Place;
/** Connected all the time. */
let steady: MqttPeer;
let gone: Held;
let count = 0;

async function make(): Promise<Held> {
  const service = await wired.desk.makeService(`acme.n${count++}`);
  return { id: service.id, token: await wired.desk.token(service) };
}
const connect = ({ id, token }: Held): Promise<MqttPeer> => connectBearer(edge, "mqtts", id, token);
const figure = async (outcome: string): Promise<number> =>
  (await edge.figure(`postern_trust_contacts_total{outcome="${outcome}"}`))!;

beforeAll(async () => {
  wired = await openWired();
  await wired.desk.makeProject("acme");
  await wired.desk.makeApi("acme", "tele");
  edge = await openEdge({ desk: wired.desk });
  right = placeOf(wired.ports);
  forger = new Forger(right, wired.installation.dataDir, edge.dir);
  wrong = await forger.listen();
  steady = await connect(await make());
  gone = await make();
  await wired.desk.revoke({ tokens: [gone.token] });
  await until(() => expectRefused(connect(gone)));
});
afterAll(async () => {
  forger.close();
  await wired.wire.close();
});

/** What is true while the authority cannot be heard. */
async function expectSteady(fresh: Held): Promise<void> {
  (await connect(fresh)).end();
  await expectRefused(connect(gone));
  await steady.publish("tele/steady", "still here");
}

/** Makes something go wrong, waits until the broker has met it, takes back, heals, and waits until that is applied. */
async function passThrough(begin: () => void, met: () => Promise<void> | void): Promise<void> {
  const [token, client, fresh] = await Promise.all([make(), make(), make()]);
  // what was made is known there before anything goes wrong
  const live = await Promise.all([token, client].map((one) => until(() => connect(one))));
  (await until(() => connect(fresh))).end();

  begin();
  await wired.desk.revoke({ tokens: [token.token] });
  await wired.desk.revoke({ clients: [client.id] });
  await until(met);
  expect(live.map(({ isClosed }) => isClosed)).toEqual([false, false]);
  await expectSteady(fresh);

  wired.wire.turn("through", right);
  await Promise.all(live.map((peer) => within("the end of the session", peer.closed, catchUpMs)));
  for (const one of [token, client]) await expectRefused(connect(one));
  await expectSteady(fresh);
}

describe("a broker whose way to the authority", () => {
  it("is cut", async () => {
    const before = await figure("unreachable");
    await passThrough(
      () => wired.wire.turn("cut"),
      async () => expect(await figure("unreachable")).toBeGreaterThan(before + 1),
    );
  });

  it("leads nowhere", async () => {
    const before = wired.wire.swallowed;
    await passThrough(
      () => wired.wire.turn("void"),
      () => expect(wired.wire.swallowed).toBeGreaterThan(before),
    );
  });

  it("is slow hears all the same", async () => {
    const [one, other] = [await make(), await make()];
    const live = await Promise.all([one, other].map((held) => until(() => connect(held))));
    wired.wire.turn("slow");
    await wired.desk.revoke({ tokens: [one.token], clients: [other.id] });
    await Promise.all(live.map((peer) => within("the end of the session", peer.closed, catchUpMs)));
    expect(steady.isClosed).toBe(false);
    wired.wire.turn("through");
  });
});

describe("a broker whose authority", () => {
  const ok = "application/ace-trl+cbor";
  const rows: readonly (readonly [what: string, outcome: string, forgery: Forgery])[] = [
    ["has an error of its own", "failed", (response) => response.writeHead(500).end("no")],
    ["has no such page", "failed", (response) => response.writeHead(404).end()],
    [
      "says that it is elsewhere",
      "failed",
      (response) => response.writeHead(302, { location: "https://localhost/" }).end(),
    ],
    [
      "has something else to say",
      "malformed",
      (response, { body }) => response.writeHead(200, { "content-type": "text/html" }).end(body),
    ],
    [
      "talks at random",
      "malformed",
      (response) => response.writeHead(200, { "content-type": ok }).end("garbage".repeat(50)),
    ],
    ["says nothing", "malformed", (response) => response.writeHead(200, { "content-type": ok }).end()],
    [
      "loses the end of what it says",
      "malformed",
      (response, { body }) => response.writeHead(200, { "content-type": ok }).end(body.subarray(0, -1)),
    ],
    [
      "says more than belongs there",
      "malformed",
      (response, { body }) => response.writeHead(200, { "content-type": ok }).end(Buffer.concat([body, body])),
    ],
    [
      "breaks off in the middle",
      "unreachable",
      (response, { body }) => {
        response.writeHead(200, { "content-type": ok, "content-length": body.length });
        response.write(body.subarray(0, body.length / 2), () => response.destroy());
      },
    ],
  ];

  it.each(rows)("%s", async (_what, outcome, forgery) => {
    forger.forgery = forgery;
    const before = await figure(outcome);
    await passThrough(
      () => wired.wire.turn("through", wrong),
      async () => expect(await figure(outcome)).toBeGreaterThan(before),
    );
  });

  it("says that it refuses it goes on with what it knows, and says so", async () => {
    forger.forgery = (response) => response.writeHead(403).end();
    await passThrough(
      () => wired.wire.turn("through", wrong),
      async () => {
        const line = await edge.process.stderr.next(/the authority refuses this broker/);
        expect(JSON.parse(line)).toMatchObject({ level: 50, fault: "refused" });
      },
    );
  });
});
