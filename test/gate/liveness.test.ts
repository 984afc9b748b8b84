/** What counts as taken back, of whom, and what a token is worth beside the roles. */
import { describe, expect, it } from "vitest";
import { openCertificates } from "../../broker/gate/certificates.ts";
import { admittedGrants, effectiveGrants, roleGrants } from "../../broker/gate/effective-grants.ts";
import type { Scoped } from "../../broker/gate/effective-grants.ts";
import { assertNotTakenBack, projectOf, whyTakenBack } from "../../broker/gate/liveness.ts";
import type { Held } from "../../broker/gate/liveness.ts";
import { isOwnerTakenBack, openPurges } from "../../broker/gate/taken-back.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { MemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { ClientTrust } from "../../broker/trust/trust.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { Refusal } from "../../shared/refusal.ts";
import { parsePermission } from "../../shared/scope.ts";
import { makeAuthority } from "./certificates.ts";

const authority = await makeAuthority();
const name = nameAuthority(authority.x509);
const now = 1_000_000;
const hash = `01${"ab".repeat(32)}`;
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

function openTrust(client: Partial<ClientTrust> = {}): MemoryTrust {
  const deviceAuthorities = [{ id: name, certificate: authority.x509 }];
  const trust = createMemoryTrust({ issuer: "https://issuer.test", deviceAuthorities });
  trust.learnClient({ id: "acme.a", enabled: true, ...client });
  return trust;
}

const token = (id: Uint8Array = bytes(5), iat = 1000): NonNullable<Held["token"]> => ({
  hashes: [`01${"00".repeat(32)}`, hash],
  claims: { iat, id },
});
const certificate = { authority: name, serial: "00ff01" };
const held: Held = { subject: "acme.a", token: token(), certificate };

