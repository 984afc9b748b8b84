/** Taking back in the very moment in which something is given out, and what was given out before when it comes afterwards. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { listCertificates } from "../../../broker/registry/certificates.ts";
import { createClient, deleteClient, setClientEnabled } from "../../../broker/registry/clients.ts";
import { listIssued } from "../../../broker/registry/issued.ts";
import { revokeAll } from "../../../broker/registry/revocations.ts";
import { isListed } from "../../../broker/registry/revoked-tokens.ts";
import { activeSigner } from "../../../broker/registry/signing-keys.ts";
import { createTicket, revokeTicket } from "../../../broker/registry/tickets.ts";
import { encodeTokenRequest, readTokenResponse } from "../../../shared/ace.ts";
import { encode } from "../../../shared/cbor.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { inspectToken, tokenHashes } from "../../../shared/token.ts";
import {
  ACE,
  base64,
  basic,
  cwtAssertion,
  ISSUER,
  makeCsr,
  makeKey,
  type Answer,
  type Device,
} from "../../authority/fixture.ts";
import { openGround, patienceMs, type Ground } from "./ground.ts";

let at: Ground;
let names = 0;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());
afterEach(() => {
  vi.restoreAllMocks();
});

/** Whether a gate would take the token now. */
function isAlive(token: Uint8Array): boolean {
  const { claims, hashes } = inspectToken(token);
  const client = at.trust.client(claims.sub);
  const number = Number(`0x${Buffer.from(claims.id).toString("hex")}`);
  return (
    !at.trust.isTokenRevoked(hashes) &&
    client?.enabled === true &&
    number > (client.tokensAfter ?? 0) &&
    claims.iat >= at.trust.tokensSince("plant")
  );
}

describe("tokens that are asked for while they are taken back", () => {
  const wishes: [string, (device: Device) => Parameters<typeof revokeAll>[1]][] = [
    ["the client is disabled", ({ id }) => ({ clients: [id] })],
    ["the certificate is revoked", ({ serial }) => ({ certificates: [serial] })],
    ["the signing key is revoked", () => ({ keys: [activeSigner(at.registry).kid] })],
  ];
  test.each(wishes)("%s: each is refused, or dead, or came after", async (what, wish) => {
    const device = await at.newDevice(`racer-${names++}`);
    await at.getToken(device);
    const before = activeSigner(at.registry).kid;
    const asked: Promise<Answer>[] = [];
    for (let i = 0; i < 12; i++) asked.push(at.ask(device));
    // in the turn in which some of them wait for their shared transaction
    const append = vi.spyOn(at.registry, "appendSoon");
    await vi.waitFor(() => expect(append.mock.calls.length).toBeGreaterThan(2), { interval: 0, timeout: patienceMs });
    revokeAll(at.registry, wish(device), { issuer: ISSUER });
    const answers = await Promise.all(asked);
    const given = answers.filter(({ status }) => status === 200).map(({ body }) => readTokenResponse(body).accessToken);
    const issued = listIssued(at.registry, { after: 0, limit: 1000, client: device.id });
    expect(issued).toHaveLength(given.length + 1);
    // of a key that was revoked, another one signed what came after
    const dead = issued.filter(({ kid }) => what !== "the signing key is revoked" || kid === before);
    expect(dead.length).toBeGreaterThan(1);
    expect(dead.filter(({ hash }) => !isListed(at.registry, hash))).toEqual([]);
    expect(given.filter(isAlive)).toHaveLength(issued.length - dead.length);
  });

  test("in one shared transaction a client that gave up its token in the turn before keeps the others", async () => {
    const device = await at.newDevice("shared");
    const [one, two] = await Promise.all([at.getToken(device), at.getToken(device)]);
    const [answer, three] = await Promise.all([at.revoke({ tokens: [tokenHashes(one)[0]] }), at.getToken(device)]);
    expect(answer.status).toBe(200);
    expect([one, two, three].map(isAlive)).toEqual([false, true, true]);
  });

  test("a client that is enabled again within the second gets tokens that live, and none of the old ones does", async () => {
    const device = await at.newDevice("again");
    const old = await at.getToken(device);
    for (let i = 0; i < 3; i++) {
      await at.admin("/v1/projects/plant/clients/again", { enabled: false }, "PATCH");
      await at.admin("/v1/projects/plant/clients/again", { enabled: true }, "PATCH");
    }
    expect([old, await at.getToken(device)].map(isAlive)).toEqual([false, true]);
  });
});

