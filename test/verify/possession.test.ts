/** Who brings a bound token must hold what it is bound to: every way to fail at that. */
import { createHash, X509Certificate } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { jwkThumbprint, readPublicKey, type PublicKey } from "../../shared/cose-key.ts";
import type { Confirmation } from "../../shared/claims.ts";
import { signJwt } from "../../shared/jwt.ts";
import type { Verifier, VerifyRequest } from "../../verify/index.ts";
import { SpentProofs } from "../../verify/spent-proofs.ts";
import { makeSigner, openRoom, reasonOf, type Room } from "./issuer.ts";

let room: Room;
let verifier: Verifier;
const signer = makeSigner();
const stranger = makeSigner();
let der: Uint8Array;
let otherDer: Uint8Array;
let certificateKey: Extract<Confirmation, { kind: "key" }>;
beforeAll(async () => {
  room = await openRoom();
  verifier = await room.open();
  const [one, two] = [makeSigner(), makeSigner()];
  der = (await room.ca.issueDevice(one.publicKey, "plant.board", 90)).der;
  otherDer = (await room.ca.issueDevice(two.publicKey, "plant.board", 90)).der;
  certificateKey = { kind: "key", key: readPublicKey(new X509Certificate(der).publicKey) };
});
afterAll(() => room.close());

const request = { method: "GET", url: "https://api.example/things" } as const;
const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();
const thumbprint = (): Confirmation => ({ kind: "thumbprint", jkt: jwkThumbprint(signer.publicKey) });

describe("a token for a DPoP key", () => {
  test("is let in with a fresh proof of that key for this request", async () => {
    const token = room.mint({ cnf: thumbprint() });
    for (let round = 0; round < 2; round++) {
      const presented = { ...request, dpop: room.prove(signer, token), scheme: "DPoP" as const };
      const { boundTo } = await verifier.verify(token, presented);
      expect(boundTo).toEqual({ kind: "dpop", thumbprint: jwkThumbprint(signer.publicKey) });
    }
  });

  const rows: [string, (token: string) => VerifyRequest, string][] = [
    ["as a bearer token", () => ({}), "proof.missing"],
    ["as a bearer token with a proof", (t) => ({ scheme: "Bearer", dpop: room.prove(signer, t) }), "proof.missing"],
    ["with a certificate", () => ({ certificate: der }), "proof.missing"],
    ["without a proof", () => ({ scheme: "DPoP" }), "proof.missing"],
    ["with the proof of another key", (t) => ({ dpop: room.prove(stranger, t) }), "proof.key"],
    ["for another method", (t) => ({ dpop: room.prove(signer, t, { method: "POST" }) }), "dpop.method"],
    ["for another address", (t) => ({ dpop: room.prove(signer, t, { url: "https://evil/things" }) }), "dpop.url"],
    ["for another token", () => ({ dpop: room.prove(signer, room.mint()) }), "dpop.token"],
    ["for no token", (t) => ({ dpop: room.prove(signer, t, { accessToken: undefined } as object) }), "dpop.token"],
    ["that is old", (t) => ({ dpop: room.prove(signer, t, { nowSeconds: room.clock.now - 61 }) }), "dpop.time"],
    ["from the future", (t) => ({ dpop: room.prove(signer, t, { nowSeconds: room.clock.now + 61 }) }), "dpop.time"],
    ["that is no proof", () => ({ dpop: "hello" }), "dpop.malformed"],
    ["that is an access token", (t) => ({ dpop: t }), "dpop.type"],
    ["that names no key", () => ({ dpop: signJwt({}, "dpop+jwt", signer) }), "dpop.key"],
    ["where the address is not known", (t) => ({ dpop: room.prove(signer, t), url: undefined }), "dpop.url"],
  ];
  test.each(rows)("is refused %s", async (_name, present, reason) => {
    const token = room.mint({ cnf: thumbprint() });
    expect(await reasonOf(verifier.verify(token, { ...request, ...present(token) }))).toBe(reason);
  });

  test("is refused with a proof that was used, and with one of its id until that has ended", async () => {
    const own = await room.open();
    const token = room.mint({ cnf: thumbprint() });
    const id = Buffer.from("one and the same");
    const dpop = room.prove(signer, token, { id });
    await own.verify(token, { ...request, dpop });
    expect(await reasonOf(own.verify(token, { ...request, dpop }))).toBe("dpop.replayed");
    room.clock.now += 60;
    const next = room.prove(signer, token, { id });
    expect(await reasonOf(own.verify(token, { ...request, dpop: next }))).toBe("dpop.replayed");
    room.clock.now += 1;
    await own.verify(token, { ...request, dpop: room.prove(signer, token, { id }) });
    room.clock.now -= 61;
  });
});

