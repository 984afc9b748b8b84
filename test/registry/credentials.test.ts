/** What is recorded of credentials: certificates, signing keys, used assertions, issued tokens, the audit log. */
import { describe, expect, it } from "vitest";
import { assertUnspent, spendAssertion } from "../../broker/registry/assertions.ts";
import { audit, listAudit } from "../../broker/registry/audit.ts";
import {
  findCertificate,
  listCertificates,
  liveCertificateKeys,
  recordCertificate,
} from "../../broker/registry/certificates.ts";
import { createClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { nextTokenId, recordIssued } from "../../broker/registry/issued.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { activeSigner, ensureSigningKey, publishedKeys } from "../../broker/registry/signing-keys.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { verifyEs256 } from "../../shared/es256.ts";
import { refusal, newKey, NOW, openFarm, openFixture } from "./fixture.ts";

const der = new Uint8Array([0x30, 0]);
const id = (text: string): Uint8Array => Buffer.from(text);
const count = (r: Registry, table: string): unknown => r.db.prepare(`SELECT count(*) FROM ${table}`).pluck().get();

function record(r: Registry, serial: string, key: PublicKey, notBefore = NOW, notAfter = NOW + 100): void {
  recordCertificate(r, { serial, clientId: "farm.pi-1", key, notBefore, notAfter, der });
}

describe("certificates", () => {
  it("are found by their serial however it is written, and not before they are recorded", () => {
    const { r } = openFarm();
    expect(findCertificate(r, "AB")).toBeUndefined();
    const key = newKey();
    record(r, "00AB", key);
    for (const serial of ["ab", "AB", "00ab", "00:AB"]) {
      expect(findCertificate(r, serial)).toMatchObject({
        serial: "ab",
        clientId: "farm.pi-1",
        keyThumbprint: key.thumbprint,
      });
    }
    expect(listCertificates(r, { client: "farm.pi-1" })).toHaveLength(1);
    expect(listCertificates(r, { client: "farm.pi-2" })).toEqual([]);
    expect(listCertificates(r)).toHaveLength(1);
  });

  it("give the keys that are good now, newest first, each once, at most four", () => {
    const { r, clock } = openFarm();
    createClient(r, { project: "farm", name: "pi-1", kind: "device" });
    const keys = Array.from({ length: 6 }, newKey);
    keys.forEach((key, index) => {
      clock.now = NOW + index;
      record(r, `a${index}`, key);
    });
    record(r, "a9", keys[4]!);
    const names = (now: number): string[] => liveCertificateKeys(r, "farm.pi-1", now).map((key) => key.thumbprint);
    expect(names(NOW + 6)).toEqual([keys[5], keys[4], keys[3], keys[2]].map((key) => key!.thumbprint));
    expect(names(NOW - 1)).toEqual([]);
    expect(names(NOW + 100)).toHaveLength(4);
    expect(names(NOW + 101)).toEqual([]);
    setClientEnabled(r, "farm.pi-1", false);
    expect(names(NOW + 6)).toEqual([]);
  });

  it("are forgotten 90 days after they ended, when another one is issued", () => {
    const { r, clock } = openFarm();
    record(r, "01", newKey());
    clock.now = NOW + 100 + 90 * 86_400;
    record(r, "02", newKey(), clock.now, clock.now + 100);
    expect(listCertificates(r).map((c) => c.serial)).toEqual(["1", "2"]);
    clock.now += 1;
    record(r, "03", newKey(), clock.now, clock.now + 100);
    expect(listCertificates(r).map((c) => c.serial)).toEqual(["2", "3"]);
  });
});

describe("the signing key", () => {
  it("is made once, published, told to the sink, and signs", () => {
    const { r, told } = openFixture();
    expect(() => activeSigner(r)).toThrow(TypeError);
    expect(publishedKeys(r)).toEqual([]);
    ensureSigningKey(r);
    ensureSigningKey(r);
    const [published, ...others] = publishedKeys(r);
    expect(others).toEqual([]);
    const signer = activeSigner(r);
    expect(signer.kid).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_-]$/);
    expect(published).toMatchObject({ kid: signer.kid, active: true, createdAt: NOW });
    expect(told.keys).toEqual(new Map([[signer.kid, signer.publicKey.thumbprint]]));
    // on a command line what begins with - would be an option
    const thumbprint = Buffer.from(signer.publicKey.thumbprint, "hex").toString("base64url").replace(/^-+/, "");
    expect(thumbprint.startsWith(signer.kid)).toBe(true);
    expect(verifyEs256(published!.key, id("m"), signer.sign(id("m")))).toBe(true);
    expect(activeSigner(r)).toBe(signer);
  });
});

