/** Who asks about tokens: proven at the introspection endpoint, which says to nobody else what a token is. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import { revokeAll } from "../../broker/registry/revocations.ts";
import { createSecret, retireSecret } from "../../broker/registry/secrets.ts";
import { mintJwtAssertion, type AssertionClaims } from "../../shared/assertion.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { createSigner } from "../../shared/es256.ts";
import type { Reason } from "../../shared/refusal.ts";
import {
  basic,
  furnish,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";

const FORM = "application/x-www-form-urlencoded";
const pair = makeKey();
const other = makeKey();

let at: Fixture;
let pi: Device;
/** Of the service `plant.board`, of the apis `plant/tele` and `zoo/tele`, and one of `plant/tele` that was retired. */
let secrets: Record<"board" | "tele" | "zoo" | "old" | "short", string>;

beforeAll(async () => {
  at = await openFixture({ clientFailuresPerMinute: 1_000 });
  const { registry } = at;
  const { secret: board } = furnish(registry);
  pi = await makeDevice(at, "plant.pi");
  createProject(registry, "zoo");
  createApi(registry, { project: "zoo", name: "tele", kind: "http", scopes: ["feed"] });
  const tele = { project: "plant", api: "tele" };
  const old = createSecret(registry, tele);
  retireSecret(registry, tele, old.record.id);
  secrets = {
    board,
    tele: createSecret(registry, tele).secret,
    zoo: createSecret(registry, { project: "zoo", api: "tele" }).secret,
    old: old.secret,
    short: createSecret(registry, tele, { ttlSeconds: 60 }).secret,
  };
  replaceKeys(registry, tele, [{ ...toJwk(pair.key), kid: "k1" }]);
  replaceKeys(registry, { project: "zoo", api: "tele" }, [toJwk(other.key)]);
});
beforeEach(() => {
  at.clock.now += 60;
  at.lines.length = 0;
});
afterAll(() => at.close());

function ask(fields: Record<string, string> = {}, call: Call = {}): Promise<Answer> {
  const body = new URLSearchParams({ token: "x", ...fields }).toString();
  return at.call("/introspect", { type: FORM, body, ...call });
}

function assertionOf(api: string, changed: Partial<AssertionClaims> = {}, by = pair): string {
  const claims = { iss: api, sub: api, aud: ISSUER, exp: at.clock.now + 60, id: randomBytes(8), ...changed };
  return mintJwtAssertion(claims, createSigner("", by.privateKey));
}

const asserted = (text: string, more: Record<string, string> = {}): Promise<Answer> =>
  ask({ client_assertion_type: JWT_BEARER, client_assertion: text, ...more });
const adminKey = { authorization: "Bearer admin-key" };
const withBasic = (user: string, password: string): Promise<Answer> => ask({}, { headers: basic(user, password) });

test.each<[string, () => Promise<Answer>]>([
  ["an api in HTTP Basic", () => withBasic("plant/tele", secrets.tele)],
  ["an api in HTTP Basic, form-encoded", () => withBasic("plant%2Ftele", encodeURIComponent(secrets.tele))],
  ["an api in the body", () => ask({ client_id: "plant/tele", client_secret: secrets.tele })],
  ["an api by its key", () => asserted(assertionOf("plant/tele"))],
  ["an api by its key, with its name", () => asserted(assertionOf("plant/tele"), { client_id: "plant/tele" })],
  ["an api by its key, for the endpoint", () => asserted(assertionOf("plant/tele", { aud: `${ISSUER}/introspect` }))],
  ["a client by its secret", () => withBasic("plant.board", secrets.board)],
  ["a client by its key", () => asserted(jwtAssertion(pi, at.clock.now))],
  ["a client by its certificate", () => ask({}, { as: pi })],
  ["the administrator", () => ask({}, { headers: adminKey })],
])("lets in %s", async (_, call) => {
  const answer = await call();
  expect([answer.status, answer.body.toString(), at.reason()]).toEqual([200, '{"active":false}', undefined]);
});

