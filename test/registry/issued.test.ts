import { describe, expect, it } from "vitest";
import { findIssuedByHash, findIssuedToken, nextTokenId, recordIssued } from "../../broker/registry/issued.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { activeSigner, ensureSigningKey } from "../../broker/registry/signing-keys.ts";
import { fromBase64url, toBase64url } from "../../shared/base64url.ts";
import type { Claims } from "../../shared/claims.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { twinOf } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { presentToken, tokenHashes } from "../../shared/token.ts";
import { NOW, openFarm } from "./fixture.ts";

interface Minted {
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly hashes: readonly string[];
}

function open(): Registry {
  const { r } = openFarm();
  ensureSigningKey(r);
  return r;
}

/** A token, on record as one that went out as text, or in CBOR. */
function issue(r: Registry, format: "cwt" | "jwt", more: { inCbor?: true; client?: string } = {}): Minted {
  const id = nextTokenId(r);
  const minted = mint(r, format, id, more.client);
  const hashes = more.inCbor ? minted.hashes.toReversed() : minted.hashes;
  record(r, id, hashes, more.client);
  return minted;
}

function mint(r: Registry, format: "cwt" | "jwt", id: Uint8Array, client = "farm.pi"): Minted {
  const claims: Claims = { iss: "https://a", sub: client, aud: "farm.telemetry", exp: NOW + 60, iat: NOW, id };
  const signer = activeSigner(r);
  const bytes = format === "cwt" ? mintCwt(claims, signer) : Buffer.from(mintJwt(claims, signer));
  const text = presentToken({ format, bytes });
  return { text, bytes, hashes: tokenHashes(text) };
}

function record(r: Registry, id: Uint8Array, hashes: readonly string[], clientId = "farm.pi"): void {
  recordIssued(r, { id, hashes, clientId, audience: "farm.telemetry", kid: "ab", exp: r.nowSeconds() + 60 });
}

/** With the other form of its signature. */
function twinned({ text, bytes }: Minted): string | Uint8Array {
  const end = text.lastIndexOf(".") + 1;
  if (end > 0) return text.slice(0, end) + toBase64url(twinOf(fromBase64url(text.slice(end))));
  return Buffer.concat([bytes.subarray(0, -64), twinOf(bytes.subarray(-64))]);
}

describe("the record of a token that is presented", () => {
  it.each<[string, (r: Registry) => [Minted, string | Uint8Array]]>([
    ["a CWT as bytes", (r) => same(issue(r, "cwt"), ({ bytes }) => bytes)],
    ["a CWT as text", (r) => same(issue(r, "cwt"), ({ text }) => text)],
    ["a CWT with the other signature", (r) => same(issue(r, "cwt"), twinned)],
    ["a JWT", (r) => same(issue(r, "jwt"), ({ text }) => text)],
    ["a JWT as bytes", (r) => same(issue(r, "jwt"), ({ bytes }) => bytes)],
    ["a JWT with the other signature", (r) => same(issue(r, "jwt"), twinned)],
    ["a JWT that went out in CBOR", (r) => same(issue(r, "jwt", { inCbor: true }), ({ text }) => text)],
    ["the same with the other signature", (r) => same(issue(r, "jwt", { inCbor: true }), twinned)],
  ])("is found by %s", (_, make) => {
    const r = open();
    issue(r, "cwt");
    const [{ hashes }, presented] = make(r);
    issue(r, "cwt");
    const row = findIssuedToken(r, presented);
    expect(row).toMatchObject({ number: 2, client: "farm.pi", audience: "farm.telemetry", exp: NOW + 60 });
    expect(hashes).toContain(Buffer.from(row!.hash).toString("hex"));
  });

  it.each<[string, (r: Registry) => Minted]>([
    ["the number of another token", (r) => mint(r, "cwt", Uint8Array.of(1))],
    ["the number of another, with a zero before it", (r) => mint(r, "jwt", Uint8Array.of(0, 1))],
    ["a number that is not there", (r) => mint(r, "cwt", Uint8Array.of(200))],
    ["no number", (r) => mint(r, "cwt", new Uint8Array())],
    ["the highest number", (r) => mint(r, "cwt", new Uint8Array(6).fill(255))],
    ["a longer one", (r) => mint(r, "cwt", Uint8Array.of(0, 0, 0, 0, 0, 0, 1))],
  ])("is not that of %s", (_, make) => {
    const r = open();
    issue(r, "cwt");
    expect(findIssuedToken(r, make(r).text)).toBeUndefined();
  });

  it.each(["", "no-token", "a.b.c", `01${"ab".repeat(32)}`])("is asked for with a token, not with %j", (text) => {
    expect(() => findIssuedToken(open(), text)).toThrow(expect.objectContaining({ name: "Refusal" }));
  });
});

describe("the records with a hash", () => {
  it("are found in one go, by either hash, and each once for each", () => {
    const r = open();
    const [cwt, jwt, other] = [issue(r, "cwt"), issue(r, "jwt"), issue(r, "jwt", { inCbor: true })];
    const asked = [...cwt.hashes, jwt.hashes[1]!, other.hashes[1]!, other.hashes[0]!, `01${"0".repeat(64)}`];
    const found = findIssuedByHash(r, [...asked, ...asked]);
    expect(asked.map((hash) => found.get(hash)?.number)).toEqual([1, 2, 3, 3, undefined]);
    expect(findIssuedByHash(r, []).size).toBe(0);
  });

  it("are those of one project's clients where that is asked", () => {
    const r = open();
    const clients = ["farm.pi", "farm-2.pi", "far.pi", "farm0.pi", "farn.pi"];
    const hashes = clients.map((client) => issue(r, "cwt", { client }).hashes[0]!);
    const found = findIssuedByHash(r, hashes, "farm");
    expect([...found.values()].map(({ client }) => client)).toEqual(["farm.pi"]);
    expect(findIssuedByHash(r, hashes).size).toBe(clients.length);
  });
});

it("a record that is undone is as if it had never been, and the rows that went with it are there", () => {
  const { r, clock } = openFarm();
  for (let n = 0; n < 32; n++) record(r, nextTokenId(r), [`01${n.toString(16).padStart(64, "0")}`]);
  clock.now = NOW + 100;
  const undone = (): void =>
    r.append(() => {
      record(r, nextTokenId(r), [`01${"f".repeat(64)}`]);
      throw new Error("undone");
    });
  const numbers = r.db.prepare("SELECT min(number), max(number), count(*) FROM issued").raw();
  expect(undone).toThrow("undone");
  expect(numbers.get()).toEqual([1, 32, 32]);
  for (let n = 0; n < 200; n++) record(r, nextTokenId(r), [`01${n.toString(16).padStart(64, "f")}`]);
  expect(numbers.get()).toEqual([34, 233, 200]);
});

function same(minted: Minted, present: (minted: Minted) => string | Uint8Array): [Minted, string | Uint8Array] {
  return [minted, present(minted)];
}
