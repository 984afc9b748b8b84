/**
 * What a developer can do to the project of another with nothing but their own: by many changes at a time, by refusals of many
 * clients, and by clients and apis that all wait. The keeper of the zoo attacks; the farm goes on.
 */
import { Agent, request } from "node:https";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { recordAtGate } from "../../../broker/record-at-gate.ts";
import { createApi } from "../../../broker/registry/apis.ts";
import { findRefusal } from "../../../broker/registry/audit.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { createLogin } from "../../../broker/registry/logins.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { refusalRates } from "../../../broker/registry/refusals.ts";
import { basic } from "../../authority/fixture.ts";
import { openStalled, patienceMs } from "../revocation/ground.ts";
import { openGround, type Ground } from "./ground.ts";

let at: Ground;
beforeEach(async () => {
  at = await openGround();
});
afterEach(() => at.close());

test("many changes at a time do not stand before a token", async () => {
  const r = at.registry;
  createApi(r, { project: "farm", name: "open", kind: "http", scopes: ["read"], bearer: true });
  createRole(r, { project: "farm", name: "reader", api: "open", scopes: ["read"] });
  const { secret } = createClient(r, { project: "farm", name: "till", kind: "service", roles: ["reader"] });
  const login = createLogin(r, at.keeper.id).token;
  const agent = new Agent({ keepAlive: true, ca: at.ca.caPem });
  const ask = (path: string, body?: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const sent = request({
        host: "localhost",
        port: at.authority.port,
        family: 4,
        agent,
        path,
        method: body === undefined ? "GET" : "PATCH",
        headers: { authorization: `Bearer ${login}`, "content-type": "application/json" },
      });
      sent.on("error", reject);
      sent.on("response", (answer) => {
        answer.resume().on("end", () => resolve(answer.statusCode!));
      });
      sent.end(body);
    });
  const getToken = (): Promise<number> =>
    at
      .call("/token", {
        type: "application/x-www-form-urlencoded",
        body: "grant_type=client_credentials&audience=farm.open",
        headers: basic("farm.till", secret!),
      })
      .then(({ status }) => status);
  // connections that are open, so that all requests arrive together
  await Promise.all([getToken(), ...Array.from({ length: 60 }, () => ask("/healthz"))]);
  const order: string[] = [];
  const note = (what: string) => (status: number) => void order.push(`${what} ${status}`);
  const changes = Array.from({ length: 60 }, (_, n) =>
    ask("/v1/projects/zoo/clients/their-client", JSON.stringify({ enabled: n % 2 === 0 })).then(note("change")),
  );
  await Promise.all([...changes, getToken().then(note("token"))]);
  agent.destroy();
  expect(order).toContain("token 200");
  const after = order.slice(order.indexOf("token 200")).filter((answer) => answer === "change 200");
  expect(after.length).toBeGreaterThan(0);
});

test("refusals of many clients leave those of another project their rows", async () => {
  const refuse = (subject: string, id: string): void =>
    recordAtGate(at.registry, {
      at: "publish",
      reason: "publish.topic",
      id,
      detail: "",
      address: "192.0.2.1",
      subject,
      clientId: subject,
      topic: "a",
    });
  for (let n = 0; n < 1_500; n++) refuse(`zoo.c${n % 60}`, `evil${n}`);
  const ids = Array.from({ length: 20 }, (_, n) => `home${n}`);
  for (const id of ids) refuse("farm.own-client", id);
  await vi.waitFor(() => expect(findRefusal(at.registry, "evil0")).toBeDefined(), patienceMs);
  expect(ids.filter((id) => findRefusal(at.registry, id) === undefined)).toEqual([]);
  const rows = at.registry.db.prepare("SELECT count(*) FROM audit WHERE refusal_id IS NOT NULL").pluck().get();
  expect(rows).toBe(refusalRates.known.all.burst / 2 + 20);
});

test.each<[what: string, count: number, perOne: number, secretOf: (project: string, name: string) => string]>([
  [
    "apis",
    16,
    64,
    (project, api) => {
      createApi(at.registry, { project, name: api, kind: "http", scopes: ["read"] });
      return `${project}/${api} ${createSecret(at.registry, { project, api }).secret}`;
    },
  ],
  [
    "clients",
    125,
    8,
    (project, name) => {
      const { secret } = createClient(at.registry, { project, name, kind: "service" });
      return `${project}.${name} ${secret}`;
    },
  ],
])(
  "%s of one project that wait leave places to those of another",
  async (_, count, perOne, secretOf) => {
    const query = "/revoke/trl?diff=0";
    const headersOf = (project: string, name: string): Record<string, string> => {
      const [user, secret] = secretOf(project, name).split(" ");
      return basic(user!, secret!);
    };
    const hogs = await Promise.all(
      Array.from({ length: count }, async (_hog, n) => {
        const { authorization } = headersOf("zoo", `hog-${n}`);
        const one = [`GET ${query} HTTP/1.1`, "Host: localhost", `Authorization: ${authorization}`, "Prefer: wait=60"];
        return openStalled(at, [...one, "", ""].join("\r\n").repeat(perOne));
      }),
    );
    const isHeld = async (headers: Record<string, string>): Promise<boolean> => {
      const answer = await at.call(query, { headers: { ...headers, prefer: "wait=1" } });
      return answer.headers["preference-applied"] !== undefined;
    };
    const [late, own] = [headersOf("zoo", "late"), headersOf("farm", "own")];
    // the zoo has all that it gets
    await vi.waitFor(async () => expect(await isHeld(late)).toBe(false), patienceMs);
    expect(await Promise.all([isHeld(own), isHeld(own), isHeld(own)])).toEqual([true, true, true]);
    for (const socket of hogs) socket.destroy();
  },
  60_000,
);