describe("an assertion", () => {
  it("is used once by each client, until long after it has expired", () => {
    const { r, clock } = openFarm();
    spendAssertion(r, "farm.a", id("1"), NOW + 10);
    spendAssertion(r, "farm.b", id("1"), NOW + 10);
    spendAssertion(r, "farm.a", id("2"), NOW + 10);
    expect(() => spendAssertion(r, "farm.a", id("1"), NOW + 10)).toThrow(refusal("assertion.replayed"));
    expect(() => spendAssertion(r, "farm.a", id("1"), NOW + 11)).toThrow(refusal("assertion.replayed"));
    clock.now = NOW + 70;
    expect(() => spendAssertion(r, "farm.a", id("1"), NOW + 10)).toThrow(refusal("assertion.replayed"));
  });

  it("is looked for without being spent", () => {
    const { r } = openFarm();
    assertUnspent(r, "farm.a", id("1"));
    assertUnspent(r, "farm.a", id("1"));
    spendAssertion(r, "farm.a", id("1"), NOW + 10);
    assertUnspent(r, "farm.b", id("1"));
    assertUnspent(r, "farm.a", id("2"));
    expect(() => assertUnspent(r, "farm.a", id("1"))).toThrow(refusal("assertion.replayed"));
  });

  it.each([0, 65])("is refused with an id of %d bytes", (length) => {
    const { r } = openFarm();
    expect(() => spendAssertion(r, "farm.a", new Uint8Array(length), NOW)).toThrow(refusal("assertion.malformed"));
  });

  it("is forgotten when it has expired, so that the table does not grow for ever", () => {
    const { r, clock } = openFarm();
    for (let i = 0; i < 100; i++) spendAssertion(r, "farm.a", id(`old ${i}`), NOW);
    clock.now += 61;
    for (let i = 0; i < 50; i++) spendAssertion(r, "farm.a", id(`new ${i}`), clock.now + 300);
    expect(count(r, "assertion")).toBe(50);
  });

  it("is not spent when the rest of the transaction is undone", () => {
    const { r } = openFarm();
    expect(() =>
      r.append(() => {
        spendAssertion(r, "farm.a", id("1"), NOW);
        throw new Error("mint");
      }),
    ).toThrow("mint");
    spendAssertion(r, "farm.a", id("1"), NOW);
  });
});

describe("an issued token", () => {
  const token = { clientId: "farm.pi-1", audience: "farm.telemetry", kid: "abc" };

  it("is recorded by its hashes", () => {
    const { r } = openFarm();
    recordIssued(r, { ...token, id: nextTokenId(r), hashes: ["01aa"], exp: NOW + 9, keyThumbprint: "ff" });
    recordIssued(r, { ...token, id: nextTokenId(r), hashes: ["01bb", "01cc"], exp: NOW + 9 });
    const rows = r.db.prepare("SELECT hex(token_hash) a, hex(other_hash) b, key_thumbprint k, exp FROM issued").all();
    expect(rows).toEqual([
      { a: "01AA", b: "", k: "ff", exp: NOW + 9 },
      { a: "01BB", b: "01CC", k: null, exp: NOW + 9 },
    ]);
  });

  it("is numbered in as few bytes as that takes, and no number comes twice", () => {
    const { r, clock } = openFarm();
    expect([...nextTokenId(r)]).toEqual([1]);
    for (let i = 2; i < 256; i++) nextTokenId(r);
    const wide = nextTokenId(r);
    expect([...wide]).toEqual([1, 0]);
    recordIssued(r, { ...token, id: wide, hashes: ["01"], exp: NOW + 1 });
    clock.now = NOW + 2;
    for (let i = 0; i < 32; i++) recordIssued(r, { ...token, id: nextTokenId(r), hashes: ["02"], exp: NOW + 9 });
    expect(r.db.prepare("SELECT min(number), max(number) FROM issued").raw().get()).toEqual([257, 288]);
    const again: typeof r = { ...r };
    expect([...nextTokenId(again)]).toEqual([1, 33]);
  });

  it("is forgotten when it has expired, however tokens of other lifetimes lie between", () => {
    const { r, clock } = openFarm();
    for (let i = 0; i < 2000; i++)
      recordIssued(r, { ...token, id: nextTokenId(r), hashes: ["01"], exp: NOW + (i % 2 === 0 ? 10 : 1000) });
    clock.now = NOW + 10;
    for (let i = 0; i < 1000; i++) recordIssued(r, { ...token, id: nextTokenId(r), hashes: ["02"], exp: NOW + 1000 });
    expect(count(r, "issued")).toBe(3000);
    clock.now = NOW + 11;
    // four rows are looked at for each new one, wherever the last look ended, and as many come in meanwhile
    for (let i = 0; i < 1100; i++) recordIssued(r, { ...token, id: nextTokenId(r), hashes: ["02"], exp: NOW + 1000 });
    expect(r.db.prepare("SELECT min(exp) FROM issued").pluck().get()).toBe(NOW + 1000);
    expect(count(r, "issued")).toBe(3100);
  });
});

describe("the audit log", () => {
  it("is listed newest first, a page at a time, and for one project", () => {
    const { r } = openFarm();
    for (let i = 0; i < 5; i++) audit(r, { event: `e${i}`, actor: "x", subject: "zoo.pi" });
    audit(r, { event: "other", actor: "x", subject: "no-project" });
    const first = listAudit(r, { project: "zoo", limit: 2 });
    expect(first.map((row) => row.event)).toEqual(["e4", "e3"]);
    const rest = listAudit(r, { project: "zoo", limit: 9, before: first[1]!.seq });
    expect(rest.map((row) => row.event)).toEqual(["e2", "e1", "e0"]);
  });

  it("keeps the reason and the id of a refusal, and cuts what a stranger called himself", () => {
    const { r } = openFarm();
    audit(r, {
      event: "token.refused",
      actor: "x".repeat(9999),
      subject: `farm.${"y".repeat(9999)}`,
      reason: "client.unknown",
      refusalId: "abc",
      facts: { n: 1 },
    });
    const [row] = listAudit(r, { project: "farm", limit: 1 });
    expect(row).toMatchObject({ reason: "client.unknown", refusalId: "abc", facts: { n: 1 } });
    expect(row!.actor).toHaveLength(160);
    expect(row!.subject).toHaveLength(160);
  });
});
