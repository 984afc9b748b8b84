/** Authorities elsewhere over HTTP: `/v1/device-authorities` and the lists that are put there. */
import { request } from "node:https";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encodeCrlEntries, issueCrl } from "../../broker/authority/certificates/crl.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { listDeviceAuthorities, removeDeviceAuthority } from "../../broker/registry/device-authorities.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { makeAuthority, type OpenAuthority } from "./crl-maker.ts";
import { openFixture, type Answer, type Call, type Fixture } from "./fixture.ts";

const path = "/v1/device-authorities";
const list = `${path}/plant/crl`;
let at: Fixture;
let plant: OpenAuthority;
beforeAll(async () => {
  at = await openFixture();
  plant = await makeAuthority();
});
afterAll(() => at.close());
beforeEach(() => {
  for (const { name } of listDeviceAuthorities(at.registry)) removeDeviceAuthority(at.registry, name);
});

const headers = { authorization: "Bearer admin-key" };
const send = (to: string, body?: object, more: Call = {}): Promise<Answer> =>
  at.call(to, {
    headers,
    ...(body !== undefined && { body: JSON.stringify(body), type: "application/json" }),
    ...more,
  });
const add = (changed: object = {}): Promise<Answer> => send(path, { name: "plant", ca: plant.ca.caPem, ...changed });
const put = (crl: string): Promise<Answer> => send(list, { crl }, { method: "PUT" });
const json = (answer: Answer): Record<string, unknown> => JSON.parse(answer.body.toString()) as Record<string, unknown>;
const makeList = (serials: readonly string[], number = 1): Promise<Uint8Array> => {
  const { now } = at.clock;
  const entries = encodeCrlEntries(serials.map((serial) => ({ serial, revokedAt: now })));
  return issueCrl(plant.ca, { number, thisUpdate: now, nextUpdate: now + 60, entries });
};

describe("an authority", () => {
  test("is added, listed, shown and removed", async () => {
    const added = await add({ needs_crl: true });
    expect([added.status, added.headers["location"]]).toEqual([201, `${path}/plant`]);
    const expected = {
      id: nameAuthority(plant.certificate),
      name: "plant",
      subject: "CN=Postern CA",
      needs_crl: true,
      crl: null,
      created_at: at.clock.now,
    };
    expect(json(added)).toEqual(expected);
    expect(json(await send(path))).toEqual({ items: [expected] });
    expect(json(await send(`${path}/plant`))).toEqual(expected);
    expect((await send(`${path}/plant`, undefined, { method: "DELETE" })).status).toBe(204);
    expect((await send(`${path}/plant`)).status).toBe(404);
  });

  test.each<[what: string, changed: object, status: number]>([
    ["no certificate", { ca: "plant" }, 422],
    ["a name that is none", { name: "a b" }, 422],
    ["something that is not known", { crl: "" }, 422],
  ])("is refused with %s", async (_, changed, status) => {
    expect((await add(changed)).status).toBe(status);
    expect(listDeviceAuthorities(at.registry)).toEqual([]);
  });

  test("is the administrator's to add", async () => {
    for (const to of [path, `${path}/plant`]) expect((await send(to, undefined, { headers: {} })).status).toBe(401);
    expect((await send(path, { name: "plant", ca: plant.ca.caPem }, { headers: {} })).status).toBe(401);
  });
});

describe("its list", () => {
  beforeEach(() => add());

  test("is taken as PEM and as base64, and is in force", async () => {
    const first = await put(toPem("X509 CRL", await makeList(["1f", "2"])));
    expect(first.status).toBe(200);
    expect(json(first)["crl"]).toEqual({
      number: "1",
      entries: 2,
      this_update: at.clock.now,
      next_update: at.clock.now + 60,
    });
    const id = nameAuthority(plant.certificate);
    expect(at.trust.isCertificateRevoked(`${id}:1f`)).toBe(true);
    const second = await put(Buffer.from(await makeList(["2"], 2)).toString("base64"));
    expect(json(second)["crl"]).toMatchObject({ number: "2", entries: 1 });
    expect(at.trust.isCertificateRevoked(`${id}:1f`)).toBe(false);
  });

  test("may be far larger than other bodies", async () => {
    const serials = Array.from({ length: 20_000 }, (_, index) => (0x7000_0000_0000 + index).toString(16));
    expect(json(await put(toPem("X509 CRL", await makeList(serials))))["crl"]).toMatchObject({ entries: 20_000 });
    expect((await send(path, { name: "other", ca: "x".repeat(20_000) })).status).toBe(413);
  });

  test.each<[what: string, crl: () => string, status: number]>([
    ["what is none", () => "MAA=", 422],
    ["what fills the body", () => "A".repeat(16 * 1024 * 1024 - 100), 422],
    ["quotes that fill the body", () => '"'.repeat(8 * 1024 * 1024 - 100), 422],
    ["more than the body may hold", () => "A".repeat(16 * 1024 * 1024), 413],
  ])("is refused when it is %s", async (_, crl, status) => {
    const before = json(await send(`${path}/plant`));
    expect((await put(crl())).status).toBe(status);
    expect(json(await send(`${path}/plant`))).toEqual(before);
  });

  test("is not taken for an authority that is not there", async () => {
    const body = { crl: toPem("X509 CRL", await makeList([])) };
    expect((await send(`${path}/other/crl`, body, { method: "PUT" })).status).toBe(404);
  });

  test("is not even read without the key", async () => {
    const status = await new Promise((resolve, reject) => {
      const { port } = at.authority;
      const sized = { "content-type": "application/json", "content-length": 16 * 1024 * 1024 };
      const outgoing = request({
        host: "localhost",
        port,
        family: 4,
        ca: at.ca.caPem,
        path: list,
        method: "PUT",
        headers: sized,
      });
      outgoing.on("response", (response) => {
        resolve(response.statusCode);
        outgoing.destroy();
      });
      outgoing.on("error", reject);
      // the head alone: an answer to it can only come from who does not wait for the rest
      outgoing.flushHeaders();
    });
    expect(status).toBe(401);
  });
});