describe("refuses", () => {
  test.each<[string, () => Promise<Answer>, Reason, number]>([
    ["nobody at all", () => ask(), "credential.missing", 401],
    ["a client_id alone", () => ask({ client_id: "plant/tele" }), "credential.missing", 401],
    ["a secret without a name", () => ask({ client_secret: secrets.tele }), "credential.malformed", 401],
    ["an api with a wrong secret", () => withBasic("plant/tele", "wrong"), "client.secret", 401],
    ["an api with an empty secret", () => withBasic("plant/tele", ""), "client.secret", 401],
    ["an api with the secret of a client", () => withBasic("plant/tele", secrets.board), "client.secret", 401],
    ["an api with the secret of its namesake", () => withBasic("plant/tele", secrets.zoo), "client.secret", 401],
    ["a client with the secret of an api", () => withBasic("plant.board", secrets.tele), "client.secret", 401],
    ["a client named like the api", () => withBasic("plant.tele", secrets.tele), "client.unknown", 401],
    ["an api with a retired secret", () => withBasic("plant/tele", secrets.old), "secret.retired", 401],
    ["an api with an expired secret", () => withBasic("plant/tele", secrets.short), "secret.expired", 401],
    ["an api that has none", () => withBasic("plant/open", secrets.tele), "client.secret", 401],
    ["an api that is not there", () => withBasic("plant/none", secrets.tele), "resource-server.unknown", 401],
    ["an api of no project", () => withBasic("none/tele", secrets.tele), "resource-server.unknown", 401],
    ["a name with two slashes", () => withBasic("plant/tele/x", secrets.tele), "resource-server.unknown", 401],
    ["a path for a name", () => withBasic("../plant/tele", secrets.tele), "resource-server.unknown", 401],
    ["a name encoded twice", () => withBasic("plant%252Ftele", secrets.tele), "client.unknown", 401],
    ["SQL for a name", () => withBasic("plant/tele' --", secrets.tele), "resource-server.unknown", 401],
    ["a long name", () => withBasic(`plant/${"t".repeat(3_000)}`, secrets.tele), "resource-server.unknown", 401],
    ["a slash alone", () => withBasic("/", secrets.tele), "resource-server.unknown", 401],
    ["text that is not form-encoded", () => withBasic("plant%2", secrets.tele), "credential.malformed", 401],
    ["another scheme", () => ask({}, { headers: { authorization: "Digest x" } }), "credential.malformed", 401],
    ["another admin key", () => ask({}, { headers: { authorization: "Bearer wrong" } }), "admin.key", 401],
    ["an empty bearer", () => ask({}, { headers: { authorization: "Bearer" } }), "admin.key", 401],
    ["the key of its namesake", () => asserted(assertionOf("plant/tele", {}, other)), "assertion.signature", 401],
    ["an api without keys", () => asserted(assertionOf("plant/open")), "assertion.signature", 401],
    ["the key of an api that is not there", () => asserted(assertionOf("x/y")), "resource-server.unknown", 401],
    [
      "an issuer that is another api",
      () => asserted(assertionOf("plant/tele", { iss: "zoo/tele" })),
      "assertion.subject",
      401,
    ],
    [
      "a client_id that is another",
      () => asserted(assertionOf("plant/tele"), { client_id: "zoo/tele" }),
      "assertion.subject",
      401,
    ],
    [
      "an assertion for elsewhere",
      () => asserted(assertionOf("plant/tele", { aud: "plant.tele" })),
      "assertion.audience",
      401,
    ],
    [
      "an assertion that has expired",
      () => asserted(assertionOf("plant/tele", { exp: at.clock.now })),
      "assertion.expired",
      401,
    ],
    [
      "an assertion that lives too long",
      () => asserted(assertionOf("plant/tele", { exp: at.clock.now + 301 })),
      "assertion.lifetime",
      401,
    ],
    [
      "a secret beside a certificate",
      () => ask({ client_id: "plant/tele", client_secret: secrets.tele }, { as: pi }),
      "request.malformed",
      400,
    ],
    [
      "the admin key and a secret",
      () => ask({ client_id: "plant/tele", client_secret: secrets.tele }, { headers: adminKey }),
      "request.malformed",
      400,
    ],
    [
      "the admin key and an assertion",
      () =>
        ask({ client_assertion_type: JWT_BEARER, client_assertion: assertionOf("plant/tele") }, { headers: adminKey }),
      "request.malformed",
      400,
    ],
    ["the admin key and a client certificate", () => ask({}, { headers: adminKey, as: pi }), "request.malformed", 400],
    [
      "a secret twice",
      () =>
        ask({ client_id: "plant/tele", client_secret: secrets.tele }, { headers: basic("plant/tele", secrets.tele) }),
      "request.malformed",
      400,
    ],
  ])("%s", async (_, call, reason, status) => {
    const answer = await call();
    expect([at.reason(), answer.status]).toEqual([reason, status]);
    expect(answer.body.toString()).not.toContain("active");
  });

  test("an api in the same words whether it is there or not", async () => {
    const said = [];
    for (const user of ["plant/tele", "plant/none", "none/tele", "plant.none"]) {
      const { status, headers, body } = await withBasic(user, "wrong");
      said.push([status, headers["www-authenticate"], body.toString().replace(/\(id [\w-]+\)/, "")].join());
    }
    expect(new Set(said).size).toBe(1);
  });

  test("an assertion of an api the second time", async () => {
    const once = assertionOf("plant/tele");
    expect((await asserted(once)).status).toBe(200);
    expect([(await asserted(once)).status, at.reason()]).toEqual([401, "assertion.replayed"]);
  });

  test("a client that is disabled, and one whose certificate was revoked", async () => {
    const { secret } = createClient(at.registry, { project: "plant", name: "off", kind: "service" });
    expect((await withBasic("plant.off", secret!)).status).toBe(200);
    setClientEnabled(at.registry, "plant.off", false);
    expect([(await withBasic("plant.off", secret!)).status, at.reason()]).toEqual([401, "client.disabled"]);
    createClient(at.registry, { project: "plant", name: "lost", kind: "device" });
    const lost = await makeDevice(at, "plant.lost");
    expect((await ask({}, { as: lost })).status).toBe(200);
    revokeAll(at.registry, { certificates: [lost.serial] }, { issuer: ISSUER });
    expect([(await ask({}, { as: lost })).status, at.reason()]).toEqual([401, "certificate.revoked"]);
  });
});