describe("a token for a certificate", () => {
  const bound = (): string => room.mint({ cnf: { kind: "certificate", sha256: sha256(der) } });

  test("is let in over a connection with that certificate", async () => {
    expect(await verifier.verify(bound(), { certificate: der })).toMatchObject({ boundTo: { kind: "certificate" } });
    await verifier.verify(bound(), { certificate: { sha256: sha256(der).toString("base64url") } });
  });

  const rows: [string, () => VerifyRequest, string][] = [
    ["without one", () => ({}), "certificate.missing"],
    ["with another of the same client", () => ({ certificate: otherDer }), "proof.key"],
    [
      "with the hash of another",
      () => ({ certificate: { sha256: sha256(otherDer).toString("base64url") } }),
      "proof.key",
    ],
    ["as a DPoP token", () => ({ ...request, certificate: der, dpop: room.prove(signer, "x") }), "proof.key"],
  ];
  test.each(rows)("is refused %s", async (_name, present, reason) => {
    expect(await reasonOf(verifier.verify(bound(), present()))).toBe(reason);
  });
});

describe("a token for a key", () => {
  test("is let in with a certificate of that key, or with a DPoP proof by it", async () => {
    const boundTo = (key: PublicKey) => ({ kind: "key", thumbprint: jwkThumbprint(key) });
    const byCertificate = await verifier.verify(room.mint({ cnf: certificateKey }), { certificate: der });
    expect(byCertificate.boundTo).toEqual(boundTo(certificateKey.key));
    const token = room.mint({ cnf: { kind: "key", key: signer.publicKey } });
    const byProof = await verifier.verify(token, { ...request, dpop: room.prove(signer, token) });
    expect(byProof.boundTo).toEqual(boundTo(signer.publicKey));
  });

  const rows: [string, (token: string) => VerifyRequest, string][] = [
    ["by itself", () => ({}), "certificate.missing"],
    ["with a certificate of another key", () => ({ certificate: otherDer }), "proof.key"],
    ["with what is no certificate", () => ({ certificate: new Uint8Array(8) }), "proof.key"],
    ["with the hash of a certificate", () => ({ certificate: { sha256: "x" } }), "certificate.missing"],
    ["with a proof by another key", (t) => ({ ...request, dpop: room.prove(signer, t) }), "proof.key"],
  ];
  test.each(rows)("is refused %s", async (_name, present, reason) => {
    const token = room.mint({ cnf: certificateKey });
    expect(await reasonOf(verifier.verify(token, present(token)))).toBe(reason);
  });
});

test("a bearer token is not taken with a proof of a key that nobody asked for", async () => {
  const token = room.mint();
  const dpop = room.prove(signer, token);
  expect(await reasonOf(verifier.verify(token, { ...request, dpop, scheme: "DPoP" }))).toBe("token.unbound");
  await verifier.verify(token, { ...request, dpop, scheme: "Bearer" });
});

describe("the memory of proofs", () => {
  test("is bounded, one client cannot fill it, and it empties itself", () => {
    const spent = new SpentProofs(4);
    spent.spend("a", "1", 100, 40);
    spent.spend("a", "2", 101, 40);
    expect(() => spent.spend("a", "3", 101, 40)).toThrow("rate.limited");
    spent.spend("b", "1", 100, 40);
    spent.spend("c", "1", 100, 40);
    expect(() => spent.spend("d", "1", 100, 40)).toThrow("rate.limited");
    expect(() => spent.spend("b", "1", 101, 100)).toThrow("dpop.replayed");
    expect(spent.size).toBe(4);
    spent.spend("b", "1", 161, 101);
    expect(spent.size).toBe(2);
    spent.spend("a", "3", 161, 102);
    expect(spent.size).toBe(2);
  });

  test("has room for a new client, however many busy ones there are", () => {
    const spent = new SpentProofs(1000);
    const fill = (client: string): number => {
      for (let taken = 0; ; taken++) {
        try {
          spent.spend(client, `${taken}`, 100, 40);
        } catch {
          return taken;
        }
      }
    };
    expect(["a", "b", "c", "d"].map(fill)).toEqual([500, 250, 125, 63]);
    expect(["a", "b", "c", "d"].map(fill)).toEqual([0, 0, 0, 0]);
    spent.spend("new", "1", 100, 40);
  });

  test("does not forget what was used because the clock is put back", () => {
    const spent = new SpentProofs(10);
    spent.spend("a", "1", 100, 40);
    spent.spend("a", "2", 161, 101);
    for (const id of ["1", "never seen"]) expect(() => spent.spend("a", id, 100, 50)).toThrow("dpop.time");
    expect(() => spent.spend("a", "2", 161, 50)).toThrow("dpop.replayed");
    spent.spend("a", "3", 101, 50);
  });
});
