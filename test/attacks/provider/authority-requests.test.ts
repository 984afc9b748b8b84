/** Requests that are made to be taken for something else, to come together, to meet a full disk, or to cost much. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createApi } from "../../../broker/registry/apis.ts";
import { assertUnspent, spendAssertion, spendProof } from "../../../broker/registry/assertions.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { openRegistry } from "../../../broker/registry/open-registry.ts";
import { revokeAll } from "../../../broker/registry/revocations.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { readDpopProof } from "../../../shared/dpop.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { parsePermission } from "../../../shared/scope.ts";
import {
  basic,
  countRows,
  furnish,
  ISSUER,
  makeDevice,
  openFixture,
  type Answer,
  type Call,
} from "../../authority/fixture.ts";
import { assertionFields, FORM, formCall, jsonCall, openProver, readJson, toForm } from "../../authority/http-apis.ts";
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

describe("a DPoP proof", () => {
  const inBody = (): Record<string, string> => ({ client_id: "plant.board", client_secret: at.secrets.board });
  const ask = (dpop: string, path = "/token", body: object = {}): Promise<Answer> =>
    at.call(path, jsonCall({ audience: "plant.web", ...inBody(), ...body }, { dpop }));

  test.each<[string, (prover: ReturnType<typeof openProver>) => Promise<Answer>, Reason]>([
    ["of the one path at the other", (prover) => ask(prover.prove(), "/get-access-token"), "dpop.url"],
    ["of nothing, where a bearer token would do", () => ask(""), "dpop.malformed"],
    [
      "beside a key that was not proven",
      (p) => ask(p.prove(), "/token", { req_cnf: { jwk: toJwk(at.cart.key) } }),
      "request.key",
    ],
    [
      "with the number of one before, at another time",
      async (prover) => {
        const id = Buffer.from("once");
        expect((await ask(prover.prove({ id }))).status).toBe(200);
        return ask(prover.prove({ id, nowSeconds: at.clock.now + 1 }));
      },
      "dpop.replayed",
    ],
  ])("%s gets no token", async (_name, tried, reason) => {
    const answer = await tried(openProver(at.clock));
    expect([answer.status, at.reason(), readJson(answer)["access_token"]]).toEqual([400, reason, undefined]);
  });
});

describe("names of members of every object", () => {
  const jwk = (): object => toJwk(at.cart.key);
  test.each<[string, () => Call, number, Reason]>([
    [
      "the credential in a prototype",
      () => ({ body: `{"__proto__":{"client_id":"plant.board","client_secret":"${at.secrets.board}"},"token":"x"}` }),
      401,
      "credential.missing",
    ],
    [
      "the credential in a constructor",
      () => ({ body: `{"constructor":{"prototype":{"client_id":"plant.board"}},"token":"x"}` }),
      401,
      "credential.missing",
    ],
    [
      "a key in the prototype of a key",
      () => ({
        body: `{"req_cnf":{"jwk":{"__proto__":${JSON.stringify(jwk())}}},"token":"x"}`,
        headers: basic("plant.board", at.secrets.board),
      }),
      400,
      "key.type",
    ],
    [
      "the same member twice, once escaped",
      () => ({
        body: `{"audience":"plant.web","audi\\u0065nce":"plant.open","token":"x","tok\\u0065n":"y"}`,
        headers: basic("plant.board", at.secrets.board),
      }),
      400,
      "request.malformed",
    ],
    ["a list", () => ({ body: "[]" }), 400, "request.malformed"],
    ["a list of names and values", () => ({ body: `[["token","x"]]` }), 400, "request.malformed"],
  ])("%s", async (_name, call, status, reason) => {
    const before = countRows(at.registry);
    for (const path of reason === "key.type" ? ["/token"] : ["/token", "/introspect", "/revoke"]) {
      at.lines.length = 0;
      const answer = await at.call(path, { type: "application/json", ...call() });
      expect([path, answer.status, at.reason()]).toEqual([path, status, reason]);
    }
    expect(countRows(at.registry)).toEqual(before);
    expect(({} as Record<string, unknown>)["client_id"]).toBeUndefined();
  });

  test.each(["__proto__=x", "constructor=x&hasOwnProperty=y", "toString=1"])(
    "in a form are ignored: %s",
    async (more) => {
      const body = `grant_type=client_credentials&audience=plant.web&${more}`;
      expect(
        (await at.call("/token", { type: FORM, body, headers: basic("plant.board", at.secrets.board) })).status,
      ).toBe(200);
    },
  );
});

describe("a connection that outlives its certificate", () => {
  test.each(["/introspect", "/revoke", "/token"])("gets nothing more at %s", async (path) => {
    const name = `lost${path.slice(1)}`;
    createClient(at.registry, { project: "plant", name, kind: "device", roles: ["sensor"] });
    const device = await makeDevice(at, `plant.${name}`);
    const ask = () => at.call(path, { ...formCall({ token: "x" }), as: device });
    expect((await ask()).status).toBe(200);
    revokeAll(at.registry, { certificates: [device.serial] }, { issuer: ISSUER });
    expect(at.said(await ask())).toEqual([401, "invalid_client", "certificate.revoked"]);
  });

  test("is answered in order, and a token that it takes back is not active in the question behind that", async () => {
    const token = await at.boardToken();
    const request = (path: string): string => {
      const body = toForm({ token });
      const { authorization } = basic("plant.board", at.secrets.board);
      return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Type: ${FORM}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    };
    const socket = connectTls({ port: at.authority.port, host: "127.0.0.1", ca: at.ca.caPem, servername: "localhost" });
    await once(socket, "secureConnect");
    let text = "";
    const over = new Promise<void>((resolve) => {
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (text.includes(inactive)) socket.end();
      });
      socket.on("close", () => resolve());
    });
    socket.write(request("/introspect") + request("/revoke") + request("/introspect"));
    await over;
    expect(text.match(/HTTP\/1\.1 \d+|"active":\w+/g)).toEqual([
      "HTTP/1.1 200",
      expect.stringMatching(/"active":/),
      "HTTP/1.1 200",
      "HTTP/1.1 200",
      '"active":false',
    ]);
  });
});

describe("requests that are committed together", () => {
  test("fail by themselves", async () => {
    const prover = openProver(at.clock);
    const proof = prover.prove();
    const before = countRows(at.registry);
    const ask = (body: object, dpop?: string): Promise<Answer> =>
      at.call(
        "/token",
        jsonCall(
          { audience: "plant.web", client_id: "plant.board", client_secret: at.secrets.board, ...body },
          dpop === undefined ? {} : { dpop },
        ),
      );
    const answers = await Promise.all([
      ask({}),
      ask({ scope: "admin" }),
      ask({}, proof),
      ask({}, proof),
      ask({ audience: "plant.none" }),
      ask({ client_secret: "wrong" }),
      ask({}),
    ]);
    const statuses = answers.map(({ status }) => status);
    // of the two with one proof it is whichever came first
    expect([...statuses.slice(0, 2), ...statuses.slice(2, 4).toSorted((a, b) => a - b), ...statuses.slice(4)]).toEqual([
      200, 400, 200, 400, 400, 401, 200,
    ]);
    const after = countRows(at.registry);
    expect([Number(after["issued"]) - Number(before["issued"])]).toEqual([3]);
    expect([Number(after["assertion"]) - Number(before["assertion"])]).toEqual([1]);
  });
});

describe("a restart", () => {
  test("makes no proof and no assertion good again", () => {
    const dir = mkdtempSync(join(tmpdir(), "postern-restart-"));
    const nowSeconds = (): number => at.clock.now;
    const open = () => openRegistry({ file: join(dir, "db"), sink: createMemoryTrust({ issuer: ISSUER }), nowSeconds });
    const prover = openProver(at.clock);
    const proof = readDpopProof(prover.prove());
    const id = Buffer.from("once");
    try {
      const before = open();
      before.append(() => {
        spendProof(before, proof);
        spendAssertion(before, "plant.pi", id, at.clock.now + 300);
      });
      before.close();
      const after = open();
      const refusal = (reason: Reason): unknown => expect.objectContaining({ reason });
      expect(() => spendProof(after, proof)).toThrow(refusal("dpop.replayed"));
      expect(() => assertUnspent(after, "plant.pi", id)).toThrow(refusal("assertion.replayed"));
      expect(() => spendAssertion(after, "plant.pi", id, 0)).toThrow(refusal("assertion.replayed"));
      spendProof(after, readDpopProof(prover.prove()));
      after.close();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

describe("a full disk", () => {
  test("keeps no api from asking by its secret, spends nothing, and gives no token", async () => {
    const own = await openFixture();
    try {
      const { secret } = furnish(own.registry);
      const device = await makeDevice(own, "plant.pi");
      const { secret: tele } = createSecret(own.registry, { project: "plant", api: "tele" });
      const { db } = own.registry;
      db.pragma(`max_page_count = ${Number(db.pragma("page_count", { simple: true }))}`);
      const fill = (row: string, value: string | number): void => {
        const insert = db.prepare(row);
        expect(() => {
          for (;;) insert.run(value);
        }).toThrow("full");
      };
      for (const length of [2_000, 200, 20]) {
        fill("INSERT INTO audit (at, event, actor, facts) VALUES (0, 'filled', 'test', ?)", "x".repeat(length));
      }
      // none of them has expired: those that have go with the next one, which then has room
      const exp = own.clock.now + 3600;
      fill("INSERT INTO assertion (client, id, exp) VALUES ('plant.pi', randomblob(8), ?)", exp);
      const ask = (fields: Record<string, string>, headers?: Record<string, string>) =>
        own.call("/introspect", formCall({ token: "x", ...fields }, headers));
      const assertion = assertionFields(device, own.clock.now);
      const bySecret = await ask({}, basic("plant/tele", tele));
      expect([bySecret.status, bySecret.body.toString()]).toEqual([200, inactive]);
      // in any order: they come on connections of their own
      const statuses = await Promise.all([
        own.call("/token", formCall({}, basic("plant.board", secret))),
        own.call("/token", formCall(assertion)),
        ask(assertion),
      ]);
      expect(statuses.map(({ status }) => status)).toEqual([507, 507, 507]);
      expect(own.reason()).toBe("storage.failed");
      db.pragma("max_page_count = 1000000");
      expect((await ask(assertion)).status).toBe(200);
      expect((await ask(assertion)).status).toBe(401);
    } finally {
      await own.close();
    }
  });
});

describe("roles of as many permissions as one client may have", () => {
  const admin = { authorization: "Bearer admin-key" };
  const v1 = (method: string, path: string, body: object): Promise<Answer> =>
    at.call(`/v1/projects/evil/${path}`, { ...jsonCall(body, admin), method });
  /** Each meets many of the others on a long way, and covers none of them. */
  const worst = (n: number): string => {
    const [half, bits] = [n < 128, (n % 128).toString(2).padStart(7, "0")];
    const first = bits.split("").map((bit) => (half && bit === "1" ? "+" : "a"));
    return ["evil", ...first, ...Array<string>(20).fill("a"), `x${n}`].join("/");
  };
  const createRoles = (api: string, permission: (n: number) => string): string[] =>
    Array.from({ length: 4 }, (_, role) => {
      const permissions = Array.from({ length: 64 }, (_, n) => parsePermission(permission(64 * role + n)));
      return createRole(at.registry, { project: "evil", api, name: `${api}${role}`, permissions }).name;
    });
  const scopeOf = (filters: readonly string[]): string =>
    Buffer.from(JSON.stringify(filters.map((filter) => [filter, ["sub"]]))).toString("base64url");

  test("stall nobody: not when a client gets them, nor when it asks for a token or about one", async () => {
    const { registry } = at;
    createApi(registry, { project: "evil", name: "wide", kind: "mqtt", topics: ["evil/#"], bearer: true });
    createApi(registry, { project: "evil", name: "deep", kind: "mqtt", topics: ["evil/#"], bearer: true });
    const roles = createRoles("wide", (n) => `sub:evil/+/a${n}`);
    const deep = createRoles("deep", (n) => `pubsub:${worst(n)}/\${name}`);
    const before = process.cpuUsage();
    const { secret } = createClient(registry, { project: "evil", name: "wide", kind: "service", roles });
    const headers = basic("evil.wide", secret!);
    const ask = (audience: string, filters: readonly string[]): Promise<Answer> =>
      at.call("/token", jsonCall({ audience, scope: scopeOf(filters) }, headers));
    const many = Array.from({ length: 150 }, (_, n) => `evil/z${n}/q${n}`);
    at.forget();
    for (let count = 0; count < 3; count++)
      expect(at.said(await ask("evil.wide", many))).toEqual([400, "invalid_scope", "request.scope"]);
    const given = readJson(
      await ask(
        "evil.wide",
        Array.from({ length: 60 }, (_, n) => `evil/z/a${n}`),
      ),
    );
    expect(readJson(await at.introspect(headers, String(given["access_token"])))["active"]).toBe(true);
    for (const held of [deep, deep.slice(1), deep])
      expect((await v1("PATCH", "clients/wide", { roles: held })).status).toBe(200);
    const one = readJson(await ask("evil.deep", [`${worst(0)}/wide`]));
    expect(readJson(await at.introspect(headers, String(one["access_token"])))["active"]).toBe(true);
    expect(at.said(await ask("evil.deep", [`evil/${"+/".repeat(29)}#`]))).toEqual([
      400,
      "invalid_scope",
      "request.scope",
    ]);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(2_000);
  }, 180_000);

  test("stall nobody when hundreds hold them and one becomes narrower, and take up no memory for each", async () => {
    const { registry, trust } = at;
    createApi(registry, { project: "evil", name: "crowd", kind: "mqtt", topics: ["evil/#"] });
    const roles = createRoles("crowd", (n) => `pubsub:${worst(n)}/\${name}`);
    const before = process.cpuUsage();
    registry.change(() => {
      for (let n = 0; n < 300; n++) createClient(registry, { project: "evil", name: `c${n}`, kind: "device", roles });
    });
    const narrower = await v1("PUT", "roles/crowd0", { permissions: [`sub:${worst(0)}/\${name}`] });
    expect(narrower.status).toBe(200);
    expect(trust.client("evil.c299")?.grants?.[0]?.grants).toHaveLength(193);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(2_000);
  }, 180_000);

  test("are not exceeded by one, whoever asks and however", async () => {
    const { registry, trust } = at;
    createApi(registry, { project: "evil", name: "full", kind: "mqtt", topics: ["evil/#"] });
    const roles = createRoles("full", (n) => `sub:evil/\${name}/f${n}`);
    const tiny = { api: "full", permissions: ["sub:evil/tiny"] };
    const longer = Array.from({ length: 64 }, (_, n) => `sub:evil/\${name}/l${n}`);
    const other = longer.map((permission) => `${permission}/o`);
    expect((await v1("POST", "roles", { name: "tiny", ...tiny })).status).toBe(201);
    expect((await v1("POST", "clients", { name: "full", kind: "device", roles })).status).toBe(201);
    const some = [...roles.slice(1), "tiny"];
    expect((await v1("POST", "clients", { name: "some", kind: "device", roles: some })).status).toBe(201);
    expect((await v1("PUT", "roles/tiny", { permissions: longer })).status).toBe(200);
    expect((await v1("PUT", "roles/full1", { permissions: other.slice(1) })).status).toBe(200);
    const also = { name: "also", api: "full", permissions: ["sub:evil/also"] };
    expect((await v1("POST", "roles", also)).status).toBe(201);
    expect((await v1("PATCH", "clients/some", { roles: [...some, "also"] })).status).toBe(200);

    const rows = (): unknown =>
      ["role", "client", "client_role", "ticket", "trust_change"].map((table) =>
        registry.db
          .prepare(`SELECT * FROM ${table} WHERE ${table === "trust_change" ? "1" : "project = 'evil'"}`)
          .all(),
      );
    const told = (): unknown => trust.client("evil.some")?.grants?.[0]?.grants;
    const [kept, allowed] = [rows(), told()];
    at.lines.length = 0;
    expect(allowed).toHaveLength(256);
    for (const [method, path, body] of [
      ["POST", "clients", { name: "more", kind: "service", roles: [...some, "also", "full0"] }],
      ["PATCH", "clients/some", { roles: [...some, "also", "full0"] }],
      ["PATCH", "clients/some", { roles: [...some, "also", "full0"], enabled: false }],
      ["PUT", "roles/full1", { permissions: other }],
      ["PUT", "roles/also", { permissions: ["sub:evil/also", "sub:evil/two"] }],
      ["POST", "tickets", { uses: 1, roles: [...some, "also", "full0"] }],
    ] as const) {
      const answer = await v1(method, path, body);
      expect([method, path, answer.status, at.reason()]).toEqual([method, path, 422, "registry.invalid"]);
    }
    expect([rows(), told()]).toEqual([kept, allowed]);
  });
});
