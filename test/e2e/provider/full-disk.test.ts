/**
 * An authority that cannot write, on the provider's side: what would change something is refused as such and changes nothing,
 * what only reads works, who must be refused is refused for the right reason, and with room again all of it goes on, the audit
 * log whole.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { mintJwtAssertion } from "../../../shared/assertion.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { mintDpopProof } from "../../../shared/dpop.ts";
import { createSigner, generatePrivateKey } from "../../../shared/es256.ts";
import { JWT_BEARER } from "../../authority/fixture.ts";
import { canLimit, canMount, startBounded, startOnFullDisk, type Cramped } from "../cramped.ts";
import { postern, posternJson, type Json, type Outcome } from "../fixture.ts";
import { Desk, type Answer, type Sent } from "../revocation/room.ts";

const password = "correct horse battery staple";
const email = "ada@example.com";

/** What is asked, and what comes of it while nothing can be written. */
type Row = readonly [what: string, cramped: number, roomy: number, ask: () => Promise<Answer>];

async function failAndWorkLater({ running, dataDir, fill, free }: Cramped): Promise<Outcome> {
  const said = await running.stdout.json({ event: "ready" });
  const ready = { ...said, ca: join(dataDir, "ca.pem"), adminKey: join(dataDir, "admin.key") };
  const desk = new Desk(ready);
  const signer = createSigner("", generatePrivateKey());
  await desk.makeProject("acme");
  const at = "/v1/projects/acme";
  await desk.json("POST", `${at}/apis`, { name: "web", kind: "http", scopes: ["read"] });
  await desk.json("POST", `${at}/roles`, { name: "web", api: "web", scopes: ["read"] });
  await desk.makeApi("acme", "tele");
  await desk.json("POST", `${at}/clients`, {
    name: "key",
    kind: "service",
    roles: ["web"],
    keys: [toJwk(signer.publicKey)],
  });
  const one = await desk.makeService("acme.one");
  const [gone, good] = [await desk.token(one), await desk.token(one)];
  await desk.revoke({ tokens: [gone] });
  const api = await desk.json("POST", `${at}/apis/web/secrets`, {});
  const old = await desk.json("POST", `${at}/clients/one/secrets`, {});
  const asApi = (secret: string): Sent => ({
    headers: { authorization: `Basic ${Buffer.from(`acme%2Fweb:${secret}`).toString("base64")}` },
  });

  const anyone = { headers: {} };
  const { invitation } = await desk.json("POST", "/v1/invitations", { email });
  const registered = await desk.send("POST", "/v1/developers", { body: { email, password, invitation }, ...anyone });
  expect(registered.status).toBe(201);
  const next = await desk.json("POST", "/v1/invitations", { email: "bob@example.com" });
  const logIn = (given = password): Promise<Answer> =>
    desk.send("POST", "/v1/login", { body: { email, password: given }, ...anyone });
  const login = async (): Promise<Sent> => {
    const { token } = JSON.parse((await logIn()).body.toString());
    return { headers: { authorization: `Bearer ${token}` } };
  };
  const [ada, leaving] = [await login(), await login()];

  const nowSeconds = Math.floor(Date.now() / 1000);
  const claims = { iss: "acme.key", sub: "acme.key", aud: ready.issuer, exp: nowSeconds + 60, id: randomBytes(16) };
  const body = {
    grant_type: "client_credentials",
    client_assertion_type: JWT_BEARER,
    client_assertion: mintJwtAssertion(claims, signer),
  };
  const dpop = mintDpopProof({ method: "POST", url: `${ready.issuer}/token`, nowSeconds, id: randomBytes(16) }, signer);
  const byAssertion = (): Promise<Answer> => desk.send("POST", "/token", { body, headers: { dpop } });
  const admin = (method: string, path: string, sent?: object) => (): Promise<Answer> =>
    desk.send(method, path, sent === undefined ? {} : { body: sent });

  const rows: readonly Row[] = [
    [
      "registering",
      507,
      201,
      () =>
        desk.send("POST", "/v1/developers", {
          ...anyone,
          body: { email: next.email, password, invitation: next.invitation },
        }),
    ],
    ["logging in", 507, 200, () => logIn()],
    ["logging in with another password", 401, 401, () => logIn("another horse entirely")],
    ["logging out", 507, 204, () => desk.send("POST", "/v1/logout", leaving)],
    ["who one is", 200, 200, () => desk.send("GET", "/v1/me", ada)],
    [
      "another password",
      507,
      204,
      () => desk.send("PUT", "/v1/me/password", { ...ada, body: { password, new_password: `${password} again` } }),
    ],
    ["an api key", 507, 201, () => desk.send("POST", "/v1/me/api-keys", { ...ada, body: { name: "ci" } })],
    ["a project", 507, 201, () => desk.send("POST", "/v1/projects", { ...ada, body: { slug: "mine" } })],
    ["an invitation", 507, 201, admin("POST", "/v1/invitations", { email: "eve@example.com" })],
    ["a secret", 507, 201, admin("POST", `${at}/clients/one/secrets`, {})],
    ["retiring a secret", 507, 204, admin("DELETE", `${at}/clients/one/secrets/${old.id}`)],
    ["keys", 507, 200, admin("PUT", `${at}/apis/web/keys`, { keys: [toJwk(signer.publicKey)] })],
    ["clients", 200, 200, admin("GET", `${at}/clients`)],
    ["the audit log", 200, 200, admin("GET", "/v1/audit")],
    ["a token with a secret", 507, 200, () => desk.askToken(one)],
    ["a token with a wrong secret", 401, 401, () => desk.askToken({ ...one, secret: "wrong" })],
    ["a token with an assertion and a proof", 507, 200, byAssertion],
    ["the same assertion again", 507, 401, byAssertion],
    ["introspection", 200, 200, admin("POST", "/introspect", { token: good })],
    [
      "introspection by an api that was never asked for",
      200,
      200,
      () => desk.send("POST", "/introspect", { ...asApi(api.secret), body: { token: good } }),
    ],
    [
      "introspection with a wrong secret",
      401,
      401,
      () => desk.send("POST", "/introspect", { ...asApi("wrong"), body: { token: good } }),
    ],
    [
      "the list, for an api that asks for the first time",
      507,
      200,
      () => desk.send("GET", "/revoke/trl", asApi(api.secret)),
    ],
    ["taking back in a project", 507, 200, admin("POST", `${at}/revocations`, { tokens: [good] })],
  ];

  /** What is on record, as far as it shows. */
  const readAll = async (): Promise<Json> => {
    const paths = [
      "/v1/developers",
      "/v1/invitations",
      "/v1/projects",
      `${at}/clients/one/secrets`,
      `${at}/apis/web/keys`,
    ];
    const lists = await Promise.all(paths.map(async (path) => (await desk.json("GET", path)).items));
    const keys = await desk.send("GET", "/v1/me/api-keys", ada);
    // refusals that are rows may come when there is room again
    const log = (await desk.json("GET", "/v1/audit?limit=1000")).items.filter(({ reason }: Json) => reason === null);
    return [lists, keys.body.toString(), log, [...(await desk.listed())]];
  };

  await desk.json("POST", "/introspect", { token: good });
  const before = await readAll();
  fill();
  const cramped: [string, number][] = [];
  for (const [what, , , ask] of rows) {
    const { status, body: told } = await ask();
    cramped.push([what, status]);
    if (status === 507) expect(told.toString()).toMatch(/nothing was changed|server_error/);
  }
  expect(cramped).toEqual(rows.map(([what, status]) => [what, status]));
  expect(JSON.parse((await admin("POST", "/introspect", { token: gone })()).body.toString())).toEqual({
    active: false,
  });
  expect(await readAll()).toEqual(before);

  free();
  const roomy: [string, number][] = [];
  for (const [what, , , ask] of rows) roomy.push([what, (await ask()).status]);
  expect(roomy).toEqual(rows.map(([what, , status]) => [what, status]));
  expect(JSON.parse((await admin("POST", "/introspect", { token: good })()).body.toString())).toEqual({
    active: false,
  });
  expect(await posternJson(`audit verify --data ${dataDir}`)).toMatchObject({ ok: true });
  expect(await postern(`doctor --data ${dataDir}`)).toMatchObject({ exitCode: 0 });
  return running.stop();
}

describe("without room nothing is half done, and with room again all of it works", { timeout: 300_000 }, () => {
  it.skipIf(!canMount)("on a file system that is full", async () => {
    expect((await failAndWorkLater(startOnFullDisk())).exitCode).toBe(0);
  });
  it.skipIf(!canLimit)("with files that may not grow", async () => {
    expect((await failAndWorkLater(startBounded())).exitCode).toBe(0);
  });
});