describe("a certificate that is made while something is taken back", () => {
  const renewals: [string, Reason, (device: Device) => void][] = [
    ["its client is disabled", "client.disabled", ({ id }) => void setClientEnabled(at.registry, id, false)],
    ["its client is deleted", "client.unknown", ({ id }) => deleteClient(at.registry, id)],
    [
      "the one before is revoked",
      "certificate.revoked",
      ({ serial }) => void revokeAll(at.registry, { certificates: [serial] }, { issuer: ISSUER }),
    ],
  ];
  test.each(renewals)("%s: the renewal with a new key comes to nothing", async (_what, reason, then) => {
    const device = await at.newDevice(`renewer-${names++}`);
    const issue = at.ca.issueDevice.bind(at.ca);
    vi.spyOn(at.ca, "issueDevice").mockImplementation(async (...asked) => {
      const issued = await issue(...asked);
      then(device);
      return issued;
    });
    const answer = await at.renew(device, makeKey().privateKey);
    expect([answer.status >= 400, at.reason()]).toEqual([true, reason]);
    expect(listCertificates(at.registry, { client: device.id })).toHaveLength(1);
  });

  const enrolments: [string, Reason, (ticket: string, id: string) => void][] = [
    ["the ticket is revoked", "ticket.revoked", (ticket) => revokeTicket(at.registry, ticket)],
    ["the client is disabled", "client.disabled", (_, id) => void setClientEnabled(at.registry, id, false)],
    ["the client is deleted", "client.unknown", (_, id) => deleteClient(at.registry, id)],
  ];
  test.each(enrolments)("%s: the enrolment comes to nothing", async (_what, reason, then) => {
    const name = `enroller-${names++}`;
    createClient(at.registry, { project: "plant", name, kind: "device" });
    const { id, secret } = createTicket(at.registry, { project: "plant", client: name });
    const issue = at.ca.issueDevice.bind(at.ca);
    vi.spyOn(at.ca, "issueDevice").mockImplementation(async (...asked) => {
      const issued = await issue(...asked);
      then(id, `plant.${name}`);
      return issued;
    });
    const body = base64(makeCsr(makeKey().privateKey));
    const answer = await at.call("/.well-known/est/simpleenroll", {
      type: "application/pkcs10",
      body,
      headers: basic("", secret),
    });
    expect([answer.status >= 400, at.reason()]).toEqual([true, reason]);
    expect(listCertificates(at.registry, { client: `plant.${name}` })).toEqual([]);
    expect(at.registry.db.prepare("SELECT used FROM ticket WHERE id = ?").pluck().get(id)).toBe(0);
  });
});

describe("an assertion from before", () => {
  test("that was used is not used again after the client was disabled and enabled", async () => {
    const device = await at.newDevice("asserter");
    const body = encodeTokenRequest({ audience: "plant.tele", clientAssertion: cwtAssertion(device, at.clock.now) });
    const ask = (): Promise<Answer> => at.call("/token", { type: ACE, body });
    expect((await ask()).status).toBe(200);
    setClientEnabled(at.registry, device.id, false);
    expect([(await ask()).status, at.reason()]).toEqual([401, "client.disabled"]);
    setClientEnabled(at.registry, device.id, true);
    expect([(await ask()).status, at.reason()]).toEqual([401, "assertion.replayed"]);
  });

  test("that took back a token takes back and asks for nothing more", async () => {
    const device = await at.newDevice("spender");
    const token = await at.getToken(device);
    const assertion = cwtAssertion(device, at.clock.now);
    const body = Buffer.from(
      encode(
        new Map<number, Uint8Array>([
          [11, token],
          [-65537, assertion],
        ]),
      ),
    );
    expect((await at.call("/revoke", { type: ACE, body })).status).toBe(200);
    expect([(await at.call("/revoke", { type: ACE, body })).status, at.reason()]).toEqual([401, "assertion.replayed"]);
    const request = encodeTokenRequest({ audience: "plant.tele", clientAssertion: assertion });
    expect((await at.call("/token", { type: ACE, body: request })).status).toBe(401);
  });
});
