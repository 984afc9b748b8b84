/** What a principal was let in for ends when its token does. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CREDENTIAL, makeSigner, openRoom, until, type Room } from "./issuer.ts";

let room: Room;
beforeEach(async () => void (room = await openRoom()));
afterEach(async () => {
  vi.useRealTimers();
  await room.close();
});

test("at its expiry, not before, and once", async () => {
  const verifier = await room.open();
  const principal = await verifier.verify(room.mint());
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const reasons: string[] = [];
  verifier.watch(principal, (reason) => reasons.push(reason));
  const stop = verifier.watch(principal, (reason) => reasons.push(`stopped ${reason}`));
  stop();
  room.clock.now += 599;
  vi.advanceTimersByTime(599_000);
  expect(reasons).toEqual([]);
  // a clock that was put back: it is not yet time
  room.clock.now -= 10;
  vi.advanceTimersByTime(1000);
  expect(reasons).toEqual([]);
  room.clock.now += 11;
  vi.advanceTimersByTime(11_000);
  expect(reasons).toEqual(["token.expired"]);
  vi.advanceTimersByTime(100_000);
  expect(reasons).toEqual(["token.expired"]);
});

test("far beyond what a timer can hold", async () => {
  const verifier = await room.open();
  const principal = await verifier.verify(room.mint({ exp: room.clock.now + 60 * 86_400 }));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const reasons: string[] = [];
  verifier.watch(principal, (reason) => reasons.push(reason));
  vi.advanceTimersByTime(50 * 86_400_000);
  expect(reasons).toEqual([]);
});

test("when it is revoked, of that token alone, whatever another watcher throws", async () => {
  const verifier = await room.open({ credential: CREDENTIAL });
  const [token, other] = [room.mint(), room.mint()];
  const reasons: string[] = [];
  verifier.watch(await verifier.verify(token), () => {
    throw new Error("broken");
  });
  verifier.watch(await verifier.verify(token), (reason) => reasons.push(reason));
  verifier.watch(await verifier.verify(other), (reason) => reasons.push(`other ${reason}`));
  await until(() => room.issuer.holding === 1);
  room.issuer.revoke(token);
  await until(() => reasons.length > 0);
  expect(reasons).toEqual(["token.revoked"]);
  expect(room.lines).toContainEqual(expect.objectContaining({ msg: "what was to end with a token has failed" }));
});

test("when its key is published no more", async () => {
  const verifier = await room.open();
  const reasons: string[] = [];
  verifier.watch(await verifier.verify(room.mint()), (reason) => reasons.push(reason));
  const next = makeSigner("k2");
  room.issuer.published.push(next);
  room.clock.ms += 30_000;
  await verifier.verify(room.mint({}, next));
  expect(reasons).toEqual([]);
  const last = makeSigner("k3");
  room.issuer.published = [last];
  room.clock.ms += 30_000;
  await verifier.verify(room.mint({}, last));
  expect(reasons).toEqual(["token.key-unknown"]);
});

test("when the verifier is closed, and at once where it was closed before", async () => {
  const verifier = await room.open();
  const principal = await verifier.verify(room.mint());
  const reasons: string[] = [];
  verifier.watch(principal, (reason) => reasons.push(reason));
  await verifier.close();
  expect(reasons).toEqual(["session.closed"]);
  verifier.watch(principal, (reason) => reasons.push(reason));
  await until(() => reasons.length === 2);
  expect(reasons).toEqual(["session.closed", "session.closed"]);
});

test("only of a principal that this verifier made", async () => {
  const verifier = await room.open();
  const principal = await verifier.verify(room.mint());
  expect(() => verifier.watch({ ...principal }, () => {})).toThrow(TypeError);
});
