/**
 * The clock of the authority is set an hour back, or ahead and back again. Nobody is kept out for that hour; what was used up
 * stays used up, what was taken back stays taken back, and what has expired is refused by the time that it is.
 */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createApi } from "../../../broker/registry/apis.ts";
import { createClient, setClientEnabled } from "../../../broker/registry/clients.ts";
import { createLogin, loginLife } from "../../../broker/registry/logins.ts";
import { refusalRates } from "../../../broker/registry/refusals.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { checkSecret, createSecret, retireSecret } from "../../../broker/registry/secrets.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { mintDpopProof } from "../../../shared/dpop.ts";
import { createSigner } from "../../../shared/es256.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { openAccounts, PASSWORD, type Accounts } from "../../authority/accounts-fixture.ts";
import {
  basic,
  furnish,
  ISSUER,
  jwtAssertion,
  JWT_BEARER,
  makeDevice,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "../../authority/fixture.ts";
import { NOW, refusal } from "../../registry/fixture.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("../../authority/cheap-scrypt.ts");
  return cheapen(await original());
});

const hour = 3600;

/** An answer that may say when to come back. */
type Waiting = Pick<Awaited<ReturnType<Accounts["ask"]>>, "status" | "headers">;

describe("accounts, while the clock is an hour back", () => {
  let at: Accounts;
  beforeEach(() => {
    at = openAccounts();
  });
  const logIn = async (password = PASSWORD): Promise<[number, unknown]> => {
    const { status, body } = await at.ask("POST", "/v1/login", { as: null, body: { email: "ada@a.test", password } });
    return [status, body.token];
  };
  const isGood = async (token: unknown): Promise<boolean> =>
    (await at.ask("GET", "/v1/me", { as: String(token) })).status === 200;

  it("keep their logins, and get new ones that last", async () => {
    const { token } = at.join("ada@a.test");
    at.clock.now -= hour;
    expect(await isGood(token)).toBe(true);
    const [status, fresh] = await logIn();
    expect(status).toBe(200);
    at.clock.now += loginLife.idle - 1;
    expect(await isGood(fresh)).toBe(true);
    at.clock.now += 1 + hour;
    expect([await isGood(fresh), await isGood(token)]).toEqual([true, false]);
  });

  it("keep a new login beside as many as there may be of before", async () => {
    const { id } = at.join("ada@a.test");
    for (let more = 1; more < 20; more++) createLogin(at.r, id);
    at.clock.now -= hour;
    const [first, second] = [(await logIn())[1], (await logIn())[1]];
    expect([await isGood(first), await isGood(second)]).toEqual([true, true]);
  });

  it("get codes that are good, though one of before is there", async () => {
    const register = (): Promise<unknown> =>
      at.ask("POST", "/v1/developers", { as: null, body: { email: "eve@a.test", password: PASSWORD } });
    await register();
    await at.settle();
    at.clock.now -= hour;
    await register();
    await at.settle();
    const body = { email: "eve@a.test", code: at.codeOf("eve@a.test"), password: PASSWORD };
    at.clock.now += 14 * 60;
    expect((await at.ask("POST", "/v1/developers/confirm", { as: null, body })).status).toBe(204);
  });

  it("are not asked to wait any longer for failures of before", async () => {
    at.join("ada@a.test");
    for (let failures = 0; failures < 10; failures++) expect(await logIn("another")).toEqual([401, undefined]);
    expect(await logIn()).toEqual([429, undefined]);
    at.clock.now -= hour;
    expect((await logIn())[0]).toBe(200);
  });

  const tooMany: readonly (readonly [
    what: string,
    seconds: number,
    use: () => Promise<void>,
    ask: () => Promise<Waiting>,
  ])[] = [
    [
      "failures",
      15 * 60,
      async () => {
        at.join("ada@a.test");
        for (let failures = 0; failures < 10; failures++) await logIn("another");
      },
      () => at.ask("POST", "/v1/login", { as: null, body: { email: "ada@a.test", password: PASSWORD } }),
    ],
    [
      "wishes",
      hour,
      async () => {
        while ((await wish()).status === 202);
      },
      () => wish(),
    ],
  ];
  const wish = (): Promise<Waiting> => at.ask("POST", "/v1/password-reset", { as: null, body: { email: "no@a.test" } });

  it.each(tooMany)(
    "of too many %s are told a time that holds, whenever the clock was set back",
    async (_, seconds, use, ask) => {
      let refused = 0;
      for (let back = 0; back <= 2 * hour; back += 7 * 60) {
        at = openAccounts();
        await use();
        at.clock.now += seconds - 60;
        at.clock.now -= back;
        const { status, headers } = await ask();
        if (status !== 429) continue;
        refused++;
        const wait = Number(headers["retry-after"]);
        expect(wait).toBeLessThanOrEqual(seconds);
        at.clock.now += wait;
        expect((await ask()).status).toBeLessThan(300);
      }
      expect(refused).toBeGreaterThan(1);
    },
  );

  it("have their refusals written down", async () => {
    const ask = (): Promise<{ body: { id?: string } }> => at.ask("GET", "/v1/me", { as: "ps1_none" });
    const isWritten = async (): Promise<boolean> => {
      const { body } = await ask();
      return (await at.ask("GET", `/v1/refusals/${body.id}`)).status === 200;
    };
    for (let asked = 0; asked < refusalRates.strangers.one.burst; asked++) expect(await isWritten()).toBe(true);
    expect(await isWritten()).toBe(false);
    at.clock.now -= hour;
    expect(await isWritten()).toBe(false);
    at.clock.now += 1 / refusalRates.strangers.one.perSecond;
    expect(await isWritten()).toBe(true);
  });
});

