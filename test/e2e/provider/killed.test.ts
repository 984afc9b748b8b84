/**
 * kill -9 of the authority under all that a provider's side writes at once: registrations, logins, secrets that are made and
 * retired, tokens by private_key_jwt with DPoP, revocations. After each start what was acknowledged is there, once, and what was
 * used up is; the audit log is whole and has a row for each; and no token has the number of another.
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { mintJwtAssertion } from "../../../shared/assertion.ts";
import { openChainCheck, type ChainedRow } from "../../../shared/audit-chain.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { mintDpopProof } from "../../../shared/dpop.ts";
import { createSigner, generatePrivateKey } from "../../../shared/es256.ts";
import { inspectToken } from "../../../shared/token.ts";
import { JWT_BEARER } from "../../authority/fixture.ts";
import { seeded } from "../../fuzz/random.ts";
import { findPorts, makeFolder, openInstallation, type Installation, type Json } from "../fixture.ts";
import { Desk, hashOf, type Answer, type Service } from "../revocation/room.ts";

const rounds = 12;
/** Of one kind so many are acknowledged, at most, before the kill comes; then it comes within so many milliseconds. */
const mostBefore = 2;
const longestMs = 20;
const password = "correct horse battery staple";
const random = seeded(7);

/** An answer to a token request, and what the request brought. */
interface Issued {
  readonly token: string;
  readonly assertion: string;
  readonly proof: string;
}

/** What was acknowledged in a round, and what was asked for at all where that makes a difference. */
class Acknowledged {
  readonly people: { readonly id: string; readonly email: string }[] = [];
  readonly logins: string[] = [];
  readonly loggedOut: string[] = [];
  readonly secrets: { readonly id: string; readonly secret: string }[] = [];
  readonly retired: string[] = [];
  readonly triedToRetire = new Set<string>();
  readonly triedToLogOut = new Set<string>();
  readonly issued: Issued[] = [];
  readonly revoked: string[] = [];
  readonly triedToRevoke = new Set<string>();
}

/** In each round another one decides on the moment. */
const kinds = ["issued", "people", "revoked", "secrets", "loggedOut", "retired"] as const;

const signer = createSigner("", generatePrivateKey());
const ports = findPorts();
let installation: Installation;
let desk: Desk;
let names = 0;

async function open(folder = makeFolder()): Promise<void> {
  // everybody asks as fast as they are answered, and a round lasts as long as the machine needs
  const config = join(folder, "postern.toml");
  writeFileSync(config, "[limits]\ntokens_per_minute = 1_000_000\naccount_wishes_per_hour = 1_000_000\n");
  installation = await openInstallation({ ports: await ports, folder, words: `--config ${config}` });
  desk = new Desk(installation.ready);
}

async function kill(): Promise<void> {
  installation.up.signal("SIGKILL");
  await installation.up.ended();
  desk.close();
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000);
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
const parse = ({ body }: Answer): Json => JSON.parse(body.toString());

function assertion(): string {
  const id = "acme.key";
  const { issuer } = installation.ready;
  return mintJwtAssertion({ iss: id, sub: id, aud: issuer, exp: nowSeconds() + 60, id: randomBytes(16) }, signer);
}

function proof(): string {
  const url = `${installation.ready.issuer}/token`;
  return mintDpopProof({ method: "POST", url, nowSeconds: nowSeconds(), id: randomBytes(16) }, signer);
}

function ask(client_assertion: string, dpop: string): Promise<Answer> {
  const body = { grant_type: "client_credentials", client_assertion_type: JWT_BEARER, client_assertion };
  return desk.send("POST", "/token", { body, headers: { accept: "application/json", dpop } });
}

const register = async (email: string): Promise<Json> => {
  const { invitation } = await desk.json("POST", "/v1/invitations", { email });
  return parse(await desk.send("POST", "/v1/developers", { body: { email, password, invitation }, headers: {} }));
};
const logIn = (email: string): Promise<Answer> =>
  desk.send("POST", "/v1/login", { body: { email, password }, headers: {} });

