/** `/v1/brokers`: what an administrator does with brokers elsewhere and their tickets. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { parseTicket } from "../../shared/ticket.ts";
import { base64, basic, ISSUER, makeCsr, makeKey, openFixture, type Answer, type Fixture } from "./fixture.ts";

let at: Fixture;
beforeAll(async () => {
  at = await openFixture();
});
afterAll(() => at.close());

const day = 86_400;

/** Redeems a ticket with a new key. */
function enrol(secret: string): Promise<Answer> {
  const body = base64(makeCsr(makeKey().privateKey));
  return at.call("/.well-known/est/simpleenroll", { type: "application/pkcs10", body, headers: basic("", secret) });
}

interface Answered {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
  readonly location: string | undefined;
}

async function ask(method: string, path: string, body?: object): Promise<Answered> {
  const headers = { authorization: "Bearer admin-key" };
  const sent = body === undefined ? {} : { type: "application/json", body: JSON.stringify(body) };
  const answer = await at.call(path, { method, headers, ...sent });
  const text = answer.body.toString();
  return { status: answer.status, body: text === "" ? "" : JSON.parse(text), location: answer.headers.location };
}

test("a broker comes about by its first ticket, is shown, and goes", async () => {
  const made = await ask("POST", "/v1/brokers/shown/tickets", { hosts: ["mq.example"], ttl_seconds: 60 });
  const expires = new Date((at.clock.now + 60) * 1000).toISOString().replace(".000Z", "Z");
  const { id, secret } = made.body;
  expect(made).toMatchObject({ status: 201, location: `/v1/brokers/shown/tickets/${id}` });
  expect(made.body).toMatchObject({ authority: ISSUER, pin: at.ca.pin, expires, expires_at: at.clock.now + 60 });
  expect(parseTicket(made.body.ticket)).toEqual({ authority: ISSUER, pin: at.ca.pin, secret });

  const { now } = at.clock;
  const shown = { name: "shown", hosts: ["mq.example"], created_at: now, certified_until: null };
  expect(await ask("GET", "/v1/brokers/shown")).toMatchObject({ status: 200, body: shown });
  expect((await ask("GET", "/v1/brokers")).body.items).toContainEqual(shown);
  expect((await enrol(secret)).status).toBe(200);
  expect((await ask("GET", "/v1/brokers/shown")).body.certified_until).toBe(now + 90 * day);

  const ticket = {
    id,
    broker: "shown",
    redeemed: true,
    created_at: now,
    expires,
    expires_at: now + 60,
    revoked: false,
  };
  expect((await ask("GET", "/v1/brokers/shown/tickets")).body).toEqual({ items: [ticket] });
  expect((await ask("GET", made.location!)).body).toEqual(ticket);
  expect((await ask("DELETE", made.location!)).status).toBe(204);
  expect((await ask("GET", made.location!)).body).toEqual({ ...ticket, revoked: true });

  expect((await ask("DELETE", "/v1/brokers/shown")).status).toBe(204);
  expect((await ask("GET", "/v1/brokers/shown")).status).toBe(404);
  expect((await ask("POST", "/v1/brokers/shown/tickets", {})).status).toBe(409);
});

test.each<[string, string, string, object | undefined, number]>([
  ["no broker", "GET", "/v1/brokers/none", undefined, 404],
  ["tickets of no broker", "GET", "/v1/brokers/none/tickets", undefined, 404],
  ["no broker to delete", "DELETE", "/v1/brokers/none", undefined, 404],
  ["a name that is none", "POST", "/v1/brokers/a.b/tickets", {}, 422],
  ["a host that is none", "POST", "/v1/brokers/new/tickets", { hosts: ["a b"] }, 422],
  ["an unknown field", "POST", "/v1/brokers/new/tickets", { host: ["a"] }, 422],
])("refuses %s", async (_name, method, path, body, status) => {
  expect((await ask(method, path, body)).status).toBe(status);
});

test("asks for the admin key", async () => {
  expect((await at.call("/v1/brokers")).status).toBe(401);
  const { privateKey, key } = makeKey();
  const cert = toPem("CERTIFICATE", (await at.ca.issueBroker(key, "edge", [], 1)).der);
  expect((await at.call("/v1/brokers", { as: { privateKey, cert } })).status).toBe(401);
});
