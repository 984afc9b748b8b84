/** The authority is asked at each call: what its answer must be, and what is made of none. */
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { inspectToken } from "../../shared/token.ts";
import { toJwtClaims } from "../../shared/claims.ts";
import type { Verifier } from "../../verify/index.ts";
import { CREDENTIAL, openRoom, reasonOf, until, type Room } from "./issuer.ts";

let room: Room;
beforeEach(async () => void (room = await openRoom()));
afterEach(async () => {
  vi.useRealTimers();
  await room.close();
});

const later = (seconds: number): void => void (room.clock.ms += seconds * 1000);
const open = (options: Parameters<Room["open"]>[0] = {}): Promise<Verifier> =>
  room.open({ credential: CREDENTIAL, mode: "introspect", ...options });

/** Makes a token that the authority says is active, with what it says of it changed. */
function mintActive(changed: Record<string, unknown> = {}): string {
  const token = room.mint();
  const claims = toJwtClaims(inspectToken(token).claims);
  room.issuer.answers.set(token, { active: true, ...claims, token_type: "Bearer", time: room.clock.now, ...changed });
  return token;
}

test("asks with every call, with the token in the body and the api's own credential", async () => {
  const verifier = await open();
  const token = mintActive();
  for (let call = 0; call < 3; call++) {
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "introspection", staleSeconds: 0 });
  }
  const asked = room.issuer.asked.filter(({ path }) => path.startsWith("/introspect"));
  expect(asked.map(({ path }) => path)).toEqual(Array(3).fill("/introspect"));
  expect(asked[0]!.body).toBe(`token=${token}&token_type_hint=access_token`);
  const basic = Buffer.from("plant%2Ftele:s%3Ae+c%25r%2Bet").toString("base64");
  expect(asked[0]!.request.headers).toMatchObject({ authorization: `Basic ${basic}`, accept: "application/json" });
  expect(asked[0]!.request.method).toBe("POST");
});

test("after a request without an answer no connection of before is used any more", async () => {
  const verifier = await open();
  const token = mintActive();
  const ports = (): (number | undefined)[] =>
    room.issuer.asked.filter(({ path }) => path === "/introspect").map(({ request }) => request.socket.remotePort);
  await Promise.all([verifier.verify(token), verifier.verify(token), verifier.verify(token)]);
  const before = new Set(ports());
  expect(before.size).toBe(3);
  room.issuer.faults.set("/introspect", () => {});
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const unanswered = reasonOf(verifier.verify(token));
  await until(() => ports().length === 4);
  vi.advanceTimersByTime(10_000);
  expect(await unanswered).toBe("authority.unreachable");
  vi.useRealTimers();
  expect(before).toContain(ports().at(-1));
  room.issuer.faults.clear();
  await verifier.verify(token);
  expect(before).not.toContain(ports().at(-1));
});

test("a token that is active no more is refused at once", async () => {
  const verifier = await open({ whenUnreachable: { lastKnownGoodSeconds: 100 } });
  const token = mintActive();
  await verifier.verify(token);
  room.issuer.answers.delete(token);
  expect(await reasonOf(verifier.verify(token))).toBe("token.inactive");
  // nor is it good because it was before
  room.issuer.faults.set("/introspect", (response) => void response.writeHead(503).end());
  expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
});

test("what is wrong without asking is not asked", async () => {
  const verifier = await open();
  const token = mintActive();
  expect(await reasonOf(verifier.verify(`${token.slice(0, -10)}AAAAAAAAAA`))).toBe("token.signature");
  expect(await reasonOf(verifier.verify(token, { scopes: ["admin"] }))).toBe("scope.insufficient");
  expect(await reasonOf(verifier.verify(room.mint({ aud: "plant.other" })))).toBe("token.audience");
  expect(room.issuer.count("/introspect")).toBe(0);
});

test("a token allows what the authority says that it allows now, and nothing that it does not say itself", async () => {
  const verifier = await open({ whenUnreachable: { lastKnownGoodSeconds: 100 } });
  const token = mintActive({ scope: "read admin" });
  expect(await verifier.verify(token, { scopes: ["read"] })).toMatchObject({ scopes: ["read"] });
  expect(await reasonOf(verifier.verify(token, { scopes: ["write"] }))).toBe("scope.insufficient");
  expect(await reasonOf(verifier.verify(token, { scopes: ["admin"] }))).toBe("scope.insufficient");
  room.issuer.faults.set("/introspect", (response) => void response.destroy());
  expect(await verifier.verify(token, { scopes: ["read"] })).toMatchObject({ verifiedBy: "last-known-good" });
  expect(await reasonOf(verifier.verify(token, { scopes: ["write"] }))).toBe("scope.insufficient");
});