/** Does everything at once, kills a moment after some of this kind were acknowledged, and ends when nobody is there any more. */
async function load(done: Acknowledged, kind: (typeof kinds)[number]): Promise<void> {
  const most = 1 + random.below(mostBefore);
  const delayMs = random.below(longestMs);
  const acknowledge = <T>(list: T[], one: T): void => {
    list.push(one);
    if (list.length === most && Object.is(list, done[kind]))
      setTimeout(() => installation.up.signal("SIGKILL"), delayMs);
  };
  const lanes: (() => Promise<void>)[] = [
    async () => {
      const email = `p${names++}@example.com`;
      acknowledge(done.people, { id: (await register(email)).id, email });
      const { token } = parse(await logIn(email));
      acknowledge(done.logins, token);
      const { token: second } = parse(await logIn(email));
      acknowledge(done.logins, second);
      done.triedToLogOut.add(token);
      expect((await desk.send("POST", "/v1/logout", { headers: bearer(token) })).status).toBe(204);
      acknowledge(done.loggedOut, token);
    },
    async () => {
      const path = "/v1/projects/acme/clients/rotating/secrets";
      const made = await desk.json("POST", path, {});
      acknowledge(done.secrets, made);
      const oldest = done.secrets.find(({ id }) => !done.triedToRetire.has(id))!;
      if (done.secrets.length - done.retired.length < 3) return;
      done.triedToRetire.add(oldest.id);
      await desk.json("DELETE", `${path}/${oldest.id}`);
      acknowledge(done.retired, oldest.id);
    },
    issue,
    issue,
    async () => {
      const one = done.issued.find(({ token }) => !done.triedToRevoke.has(token));
      if (one === undefined) return issue();
      const { token } = one;
      done.triedToRevoke.add(token);
      await desk.revoke({ tokens: [token] });
      acknowledge(done.revoked, token);
      expect(await desk.json("POST", "/introspect", { token })).toEqual({ active: false });
    },
  ];
  async function issue(): Promise<void> {
    const sent = { assertion: assertion(), proof: proof() };
    const answer = await ask(sent.assertion, sent.proof);
    expect(answer.status).toBe(200);
    acknowledge(done.issued, { ...sent, token: parse(answer).access_token });
  }
  const ends = await Promise.allSettled(
    lanes.map(async (lane) => {
      for (;;) await lane();
    }),
  );
  // each because nobody was there any more
  for (const end of ends) expect((end as PromiseRejectedResult).reason).toHaveProperty("code");
}

/** Why an answer is what it is, by the id that it names. */
async function reasonOf(answer: Answer): Promise<unknown> {
  const [, id] = /\(id ([\w-]{12})\)/.exec(answer.body.toString()) ?? [];
  return (await desk.json("GET", `/v1/refusals/${id}`)).reason;
}

async function check(done: Acknowledged): Promise<void> {
  expect(await Promise.all(done.people.map(async ({ email }) => (await logIn(email)).status))).toEqual(
    done.people.map(() => 200),
  );
  for (const token of done.logins) {
    if (done.triedToLogOut.has(token)) continue;
    expect((await desk.send("GET", "/v1/me", { headers: bearer(token) })).status).toBe(200);
  }
  for (const token of done.loggedOut) {
    expect((await desk.send("GET", "/v1/me", { headers: bearer(token) })).status).toBe(401);
  }
  const rotating = (secret: string): Service => ({ id: "acme.rotating", secret });
  for (const { id, secret } of done.secrets) {
    if (!done.triedToRetire.has(id)) expect((await desk.askToken(rotating(secret))).status).toBe(200);
  }
  for (const { id, secret } of done.secrets.filter((one) => done.retired.includes(one.id)).slice(-3)) {
    const refused = await desk.askToken(rotating(secret));
    expect([id, refused.status, await reasonOf(refused)]).toEqual([id, 401, "secret.retired"]);
  }
  await Promise.all(
    done.issued.map(async ({ token }) => {
      const told = await desk.json("POST", "/introspect", { token });
      if (done.revoked.includes(token)) expect(told).toEqual({ active: false });
      else if (!done.triedToRevoke.has(token)) expect(told).toMatchObject({ active: true });
    }),
  );
  // the last ones, which the journal holds and the file does not
  for (const { assertion: used, proof: usedProof } of done.issued.slice(-2)) {
    expect(await reasonOf(await ask(used, proof()))).toBe("assertion.replayed");
    expect(await reasonOf(await ask(assertion(), usedProof))).toBe("dpop.replayed");
  }
}

