/** Brokers that pass for devices and the reverse, tickets of the one used for the other, and keys that were taken back. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createBrokerTicket } from "../../../broker/registry/broker-tickets.ts";
import { deleteBroker } from "../../../broker/registry/brokers.ts";
import { findCertificate, listCertificates } from "../../../broker/registry/certificates.ts";
import { createClient, deleteClient, findClient, setClientEnabled } from "../../../broker/registry/clients.ts";
import { createTicket } from "../../../broker/registry/tickets.ts";
import { encodeTokenRequest } from "../../../shared/ace.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { makeAuthority } from "../../gate/certificates.ts";
import {
  ACE,
  base64,
  basic,
  countRows,
  cwtAssertion,
  makeCsr,
  makeKey,
  type Answer,
  type Call,
  type Device,
} from "../../authority/fixture.ts";
import { ADMIN, makeBroker, read } from "../../authority/trl-fixture.ts";
import { openGround, toText, type Ground } from "./ground.ts";

let at: Ground;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());
beforeEach(() => {
  at.lines.length = 0;
});

const form = "application/x-www-form-urlencoded";
const enrol = (secret: string, key: Device["privateKey"]): Promise<Answer> =>
  at.call("/.well-known/est/simpleenroll", {
    type: "application/pkcs10",
    body: base64(makeCsr(key)),
    headers: basic("", secret),
  });

describe("a certificate of a broker opens nothing of a client", () => {
  const calls: [string, Call, number][] = [
    ["/token", { type: ACE, body: encodeTokenRequest({ audience: "plant.tele" }) }, 401],
    ["/get-access-token", { type: ACE, body: encodeTokenRequest({ audience: "plant.tele" }) }, 401],
    ["/revoke", { type: form, body: "token=abc" }, 401],
    ["/v1/self", {}, 403],
    ["/v1/brokers", {}, 401],
    ["/v1/keys", {}, 401],
  ];
  test.each(calls)("%s", async (path, call, status) => {
    expect((await at.call(path, { ...call, as: at.broker })).status).toBe(status);
  });

  test("and its key signs no assertion", async () => {
    const body = encodeTokenRequest({ audience: "plant.tele", clientAssertion: cwtAssertion(at.broker, at.clock.now) });
    expect([(await at.call("/token", { type: ACE, body })).status, at.reason()]).toEqual([401, "client.unknown"]);
  });
});

describe("a certificate that is none of ours gets nothing of a broker", () => {
  test.each([["broker:edge"], ["broker:"], ["broker:edge.x"], ["Broker:edge"], ["broker:edge,CN=broker:edge"]])(
    "named %j, by another authority of our name",
    async (name) => {
      const other = await makeAuthority("Postern CA");
      const names = [{ type: "url", value: "urn:postern:broker:edge" } as const];
      const usages = ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"];
      const as = await other.device("plant.pi", { subject: `CN=${name}`, names, usages });
      const answer = await at.call("/revoke/trl?trust=", { as });
      expect(answer.status).toBe(403);
      expect(String(at.reason())).toMatch(/^certificate\./);
    },
  );

  test("and a device sees its own list, whatever it asks for", async () => {
    expect(read(await at.call("/revoke/trl?trust=", { as: at.pi })).trust).toBeUndefined();
  });
});

describe("a ticket", () => {
  test("of a broker makes no device, and that of a device no broker", async () => {
    const { secret } = createBrokerTicket(at.registry, { name: "site" });
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(200);
    const [first] = listCertificates(at.registry, { client: "broker:site" });
    expect(first).toBeDefined();
    const device = createTicket(at.registry, { project: "plant", uses: 1 });
    const before = listCertificates(at.registry).length;
    expect((await enrol(device.secret, makeKey().privateKey)).status).toBe(200);
    const made = listCertificates(at.registry);
    expect(made.length).toBe(before + 1);
    expect(made.filter(({ clientId }) => clientId.startsWith("plant.d-"))).toHaveLength(1);
  });

  const rows: [string, Reason | "internal", (key: ReturnType<typeof makeKey>) => Promise<string> | string][] = [
    [
      "of a client that was deleted, by the key that redeemed it",
      "client.unknown",
      async ({ privateKey }) => {
        createClient(at.registry, { project: "plant", name: "gone", kind: "device" });
        const { secret } = createTicket(at.registry, { project: "plant", client: "gone" });
        await enrol(secret, privateKey);
        deleteClient(at.registry, "plant.gone");
        return secret;
      },
    ],
    [
      "of a client that was deleted, by a new key",
      "client.unknown",
      () => {
        createClient(at.registry, { project: "plant", name: "gone-2", kind: "device" });
        const { secret } = createTicket(at.registry, { project: "plant", client: "gone-2" });
        deleteClient(at.registry, "plant.gone-2");
        return secret;
      },
    ],
    [
      "for many, by a key whose certificate was revoked",
      "certificate.revoked",
      async ({ privateKey, key }) => {
        const { secret } = createTicket(at.registry, { project: "plant", uses: 5 });
        await enrol(secret, privateKey);
        await at.revoke({ certificates: [certificateOf(key.thumbprint)] });
        return secret;
      },
    ],
    [
      "for many, by a key that was revoked as a broker's",
      "certificate.revoked",
      async ({ privateKey, key }) => {
        await enrol(createBrokerTicket(at.registry, { name: "turncoat" }).secret, privateKey);
        await at.revoke({ certificates: [certificateOf(key.thumbprint)] });
        return createTicket(at.registry, { project: "plant", uses: 5 }).secret;
      },
    ],
    [
      "of a broker, by a key that was revoked as a device's",
      "certificate.revoked",
      async ({ privateKey, key }) => {
        await enrol(createTicket(at.registry, { project: "plant", uses: 5 }).secret, privateKey);
        await at.revoke({ certificates: [certificateOf(key.thumbprint)] });
        return createBrokerTicket(at.registry, { name: "convert" }).secret;
      },
    ],
    [
      "of a broker that was deleted",
      "ticket.revoked",
      () => {
        const { secret } = createBrokerTicket(at.registry, { name: "ended" });
        deleteBroker(at.registry, "ended");
        return secret;
      },
    ],
    [
      "for many, by the key of a disabled device that it made",
      "client.disabled",
      async ({ privateKey, key }) => {
        const { secret } = createTicket(at.registry, { project: "plant", uses: 5 });
        await enrol(secret, privateKey);
        setClientEnabled(at.registry, `plant.d-${key.thumbprint.slice(0, 10)}`, false);
        return secret;
      },
    ],
  ];
  test.each(rows)("%s is refused (%s), and nothing is spent or made", async (_what, reason, prepare) => {
    const pair = makeKey();
    const secret = await prepare(pair);
    const used = (): unknown => at.registry.db.prepare("SELECT sum(used) FROM ticket").pluck().get();
    const before = [countRows(at.registry), used()];
    const answer = await enrol(secret, pair.privateKey);
    expect(at.reason()).toBe(reason);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect([countRows(at.registry), used()]).toEqual(before);
  });

  const certificateOf = (thumbprint: string): string =>
    listCertificates(at.registry).find(({ keyThumbprint }) => keyThumbprint === thumbprint)!.serial;
});

describe("what was revoked", () => {
  test("renews nothing: neither its certificate, nor its key under that of another client", async () => {
    const [thief, victim] = [await at.newDevice("thief"), await at.newDevice("victim")];
    await at.revoke({ certificates: [victim.serial] });
    expect([(await at.renew(victim)).status, at.reason()]).toEqual([403, "certificate.revoked"]);
    expect([(await at.renew(victim, makeKey().privateKey)).status, at.reason()]).toEqual([403, "certificate.revoked"]);
    expect([(await at.renew(thief, victim.privateKey)).status, at.reason()]).toEqual([403, "certificate.revoked"]);
    expect((await at.renew(thief)).status).toBe(200);
    expect((await at.renew(at.broker, victim.privateKey)).status).toBe(403);
  });

  test("is found under every spelling of its serial number, once", async () => {
    const { serial } = await at.newDevice("spelt");
    const colons = serial.toUpperCase().match(/../g)!.join(":");
    const answer = await at.revoke({ certificates: [serial, serial.toUpperCase(), `0000${serial}`, colons] });
    expect([answer.status, (JSON.parse(answer.body.toString()) as { certificates: number }).certificates]).toEqual([
      200, 1,
    ]);
    expect(findCertificate(at.registry, serial)!.revokedAt).toBe(at.clock.now);
  });

  test("gives no token by the other ways of its key: assertion, certificate, and a token from before", async () => {
    const device = await at.newDevice("ways");
    const token = await at.getToken(device);
    const assertion = cwtAssertion(device, at.clock.now);
    await at.revoke({ certificates: [device.serial] });
    const body = encodeTokenRequest({ audience: "plant.tele", clientAssertion: assertion });
    expect((await at.call("/token", { type: ACE, body })).status).toBe(401);
    expect((await at.ask(device)).status).toBe(401);
    const own = await at.call("/revoke", { type: form, body: `token=${toText(token)}`, as: device });
    expect([own.status, at.reason()]).toEqual([401, "certificate.revoked"]);
  });

  test("a token of another is not to be taken back, whoever asks but the administrator", async () => {
    const [one, two] = [await at.newDevice("one"), await at.newDevice("two")];
    const body = `token=${toText(await at.getToken(one))}`;
    const stranger = [
      await at.call("/revoke", { type: form, body, as: two }),
      await at.call("/revoke", { type: form, body, headers: basic("plant.board", at.secret) }),
      await at.call("/revoke", { type: form, body, headers: { authorization: "Bearer x" } }),
      await at.call("/revoke", { type: form, body, as: at.broker }),
      await at.call("/revoke", { type: form, body }),
    ];
    expect(stranger.map(({ status }) => status >= 400)).toEqual([true, true, true, true, true]);
    expect(at.registry.db.prepare("SELECT count(*) FROM revoked_token WHERE client = 'plant.one'").pluck().get()).toBe(
      0,
    );
    expect((await at.call("/revoke", { type: form, body, headers: ADMIN })).status).toBe(200);
  });

  test("a deleted client's name and a deleted broker's stay taken", async () => {
    createClient(at.registry, { project: "plant", name: "once", kind: "device" });
    await makeBroker(at, "once");
    deleteClient(at.registry, "plant.once");
    deleteBroker(at.registry, "once");
    const client = await at.admin("/v1/projects/plant/clients", { name: "once", kind: "device" });
    const broker = await at.admin("/v1/brokers/once/tickets", {});
    expect([client.status, broker.status, findClient(at.registry, "plant.once")]).toEqual([409, 409, undefined]);
  });
});
