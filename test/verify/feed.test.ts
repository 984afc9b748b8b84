/** The list of revoked tokens as a verifier follows it: news, gaps, faults, and how old it may be. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HASH_BYTES } from "../../shared/trl.ts";
import { everyHash, toToken } from "../../shared/token.ts";
import { twinOf } from "../../shared/es256.ts";
import { fromBase64url, toBase64url } from "../../shared/base64url.ts";
import { RevokedHashes } from "../../verify/revoked-hashes.ts";
import { CREDENTIAL, openRoom, reasonOf, until, type Room } from "./issuer.ts";
import type { Verifier } from "../../verify/index.ts";

let room: Room;
beforeEach(async () => void (room = await openRoom()));
afterEach(() => room.close());

const later = (seconds: number): void => void (room.clock.ms += seconds * 1000);
const failing = (): void => void room.issuer.faults.set("/trl", (response) => void response.writeHead(503).end());
const isHeld = (): boolean => room.issuer.holding === 1;

async function openFed(options: Parameters<Room["open"]>[0] = {}): Promise<Verifier> {
  const verifier = await room.open({ credential: CREDENTIAL, ...options });
  await until(isHeld);
  return verifier;
}

test("asks with the api's own credential, form-encoded, for everything and then to be held", async () => {
  await openFed();
  const asked = room.issuer.asked.filter(({ path }) => path.startsWith("/trl"));
  expect(asked.map(({ path }) => path)).toEqual(["/trl", "/trl?diff=0"]);
  const basic = Buffer.from("plant%2Ftele:s%3Ae+c%25r%2Bet").toString("base64");
  expect(asked.map(({ request }) => request.headers.authorization)).toEqual([`Basic ${basic}`, `Basic ${basic}`]);
  expect(asked.map(({ request }) => request.headers.prefer)).toEqual([undefined, "wait=20"]);
});

test("a token that is revoked is refused as soon as the authority says so, and so is its twin", async () => {
  const verifier = await openFed();
  const [token, other] = [room.mint(), room.mint()];
  expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "feed", staleSeconds: 0 });
  room.issuer.revoke(token);
  await until(() => verifier.status().revokedTokens === 1);
  const end = token.lastIndexOf(".") + 1;
  const twin = token.slice(0, end) + toBase64url(twinOf(fromBase64url(token.slice(end))));
  expect(await reasonOf(verifier.verify(token))).toBe("token.revoked");
  expect(await reasonOf(verifier.verify(twin))).toBe("token.revoked");
  await verifier.verify(other);
});

test("what was revoked before the start is known", async () => {
  const token = room.mint();
  room.issuer.revoke(token, room.mint());
  const verifier = await openFed();
  expect(verifier.status()).toMatchObject({ revokedTokens: 2, feedAgeSeconds: 0, reachable: true, failures: 0 });
  expect(await reasonOf(verifier.verify(token))).toBe("token.revoked");
});

test("many updates come in parts, and none is lost", async () => {
  room.issuer.batch = 2;
  const verifier = await openFed();
  const tokens = Array.from({ length: 7 }, () => room.mint());
  const answer = room.issuer.release.bind(room.issuer);
  room.issuer.release = () => {};
  for (const token of tokens) room.issuer.revoke(token);
  answer();
  await until(() => verifier.status().revokedTokens === 7);
  for (const token of tokens) expect(await reasonOf(verifier.verify(token))).toBe("token.revoked");
});

test("a list of which more is to come is not the word of the authority yet", async () => {
  room.issuer.batch = 1;
  const verifier = await openFed();
  const answer = room.issuer.release.bind(room.issuer);
  room.issuer.release = () => {};
  for (const token of [room.mint(), room.mint()]) room.issuer.revoke(token);
  let asked = 0;
  room.issuer.faults.set("/trl", (response) => (asked++ === 0 ? false : void response.writeHead(503).end()));
  later(40);
  answer();
  await until(() => !verifier.status().reachable);
  expect(verifier.status()).toMatchObject({ revokedTokens: 1, feedAgeSeconds: 40 });
});

test("updates that the authority has forgotten are made up for by the whole list", async () => {
  const verifier = await openFed();
  room.issuer.revoke(room.mint());
  await until(isHeld);
  const answer = room.issuer.release.bind(room.issuer);
  room.issuer.release = () => {};
  const [first, second, third] = [room.mint(), room.mint(), room.mint()];
  for (const token of [first, second, third]) room.issuer.revoke(token);
  room.issuer.forget(3);
  answer();
  await until(() => verifier.status().revokedTokens === 4);
  expect(await reasonOf(verifier.verify(first))).toBe("token.revoked");
});

test("an authority that was restored does not make a revoked token good", async () => {
  const verifier = await openFed();
  const token = room.mint({ exp: room.clock.now + 100_000 });
  room.issuer.revoke(token);
  await until(() => verifier.status().revokedTokens === 1);
  await until(isHeld);
  room.issuer.restore();
  await until(() => verifier.status().revokedTokens === 0);
  await until(isHeld);
  later(23 * 3600);
  room.issuer.release();
  await until(isHeld);
  await until(() => verifier.status().feedAgeSeconds === 0);
  expect(await reasonOf(verifier.verify(token))).toBe("token.revoked");
});

test("a token that has left the list is refused for some time yet, for clocks that differ", async () => {
  const verifier = await openFed({ leewaySeconds: 1000, keysMaxAgeSeconds: 1e6 });
  const token = room.mint({ exp: room.clock.now - 10 });
  await verifier.verify(token);
  room.issuer.revoke(token);
  await until(() => verifier.status().revokedTokens === 1);
  await until(isHeld);
  room.issuer.unlist(token);
  await until(() => verifier.status().revokedTokens === 0);
  expect(await reasonOf(verifier.verify(token))).toBe("token.revoked");
});

describe("a list that is too old", () => {
  test("lets nobody in, and says so, until the authority is heard again", async () => {
    const verifier = await openFed();
    const token = room.mint();
    later(60);
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "feed", staleSeconds: 60 });
    failing();
    room.issuer.release();
    await until(() => !verifier.status().reachable);
    later(0.5);
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
    expect(verifier.status()).toMatchObject({ feedAgeSeconds: 61, lastError: "failed: status 503" });
    expect(verifier.status().failures).toBeGreaterThan(0);
    room.issuer.faults.clear();
    await until(isHeld);
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "feed", staleSeconds: 0 });
  });

  test("from the start lets nobody in, however much is allowed of what was known good", async () => {
    failing();
    const verifier = await room.open({ credential: CREDENTIAL, whenUnreachable: { lastKnownGoodSeconds: 1e6 } });
    const token = room.mint();
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
    expect(verifier.status().feedAgeSeconds).toBeNull();
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  });

  test("lets those in that were found good a moment ago, where that is allowed", async () => {
    const verifier = await openFed({ whenUnreachable: { lastKnownGoodSeconds: 30 } });
    const [token, unseen, revoked] = [room.mint(), room.mint(), room.mint()];
    await verifier.verify(revoked);
    room.issuer.revoke(revoked);
    await until(() => verifier.status().revokedTokens === 1);
    await until(isHeld);
    later(50);
    await verifier.verify(token);
    failing();
    room.issuer.release();
    await until(() => !verifier.status().reachable);
    later(30);
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "last-known-good", staleSeconds: 80 });
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "last-known-good", staleSeconds: 80 });
    expect(verifier.status().lastKnownGood).toBe(2);
    expect(await reasonOf(verifier.verify(unseen))).toBe("authority.unreachable");
    expect(await reasonOf(verifier.verify(revoked))).toBe("token.revoked");
    // being let in so does not make it good anew
    later(0.001);
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  });

  const faults: [string, (response: import("node:http").ServerResponse) => void, string][] = [
    ["refuses the credential", (r) => void r.writeHead(401).end(), "refused: status 401"],
    ["does not know the path", (r) => void r.writeHead(404).end(), "failed: status 404"],
    ["answers in HTML", (r) => void r.writeHead(200, { "content-type": "text/html" }).end("x"), "malformed: "],
    ["answers with half a list", (r) => void r.writeHead(200, trlType).end(Buffer.from("a100", "hex")), "malformed: "],
    [
      "answers without a cursor",
      (r) => void r.writeHead(200, trlType).end(Buffer.from("a10080", "hex")),
      "malformed: ",
    ],
    ["hangs up", (r) => void r.destroy(), "unreachable: "],
  ];
  const trlType = { "content-type": "application/ace-trl+cbor" };
  test.each(faults)("is not made younger by an authority that %s", async (_name, fault, why) => {
    const verifier = await openFed();
    const token = room.mint();
    later(61);
    room.issuer.faults.set("/trl", fault);
    await until(() => {
      // a request whose connection broke is made once more
      room.issuer.release();
      return room.lines.some((line) => String(line["why"]).startsWith(why));
    });
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  });

  test("does not keep a route out that is content with the keys", async () => {
    const verifier = await openFed({ mode: "local", scopes: { write: "feed" } });
    const token = room.mint();
    later(61);
    expect(await verifier.verify(token, { scopes: ["read"] })).toMatchObject({ verifiedBy: "keys" });
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "keys" });
    expect(await reasonOf(verifier.verify(token, { scopes: ["read", "write"] }))).toBe("authority.unreachable");
  });
});

describe("the set of revoked hashes", () => {
  const hash = (number: number): Buffer =>
    Buffer.from(`01${number.toString(16).padStart(2 * HASH_BYTES - 2, "0")}`, "hex");
  const has = (set: RevokedHashes, number: number): boolean => set.has([hash(number).toString("hex")]);
  const none = new Uint8Array();

  test("keeps what left it for the time that it was told, and then forgets it", () => {
    const set = new RevokedHashes(10);
    set.replace(Buffer.concat([hash(1), hash(2)]), 0);
    set.update([{ added: hash(3), removed: hash(1) }], 5000);
    set.update([{ added: none, removed: hash(2) }], 14_000);
    expect([1, 2, 3].map((number) => has(set, number))).toEqual([true, true, true]);
    expect(set.size).toBe(1);
    set.update([], 24_999);
    expect(has(set, 2)).toBe(true);
    set.update([], 25_000);
    expect([1, 2, 3].map((number) => has(set, number))).toEqual([false, false, true]);
  });

  test("takes updates in the order in which they were made", () => {
    const set = new RevokedHashes(10);
    const [put, taken] = [
      { added: hash(1), removed: none },
      { added: none, removed: hash(1) },
    ];
    set.update([taken, put], 0);
    expect(set.size).toBe(0);
    set.update([put, taken, put], 0);
    expect([set.size, has(set, 1)]).toEqual([1, true]);
  });
});

test("every hash of a token is looked up: both spellings, and those of its twin", () => {
  expect(everyHash(toToken(room.mint()))).toHaveLength(4);
});