describe("secrets", () => {
  const owner = { project: "farm", api: "telemetry" };
  const open = (): Accounts => {
    const at = openAccounts();
    at.r.db.exec(`INSERT INTO project (slug, created_at) VALUES ('farm', ${NOW})`);
    createApi(at.r, { project: "farm", name: "telemetry", kind: "http", scopes: ["read"] });
    return at;
  };

  it("that are made while the clock is an hour back are good then and later, and retire nobody too early", () => {
    const { r, clock } = open();
    const old = createSecret(r, owner, { idleSeconds: 60 });
    expect(checkSecret(r, owner, old.secret)).toBe(old.record.id);
    clock.now -= hour;
    const fresh = createSecret(r, owner);
    expect(checkSecret(r, owner, old.secret)).toBe(old.record.id);
    clock.now += hour + 119;
    expect(checkSecret(r, owner, old.secret)).toBe(old.record.id);
    expect(checkSecret(r, owner, fresh.secret)).toBe(fresh.record.id);
  });

  it("that were retired by hand stay so while the clock is before that", () => {
    const { r, clock } = open();
    const { record, secret } = createSecret(r, owner);
    retireSecret(r, owner, record.id);
    clock.now -= hour;
    expect(() => checkSecret(r, owner, secret)).toThrow(refusal("secret.retired"));
  });

  it("end at their expiry by the clock as it is", () => {
    const { r, clock } = open();
    const { record, secret } = createSecret(r, owner, { ttlSeconds: 600 });
    clock.now += hour;
    expect(() => checkSecret(r, owner, secret)).toThrow(refusal("secret.expired"));
    clock.now -= hour;
    expect(checkSecret(r, owner, secret)).toBe(record.id);
    clock.now += 600;
    expect(() => checkSecret(r, owner, secret)).toThrow(refusal("secret.expired"));
  });
});

