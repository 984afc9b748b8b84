/** Somebody with a project beside the victim's: names that look alike, credentials in other places, keys of others. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient } from "../../../broker/registry/clients.ts";
import { replaceKeys } from "../../../broker/registry/public-keys.ts";
import { activeSigner } from "../../../broker/registry/signing-keys.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { INTROSPECTION_JWT } from "../../../shared/introspection.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { basic, JWT_BEARER, makeKey, type Answer } from "../../authority/fixture.ts";
import { assertionFields, FORM, formCall, readJson, toForm } from "../../authority/http-apis.ts";
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

describe("an audience that looks like the name of another project's api", () => {
  test.each<[string, (() => Promise<Answer>)[], () => Promise<Answer>, unknown]>([
    [
      "does not shut that api out",
      [() => at.getToken("evil.mole", at.secrets.mole, "plant/web")],
      () => at.introspect(basic("plant/web", at.secrets.web)),
      [200, inactive, undefined],
    ],
    [
      "does not pass for it",
      [() => at.getToken("evil.mole", at.secrets.mole, "plant/web")],
      () => at.introspect(basic("plant/web", at.secrets.look)),
      [401, expect.stringContaining("invalid_client"), "client.secret"],
    ],
    [
      "and which is nobody's does not either",
      [
        () => at.getToken("evil.mole", at.secrets.mole, "plant/tele"),
        () => at.getToken("evil.mole", at.secrets.mole, "/plant/web"),
      ],
      () => at.introspect(basic("plant/web", at.secrets.web)),
      [200, inactive, undefined],
    ],
    [
      "gives no token for that api",
      [() => at.introspect(basic("plant/web", at.secrets.web))],
      () => at.getToken("plant.board", at.secrets.board, "plant/web"),
      [400, expect.stringContaining("invalid_request"), "request.audience"],
    ],
    [
      "is asked for by its own clients after that",
      [() => at.introspect(basic("plant/web", at.secrets.web))],
      async () => {
        const { status, ...answer } = await at.getToken("evil.mole", at.secrets.mole, "plant/web");
        return { status, ...answer, body: Buffer.from(status === 200 ? "a token" : "none") };
      },
      [200, "a token", undefined],
    ],
  ])("%s", async (_name, before, ask, outcome) => {
    at.forget();
    for (const first of before) await first();
    at.lines.length = 0;
    expect(heard(await ask())).toEqual(outcome);
  });

  test("tells it of tokens for that audience alone, and not of those for the api", async () => {
    const [own, other] = [await at.getToken("evil.mole", at.secrets.mole, "plant/web"), await at.boardToken()];
    const look = basic("evil/look", at.secrets.look);
    expect(readJson(await at.introspect(look, String(readJson(own)["access_token"])))["active"]).toBe(true);
    expect((await at.introspect(look, other)).body.toString()).toBe(inactive);
  });
});

describe("the credential of an api", () => {
  const key = makeKey();
  beforeAll(() => void replaceKeys(at.registry, { project: "plant", api: "web" }, [toJwk(key.key)]));
  const asserted = (): Record<string, string> => assertionFields({ id: "plant/web", ...key }, at.clock.now);
  const web = (): Record<string, string> => basic("plant/web", at.secrets.web);

  test.each<[string, () => Promise<Answer>, unknown]>([
    ["gets no token by Basic", () => at.call("/token", formCall({}, web())), [401, "invalid_client", "client.unknown"]],
    [
      "gets none in the body",
      () => at.call("/token", formCall({ client_id: "plant/web", client_secret: at.secrets.web })),
      [401, "invalid_client", "client.unknown"],
    ],
    ["gets none by its key", () => at.call("/token", formCall(asserted())), [401, "invalid_client", "client.unknown"]],
    [
      "takes back no token for itself",
      async () => at.call("/revoke", { type: FORM, body: toForm({ token: await at.boardToken() }), headers: web() }),
      [400, "unauthorized_client", "access.permission"],
    ],
    [
      "is no admin key",
      () => at.introspect({ authorization: `Bearer ${at.secrets.web}` }),
      [401, "invalid_client", "admin.key"],
    ],
    [
      "is no client of itself",
      () => at.introspect(basic("plant.web", at.secrets.web)),
      [401, "invalid_client", "client.unknown"],
    ],
  ])("%s", async (_name, ask, outcome) => {
    expect(at.said(await ask())).toEqual(outcome);
  });

  test("knows nothing of itself at /v1/self", async () => {
    expect([(await at.call("/v1/self", { headers: web() })).status, at.reason()]).toEqual([401, "client.unknown"]);
  });
});

describe("what is another project's", () => {
  test.each<[string, () => Promise<Answer>]>([
    ["its token", async () => at.introspect(basic("evil.mole", at.secrets.mole), await at.boardToken())],
    [
      "its token, asked about by an api",
      async () => at.introspect(basic("evil/look", at.secrets.look), await at.boardToken()),
    ],
    [
      "a token with its claims and no signature of ours",
      async () => {
        const [head, payload] = (await at.boardToken()).split(".");
        const signature = Buffer.alloc(64, 1).toString("base64url");
        return at.introspect(basic("plant/web", at.secrets.web), `${head}.${payload}.${signature}`);
      },
    ],
    ["nonsense", () => at.introspect(basic("evil/look", at.secrets.look), "nonsense")],
  ])("is not active, in the same words: %s", async (_name, ask) => {
    const { status, body } = await ask();
    expect([status, body.toString()]).toEqual([200, inactive]);
  });

  test.each(["plant.web", "plant.tele", "plant.none", "none.at-all"])("has no audience %s", async (audience) => {
    const { status, headers, body } = await at.getToken("evil.mole", at.secrets.mole, audience);
    const { error, error_description: text } = JSON.parse(body.toString()) as Record<string, string>;
    expect([status, error, text?.replace(/id [\w-]+/, "id"), headers["content-type"], at.reason()]).toEqual([
      400,
      "invalid_request",
      "the audience is not known (id)",
      "application/json",
      "request.audience",
    ]);
  });
});

describe("what the authority has signed is no proof of a client whose key is the authority's", () => {
  beforeAll(() => {
    const keys = [toJwk(activeSigner(at.registry).publicKey)];
    createClient(at.registry, { project: "evil", name: "echo", kind: "service", roles: ["looker"], keys });
  });
  test.each<[string, () => Promise<string>, Reason]>([
    ["a token", () => at.boardToken(), "assertion.subject"],
    [
      "a signed answer of introspection",
      async () =>
        (await at.introspect({ ...basic("plant/web", at.secrets.web), accept: INTROSPECTION_JWT })).body.toString(),
      "assertion.malformed",
    ],
  ])("%s", async (_name, get, reason) => {
    const fields = { client_assertion: await get(), client_assertion_type: JWT_BEARER };
    for (const client_id of ["evil.echo", ""]) {
      expect(at.said(await at.call("/token", formCall({ ...fields, client_id })))).toEqual([
        401,
        "invalid_client",
        reason,
      ]);
    }
  });
});

describe("a key", () => {
  test("that is registered for a client of another project too proves neither for the other", async () => {
    const thief = makeKey();
    const keys = [toJwk(at.cart.key), toJwk(thief.key)];
    createClient(at.registry, { project: "evil", name: "twin", kind: "service", roles: ["looker"], keys });
    const ask = (fields: Record<string, string>): Promise<Answer> => at.call("/token", formCall(fields));
    const stolen = { ...assertionFields(at.cart, at.clock.now), client_id: "evil.twin" };
    expect(at.said(await ask(stolen))).toEqual([401, "invalid_client", "assertion.subject"]);
    const forged = assertionFields({ ...thief, id: at.cart.id }, at.clock.now);
    expect(at.said(await ask(forged))).toEqual([401, "invalid_client", "assertion.signature"]);
    expect((await ask(assertionFields(at.cart, at.clock.now))).status).toBe(200);
  });

  test("that was replaced proves nothing from then on, by an assertion made before as well", async () => {
    const [old, next] = [makeKey(), makeKey()];
    const owner = { project: "plant", client: "keyed" };
    createClient(at.registry, { project: "plant", name: "keyed", kind: "service", keys: [toJwk(old.key)] });
    const before = assertionFields({ id: "plant.keyed", ...old }, at.clock.now);
    const ask = (fields: Record<string, string>) => at.call("/introspect", formCall({ token: "x", ...fields }));
    expect((await ask(assertionFields({ id: "plant.keyed", ...old }, at.clock.now))).status).toBe(200);
    replaceKeys(at.registry, owner, [toJwk(next.key)]);
    expect(at.said(await ask(before))).toEqual([401, "invalid_client", "assertion.signature"]);
    expect((await ask(assertionFields({ id: "plant.keyed", ...next }, at.clock.now))).status).toBe(200);
  });
});
