/** A clock that is set back, or that of a broker that is behind: what was taken back does not come to life again. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { pruneRevoked } from "../../../broker/registry/revoked-tokens.ts";
import { encodeTokenRequest } from "../../../shared/ace.ts";
import { inspectToken, tokenHashes } from "../../../shared/token.ts";
import { ACE, cwtAssertion } from "../../authority/fixture.ts";
import { ADMIN, hashes, read } from "../../authority/trl-fixture.ts";
import { openGround, type Ground } from "./ground.ts";

let at: Ground;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());

/** Tokens of this api live so long. */
const lifetime = 600;

test("a revoked token stays on the list while the clock of a broker may take it for alive", async () => {
  const start = at.clock.now;
  const token = await at.getToken(at.pi);
  const [hash] = tokenHashes(token);
  await at.revoke({ tokens: [hash] });
  for (const behind of [0, 1, 2]) {
    at.clock.now = start + lifetime + behind;
    expect(hashes(read(await at.call("/revoke/trl", { as: at.broker })).fullSet)).toContain(hash);
    expect(at.trust.isTokenRevoked([hash!])).toBe(true);
  }
  // our own clock is set back after that
  at.clock.now = start + lifetime - 1;
  expect([pruneRevoked(at.registry), at.trust.isTokenRevoked([hash!])]).toEqual([false, true]);
  at.clock.now = start + lifetime + 3;
  expect(hashes(read(await at.call("/revoke/trl", { as: at.broker })).fullSet)).not.toContain(hash);
  at.clock.now = start;
});

test("with a clock set back what is issued is refused by the mark of the project, and the mark stays", async () => {
  const start = at.clock.now;
  expect((await at.revoke({ projects: [{ project: "plant", before: "now" }] })).status).toBe(200);
  at.clock.now = start - 200;
  const { claims } = inspectToken(await at.getToken(at.pi));
  expect(claims.iat < at.trust.tokensSince("plant")).toBe(true);
  // no earlier time takes its place, and none in the future of this clock is taken
  expect(JSON.parse((await at.revoke({ projects: [{ project: "plant", before: 0 }] })).body.toString())).toMatchObject({
    projects: 0,
  });
  expect((await at.revoke({ projects: [{ project: "plant", before: start }] })).status).toBe(422);
  expect(at.trust.tokensSince("plant")).toBe(start);
  at.clock.now = start + 1;
  expect(inspectToken(await at.getToken(at.pi)).claims.iat >= at.trust.tokensSince("plant")).toBe(true);
});

test("a token that is issued over the turn of a second is on record with the second that it names", async () => {
  const start = at.clock.now;
  const ticking = vi.spyOn(at.registry, "nowSeconds").mockImplementation(() => at.clock.now++);
  const token = await at.getToken(at.pi);
  ticking.mockRestore();
  const { claims } = inspectToken(token);
  // a time just after it, by which it is dead, puts it on the list
  const wish = { projects: [{ project: "plant", before: claims.iat + 1 }] };
  expect((await at.revoke(wish)).status).toBe(200);
  expect(hashes(read(await at.call("/revoke/trl", { as: at.pi })).fullSet)).toContain(tokenHashes(token)[0]);
  at.clock.now = start;
});

test("an assertion is not used again by a clock that goes back a little after it has ended", async () => {
  const device = await at.newDevice("late");
  const start = at.clock.now;
  const clientAssertion = cwtAssertion(device, start);
  const body = encodeTokenRequest({ audience: "plant.tele", clientAssertion });
  expect((await at.call("/token", { type: ACE, body })).status).toBe(200);
  at.clock.now = start + 120 + 59;
  for (let n = 0; n < 3; n++) {
    const other = encodeTokenRequest({ audience: "plant.tele", clientAssertion: cwtAssertion(device, at.clock.now) });
    await at.call("/token", { type: ACE, body: other });
  }
  at.clock.now = start + 60;
  expect([(await at.call("/token", { type: ACE, body })).status, at.reason()]).toEqual([401, "assertion.replayed"]);
});

test("the list of certificates has a higher number each time, also after the clock was set back", async () => {
  const number = (): unknown => at.registry.db.prepare("SELECT max(number) FROM crl").pluck().get();
  await at.call("/crl");
  const first = Number(number());
  at.clock.now -= 86_400;
  const { serial } = await at.newDevice("listed");
  await at.revoke({ certificates: [serial] });
  const { body } = await at.call("/crl");
  expect([Number(number()) > first, body.includes(Buffer.from(serial, "hex"))]).toEqual([true, true]);
  expect((await at.call("/revoke/trl", { headers: ADMIN })).status).toBe(200);
});
