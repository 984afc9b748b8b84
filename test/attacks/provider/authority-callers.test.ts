/** Somebody who has seen a used assertion, has a credential that was taken back, or asks who there is. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient, setClientEnabled } from "../../../broker/registry/clients.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { mintJwtAssertion } from "../../../shared/assertion.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { createSigner } from "../../../shared/es256.ts";
import {
  assertionClaims,
  basic,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  makeKey,
  type Answer,
  type Call,
} from "../../authority/fixture.ts";
import { assertionFields, formCall, readJson } from "../../authority/http-apis.ts";
import { inactive, openOauthGround, type OauthGround } from "./oauth-ground.ts";

let at: OauthGround;
beforeAll(async () => {
  at = await openOauthGround();
});
beforeEach(() => {
  // a quota of its own
  at.clock.now += 60;
  at.lines.length = 0;
});
afterAll(() => at.close());

const heard = (answer: Answer): unknown => [answer.status, answer.body.toString(), at.reason()];

describe("a used assertion in the wrong hands", () => {
  let own: OauthGround;
  afterEach(() => own.close());

  test("uses up no quota, tells nothing of it, and is no act of its client", async () => {
    own = await openOauthGround({ tokensPerMinute: 3 });
    const device = await makeDevice(own, "plant.pi");
    const ask = (assertion: string) =>
      own.call("/token", formCall({ client_assertion: assertion, client_assertion_type: JWT_BEARER }));
    const used = jwtAssertion(device, own.clock.now);
    expect((await ask(used)).status).toBe(200);
    for (let count = 0; count < 10; count++) {
      const again = await ask(used);
      expect([again.status, again.headers["ratelimit"], again.headers["retry-after"], own.reason()]).toEqual([
        401,
        undefined,
        undefined,
        "assertion.replayed",
      ]);
    }
    const fresh = await ask(jwtAssertion(device, own.clock.now));
    expect([fresh.status, fresh.headers["ratelimit"]]).toEqual([200, '"client";r=1;t=60']);
    const rows = own.audited().filter(({ reason }) => reason === "assertion.replayed");
    expect(new Set(rows.map(({ actor }) => actor))).toEqual(new Set(["stranger"]));
  });

  test("is a failure, and closes the place that it comes from to its client alone", async () => {
    own = await openOauthGround({ clientFailuresPerMinute: 3 });
    const device = await makeDevice(own, "plant.pi");
    const ask = (assertion: string) =>
      own.call("/token", formCall({ client_assertion: assertion, client_assertion_type: JWT_BEARER }));
    const used = jwtAssertion(device, own.clock.now);
    const statuses = [];
    for (let count = 0; count < 5; count++) statuses.push((await ask(used)).status);
    expect(statuses).toEqual([200, 401, 401, 401, 429]);
    expect((await own.call("/v1/self", { as: device })).status).toBe(200);
    expect((await own.call("/v1/self", { headers: basic("plant.board", own.secrets.board) })).status).toBe(200);
  });
});

describe("a secret in the wrong place is in no log, no audit row and no answer", () => {
  const secret = randomBytes(32).toString("base64url");
  const places: [string, () => Promise<Answer>][] = ["/token", "/introspect", "/revoke"].flatMap((path) => {
    const call = (fields: Record<string, string>, headers?: Record<string, string>) => () =>
      at.call(path, formCall({ token: "x", ...fields }, headers));
    const claims = assertionClaims(secret, Math.floor(Date.now() / 1000) + 60);
    return [
      [`${path}: as the user of Basic`, call({}, basic(secret, "plant.board"))],
      [`${path}: as the user of Basic, with a slash`, call({}, basic(`${secret}/`, "plant.board"))],
      [`${path}: as client_id`, call({ client_id: secret, client_secret: "plant.board" })],
      [`${path}: as a bearer key`, call({}, { authorization: `Bearer ${secret}` })],
      [
        `${path}: as the subject of an assertion`,
        call({
          client_assertion: mintJwtAssertion(claims, createSigner("", makeKey().privateKey)),
          client_assertion_type: JWT_BEARER,
        }),
      ],
    ] as [string, () => Promise<Answer>][];
  });
  test.each(places)("%s", async (_name, ask) => {
    const answer = await ask();
    expect([answer.status, answer.body.toString().includes(secret)]).toEqual([401, false]);
    expect(JSON.stringify(at.lines)).not.toContain(secret);
    expect(JSON.stringify(at.audited())).not.toContain(secret);
  });
});

describe("what says who there is", () => {
  /** All that a caller hears, but for the time and the id. */
  const words = ({ status, headers, body }: Answer): string => {
    const { date: _date, "content-length": _length, ...rest } = headers;
    return JSON.stringify([status, rest, body.toString("latin1").replace(/id("?[: ]+"?)[\w-]{12}/, "id")]);
  };
  let users: readonly (readonly [string, string])[];
  beforeAll(() => {
    const { secret: off } = createClient(at.registry, { project: "plant", name: "off", kind: "service" });
    setClientEnabled(at.registry, "plant.off", false);
    users = [
      ["plant.board", "wrong"],
      ["plant.none", "wrong"],
      ["none.none", "wrong"],
      ["plant.off", off!],
      ["plant.off", "wrong"],
      ["plant.pi", "wrong"],
      ["plant/web", "wrong"],
      ["plant/none", "wrong"],
      ["no name", "wrong"],
    ];
  });

  test.each(["/token", "/introspect", "/revoke", "/v1/self", "/revoke/trl"])("%s tells nobody", async (path) => {
    const call: Call = path.startsWith("/v1") || path.endsWith("trl") ? {} : formCall({ token: "x" });
    const all: string[] = [];
    for (const [user, password] of users) {
      all.push(words(await at.call(path, { ...call, headers: basic(user, password) })));
    }
    expect(new Set(all).size).toBe(1);
  });

  test("nor does the limit of failures, which is the same for a client that is there and one that is not", async () => {
    const own = await openOauthGround({ clientFailuresPerMinute: 2 });
    try {
      const tries = async (user: string): Promise<string[]> => {
        const all = [];
        for (let count = 0; count < 4; count++) {
          all.push(words(await own.call("/token", formCall({}, basic(user, "wrong")))));
        }
        return all;
      };
      const [there, notThere] = [await tries("plant.board"), await tries("plant.none")];
      expect(there).toEqual(notThere);
      expect(there.map((one) => (JSON.parse(one) as [number])[0])).toEqual([401, 401, 429, 429]);
    } finally {
      await own.close();
    }
  });
});

describe("a client that was disabled", () => {
  test("hears nothing, whatever it proves itself with", async () => {
    const key = makeKey();
    const owner = { project: "plant", client: "gone" };
    createClient(at.registry, {
      project: "plant",
      name: "gone",
      kind: "device",
      keys: [toJwk(key.key)],
      roles: ["editor"],
    });
    const { secret } = createSecret(at.registry, owner);
    const device = await makeDevice(at, "plant.gone");
    const token = String(readJson(await at.getToken("plant.gone", secret, "plant.web"))["access_token"]);
    setClientEnabled(at.registry, "plant.gone", false);
    for (const path of ["/token", "/introspect", "/revoke"]) {
      for (const call of [
        formCall({ token }, basic("plant.gone", secret)),
        formCall({ token, ...assertionFields({ id: "plant.gone", ...key }, at.clock.now) }),
        { ...formCall({ token }), as: device },
      ]) {
        at.lines.length = 0;
        expect(at.said(await at.call(path, call))).toEqual([401, "invalid_client", "client.disabled"]);
      }
    }
    expect(heard(await at.introspect(basic("plant/web", at.secrets.web), token))).toEqual([
      200,
      inactive,
      "client.disabled",
    ]);
  });
});