function reasonOf(act: () => unknown): string | null {
  try {
    act();
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
}

describe("what somebody holds", () => {
  const rows: [string, (trust: MemoryTrust) => void, Held, string | null][] = [
    ["with nothing taken back", () => {}, held, null],
    ["of a client that nobody told of", (t) => t.forgetClient("acme.a"), held, "client.unknown"],
    ["of a disabled client", (t) => t.learnClient({ id: "acme.a", enabled: false }), held, "client.disabled"],
    [
      "with a token of which one spelling is listed",
      (t) => t.revokeTokens(Buffer.from(hash, "hex")),
      held,
      "token.revoked",
    ],
    [
      "with a token that was listed and released",
      (t) => {
        t.revokeTokens(Buffer.from(hash, "hex"));
        t.releaseTokens(Buffer.from(hash, "hex"));
      },
      held,
      null,
    ],
    [
      "with a token issued before the time of its project",
      (t) => t.learnTokensSince("acme", 1001),
      held,
      "token.revoked",
    ],
    ["with a token issued at the time of its project", (t) => t.learnTokensSince("acme", 1000), held, null],
    ["with a token of another project than that", (t) => t.learnTokensSince("other", 2000), held, null],
    ["with a revoked certificate", (t) => t.revokeCertificates([`${name}:ff01`]), held, "certificate.revoked"],
    ["with the serial of another authority", (t) => t.revokeCertificates([`0123456789abcdef:ff01`]), held, null],
    ["with a certificate of an authority that is gone", (t) => t.forgetAuthority(name), held, "certificate.untrusted"],
    [
      "without a certificate, of an authority that is gone",
      (t) => t.forgetAuthority(name),
      { ...held, certificate: undefined },
      null,
    ],
  ];
  it.each(rows)("%s is judged so", (_name, change, what, reason) => {
    const trust = openTrust();
    change(trust);
    expect(whyTakenBack(trust, what)).toBe(reason);
    expect(reasonOf(() => assertNotTakenBack(trust, what, now))).toBe(reason);
  });

  const numbers: [string, number, Uint8Array, boolean][] = [
    ["the last that was taken back", 258, bytes(1, 2), true],
    ["the one after it", 258, bytes(1, 3), false],
    ["a smaller one with more bytes", 258, bytes(0, 0, 0, 9), true],
    ["the largest of six bytes", 2 ** 48 - 2, bytes(255, 255, 255, 255, 255, 255), false],
    ["one of six bytes and more than 32 bits", 2 ** 40, bytes(1, 0, 0, 0, 0, 0), true],
    ["none, where some were taken back", 1, bytes(), true],
    ["none, where none were", 0, bytes(), false],
    ["one that is too long for ours, where some were taken back", 1, bytes(9, 9, 9, 9, 9, 9, 9), true],
    ["one that is too long for ours, where none were", 0, bytes(9, 9, 9, 9, 9, 9, 9), false],
    ["zero, where none were", 0, bytes(0), false],
  ];
  it.each(numbers)("with a token whose number is %s", (_name, tokensAfter, id, isRevoked) => {
    const trust = openTrust({ tokensAfter });
    expect(whyTakenBack(trust, { subject: "acme.a", token: token(id) })).toBe(isRevoked ? "token.revoked" : null);
  });

  const lists: [string, { needsList?: boolean; listEndsAt?: number }, boolean][] = [
    ["needs none", { needsList: false, listEndsAt: now - 1 }, false],
    ["says nothing of lists", {}, false],
    ["needs one and has none", { needsList: true }, true],
    ["needs one and has one", { needsList: true, listEndsAt: now + 1 }, false],
    ["needs one and has one that ends now", { needsList: true, listEndsAt: now }, true],
  ];
  it.each(lists)("with a certificate whose authority %s", (_name, list, isRefused) => {
    const trust = openTrust();
    trust.learnAuthority({ id: name, certificate: authority.x509, ...list });
    expect(reasonOf(() => assertNotTakenBack(trust, held, now))).toBe(isRefused ? "certificate.list" : null);
    // who is there already stays: nothing was taken back
    expect(whyTakenBack(trust, held)).toBeNull();
  });

  it("is not asked for a client where nobody tells of clients", () => {
    const trust = createMemoryTrust({ issuer: "i", knowsClients: false });
    expect(whyTakenBack(trust, { subject: "anybody", token: token() })).toBeNull();
    trust.revokeTokens(Buffer.from(hash, "hex"));
    expect(whyTakenBack(trust, { subject: "anybody", token: token() })).toBe("token.revoked");
  });

  it.each([
    ["acme.a", "acme"],
    ["no-dot", ""],
    [".a", ""],
  ])("is of the project of %s", (subject, project) => expect(projectOf(subject)).toBe(project));
});

it("a certificate that was verified is not remembered longer than its authority", async () => {
  const trust = openTrust();
  const certificates = openCertificates(trust, 10);
  const { x509 } = await authority.device("acme.a");
  const seconds = Date.now() / 1000;
  expect(certificates.verify(x509, seconds)).toBe(certificates.verify(x509, seconds));
  trust.forgetAuthority(name);
  expect(reasonOf(() => certificates.verify(x509, seconds))).toBe("certificate.untrusted");
});

describe("a token beside the roles of its client", () => {
  const scoped = (...allow: string[]): Scoped => ({
    grants: allow.map(parsePermission),
    claims: { sub: "acme.a", aud: "acme.one" },
  });
  const roles = (...allow: string[]): Partial<ClientTrust> => ({
    grants: [
      { audience: "acme.one", grants: allow.map(parsePermission) },
      { audience: "acme.two", grants: [parsePermission("pubsub:two/#")] },
    ],
  });
  const cuts: [string, string[], string[], string[]][] = [
    ["another permission", ["pubsub:a"], ["pub:a"], ["pub:a"]],
    ["a narrower filter", ["sub:a/#"], ["sub:a/b/+", "pub:a/c"], ["sub:a/b/+"]],
    ["the roles of another api", ["pub:two/x", "pub:a"], ["pub:a"], ["pub:a"]],
    ["nothing", ["pub:a"], [], []],
  ];
  it.each(cuts)("is cut by %s", (_name, says, allows, left) => {
    expect(effectiveGrants(openTrust(roles(...allows)), scoped(...says))).toEqual(left.map(parsePermission));
  });

  it("keeps its own array where the roles cover it, and where nobody tells of roles", () => {
    const own = scoped("pub:a/1", "sub:a/+");
    expect(effectiveGrants(openTrust(roles("pubsub:a/#")), own)).toBe(own.grants);
    expect(effectiveGrants(openTrust(), own)).toBe(own.grants);
  });

  it("lets nobody in when nothing is left of it, nor a certificate without known roles", () => {
    expect(reasonOf(() => admittedGrants(openTrust(roles()), "acme.a", scoped("pub:a")))).toBe("client.grants");
    expect(admittedGrants(openTrust(roles()), "acme.a", scoped())).toEqual([]);
    expect(reasonOf(() => admittedGrants(openTrust(), "acme.a", undefined))).toBe("client.grants");
  });

  it("is not needed by a certificate, which has the roles of all apis", () => {
    expect(roleGrants(openTrust(roles("pub:a")), "acme.a")).toEqual(["pub:a", "pubsub:two/#"].map(parsePermission));
  });
});

describe("retained messages", () => {
  const apis: [purge: "client" | "always" | "never" | undefined, topics: string[] | undefined][] = [
    ["always", ["gone/#", "both/#"]],
    ["never", ["stays/#", "both/+"]],
    ["client", ["usual/#"]],
    [undefined, ["unsaid/#"]],
    ["never", undefined],
  ];
  const trust = openTrust();
  for (const [index, [purge, topics]] of apis.entries()) {
    trust.learnApi({
      audience: `acme.p${index}`,
      kind: "mqtt",
      bearer: false,
      ...(purge && { purge }),
      ...(topics && { topics }),
    });
  }
  it.each([
    ["gone/x", true, true],
    ["usual/x", false, true],
    ["unsaid/x", false, true],
    ["stays/x", false, false],
    ["both/x", false, false],
    ["both/x/y", true, true],
    ["nobody/x", false, true],
  ])("of %s go with a credential: %s, with the client: %s", (topic, withCredential, withClient) => {
    expect(openPurges(trust, "credential")(topic)).toBe(withCredential);
    expect(openPurges(trust, "client")(topic)).toBe(withClient);
  });
});

describe("a client id", () => {
  it.each([
    ["acme.a", false],
    ["acme.a:suffix", false],
    ["acme.off", true],
    ["acme.off:suffix", true],
    ["acme.nobody", true],
  ])("%s is of a client that is gone or disabled: %s", (clientId, isTakenBack) => {
    const trust = openTrust();
    trust.learnClient({ id: "acme.off", enabled: false });
    expect(isOwnerTakenBack(trust, clientId)).toBe(isTakenBack);
  });

  it("is of nobody in particular where nobody tells of clients", () => {
    expect(isOwnerTakenBack(createMemoryTrust({ issuer: "i", knowsClients: false }), "acme.a")).toBe(false);
  });
});
