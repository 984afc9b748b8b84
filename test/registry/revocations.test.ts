/** Taking back: what each of the five marks, what comes on the list, what is told, and that it is all or nothing. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { audit, listAudit } from "../../broker/registry/audit.ts";
import { findCertificate, liveCertificateKeys, recordCertificate } from "../../broker/registry/certificates.ts";
import { createClient, deleteClient, getClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { setOwnAuthority } from "../../broker/registry/device-authorities.ts";
import { newestToken, nextTokenId, recordIssued } from "../../broker/registry/issued.ts";
import { createProject, getProject } from "../../broker/registry/projects.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { readLiveToken, revokeAll, type Revoked, type Wish } from "../../broker/registry/revocations.ts";
import { keptSeconds, pruneRevoked } from "../../broker/registry/revoked-tokens.ts";
import {
  activeSigner,
  ensureSigningKey,
  findSigningKey,
  listSigningKeys,
  publishedKeys,
} from "../../broker/registry/signing-keys.ts";
import { updatesOf, type TrlView } from "../../broker/registry/trl-updates.ts";
import { readChanges } from "../../broker/registry/trust-changes.ts";
import { listRest } from "../../broker/registry/unlisted.ts";
import { fromBase64url, toBase64url } from "../../shared/base64url.ts";
import type { Claims } from "../../shared/claims.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { twinOf } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import type { Reason } from "../../shared/refusal.ts";
import { presentToken, tokenHashes } from "../../shared/token.ts";
import { makeAuthority, type TestAuthority } from "../gate/certificates.ts";
import { newKey, NOW, openFarm, openFixture, refusal, type Fixture } from "./fixture.ts";

const ISSUER = "https://postern.test";

let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});

/** A farm with clients `farm.pi` and `farm.job`, and a signing key. */
function open(file?: string): Fixture {
  const fixture = openFarm(file);
  const { r } = fixture;
  setOwnAuthority(r, authority.x509);
  ensureSigningKey(r);
  createClient(r, { project: "farm", name: "pi", kind: "device", roles: ["sensor"] });
  createClient(r, { project: "farm", name: "job", kind: "service", roles: ["sensor"] });
  return fixture;
}

const revoke = (r: Registry, wish: Wish): Revoked => revokeAll(r, wish, { issuer: ISSUER });
const none: Revoked = { tokens: 0, certificates: 0, clients: 0, keys: 0, projects: 0 };

interface Minted {
  readonly text: string;
  /** Hex; the first is that of the list. */
  readonly hashes: readonly string[];
}

/** A token; on record unless told otherwise. */
function mint(
  r: Registry,
  client: string,
  more: { key?: PublicKey; jwt?: true; unrecorded?: true; ttl?: number } = {},
): Minted {
  const signer = activeSigner(r);
  const id = nextTokenId(r);
  const now = r.nowSeconds();
  const exp = now + (more.ttl ?? 3600);
  const claims: Claims = { iss: ISSUER, sub: client, aud: "farm.telemetry", exp, iat: now, id };
  const text = more.jwt ? mintJwt(claims, signer) : presentToken({ format: "cwt", bytes: mintCwt(claims, signer) });
  const hashes = tokenHashes(text);
  if (!more.unrecorded) {
    const row = { hashes, id, clientId: client, audience: claims.aud, kid: signer.kid, exp };
    recordIssued(r, { ...row, keyThumbprint: more.key?.thumbprint });
  }
  return { text, hashes };
}

function certify(r: Registry, client: string, serial: string, key = newKey(), days = 90): PublicKey {
  const times = { notBefore: NOW, notAfter: NOW + days * 86_400 };
  recordCertificate(r, { serial, clientId: client, key, ...times, der: new Uint8Array([1]) });
  return key;
}

/** What stands on the list, hex, sorted. */
function listed(r: Registry): string[] {
  return r.db.prepare(`SELECT lower(hex(token_hash)) FROM revoked_token ORDER BY 1`).pluck().all() as string[];
}

