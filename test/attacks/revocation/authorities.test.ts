/** Authorities elsewhere that pass for our own or for one another, and lists that roll back what was revoked. */
import { X509Certificate } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { encodeCrlEntries } from "../../../broker/authority/certificates/crl.ts";
import { toPem } from "../../../broker/authority/certificates/x509.ts";
import {
  listDeviceAuthorities,
  ownAuthorityId,
  removeDeviceAuthority,
} from "../../../broker/registry/device-authorities.ts";
import { nameAuthority } from "../../../shared/device-certificate.ts";
import { makeAuthority as makeOpenAuthority, type OpenAuthority } from "../../authority/crl-maker.ts";
import { derTime } from "../../../broker/authority/certificates/der.ts";
import { extension, extensions, makeCrl, names, entry } from "../../authority/crl-maker.ts";
import { der, integer, sequence } from "../../authority/der.ts";
import type { Answer } from "../../authority/fixture.ts";
import { makeAuthority } from "../../gate/certificates.ts";
import { json, openGround, type Ground } from "./ground.ts";

let at: Ground;
let plant: OpenAuthority;
beforeAll(async () => {
  at = await openGround();
  plant = await makeOpenAuthority();
});
afterAll(() => at.close());
afterEach(() => {
  for (const { name } of listDeviceAuthorities(at.registry)) removeDeviceAuthority(at.registry, name);
});

const root = "/v1/device-authorities";
const add = (name: string, ca: string, needs_crl = true): Promise<Answer> => at.admin(root, { name, ca, needs_crl });
const put = (name: string, crl: Uint8Array): Promise<Answer> =>
  at.admin(`${root}/${name}/crl`, { crl: Buffer.from(crl).toString("base64") }, "PUT");
/** A list with these serials, so many seconds from now. */
const list = (number: number, serials: readonly string[], from = 0): Uint8Array => {
  const { now } = at.clock;
  const entries = encodeCrlEntries(serials.map((serial) => ({ serial, revokedAt: now - 60 })));
  return makeCrl(plant, {
    thisUpdate: Buffer.from(derTime(now + from)),
    nextUpdate: Buffer.from(derTime(now + from + 3600)),
    entries: serials.length === 0 ? Buffer.alloc(0) : sequence(Buffer.from(entries)),
    extensions: extensions(extension(names.number, integer(number))),
  });
};
const isRevoked = (serial: string): boolean =>
  at.trust.isCertificateRevoked(`${nameAuthority(plant.certificate)}:${serial}`);

test("our own CA is not added as one elsewhere, under no name, and its id is never another's", async () => {
  for (const name of ["other", "postern"]) expect((await add(name, at.ca.caPem)).status).toBe(409);
  const copied = await makeAuthority("Postern CA");
  expect((await add("postern", copied.cert)).status).toBe(409);
  expect((await add("twin", copied.cert)).status).toBe(201);
  expect(ownAuthorityId(at.registry)).toBe(nameAuthority(at.ca.caCertificate));
  expect(json(await at.admin(`${root}/twin`))["id"]).not.toBe(ownAuthorityId(at.registry));
  expect((await at.admin(`${root}/postern`, undefined, "DELETE")).status).toBe(404);
  expect((await at.admin(`${root}/postern/crl`, { crl: "AA==" }, "PUT")).status).toBe(404);
});

test("a device of an authority elsewhere is no client at our doors", async () => {
  const other = await makeAuthority("Postern CA");
  await add("twin", other.cert, false);
  const { cert, privateKey } = await other.device("plant.pi");
  expect([(await at.ask({ ...at.pi, cert, privateKey })).status, at.reason()]).toEqual([401, "certificate.untrusted"]);
});

test("a certificate of ours is not revoked by the list of another, though the serials are the same", async () => {
  await add("plant", plant.ca.caPem);
  expect((await put("plant", list(1, [at.pi.serial]))).status).toBe(200);
  expect([isRevoked(at.pi.serial), (await at.ask(at.pi)).status]).toEqual([true, 200]);
});