describe("tokens", () => {
  let at: Fixture;
  let secret: string;
  let pi: Device;
  beforeAll(async () => {
    at = await openFixture({ tokensPerMinute: 40, clientFailuresPerMinute: 3 });
    ({ secret } = furnish(at.registry));
    createApi(at.registry, { project: "plant", name: "web", kind: "http", scopes: ["read"], ttlSeconds: 2 * hour });
    createRole(at.registry, { project: "plant", api: "web", name: "visitor", scopes: ["read"] });
    pi = await makeDevice(at, "plant.pi");
  });
  afterAll(() => at.close());

  const names = new Map<string, Device>();
  let count = 0;
  /** A client with a key of its own, and so with a quota of its own. */
  const newClient = (): string => {
    const id = `plant.c${count++}`;
    createClient(at.registry, {
      project: "plant",
      name: id.split(".")[1]!,
      kind: "service",
      roles: ["visitor"],
      keys: [toJwk(pi.key)],
    });
    names.set(id, { ...pi, id });
    return id;
  };
  const assertion = (id: string): string => jwtAssertion(names.get(id)!, at.clock.now);
  const proof = (): string =>
    mintDpopProof(
      { method: "POST", url: `${ISSUER}/token`, nowSeconds: at.clock.now, id: randomBytes(16) },
      createSigner("", pi.privateKey),
    );
  const ask = (client_assertion: string, dpop: string): Promise<Answer> => {
    const fields = { grant_type: "client_credentials", client_assertion_type: JWT_BEARER, client_assertion };
    const body = new URLSearchParams(fields).toString();
    return at.call("/token", { type: "application/x-www-form-urlencoded", body, headers: { dpop } });
  };
  const outcome = async (answer: Promise<Answer>): Promise<[number, unknown]> => {
    const { status } = await answer;
    return [status, status === 200 ? undefined : at.reason()];
  };
  const good = [200, undefined];
  const isActive = async (token: string): Promise<unknown> => {
    const body = JSON.stringify({ token });
    const headers = { authorization: "Bearer admin-key" };
    const answer = await at.call("/introspect", { type: "application/json", body, headers });
    return (JSON.parse(answer.body.toString()) as { active: unknown }).active;
  };
  const tokenOf = async (answer: Promise<Answer>): Promise<string> =>
    (JSON.parse((await answer).body.toString()) as { access_token: string }).access_token;

  it("are given at once while the clock is an hour back, by proofs of that time", async () => {
    const id = newClient();
    expect(await outcome(ask(assertion(id), proof()))).toEqual(good);
    const [early, earlyProof] = [assertion(id), proof()];
    at.clock.now -= hour;
    expect(await outcome(ask(early, proof()))).toEqual([401, "assertion.lifetime" satisfies Reason]);
    expect(await outcome(ask(assertion(id), earlyProof))).toEqual([400, "dpop.time" satisfies Reason]);
    const token = await tokenOf(ask(assertion(id), proof()));
    expect(await isActive(token)).toBe(true);
    at.clock.now += hour;
    expect(await isActive(token)).toBe(true);
  });

  it("have a quota that is whole after a minute, whenever the clock was set", async () => {
    const id = newClient();
    const one = (): Promise<[number, unknown]> => outcome(ask(assertion(id), proof()));
    for (let asked = 0; asked < 40; asked++) expect(await one()).toEqual(good);
    expect(await one()).toEqual([429, "rate.limited" satisfies Reason]);
    at.clock.now -= hour;
    expect(await one()).toEqual(good);
    at.clock.now += hour;
    expect(await one()).toEqual(good);
  });

  it("are refused a minute and no longer to who failed too often, whenever the clock was set", async () => {
    const headers = basic("plant.board", secret);
    const body = "grant_type=client_credentials&audience=plant.open";
    const one = (given = headers): Promise<[number, unknown]> =>
      outcome(at.call("/token", { type: "application/x-www-form-urlencoded", body, headers: given }));
    for (let failed = 0; failed < 3; failed++) {
      expect(await one(basic("plant.board", "wrong"))).toEqual([401, "client.secret" satisfies Reason]);
    }
    expect(await one()).toEqual([429, "rate.limited" satisfies Reason]);
    at.clock.now -= hour;
    expect(await one()).toEqual(good);
    at.clock.now += hour;
  });

  it("are not given twice for one assertion or one proof while the clock is back", async () => {
    const id = newClient();
    const [used, usedProof] = [assertion(id), proof()];
    expect(await outcome(ask(used, usedProof))).toEqual(good);
    at.clock.now -= 30;
    expect(await outcome(ask(used, proof()))).toEqual([401, "assertion.replayed" satisfies Reason]);
    expect(await outcome(ask(assertion(id), usedProof))).toEqual([400, "dpop.replayed" satisfies Reason]);
    at.clock.now += 30;
  });

  it("of a client that was disabled stay void, and so does one that was taken back", async () => {
    const [shut, other] = [newClient(), newClient()];
    const [void1, void2] = [
      await tokenOf(ask(assertion(shut), proof())),
      await tokenOf(ask(assertion(other), proof())),
    ];
    setClientEnabled(at.registry, shut, false);
    setClientEnabled(at.registry, shut, true);
    const headers = { authorization: "Bearer admin-key" };
    const body = JSON.stringify({ tokens: [void2] });
    expect((await at.call("/v1/revocations", { type: "application/json", body, headers })).status).toBe(200);
    for (const shift of [-hour, 2 * hour, -hour]) {
      at.clock.now += shift;
      expect([await isActive(void1), await isActive(void2)]).toEqual([false, false]);
    }
  });
});