function events(r: Registry, ofWhat: RegExp): unknown[] {
  const rows = r.db.prepare(`SELECT event, actor, subject FROM audit ORDER BY seq`).raw().all() as string[][];
  return rows.filter(([event]) => ofWhat.test(event!));
}

/** Everything in the tables that a revocation writes. */
function snapshot(r: Registry): unknown {
  const tables = [
    "revoked_token",
    "certificate",
    "client",
    "signing_key",
    "project",
    "audit",
    "trl_update",
    "unlisted",
  ];
  return tables.map((table) => r.db.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all());
}

function updates(r: Registry, view: TrlView): number {
  return (updatesOf(r, view)?.last ?? -1) + 1;
}

function changed(r: Registry): string[] {
  return readChanges(r, "", 1000).changes.map(({ kind, name }) => `${kind} ${name}`);
}

describe("a token", () => {
  it.each<[string, (minted: Minted) => string]>([
    ["itself", ({ text }) => text],
    ["its hash", ({ hashes }) => hashes[0]!],
    ["its hash in upper case", ({ hashes }) => hashes[0]!.toUpperCase()],
  ])("is revoked by %s, once", (_, name) => {
    const { r, told } = open();
    const token = mint(r, "farm.pi");
    mint(r, "farm.pi");
    expect(revoke(r, { tokens: [name(token)] })).toEqual({ ...none, tokens: 1 });
    expect([listed(r), [...told.tokens]]).toEqual([token.hashes, token.hashes]);
    expect(["all", "mqtt", "client:farm.pi", "client:farm.job"].map((view) => updates(r, view as TrlView))).toEqual([
      1, 1, 1, 0,
    ]);
    const before = snapshot(r);
    expect(revoke(r, { tokens: [name(token), token.hashes[0]!] })).toEqual(none);
    expect(snapshot(r)).toEqual(before);
  });

  it("named twice in one wish is one token", () => {
    const { r } = open();
    const token = mint(r, "farm.pi");
    expect(revoke(r, { tokens: [token.text, token.hashes[0]!] })).toEqual({ ...none, tokens: 1 });
    expect(events(r, /^token/)).toEqual([["token.revoked", "admin", "farm.pi"]]);
  });

  it("that is a JWT is listed by one hash, and the gate is told both", () => {
    const { r, told } = open();
    const token = mint(r, "farm.pi", { jwt: true });
    expect(revoke(r, { tokens: [token.hashes[1]!] })).toEqual({ ...none, tokens: 1 });
    expect(listed(r)).toEqual([token.hashes[0]]);
    expect([...told.tokens].toSorted()).toEqual(token.hashes.toSorted());
    expect(revoke(r, { tokens: [token.text] })).toEqual(none);
  });

  it.each<["cwt" | "jwt", { jwt?: true }]>([
    ["cwt", {}],
    ["jwt", { jwt: true }],
  ])("of which there is no record is revoked by itself: %s", (_, format) => {
    const { r, told } = open();
    const token = mint(r, "farm.pi", { ...format, unrecorded: true });
    expect(() => revoke(r, { tokens: [token.hashes[0]!] })).toThrow(refusal("registry.not-found"));
    expect(revoke(r, { tokens: [token.text] })).toEqual({ ...none, tokens: 1 });
    expect(listed(r)).toEqual([token.hashes[0]]);
    expect([...told.tokens].toSorted()).toEqual(token.hashes.toSorted());
    expect(revoke(r, { tokens: [token.text] })).toEqual(none);
  });

  it.each<["cwt" | "jwt", { jwt?: true }]>([
    ["cwt", {}],
    ["jwt", { jwt: true }],
  ])("is the one on record, where it comes with the other form of its signature: %s", (_, format) => {
    const { r } = open();
    const token = mint(r, "farm.pi", format);
    const at = format.jwt ? token.text.lastIndexOf(".") + 1 : 0;
    const bytes = fromBase64url(token.text.slice(at));
    const twin = Buffer.concat([bytes.subarray(0, -64), twinOf(bytes.subarray(-64))]);
    expect(revoke(r, { tokens: [token.text.slice(0, at) + toBase64url(twin)] })).toEqual({ ...none, tokens: 1 });
    expect(listed(r)).toEqual([token.hashes[0]]);
  });

  it.each<[string, string, Reason]>([
    ["a hash that is nobody's", `01${"ab".repeat(32)}`, "registry.not-found"],
    ["a hash of 32 bytes", "ab".repeat(32), "registry.invalid"],
    ["a hash of another suite", `02${"ab".repeat(32)}`, "registry.invalid"],
    ["a hash with a byte more", `01${"ab".repeat(33)}`, "registry.invalid"],
    ["nothing", "", "registry.invalid"],
    ["text", "no token", "registry.invalid"],
    ["a JWT that is none", "a.b.c", "registry.invalid"],
    ["a token that is too long", "2D3S".repeat(2_000), "registry.invalid"],
  ])("cannot be %s", (_, text, reason) => {
    const { r } = open();
    mint(r, "farm.pi");
    const before = snapshot(r);
    expect(() => revoke(r, { tokens: [text] })).toThrow(refusal(reason));
    expect(snapshot(r)).toEqual(before);
  });

  it("of another issuer, or with another signature, is not there, and nothing of it is told", () => {
    const { r } = open();
    const { text } = mint(r, "farm.pi", { unrecorded: true });
    expect(() => revokeAll(r, { tokens: [text] }, { issuer: "https://other.test" })).toThrow(
      refusal("registry.not-found", "token.issuer"),
    );
    const broken = `${text.slice(0, -4)}AAAA`;
    const attempt = (): unknown => revoke(r, { tokens: [broken] });
    expect(attempt).toThrow(refusal("registry.not-found", "cose.signature"));
    expect(attempt).not.toThrow(broken);
  });

  it("leaves the list when it expires, which is an update, and is not there from then on", () => {
    const { r, told, clock } = open();
    const token = mint(r, "farm.pi", { ttl: 60, jwt: true });
    const other = mint(r, "farm.job", { ttl: 61 });
    revoke(r, { tokens: [token.text, other.text] });
    clock.now = NOW + 59 + keptSeconds;
    expect(pruneRevoked(r)).toBe(false);
    expect(listed(r)).toHaveLength(2);
    clock.now = NOW + 60 + keptSeconds;
    expect(pruneRevoked(r)).toBe(false);
    expect([listed(r), [...told.tokens]]).toEqual([other.hashes, other.hashes]);
    expect(["all", "client:farm.pi", "client:farm.job"].map((view) => updates(r, view as TrlView))).toEqual([2, 2, 1]);
    expect(() => revoke(r, { tokens: [token.text] })).toThrow(refusal("registry.not-found", "token.expired"));
    expect(() => revoke(r, { tokens: [token.hashes[0]!] })).toThrow(refusal("registry.not-found"));
  });
});

