/** How often somebody may ask, and how often fail to prove who they are. */
import { afterEach, describe, expect, test } from "vitest";
import { createAuthFailures, type AuthFailures } from "../../broker/authority/oauth/auth-failures.ts";
import type { AuthorityLimits } from "../../broker/authority/context.ts";
import { createQuota, quotaHeaders } from "../../broker/authority/oauth/quota.ts";
import { TooMany } from "../../broker/authority/too-many.ts";
import { Windows } from "../../broker/authority/windows.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { encodeTokenRequest, readTokenError } from "../../shared/ace.ts";
import { Refusal, type Reason } from "../../shared/refusal.ts";
import { ACE, basic, furnish, jwtAssertion, JWT_BEARER, makeDevice, openFixture, type Fixture } from "./fixture.ts";

const T = 1_800_000_000_000;

/** What was thrown. */
function thrown(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("a quota", () => {
  test("is taken one at a time, and is whole again a minute after the first", () => {
    const quota = createQuota(3);
    const takes = [0, 10_000, 59_999].map((after) => quota.take("farm.a", T + after));
    expect(takes).toEqual([
      { limit: 3, remaining: 2, resetSeconds: 60 },
      { limit: 3, remaining: 1, resetSeconds: 50 },
      { limit: 3, remaining: 0, resetSeconds: 1 },
    ]);
    const error = thrown(() => quota.take("farm.a", T + 59_999));
    expect(error).toBeInstanceOf(TooMany);
    expect(error).toMatchObject({
      reason: "rate.limited",
      retryAfterSeconds: 1,
      quota: { limit: 3, remaining: 0, resetSeconds: 1 },
    });
    expect(quota.take("farm.a", T + 60_000)).toEqual({ limit: 3, remaining: 2, resetSeconds: 60 });
  });

  test("is given back, and never more than was taken", () => {
    const quota = createQuota(3);
    quota.take("farm.a", T);
    expect(quota.giveBack("farm.a", T + 10_000)).toEqual({ limit: 3, remaining: 3, resetSeconds: 50 });
    expect(quota.giveBack("farm.a", T + 20_000)).toEqual({ limit: 3, remaining: 3, resetSeconds: 40 });
    expect(quota.giveBack("farm.b", T)).toEqual({ limit: 3, remaining: 3, resetSeconds: 60 });
    quota.take("farm.a", T + 59_999);
    // the window in which it was taken is over
    expect(quota.giveBack("farm.a", T + 60_000)).toEqual({ limit: 3, remaining: 3, resetSeconds: 60 });
  });

  test("is each client's own", () => {
    const quota = createQuota(1);
    quota.take("farm.a", T);
    expect(quota.take("farm.b", T).remaining).toBe(0);
    expect(thrown(() => quota.take("farm.a", T))).toBeInstanceOf(TooMany);
  });

  test("is not longer because the clock was set back", () => {
    const quota = createQuota(1);
    quota.take("farm.a", T);
    expect(quota.take("farm.a", T - 3_600_000)).toEqual({ limit: 1, remaining: 0, resetSeconds: 60 });
  });

  test("is told in structured fields", () => {
    expect(quotaHeaders({ limit: 600, remaining: 599, resetSeconds: 58 })).toEqual({
      "RateLimit-Policy": '"client";q=600;w=60',
      RateLimit: '"client";r=599;t=58',
    });
  });
});

describe("windows", () => {
  test("are no more than the capacity: those that have ended go first, then the oldest", () => {
    const windows = new Windows(100, 3);
    ["a", "b", "c"].forEach((name, index) => windows.add(name, T + index * 60));
    windows.add("d", T + 121);
    expect(["a", "b", "c", "d"].map((name) => windows.read(name, T + 121)?.count)).toEqual([undefined, 1, 1, 1]);
    windows.add("e", T + 122);
    expect(["b", "c", "d", "e"].map((name) => windows.read(name, T + 122)?.count)).toEqual([undefined, 1, 1, 1]);
    for (let i = 0; i < 10_000; i++) windows.add(`x${i}`, T + 123);
    expect(windows.size).toBe(3);
  });

  test("begin anew when they have ended", () => {
    const windows = new Windows(100, 3);
    expect([windows.add("a", T).count, windows.add("a", T + 99).count, windows.add("a", T + 100).count]).toEqual([
      1, 2, 1,
    ]);
  });
});

describe("failures", () => {
  const limits = { clientFailuresPerMinute: 3, addressFailuresPerMinute: 10 };
  const fail = (): never => {
    throw new Refusal("client.secret");
  };
  const prove = (): string => "proven";
  /** What comes of an attempt. */
  const attempt = (
    failures: AuthFailures,
    [address, claimed]: readonly [string, string?],
    work: () => unknown,
    now = T,
  ): unknown => {
    const error = thrown(() => failures.guard({ address, claimed }, now, work));
    return error instanceof Refusal ? error.reason : error instanceof Error ? error.name : "proven";
  };

  test("as one client from one network close that to the right secret as well, and nothing else", () => {
    const failures = createAuthFailures(limits);
    const here = ["192.0.2.1", "farm.a"] as const;
    for (let i = 0; i < 3; i++) expect(attempt(failures, here, fail)).toBe("client.secret");
    expect(attempt(failures, here, prove)).toBe("rate.limited");
    // a neighbour behind the same address, and the client from elsewhere
    expect(attempt(failures, ["192.0.2.1", "farm.b"], prove)).toBe("proven");
    expect(attempt(failures, ["192.0.2.2", "farm.a"], prove)).toBe("proven");
    expect(attempt(failures, ["::ffff:192.0.2.1", "farm.a"], prove)).toBe("rate.limited");
    const error = thrown(() => failures.guard({ address: "192.0.2.1", claimed: "farm.a" }, T + 20_000, prove));
    expect(error).toMatchObject({ reason: "rate.limited", retryAfterSeconds: 40 });
    expect(attempt(failures, here, prove, T + 60_000)).toBe("proven");
  });

  test("are not made by asking while one is closed out", () => {
    const failures = createAuthFailures(limits);
    for (let i = 0; i < 3; i++) attempt(failures, ["192.0.2.1", "farm.a"], fail, T);
    for (let i = 0; i < 100; i++) attempt(failures, ["192.0.2.1", "farm.a"], fail, T + 59_000);
    expect(attempt(failures, ["192.0.2.1", "farm.a"], prove, T + 60_000)).toBe("proven");
    expect(attempt(failures, ["192.0.2.1", "farm.z"], prove, T + 59_000)).toBe("proven");
  });

  test("of one network as many clients close it to all but who proved themselves there before", () => {
    const failures = createAuthFailures(limits);
    expect(attempt(failures, ["2001:db8::1", "farm.old"], prove)).toBe("proven");
    for (let i = 0; i < 10; i++) expect(attempt(failures, ["2001:db8::2", `farm.${i}`], fail)).toBe("client.secret");
    expect(attempt(failures, ["2001:db8::9", "farm.new"], prove)).toBe("rate.limited");
    expect(attempt(failures, ["2001:db8::9", "farm.old"], prove)).toBe("proven");
    expect(attempt(failures, ["2001:db8:0:1::9", "farm.new"], prove)).toBe("proven");
    expect(attempt(failures, ["2001:db8::9", "farm.new"], prove, T + 60_000)).toBe("proven");
  });

  test.each<[Reason, boolean]>([
    ["client.secret", true],
    ["client.unknown", true],
    ["secret.expired", true],
    ["secret.retired", true],
    ["assertion.signature", true],
    ["resource-server.unknown", true],
    ["request.malformed", false],
    ["storage.failed", false],
  ])("%s counts: %s", (reason, counts) => {
    const failures = createAuthFailures(limits);
    const work = (): never => {
      throw new Refusal(reason);
    };
    for (let i = 0; i < 3; i++) attempt(failures, ["192.0.2.1", "farm.a"], work);
    expect(attempt(failures, ["192.0.2.1", "farm.a"], prove)).toBe(counts ? "rate.limited" : "proven");
  });

  test("that are faults of ours do not count", () => {
    const failures = createAuthFailures(limits);
    const fault = (): never => {
      throw new TypeError("a fault");
    };
    for (let i = 0; i < 9; i++) expect(attempt(failures, ["192.0.2.1"], fault)).toBe("TypeError");
    expect(attempt(failures, ["192.0.2.1"], prove)).toBe("proven");
  });
});

describe("over HTTP", () => {
  let at: Fixture;
  let secret: string;
  const open = async (limits: Partial<AuthorityLimits>): Promise<void> => {
    at = await openFixture(limits);
    ({ secret } = furnish(at.registry));
  };
  afterEach(() => at.close());

  const form = (fields: Record<string, string>): { type: string; body: string } => ({
    type: "application/x-www-form-urlencoded",
    body: new URLSearchParams(fields).toString(),
  });
  const tokenFor = (user: string, password: string) =>
    at.call("/token", { ...form({ grant_type: "client_credentials" }), headers: basic(user, password) });

  test("the quota is told with every token, and with 429 when it is used up; the other client has its own", async () => {
    await open({ tokensPerMinute: 2 });
    const pi = await makeDevice(at, "plant.pi");
    const told = [];
    for (const after of [0, 1, 20]) {
      at.clock.now += after;
      const { status, headers, body } = await tokenFor("plant.board", secret);
      const { error } = JSON.parse(body.toString()) as { error?: string };
      told.push([status, headers["ratelimit-policy"], headers["ratelimit"], headers["retry-after"], error]);
    }
    expect(told).toEqual([
      [200, '"client";q=2;w=60', '"client";r=1;t=60', undefined, undefined],
      [200, '"client";q=2;w=60', '"client";r=0;t=59', undefined, undefined],
      [429, '"client";q=2;w=60', '"client";r=0;t=39', "39", "invalid_request"],
    ]);
    expect(at.reason()).toBe("rate.limited");
    expect(at.registry.db.prepare("SELECT count(*) FROM issued").pluck().get()).toBe(2);

    const cbor = { type: ACE, body: encodeTokenRequest({ audience: "plant.tele", wantsProfile: false }), as: pi };
    expect((await at.call("/token", cbor)).headers["ratelimit"]).toBe('"client";r=1;t=60');
    await at.call("/get-access-token", cbor);
    const refused = await at.call("/token", cbor);
    expect([refused.status, refused.headers["retry-after"], refused.headers["content-type"]]).toEqual([429, "60", ACE]);
    expect(readTokenError(refused.body).error).toBe("invalid_request");

    at.clock.now += 60;
    expect((await tokenFor("plant.board", secret)).status).toBe(200);
  });

  test.each<[string, Record<string, string>, Reason]>([
    ["an audience that nobody has", { audience: "plant.none" }, "request.audience"],
    ["a scope beyond the roles", { scope: "fly" }, "request.scope"],
    ["an api that wants a bound token", { audience: "plant.tele" }, "request.unbound"],
  ])("the quota is told with a refusal too, and taken: %s", async (_, fields, reason) => {
    await open({ tokensPerMinute: 5 });
    const ask = () =>
      at.call("/token", {
        ...form({ grant_type: "client_credentials", ...fields }),
        headers: basic("plant.board", secret),
      });
    for (const left of [4, 3]) {
      const { status, headers } = await ask();
      expect([status, at.reason(), headers["ratelimit"], headers["ratelimit-policy"]]).toEqual([
        400,
        reason,
        `"client";r=${left};t=60`,
        '"client";q=5;w=60',
      ]);
    }
  });

  test("the quota is told to nobody who has not proven who they are", async () => {
    await open({ tokensPerMinute: 5 });
    const { status, headers } = await tokenFor("plant.board", "wrong");
    expect([status, headers["ratelimit"], headers["ratelimit-policy"]]).toEqual([401, undefined, undefined]);
  });

  test("a token that could not be written is given back", async () => {
    await open({ tokensPerMinute: 1000 });
    const ask = async (): Promise<readonly [status: number, left: unknown]> => {
      const { status, headers } = await tokenFor("plant.board", secret);
      return [status, headers["ratelimit"]];
    };
    const says = (left: number): string => `"client";r=${left};t=60`;
    const { db } = at.registry;
    db.pragma(`max_page_count = ${db.pragma("page_count", { simple: true }) as number}`);
    let left = 1000;
    let answer = await ask();
    while (answer[0] === 200 && left > 0) {
      expect(answer).toEqual([200, says(--left)]);
      answer = await ask();
    }
    expect([...answer, at.reason()]).toEqual([507, says(left), "storage.failed"]);
    expect(await ask()).toEqual([507, says(left)]);
    // and where several share what is undone
    const together = await Promise.all([ask(), ask(), ask()]);
    expect(together.map(([status]) => status)).toEqual([507, 507, 507]);
    db.pragma("max_page_count = 100000");
    expect(await ask()).toEqual([200, says(left - 1)]);
  });

  test("an assertion is not spent by a request beyond the quota", async () => {
    await open({ tokensPerMinute: 1 });
    const pi = await makeDevice(at, "plant.pi");
    const ask = (assertion: string) =>
      at.call("/token", {
        ...form({
          grant_type: "client_credentials",
          client_assertion_type: JWT_BEARER,
          client_assertion: assertion,
        }),
      });
    await ask(jwtAssertion(pi, at.clock.now));
    const assertion = jwtAssertion(pi, at.clock.now);
    expect((await ask(assertion)).status).toBe(429);
    at.clock.now += 60;
    expect((await ask(assertion)).status).toBe(200);
  });

  test("failures close one client at one address, at every endpoint alike, and nobody who holds a certificate", async () => {
    await open({ clientFailuresPerMinute: 3 });
    const { secret: own } = createSecret(at.registry, { project: "plant", api: "tele" });
    const pi = await makeDevice(at, "plant.pi");
    for (let i = 0; i < 3; i++) expect((await tokenFor("plant.board", "wrong")).status).toBe(401);
    const self = (user: string, password: string) => at.call("/v1/self", { headers: basic(user, password) });
    const ask = (path: string, user: string, password: string) =>
      at.call(path, { ...form({ token: "x" }), headers: basic(user, password) });

    for (const answer of [
      await tokenFor("plant.board", secret),
      await tokenFor("plant.board", "wrong"),
      await self("plant.board", secret),
      await ask("/introspect", "plant.board", secret),
      await ask("/revoke", "plant.board", secret),
      await at.call("/revoke/trl", { headers: basic("plant.board", secret) }),
    ]) {
      expect([answer.status, answer.headers["retry-after"]]).toEqual([429, "60"]);
      expect(at.reason()).toBe("rate.limited");
      expect(answer.body.toString("latin1")).not.toContain("failures");
    }
    expect((await ask("/introspect", "plant/tele", own)).status).toBe(200);
    for (let i = 0; i < 3; i++) await ask("/introspect", "plant/tele", "wrong");
    expect((await ask("/introspect", "plant/tele", own)).status).toBe(429);
    expect((await at.call("/v1/self", { as: pi })).status).toBe(200);
    at.clock.now += 60;
    expect((await self("plant.board", secret)).status).toBe(200);
  });

  test("failures of one address at all are bounded too, and a certificate is let through", async () => {
    await open({ addressFailuresPerMinute: 5 });
    const pi = await makeDevice(at, "plant.pi");
    expect((await tokenFor("plant.board", secret)).status).toBe(200);
    for (let i = 0; i < 5; i++) expect((await tokenFor(`plant.x${i}`, "wrong")).status).toBe(401);
    expect((await tokenFor("plant.x9", "wrong")).status).toBe(429);
    expect((await tokenFor("plant.board", secret)).status).toBe(200);
    expect((await at.call("/v1/self", { as: pi })).status).toBe(200);
  });
});