/** The whole log, which is a chain. */
async function readLog(): Promise<readonly ChainedRow[]> {
  const rows: ChainedRow[] = [];
  const chain = openChainCheck();
  for (let after: string | undefined = "0"; after !== undefined;) {
    const page: Json = await desk.json("GET", `/v1/audit?limit=1000&after=${after}`);
    for (const row of page.items as ChainedRow[]) {
      expect(chain.take(row)).toBeUndefined();
      rows.push(row);
    }
    after = page.next;
  }
  return rows;
}

it(`keeps what it acknowledged under load, ${rounds} times`, { timeout: 300_000 }, async () => {
  await open();
  await desk.makeProject("acme");
  await desk.json("POST", "/v1/projects/acme/apis", { name: "web", kind: "http", scopes: ["read"] });
  await desk.json("POST", "/v1/projects/acme/apis", { name: "open", kind: "http", scopes: ["read"], bearer: true });
  for (const api of ["web", "open"]) {
    await desk.json("POST", "/v1/projects/acme/roles", { name: api, api, scopes: ["read"] });
  }
  const client = { name: "key", kind: "service", roles: ["web"], keys: [toJwk(signer.publicKey)] };
  await desk.json("POST", "/v1/projects/acme/clients", client);
  await desk.makeService("acme.rotating", ["open"]);

  const all: Acknowledged[] = [];
  for (let round = 0; round < rounds; round++) {
    const done = new Acknowledged();
    all.push(done);
    const { folder } = installation;
    await load(done, kinds[round % kinds.length]!);
    await kill();
    await open(folder);
    await check(done);
    // five are good at a time: room for the next round
    for (const { id } of (await desk.json("GET", "/v1/projects/acme/clients/rotating/secrets")).items) {
      await desk.json("DELETE", `/v1/projects/acme/clients/rotating/secrets/${id}`);
    }
  }

  const log = await readLog();
  expect(await installation.run("audit verify --json")).toMatchObject({ exitCode: 0 });
  const rowsOf = (event: string): Json[] =>
    log.filter((row) => row.event === event).map((row) => ({ ...row, ...JSON.parse(row.facts ?? "{}") }));
  /** Each acknowledged one has its row, and none has two. */
  const expectOnce = (event: string, nameOf: (row: Json) => string, acknowledged: readonly string[]): void => {
    const names = rowsOf(event).map(nameOf);
    expect(new Set(names).size).toBe(names.length);
    expect(acknowledged.filter((name) => !names.includes(name))).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(1);
  };
  const idOf = (token: string): string => Buffer.from(inspectToken(token).claims.id).toString("hex");
  const tokens = all.flatMap(({ issued }) => issued.map(({ token }) => token));
  expect(new Set(tokens.map(idOf)).size).toBe(tokens.length);
  expectOnce("token.issued", ({ cti }) => cti, tokens.map(idOf));
  expectOnce("token.revoked", ({ hash }) => hash, all.flatMap(({ revoked }) => revoked).map(hashOf));
  expectOnce(
    "secret.created",
    ({ secret }) => secret,
    all.flatMap(({ secrets }) => secrets).map(({ id }) => id),
  );
  expectOnce(
    "secret.retired",
    ({ secret }) => secret,
    all.flatMap(({ retired }) => retired),
  );
  expectOnce(
    "developer.registered",
    ({ subject }) => subject,
    all.flatMap(({ people }) => people).map(({ id }) => id),
  );
  expect(rowsOf("developer.logged-out").length).toBeGreaterThanOrEqual(
    all.flatMap(({ loggedOut }) => loggedOut).length,
  );

  // and what was not acknowledged is done as a whole or not at all
  const people = (await desk.json("GET", "/v1/developers")).items.map(({ id }: Json) => id);
  expect(new Set(people)).toEqual(new Set(rowsOf("developer.registered").map(({ subject }) => subject)));
  const listed = await desk.listed();
  expect(new Set(rowsOf("token.revoked").map(({ hash }) => hash))).toEqual(listed);
  expect((await installation.up.stop()).exitCode).toBe(0);
});