test("a list that is older by number or by time is refused, and what was revoked stays so", async () => {
  await add("plant", plant.ca.caPem);
  expect((await put("plant", list(7, ["1f", "2"]))).status).toBe(200);
  const older: Uint8Array[] = [list(6, []), list(6, [], 10), list(8, [], -10), list(0, [], -3600)];
  for (const crl of older) expect((await put("plant", crl)).status).toBe(422);
  expect(["1f", "2"].map(isRevoked)).toEqual([true, true]);
});

test("removed and added again, it starts without a list, and where one is needed nobody is let in before", async () => {
  await add("plant", plant.ca.caPem);
  await put("plant", list(7, ["1f"]));
  expect((await at.admin(`${root}/plant`, undefined, "DELETE")).status).toBe(204);
  expect([isRevoked("1f"), at.trust.deviceAuthorities.length]).toEqual([false, 1]);
  await add("plant", plant.ca.caPem);
  const known = at.trust.deviceAuthorities.find(({ id }) => id === nameAuthority(plant.certificate));
  expect([known?.needsList, known?.listEndsAt]).toEqual([true, undefined]);
  await put("plant", list(7, ["1f"]));
  expect(isRevoked("1f")).toBe(true);
});

test("serials twice, of every length, and with zeros in front are what they are", async () => {
  await add("plant", plant.ca.caPem);
  const longest = `7${"f".repeat(41)}`;
  expect((await put("plant", list(1, ["1f", "1f", "001f", longest, "0"]))).status).toBe(200);
  expect(["1f", longest, "0"].map(isRevoked)).toEqual([true, true, true]);
  expect((json(await at.admin(`${root}/plant`))["crl"] as { entries: number }).entries).toBe(3);
  const bad = [
    der(0x02, Buffer.alloc(22, 1)),
    der(0x02, Buffer.from("ff", "hex")),
    der(0x02),
    der(0x02, Buffer.from("001f", "hex")),
  ];
  for (const serial of bad) {
    const crl = makeCrl(plant, {
      entries: sequence(entry(serial)),
      extensions: extensions(extension(names.number, integer(9))),
    });
    expect((await put("plant", crl)).status).toBe(422);
  }
  expect(["1f", longest, "0"].map(isRevoked)).toEqual([true, true, true]);
});

test("what is no list, or another's, changes nothing", async () => {
  await add("plant", plant.ca.caPem);
  await put("plant", list(1, ["1f"]));
  const stranger = await makeOpenAuthority();
  const good = Buffer.from(list(2, []));
  const bad: Uint8Array[] = [
    makeCrl(stranger),
    good.subarray(0, -1),
    Buffer.concat([good, Buffer.of(0)]),
    Buffer.from(at.ca.caDer),
    Buffer.alloc(0),
    Buffer.from("30840fffffff", "hex"),
    new Uint8Array((await at.call("/crl")).body),
  ];
  for (const crl of bad) expect((await put("plant", crl)).status).toBe(422);
  for (const text of ["", " ", "=", "-----BEGIN X509 CRL-----", toPem("CERTIFICATE", at.ca.caDer), "A".repeat(5)]) {
    expect((await at.admin(`${root}/plant/crl`, { crl: text }, "PUT")).status).toBe(422);
  }
  expect(isRevoked("1f")).toBe(true);
});

test("what is no authority is not added", async () => {
  const device = new X509Certificate(at.pi.cert).toString();
  const bad = [
    "",
    device,
    at.ca.caPem + at.ca.caPem,
    `${at.ca.caPem}${device}`,
    at.ca.caPem.replace(/A/g, "B"),
    "-----BEGIN CERTIFICATE-----",
  ];
  for (const ca of bad) expect((await add("bad", ca)).status).toBe(422);
  expect(listDeviceAuthorities(at.registry)).toEqual([]);
});