describe("an answer that is none lets nobody in", () => {
  const rows: [string, Record<string, unknown> | ((response: ServerResponse) => void), string][] = [
    ["another audience", { aud: "plant.other" }, "aud is not that of the token"],
    ["another expiry", { exp: 1_900_000_000 }, "exp is not that of the token"],
    ["another subject", { sub: "plant.pi" }, "sub is not that of the token"],
    ["another issuer", { iss: "https://other.example" }, "iss is not that of the token"],
    ["no audience", { aud: undefined }, "aud is not a text"],
    ["active as a text", { active: "true" }, "active is neither"],
    ["active as a number", { active: 1 }, "active is neither"],
    ["active is not there", { active: undefined }, "active is neither"],
    ["a list", (r) => void r.writeHead(200, { "content-type": "application/json" }).end("[]"), "not a JSON object"],
    ["HTML", (r) => void r.writeHead(200, { "content-type": "text/html" }).end("{}"), "not JSON"],
    [
      "half of it",
      (r) => void r.writeHead(200, { "content-type": "application/json" }).end('{"active":tr'),
      "not JSON",
    ],
    ["a failure", (r) => void r.writeHead(500).end('{"active":false}'), "failed: status 500"],
    ["an overload", (r) => void r.writeHead(429, { "retry-after": "1" }).end(), "failed: status 429"],
    ["no body", (r) => void r.writeHead(204).end(), "failed: status 204"],
    ["nothing", () => {}, "unreachable: no answer in time"],
    ["the end of the connection", (r) => void r.destroy(), "unreachable: "],
  ];
  test.each(rows)("%s", async (name, spoiled, why) => {
    const verifier = await open({ answerMilliseconds: name === "nothing" ? 500 : 10_000 });
    const token = mintActive(typeof spoiled === "function" ? {} : spoiled);
    if (typeof spoiled === "function") room.issuer.faults.set("/introspect", spoiled);
    const error = await verifier.verify(token).catch((one: unknown) => one);
    expect(error).toMatchObject({ reason: "authority.unreachable", detail: expect.stringContaining(why) as unknown });
  });
});

describe("where the authority is away", () => {
  const away = (): void => void room.issuer.faults.set("/introspect", (response) => void response.destroy());

  test("what it said is active a moment ago is let in for as long as is allowed", async () => {
    const verifier = await open({ whenUnreachable: { lastKnownGoodSeconds: 10 } });
    const [token, unseen] = [mintActive(), mintActive()];
    await verifier.verify(token);
    away();
    later(10);
    expect(await verifier.verify(token)).toMatchObject({ verifiedBy: "last-known-good", staleSeconds: 10 });
    expect(await reasonOf(verifier.verify(unseen))).toBe("authority.unreachable");
    later(0.001);
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
    expect(verifier.status()).toMatchObject({ reachable: false, lastKnownGood: 1 });
  });

  test("what has expired meanwhile is not let in", async () => {
    const verifier = await open({ whenUnreachable: { lastKnownGoodSeconds: 10_000 } });
    const token = mintActive();
    await verifier.verify(token);
    away();
    room.clock.now += 600;
    expect(await reasonOf(verifier.verify(token))).toBe("token.expired");
  });

  describe("an answer that is overtaken by the one that the token is active no more", () => {
    const overtaken: [string, (answer: () => void, response: ServerResponse) => void][] = [
      ["says that it is", (answer) => answer()],
      ["does not come", (_answer, response) => void response.destroy()],
    ];
    test.each(overtaken)("and %s makes it no known good one", async (_name, finish) => {
      const verifier = await open({ whenUnreachable: { lastKnownGoodSeconds: 10 } });
      const token = mintActive();
      await verifier.verify(token);
      const active = JSON.stringify(room.issuer.answers.get(token));
      const held: ServerResponse[] = [];
      room.issuer.faults.set("/introspect", (response) => held.length === 0 && held.push(response) > 0);
      const slow = reasonOf(verifier.verify(token));
      await until(() => held.length === 1);
      room.issuer.answers.delete(token);
      expect(await reasonOf(verifier.verify(token))).toBe("token.inactive");
      away();
      const answer = (): void => {
        held[0]!.writeHead(200, { "content-type": "application/json" }).end(active);
      };
      finish(answer, held[0]!);
      const outcome = await slow;
      if (outcome !== "authority.unreachable") expect(outcome).toMatchObject({ verifiedBy: "introspection" });
      expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
      expect(verifier.status().lastKnownGood).toBe(0);
    });
  });

  test("nobody is let in by default", async () => {
    const verifier = await open();
    const token = mintActive();
    await verifier.verify(token);
    away();
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
  });

  test("an authority that refuses this api is not away", async () => {
    const verifier = await open({ whenUnreachable: { lastKnownGoodSeconds: 10 } });
    const token = mintActive();
    await verifier.verify(token);
    room.issuer.faults.set("/introspect", (response) => void response.writeHead(401).end());
    expect(await reasonOf(verifier.verify(token))).toBe("authority.unreachable");
    expect(verifier.status().lastError).toBe("refused: status 401");
  });
});

test("of the scopes that a route demands the strictest mode counts", async () => {
  const verifier = await open({ mode: "local", scopes: { write: "introspect" } });
  const token = mintActive();
  expect(await verifier.verify(token, { scopes: ["read"] })).toMatchObject({ verifiedBy: "keys" });
  expect(await verifier.verify(token, { scopes: ["read", "write"] })).toMatchObject({ verifiedBy: "introspection" });
});
