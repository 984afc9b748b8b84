/** What a log, the audit log and a refusal say of what was presented: never the thing itself, and always an id. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createBrokerTicket } from "../../../broker/registry/broker-tickets.ts";
import { createTicket } from "../../../broker/registry/tickets.ts";
import { encodeTokenRequest } from "../../../shared/ace.ts";
import { decodeTrlProblem } from "../../../shared/trl.ts";
import { ACE, base64, basic, cwtAssertion, makeCsr, makeKey, type Answer, type Call } from "../../authority/fixture.ts";
import { ADMIN } from "../../authority/trl-fixture.ts";
import { openGround, toText, type Ground } from "./ground.ts";

let at: Ground;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());

const form = "application/x-www-form-urlencoded";
const est = "/.well-known/est/simpleenroll";

test("no secret, token or key is in the log or the audit log, whatever was done with it", async () => {
  const device = await at.newDevice("quiet");
  const token = await at.getToken(device);
  const assertion = cwtAssertion(device, at.clock.now);
  const ticket = createTicket(at.registry, { project: "plant", uses: 2 });
  const broker = createBrokerTicket(at.registry, { name: "edge" });
  const csr = base64(makeCsr(makeKey().privateKey));
  const enrol = (secret: string, user = ""): Promise<Answer> =>
    at.call(est, { type: "application/pkcs10", body: csr, headers: basic(user, secret) });
  await enrol(ticket.secret);
  await enrol(ticket.secret, "user");
  await enrol(broker.secret);
  await enrol(`${broker.secret}x`);
  await at.call("/token", { type: ACE, body: encodeTokenRequest({ audience: "none", clientAssertion: assertion }) });
  await at.call("/v1/self", { headers: basic("plant.board", `${at.secret}x`) });
  await at.call("/v1/self", { headers: basic("plant.nobody", at.secret) });
  await at.call("/v1/keys", { headers: { authorization: "Bearer admin-key-x" } });
  await at.call(`/revoke/trl?trust=${toText(token)}&diff=${at.secret}`, { headers: ADMIN });
  await at.call(`/v1/none?key=${at.secret}`, { headers: ADMIN });
  for (const headers of [ADMIN, basic("plant.board", at.secret)]) {
    await at.call("/revoke", { type: form, body: `token=${toText(token)}`, headers });
    await at.call("/revoke", { type: form, body: `token=${toText(token)}x`, headers });
    await at.call("/revoke", { type: form, body: `${toText(token)}=token`, headers });
  }
  await at.revoke({ tokens: [`${toText(token)}x`] });
  await at.revoke({ tokens: [toText(token)], other: at.secret });
  await at.revoke({ tokens: [toText(token), toText(token).toLowerCase()] });

  const said = JSON.stringify(at.lines);
  const audit = JSON.stringify(at.registry.db.prepare("SELECT * FROM audit").all());
  expect([said.length > 1000, audit.length > 1000]).toEqual([true, true]);
  const key = device.privateKey.export({ type: "pkcs8", format: "pem" }).toString().split("\n")[1]!;
  const spoken = [
    toText(token),
    base64(token),
    toText(assertion),
    ticket.secret,
    broker.secret,
    at.secret,
    "admin-key",
    key,
    csr,
  ];
  for (const secret of spoken) {
    expect([said.includes(secret.slice(0, 24)), audit.includes(secret.slice(0, 24))]).toEqual([false, false]);
  }
  expect(said.toLowerCase()).not.toContain("authorization");
});

const cbor = (answer: Answer): string => decodeTrlProblem(answer.body).detail ?? "";
const text = (answer: Answer): string => answer.body.toString();
const rows: [string, Call, (answer: Answer) => string][] = [
  ["/revoke/trl", {}, cbor],
  ["/revoke/trl", { headers: { authorization: "Bearer x" } }, cbor],
  ["/revoke/trl", { headers: { authorization: "Basic !" } }, cbor],
  ["/revoke/trl", { body: "x", type: form }, cbor],
  ["/revoke/trl", { method: "DELETE" }, cbor],
  ["/revoke", {}, text],
  ["/revoke", { body: "", type: form }, text],
  ["/revoke", { body: "token=x", type: form }, text],
  ["/revoke", { body: "token=x&token=y", type: form }, text],
  ["/revoke", { body: "{", type: "application/json" }, text],
  ["/revoke", { body: "\u0000", type: ACE }, text],
  ["/revoke", { body: "x", type: "text/plain" }, text],
  ["/revoke", { body: "x".repeat(20_000), type: form }, text],
  ["/v1/revocations", { body: "{}", type: "application/json" }, text],
  ["/v1/revocations", { body: "{}", type: "application/json", headers: ADMIN }, text],
  ["/v1/revocations", { body: '{"keys":["x"],"keys":[]}', type: "application/json", headers: ADMIN }, text],
  ["/v1/revocations", { body: `{"keys":["${"x".repeat(1 << 20)}"]}`, type: "application/json", headers: ADMIN }, text],
  ["/v1/revocations", { headers: ADMIN }, text],
  ["/v1/brokers/none", { headers: ADMIN }, text],
  ["/v1/brokers/%00", { headers: ADMIN }, text],
  ["/v1/brokers/%zz", { headers: ADMIN }, text],
  ["/v1/brokers/a%2Fb/tickets", { body: "{}", type: "application/json", headers: ADMIN }, text],
  ["/v1/brokers/x/tickets/y", { headers: ADMIN }, text],
  [
    "/v1/device-authorities/x/crl",
    { method: "PUT", body: '{"crl":"x"}', type: "application/json", headers: ADMIN },
    text,
  ],
  ["/v1/device-authorities", { body: '{"name":"x","ca":"x"}', type: "application/json", headers: ADMIN }, text],
  ["/crl", { method: "PUT" }, text],
];
test.each(rows)("%s: a refusal has an id that the log knows", async (path, call, read) => {
  at.lines.length = 0;
  const answer = await at.call(path, call);
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.status).toBeLessThan(500);
  const { id } = at.lines.findLast(({ msg }) => msg === "refused") as { id: string };
  expect(id).toMatch(/^[\w-]{12}$/);
  expect(read(answer)).toContain(id);
});