describe("a certificate", () => {
  it("is revoked with the tokens that are bound to its key, in any spelling of its serial, once", () => {
    const { r, told } = open();
    const key = certify(r, "farm.pi", "0A:BC");
    const [bound, other] = [mint(r, "farm.pi", { key }), mint(r, "farm.pi", { key: newKey() })];
    expect(revoke(r, { certificates: ["00abc"] })).toEqual({ ...none, certificates: 1 });
    const name = `${nameAuthority(authority.x509)}:abc`;
    expect([...told.certificates]).toEqual([name]);
    expect(listed(r)).toEqual(bound.hashes);
    expect(told.tokens.has(other.hashes[0]!)).toBe(false);
    expect(findCertificate(r, "abc")?.revokedAt).toBe(NOW);
    expect(changed(r)).toContain(`certificate ${name}`);
    expect(events(r, /^certificate.revoked/)).toEqual([["certificate.revoked", "admin", "farm.pi"]]);
    const before = snapshot(r);
    expect(revoke(r, { certificates: ["ABC"] })).toEqual(none);
    expect(snapshot(r)).toEqual(before);
  });

  it("leaves the tokens of its key while the client has another good one with that key", () => {
    const { r } = open();
    const key = certify(r, "farm.pi", "01");
    certify(r, "farm.pi", "02", key);
    const token = mint(r, "farm.pi", { key });
    revoke(r, { certificates: ["01"] });
    expect(listed(r)).toEqual([]);
    expect(liveCertificateKeys(r, "farm.pi", NOW).map(({ thumbprint }) => thumbprint)).toEqual([key.thumbprint]);
    revoke(r, { certificates: ["02"] });
    expect(listed(r)).toEqual(token.hashes);
    expect(liveCertificateKeys(r, "farm.pi", NOW)).toEqual([]);
  });

  it("has a key that is not certified again, for nobody, and stays on record when others go", () => {
    const { r, clock } = open();
    const key = certify(r, "farm.pi", "01", newKey(), 1);
    certify(r, "farm.pi", "02", newKey(), 1);
    revoke(r, { certificates: ["01"] });
    clock.now = NOW + 300 * 86_400;
    certify(r, "farm.job", "03");
    expect([findCertificate(r, "01")?.revokedAt, findCertificate(r, "02")]).toEqual([NOW, undefined]);
    for (const client of ["farm.pi", "farm.job"]) {
      expect(() => certify(r, client, "04", key)).toThrow(refusal("certificate.revoked"));
    }
  });

  it.each(["ff", "", "zz", "0".repeat(200)])("%j is not there", (serial) => {
    const { r } = open();
    expect(() => revoke(r, { certificates: [serial] })).toThrow(refusal("registry.not-found"));
  });
});

