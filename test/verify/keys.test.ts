/** The keys of the issuer: found by its metadata, fetched again for a token with a new one, and never beyond their time. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Verifier } from "../../verify/index.ts";
import { makeSigner, openRoom, reasonOf, until, type Room } from "./issuer.ts";

let room: Room;
beforeEach(async () => void (room = await openRoom()));
afterEach(async () => {
  vi.useRealTimers();
  await room.close();
});

const later = (seconds: number): void => void (room.clock.ms += seconds * 1000);

test("a new key is fetched once for all who bring it", async () => {
  const verifier = await room.open();
  const next = makeSigner("k2");
  room.issuer.published.push(next);
  later(30);
  const tokens = [1, 2, 3, 4].map(() => room.mint({}, next));
  const principals = await Promise.all(tokens.map((token) => verifier.verify(token)));
  expect(principals.map(({ client }) => client)).toEqual(Array(4).fill("plant.board"));
  expect(room.issuer.count("/jwks")).toBe(2);
});

test("made-up key ids do not make it fetch more than once in a while", async () => {
  const verifier = await room.open();
  const made = () => room.mint({}, makeSigner("made-up"));
  for (let round = 0; round < 5; round++) expect(await reasonOf(verifier.verify(made()))).toBe("token.key-unknown");
  expect(room.issuer.count("/jwks")).toBe(1);
  later(30);
  for (let round = 0; round < 5; round++) expect(await reasonOf(verifier.verify(made()))).toBe("token.key-unknown");
  expect(room.issuer.count("/jwks")).toBe(2);
});

test("what a key has signed ends when the issuer publishes it no more", async () => {
  const verifier = await room.open();
  const token = room.mint();
  await verifier.verify(token);
  const next = makeSigner("k2");
  room.issuer.published = [next];
  later(30);
  await verifier.verify(room.mint({}, next));
  expect(await reasonOf(verifier.verify(token))).toBe("token.key-unknown");
});

test("another key under the same key id does not stand for the first", async () => {
  const verifier = await room.open();
  const token = room.mint();
  await verifier.verify(token);
  room.issuer.published = [makeSigner("k1"), makeSigner("k2")];
  later(30);
  expect(await reasonOf(verifier.verify(room.mint({}, makeSigner("k3"))))).toBe("token.key-unknown");
  expect(await reasonOf(verifier.verify(token))).toBe("token.signature");
});

test("keys that could not be fetched for too long count no more", async () => {
  const verifier = await room.open({ keysMaxAgeSeconds: 100 });
  const token = room.mint();
  await verifier.verify(token);
  room.issuer.faults.set("/jwks", (response) => void response.writeHead(503).end());
  later(100);
  expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "keys", staleSeconds: 100 });
  later(1);
  expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  expect(verifier.status()).toMatchObject({ keysAgeSeconds: 101, reachable: false, lastError: "failed: status 503" });
  room.issuer.faults.clear();
  later(1);
  expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "keys", staleSeconds: 0 });
  expect(verifier.status().reachable).toBe(true);
  expect(verifier.status()).not.toHaveProperty("lastError");
});

describe("a start without keys lets nobody in", () => {
  const rows: [string, (room: Room) => void, string][] = [
    ["the authority fails", ({ issuer }) => issuer.faults.set("/jwks", (r) => void r.writeHead(500).end()), "failed: "],
    ["it hangs up", ({ issuer }) => issuer.faults.set("/jwks", (r) => void r.destroy()), "unreachable: "],
    ["its answer is cut", ({ issuer }) => issuer.faults.set("/jwks", cut), "unreachable: "],
    ["its answer is huge", ({ issuer }) => issuer.faults.set("/jwks", flood), "unreachable: the answer is larger"],
    ["it says nothing", ({ issuer }) => issuer.faults.set("/jwks", () => {}), "unreachable: no answer in time"],
    ["it redirects", ({ issuer }) => issuer.faults.set("/jwks", redirect), "failed: status 302"],
    ["its answer is no JSON", ({ issuer }) => issuer.faults.set("/jwks", html), "malformed: the answer is not JSON"],
    ["it publishes no key", ({ issuer }) => void (issuer.published = []), "key.malformed"],
    ["its metadata is another's", ({ issuer }) => void (issuer.metadata["issuer"] = "https://x"), "of another issuer"],
    [
      "its keys are elsewhere",
      ({ issuer }) => void (issuer.metadata["jwks_uri"] = "https://x/jwks"),
      "not the issuer's",
    ],
    ["it tells of no keys", ({ issuer }) => void delete issuer.metadata["jwks_uri"], "the metadata has no jwks_uri"],
  ];
  test.each(rows)("where %s", async (name, spoil, why) => {
    const [metadata, published] = [{ ...room.issuer.metadata }, room.issuer.published];
    spoil(room);
    const verifier = await (name === "it says nothing" ? openUnanswered() : room.open());
    expect(await reasonOf(verifier.verify(room.mint()))).toBe("authority.unreachable");
    expect(room.lines[0]).toMatchObject({ why: expect.stringContaining(why) as unknown });
    room.issuer.faults.clear();
    Object.assign(room.issuer, { metadata, published });
    later(1);
    expect(await verifier.verify(room.mint())).toMatchObject({ client: "plant.board" });
  });

  /** Opens one that has waited for the keys as long as it will. */
  async function openUnanswered(): Promise<Verifier> {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const opening = room.open();
    await until(() => room.issuer.count("/jwks") === 1);
    vi.advanceTimersByTime(10_000);
    const verifier = await opening;
    vi.useRealTimers();
    return verifier;
  }

  const cut = (response: import("node:http").ServerResponse): void => {
    response.writeHead(200, { "content-type": "application/json", "content-length": 1000 });
    response.write('{"keys":[', () => response.destroy());
  };
  const flood = (response: import("node:http").ServerResponse): void => {
    response.writeHead(200, { "content-type": "application/json" }).end(" ".repeat(100_000));
  };
  const redirect = (response: import("node:http").ServerResponse): void => {
    response.writeHead(302, { location: "/elsewhere" }).end();
  };
  const html = (response: import("node:http").ServerResponse): void => {
    response.writeHead(200, { "content-type": "text/html" }).end("<p>hello");
  };
});

test("a server that the given authority has not certified is not asked", async () => {
  const stranger = await openRoom();
  const verifier = await room.open({ ca: stranger.ca.caPem });
  expect(await reasonOf(verifier.verify(room.mint()))).toBe("authority.unreachable");
  expect(room.issuer.asked).toEqual([]);
  await stranger.close();
});