describe("a client", () => {
  it("that is revoked is disabled: its tokens until now are dead, also when it is enabled again", () => {
    const { r, told } = open();
    const [first, second] = [mint(r, "farm.pi"), mint(r, "farm.job")];
    expect(revoke(r, { clients: ["farm.pi"] })).toEqual({ ...none, clients: 1 });
    expect(told.clients.get("farm.pi")).toMatchObject({ enabled: false, tokensAfter: 2 });
    expect([listed(r), second.hashes.some((hash) => told.tokens.has(hash))]).toEqual([first.hashes, false]);
    const before = snapshot(r);
    expect(revoke(r, { clients: ["farm.pi"] })).toEqual(none);
    setClientEnabled(r, "farm.pi", false);
    expect(snapshot(r)).toEqual(before);
    setClientEnabled(r, "farm.pi", true);
    expect(told.clients.get("farm.pi")).toMatchObject({ enabled: true, tokensAfter: 2 });
    mint(r, "farm.pi");
    expect(newestToken(r)).toBe(3);
    expect(listed(r)).toEqual(first.hashes);
  });

  it("that is deleted loses its tokens, and its name is taken for ever", () => {
    const { r, told } = open();
    const token = mint(r, "farm.pi");
    deleteClient(r, "farm.pi");
    expect([told.clients.has("farm.pi"), listed(r)]).toEqual([false, token.hashes]);
    expect(r.db.prepare(`SELECT tokens_after FROM client WHERE name = 'pi'`).pluck().get()).toBe(1);
    const again = { project: "farm", name: "pi", kind: "device" } as const;
    expect(() => createClient(r, again)).toThrow(refusal("registry.conflict"));
    expect(() => revoke(r, { clients: ["farm.pi"] })).toThrow(refusal("registry.not-found"));
    expect(() => setClientEnabled(r, "farm.pi", true)).toThrow(refusal("registry.not-found"));
  });

  it("has tokens after it that are told apart from those before, also over a restart", () => {
    const dir = mkdtempSync(join(tmpdir(), "postern-revoked-"));
    try {
      const file = join(dir, "postern.db");
      const first = open(file);
      mint(first.r, "farm.pi");
      // given out and never on record
      nextTokenId(first.r);
      setClientEnabled(first.r, "farm.pi", false);
      setClientEnabled(first.r, "farm.pi", true);
      expect(getClient(first.r, "farm.pi").tokensAfter).toBe(2);
      first.r.close();
      const second = openFixture(file);
      mint(second.r, "farm.pi");
      expect(newestToken(second.r)).toBe(3);
      second.r.close();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it.each(["farm.nobody", "nobody", "", "farm.pi\n", "zoo.pi", "FARM.pi"])("%j is not there", (id) => {
    const { r } = open();
    expect(() => revoke(r, { clients: [id] })).toThrow(refusal("registry.not-found"));
  });
});

describe("a signing key", () => {
  it("that signs is followed by a new one, verifies nothing any more, and keeps its kid", () => {
    const { r, told } = open();
    const old = activeSigner(r).kid;
    const token = mint(r, "farm.pi");
    expect(revoke(r, { keys: [old] })).toEqual({ ...none, keys: 1 });
    const { kid } = activeSigner(r);
    expect(kid).not.toBe(old);
    expect([[...told.keys.keys()], publishedKeys(r).map((key) => key.kid)]).toEqual([[kid], [kid]]);
    expect([findSigningKey(r, old), findSigningKey(r, kid)?.thumbprint]).toEqual([undefined, told.keys.get(kid)]);
    expect(listSigningKeys(r).map((key) => [key.kid, key.active, key.revokedAt])).toEqual([
      [kid, true, null],
      [old, false, NOW],
    ]);
    expect(listed(r)).toEqual(token.hashes);
    expect(changed(r)).toEqual(expect.arrayContaining([`key ${old}`, `key ${kid}`]));
    const before = snapshot(r);
    expect(revoke(r, { keys: [old] })).toEqual(none);
    expect(snapshot(r)).toEqual(before);
  });

  it("that does not sign goes, and the one that does stays", () => {
    const { r } = open();
    const old = activeSigner(r).kid;
    revoke(r, { keys: [old] });
    const second = activeSigner(r).kid;
    revoke(r, { keys: [second] });
    const third = activeSigner(r).kid;
    expect(revoke(r, { keys: [old, second] })).toEqual(none);
    expect([activeSigner(r).kid, listSigningKeys(r)]).toEqual([third, expect.objectContaining({ length: 3 })]);
  });

  it("leaves its tokens dead that have no record", () => {
    const { r } = open();
    const { text } = mint(r, "farm.pi", { unrecorded: true });
    revoke(r, { keys: [activeSigner(r).kid] });
    expect(() => readLiveToken(r, text, ISSUER)).toThrow(refusal("token.key-unknown"));
  });

  it.each(["", "???", "a".repeat(500)])("%j is not there", (kid) => {
    const { r } = open();
    expect(() => revoke(r, { keys: [kid] })).toThrow(refusal("registry.not-found"));
  });
});

describe("a project's tokens", () => {
  it("that were issued before a time are dead, those of that second and of other projects are not", () => {
    const { r, told, clock } = open();
    createProject(r, "farm-2");
    createClient(r, { project: "farm-2", name: "pi", kind: "device" });
    const old = mint(r, "farm.pi");
    mint(r, "farm-2.pi");
    clock.now = NOW + 10;
    mint(r, "farm.pi");
    expect(revoke(r, { projects: [{ project: "farm", before: NOW + 10 }] })).toEqual({ ...none, projects: 1 });
    expect([listed(r), [...told.projects]]).toEqual([old.hashes, [["farm", NOW + 10]]]);
    expect([getProject(r, "farm").tokensSince, getProject(r, "farm-2").tokensSince]).toEqual([NOW + 10, 0]);
    expect(changed(r)).toContain("project farm");
    const [row] = listAudit(r, { project: "farm", limit: 1 });
    expect(row).toMatchObject({ event: "project.tokens-revoked", subject: "farm", facts: { before: NOW + 10 } });
    const before = snapshot(r);
    for (const earlier of [NOW + 10, NOW + 9, 0]) {
      expect(revoke(r, { projects: [{ project: "farm", before: earlier }] })).toEqual(none);
    }
    expect(snapshot(r)).toEqual(before);
  });

  it.each<[string, string, number, Reason]>([
    ["a project that is not there", "zoo", NOW, "registry.not-found"],
    ["the future", "farm", NOW + 1, "registry.invalid"],
    ["the year 9999", "farm", 253_402_300_799, "registry.invalid"],
    ["half a second", "farm", NOW - 0.5, "registry.invalid"],
    ["no number", "farm", Number.NaN, "registry.invalid"],
  ])("are refused for %s", (_, project, before, reason) => {
    const { r } = open();
    expect(() => revoke(r, { projects: [{ project, before }] })).toThrow(refusal(reason));
  });
});

describe("many at once", () => {
  it("are one transaction: nothing is done when one of them is not there", () => {
    const { r, told } = open();
    const key = certify(r, "farm.pi", "01");
    const token = mint(r, "farm.pi", { key });
    const before = snapshot(r);
    const good: Required<Wish> = {
      tokens: [token.text],
      certificates: ["01"],
      clients: ["farm.job"],
      keys: [activeSigner(r).kid],
      projects: [{ project: "farm", before: NOW }],
    };
    const bad: Required<Wish> = {
      tokens: [`01${"00".repeat(32)}`],
      certificates: ["ff"],
      clients: ["farm.nobody"],
      keys: ["??"],
      projects: [{ project: "zoo", before: NOW }],
    };
    for (const kind of Object.keys(good) as (keyof Wish)[]) {
      expect(() => revoke(r, { ...good, [kind]: [...good[kind], ...bad[kind]] })).toThrow(
        refusal("registry.not-found"),
      );
    }
    expect(snapshot(r)).toEqual(before);
    expect([told.tokens.size, told.certificates.size, told.projects.size, told.keys.size]).toEqual([0, 0, 0, 1]);
    expect(revoke(r, good)).toEqual({ tokens: 1, certificates: 1, clients: 1, keys: 1, projects: 1 });
  });

  it("are one update of the list, and no row of the audit log holds a token", () => {
    const { r } = open();
    const tokens = Array.from({ length: 50 }, () => mint(r, "farm.pi"));
    expect(revoke(r, { tokens: tokens.map(({ text }) => text) })).toEqual({ ...none, tokens: 50 });
    expect(updates(r, "all")).toBe(1);
    const audits = JSON.stringify(listAudit(r, { project: "farm", limit: 1000 }));
    expect(tokens.filter(({ text }) => audits.includes(text.slice(8, 60)))).toEqual([]);
  });

  it("beyond a thousand come on the list in slices, which go on after a restart", () => {
    const dir = mkdtempSync(join(tmpdir(), "postern-unlisted-"));
    try {
      const file = join(dir, "postern.db");
      const first = open(file);
      const { kid } = activeSigner(first.r);
      first.r.change(() => {
        for (let n = 0; n < 2_500; n++) {
          const hash = `01${n.toString(16).padStart(64, "0")}`;
          const row = { id: nextTokenId(first.r), hashes: [hash], audience: "farm.telemetry", kid, exp: NOW + 3600 };
          recordIssued(first.r, { ...row, clientId: n % 2 === 0 ? "farm.pi" : "farm.job" });
        }
      });
      revoke(first.r, { clients: ["farm.pi"], keys: [kid] });
      expect(listed(first.r)).toHaveLength(1000);
      expect(listRest(first.r)).toBe(true);
      first.r.close();

      const second = openFixture(file);
      expect(second.told.tokens.size).toBe(listed(second.r).length);
      const other = mint(second.r, "farm.job");
      while (listRest(second.r)) expect(updates(second.r, "all")).toBeLessThan(20);
      expect(listed(second.r)).toHaveLength(2500);
      expect(second.told.tokens.size).toBe(2500);
      expect(second.told.tokens.has(other.hashes[0]!)).toBe(false);
      second.r.close();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("leave out what has expired, and what was issued after the client was enabled again", () => {
    const { r, clock } = open();
    mint(r, "farm.pi", { ttl: 5 });
    clock.now = NOW + 5;
    const { kid } = activeSigner(r);
    r.change(() => {
      for (let n = 0; n < 1_200; n++) {
        const hash = `01${n.toString(16).padStart(64, "0")}`;
        const row = { id: nextTokenId(r), hashes: [hash], audience: "farm.telemetry", kid, exp: NOW + 3600 };
        recordIssued(r, { ...row, clientId: "farm.pi" });
      }
    });
    setClientEnabled(r, "farm.pi", false);
    setClientEnabled(r, "farm.pi", true);
    const after = mint(r, "farm.pi");
    while (listRest(r)) expect(true).toBe(true);
    expect([listed(r).length, listed(r).includes(after.hashes[0]!)]).toEqual([1_200, false]);
    setClientEnabled(r, "farm.pi", false);
    while (listRest(r)) expect(true).toBe(true);
    expect(listed(r)).toContain(after.hashes[0]!);
  });

  it("include a thousand clients in one call", () => {
    const { r, told } = open();
    const ids = Array.from({ length: 1000 }, (_, n) => `farm.c${n}`);
    r.change(() => {
      for (const id of ids) createClient(r, { project: "farm", name: id.slice(5), kind: "device", roles: ["sensor"] });
    });
    for (const id of ids) {
      const hash = `01${Buffer.from(id).toString("hex").padStart(64, "0")}`;
      const row = { id: nextTokenId(r), hashes: [hash], audience: "farm.telemetry", kid: "ab", exp: NOW + 3600 };
      recordIssued(r, { ...row, clientId: id });
    }
    expect(revoke(r, { clients: ids })).toEqual({ ...none, clients: 1000 });
    while (listRest(r)) expect(true).toBe(true);
    expect([told.tokens.size, updates(r, "client:farm.c999")]).toEqual([1000, 1]);
    expect(ids.filter((id) => told.clients.get(id)?.enabled !== false)).toEqual([]);
  });
});

describe("after a restart", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "postern-told-"));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it("the sink is told all of it again", () => {
    const file = join(dir, "postern.db");
    const first = open(file);
    const { r } = first;
    certify(r, "farm.pi", "01");
    const [cwt, jwt] = [mint(r, "farm.pi"), mint(r, "farm.pi", { jwt: true })];
    revoke(r, { tokens: [cwt.text, jwt.text], certificates: ["01"], keys: [activeSigner(r).kid] });
    revoke(r, { projects: [{ project: "farm", before: NOW }], clients: ["farm.job"] });
    const { tokens, certificates, projects, keys, clients } = first.told;
    expect(tokens.size).toBe(3);
    r.close();
    const { told } = openFixture(file);
    expect([told.tokens, told.certificates, told.projects, told.keys, told.clients]).toEqual([
      tokens,
      certificates,
      projects,
      keys,
      clients,
    ]);
  });

  it("every hash of a long list is told", () => {
    const file = join(dir, "many.db");
    const { r } = open(file);
    const count = 45_000;
    const add = r.db.prepare(`INSERT INTO revoked_token VALUES (?, ?, 'farm.pi', 'farm.telemetry', ${NOW + 99})`);
    r.change(() => {
      for (let n = 0; n < count; n++) {
        const hash = Buffer.alloc(33, 1);
        hash.writeUInt32BE(n, 29);
        // zero bytes, and bytes that are no UTF-8
        hash.writeUInt16BE(n % 65_536, 4);
        const other = Buffer.from(hash);
        other[1] = 0xff;
        add.run(hash, n % 2 === 0 ? other : null);
      }
    });
    r.close();
    const { told } = openFixture(file);
    expect(told.tokens.size).toBe(count * 1.5);
    expect([...told.tokens].filter((hash) => !/^01(01|ff)/.test(hash))).toEqual([]);
  });
});

describe("when nothing can be written", () => {
  it.each<[string, (r: Registry) => () => void]>([
    ["the disk is full", fill],
    ["the file may only be read", readOnly],
  ])("because %s, nothing is done, and all of it is when there is room", (_, break_) => {
    const { r, told } = open();
    const token = mint(r, "farm.pi");
    const mend = break_(r);
    const before = snapshot(r);
    const wish = { tokens: [token.text], clients: ["farm.job"], keys: [activeSigner(r).kid] };
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(() => revoke(r, wish)).toThrow(refusal("storage.failed", "SQLITE_"));
    }
    expect(snapshot(r)).toEqual(before);
    expect([told.tokens.size, told.clients.get("farm.job")?.enabled, told.keys.size]).toEqual([0, true, 1]);
    mend();
    expect(revoke(r, wish)).toEqual({ ...none, tokens: 1, clients: 1, keys: 1 });
  });

  it("those that share a transaction are all told, and none of them has left anything", async () => {
    const { r } = open();
    const row = { audience: "farm.telemetry", kid: "ab", exp: NOW + 99, clientId: "farm.pi" };
    const record = (n: number) => (): void => {
      const hash = `01${n.toString(16).padStart(64, "0")}`;
      recordIssued(r, { ...row, id: nextTokenId(r), hashes: [hash] });
    };
    // some of them find room before one does not
    const mend = fill(r, 20);
    const told = await Promise.allSettled(Array.from({ length: 2_000 }, (_, n) => r.appendSoon(record(n))));
    const all = { status: "rejected", reason: refusal("storage.failed", "SQLITE_FULL") };
    expect(told.filter((one) => one.status !== "rejected")).toEqual([]);
    expect([told[0], told[1_000], told.at(-1)]).toEqual([all, all, all]);
    expect(r.db.prepare(`SELECT count(*) FROM issued`).pluck().get()).toBe(0);
    mend();
    await r.appendSoon(record(5_000));
    expect(r.db.prepare(`SELECT max(exp) FROM issued`).pluck().get()).toBe(NOW + 99);
  });

  it("the work that met it cannot leave a part of itself, though there is room again once all is undone", async () => {
    const { r } = open();
    const row = {
      audience: "farm.telemetry",
      kid: "ab",
      exp: NOW + 99,
      clientId: "farm.pi",
      hashes: ["01".repeat(33)],
    };
    const mend = fill(r, 20);
    const caught = r.appendSoon(() => {
      try {
        for (;;) recordIssued(r, { ...row, id: nextTokenId(r) });
      } catch {
        r.append(() => audit(r, { event: "half.done", actor: "test" }));
      }
    });
    await expect(caught).rejects.toEqual(refusal("storage.failed", "SQLITE_FULL"));
    expect(events(r, /half/)).toEqual([]);
    mend();
  });
});

/** Leaves so many pages free; returns what takes that back. */
function fill(r: Registry, pages = 0): () => void {
  const full = Number(r.db.pragma("page_count", { simple: true }));
  r.db.pragma(`max_page_count = ${full}`);
  // what is left in pages that are begun
  const big = r.db.prepare(`INSERT INTO audit (at, event, actor, facts) VALUES (0, 'filled', 'test', ?)`);
  for (const length of [2_000, 200, 20]) {
    try {
      for (;;) big.run("x".repeat(length));
    } catch {
      continue;
    }
  }
  r.db.pragma(`max_page_count = ${full + pages}`);
  return () => r.db.pragma(`max_page_count = 100000`);
}

function readOnly(r: Registry): () => void {
  r.db.pragma("query_only = ON");
  return () => r.db.pragma("query_only = OFF");
}
