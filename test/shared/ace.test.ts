import { describe, expect, test } from "vitest";
import {
  encodeTokenError,
  encodeTokenRequest,
  encodeTokenResponse,
  readTokenError,
  readTokenRequest,
  readTokenResponse,
} from "../../shared/ace.ts";
import { mintCwtAssertion, mintJwtAssertion, readAssertion } from "../../shared/assertion.ts";
import { encode, type Cbor } from "../../shared/cbor.ts";
import { exporterValue, verifyProof } from "../../shared/proof.ts";
import { meanings, Refusal, type OauthError } from "../../shared/refusal.ts";
import { formatTicket, parseTicket } from "../../shared/ticket.ts";
import { hasVectors, readVectors } from "../peers.ts";
import { clientSigner, issuerSigner } from "./keys.ts";
import { hex, reasonOf, unhex } from "./reading.ts";

describe("token requests (RFC 9200, section 5.8.1)", () => {
  test("what is written is read", () => {
    const request = {
      audience: "home.telemetry",
      scope: [{ filter: "a/#", pub: true, sub: false }],
      reqCnf: clientSigner.publicKey,
      clientId: "home.pi",
      clientAssertion: unhex("00"),
      wantsProfile: true,
    };
    const read = readTokenRequest(encodeTokenRequest(request));
    expect(read).toMatchObject({ ...request, reqCnf: { thumbprint: clientSigner.publicKey.thumbprint } });
  });

  test("keys may come in any order, and unknown ones are ignored", () => {
    const body = encode(
      new Map<Cbor, Cbor>([
        [5, "a.b"],
        [99, "x"],
      ]),
    );
    expect(readTokenRequest(body)).toMatchObject({ audience: "a.b", wantsProfile: false });
    expect(readTokenRequest(unhex("a21821020563612e62"))).toMatchObject({ audience: "a.b" });
  });

  test.each([
    ["no map", encode([5, "a.b"]), "cbor.type"],
    ["another grant type", encode(new Map<Cbor, Cbor>([[33, 1]])), "request.grant-type"],
    ["an audience that is no text", encode(new Map<Cbor, Cbor>([[5, 1]])), "request.malformed"],
    ["a scope that is a number", encode(new Map<Cbor, Cbor>([[9, 1]])), "request.scope"],
    ["a scope that is not AIF", encode(new Map<Cbor, Cbor>([[9, unhex("a0")]])), "request.scope"],
    ["a key that is no map", encode(new Map<Cbor, Cbor>([[4, 1]])), "request.key"],
    ["a key named by kid", encode(new Map<Cbor, Cbor>([[4, new Map([[3, unhex("01")]])]])), "request.key"],
    ["a key of another type", encode(new Map<Cbor, Cbor>([[4, new Map([[1, new Map([[1, 4]])]])]])), "key.type"],
    ["an assertion that is text", encode(new Map<Cbor, Cbor>([[-65537, "a"]])), "request.malformed"],
    ["another profile", encode(new Map<Cbor, Cbor>([[38, 1]])), "request.profile"],
  ])("refuses %s", (_name, body, reason) => {
    expect(reasonOf(() => readTokenRequest(body))).toBe(reason);
  });
});

describe("answers", () => {
  test("what is written is read", () => {
    const response = {
      accessToken: unhex("d83d"),
      expiresIn: 3600,
      tokenType: "pop",
      profile: true,
      scope: [{ filter: "a", pub: true, sub: true }],
    } as const;
    expect(readTokenResponse(encodeTokenResponse(response))).toEqual(response);
  });

  test.each([
    ["the lifetime", new Map<Cbor, Cbor>([[1, unhex("00")]])],
    ["the token", new Map<Cbor, Cbor>([[2, 60]])],
  ])("an answer without %s is not used", (_name, map) => {
    expect(reasonOf(() => readTokenResponse(encode(map)))).toBe("request.malformed");
  });

  const errors: ReadonlyArray<readonly [OauthError, string]> = [
    ["invalid_request", "a1181e01"],
    ["invalid_client", "a1181e02"],
    ["invalid_grant", "a1181e03"],
    ["unauthorized_client", "a1181e04"],
    ["unsupported_grant_type", "a1181e05"],
    ["invalid_scope", "a1181e06"],
    ["unsupported_pop_key", "a1181e07"],
    ["incompatible_ace_profiles", "a1181e08"],
  ];
  test.each(errors)("the error %s is %s", (error, bytes) => {
    expect(hex(encodeTokenError(error))).toBe(bytes);
    expect(readTokenError(unhex(bytes))).toEqual({ error });
  });
});

describe.skipIf(!hasVectors)("ACE vectors", () => {
  test("request, response and errors", () => {
    interface Message {
      readonly hex: string;
    }
    const vector = readVectors<{
      token_request_cbor: Message;
      token_response_cbor: Message;
      errors: Record<string, string>;
    }>("derived/ace-messages.json");
    const request = readTokenRequest(unhex(vector.token_request_cbor.hex));
    expect(request).toMatchObject({
      audience: "mqtts://broker.example",
      wantsProfile: true,
      reqCnf: { thumbprint: clientSigner.publicKey.thumbprint },
    });
    expect(request.scope?.length).toBe(3);
    const response = readTokenResponse(unhex(vector.token_response_cbor.hex));
    expect(response).toMatchObject({ expiresIn: 3600, tokenType: "pop", profile: true });
    for (const [error, bytes] of Object.entries(vector.errors)) {
      expect(hex(encodeTokenError(error as OauthError))).toBe(bytes);
    }
  });

  test("the proof over an exporter value", () => {
    const vector = readVectors<Record<string, string> & { exporter: { value: string } }>(
      "derived/mqtt-ace-packets.json",
    );
    const value = unhex(vector.exporter.value);
    const signature = unhex(vector["pop_signature_over_exporter"]!);
    expect(() => verifyProof(clientSigner.publicKey, value, signature)).not.toThrow();
    expect(hex(clientSigner.sign(value))).toBe(hex(signature));
  });
});

describe("proofs", () => {
  const value = new Uint8Array(32);
  test.each([
    ["too short", clientSigner.sign(value).subarray(1), "proof.length"],
    ["DER", Buffer.concat([unhex("304402200000"), clientSigner.sign(value)]), "proof.length"],
    ["of another key", issuerSigner.sign(value), "proof.signature"],
    ["over another value", clientSigner.sign(new Uint8Array(31)), "proof.signature"],
  ])("a signature that is %s is refused", (_name, signature, reason) => {
    expect(reasonOf(() => verifyProof(clientSigner.publicKey, value, signature))).toBe(reason);
  });

  test("there is no exporter without TLS 1.3", () => {
    expect(reasonOf(() => exporterValue(undefined))).toBe("proof.tls");
    expect(reasonOf(() => exporterValue({ getProtocol: () => "TLSv1.2" } as never))).toBe("proof.tls");
  });
});

describe("tickets", () => {
  const ticket = { authority: "https://localhost:8443", pin: "ab".repeat(32), secret: "c2VjcmV0" };

  test("what is written is read", () => {
    const text = formatTicket(ticket);
    expect(text).toMatch(/^pt1_[A-Za-z0-9_-]+$/);
    expect(parseTicket(text)).toEqual(ticket);
  });

  test.each([
    ["nothing", ""],
    ["another prefix", "pt2_gA"],
    ["a text cut short", formatTicket(ticket).slice(0, -4)],
    ["plain http", formatTicket({ ...ticket, authority: "http://localhost" })],
    ["a short pin", formatTicket({ ...ticket, pin: "ab" })],
    ["no secret", formatTicket({ ...ticket, secret: "" })],
  ])("refuses %s", (_name, text) => {
    expect(reasonOf(() => parseTicket(text))).toBe("ticket.malformed");
  });
});

describe("client assertions", () => {
  const claims = {
    iss: "home.pi",
    sub: "home.pi",
    aud: "https://as.example",
    exp: 1_893_456_000,
    id: unhex("01020304"),
  };

  test.each([
    ["CWT", mintCwtAssertion(claims, clientSigner)],
    ["JWT", mintJwtAssertion(claims, clientSigner)],
  ])("a %s is read and verifies with its key alone", (_name, presented) => {
    const assertion = readAssertion(presented);
    expect(assertion.claims).toMatchObject({ iss: "home.pi", sub: "home.pi", aud: claims.aud, exp: claims.exp });
    expect(assertion.isSignedBy(clientSigner.publicKey)).toBe(true);
    expect(assertion.isSignedBy(issuerSigner.publicKey)).toBe(false);
  });

  test.each([
    ["garbage", unhex("ff")],
    ["text that is no JWT", "a.b"],
    ["no id", mintCwtAssertion({ ...claims, id: new Uint8Array() }, clientSigner)],
    ["an id of 65 bytes", mintCwtAssertion({ ...claims, id: new Uint8Array(65) }, clientSigner)],
    ["no subject", mintJwtAssertion({ ...claims, sub: undefined as unknown as string }, clientSigner)],
    ["an expiry that is text", mintJwtAssertion({ ...claims, exp: "1" as unknown as number }, clientSigner)],
  ])("refuses %s", (_name, presented) => {
    expect(reasonOf(() => readAssertion(presented))).toBe("assertion.malformed");
  });
});

describe("refusals", () => {
  test("carry an id and keep the detail to themselves", () => {
    const refusal = new Refusal("token.expired", "by 5 s");
    expect(refusal.id).toMatch(/^[A-Za-z0-9_-]{12}$/);
    expect(new Refusal("token.expired").id).not.toBe(refusal.id);
    for (const meaning of Object.values(meanings)) expect(meaning.says).not.toContain("5 s");
  });

  test("every reason is a 4xx but those that are no fault of the peer", () => {
    const ours = new Set(["trust.stale", "authority.unreachable", "storage.failed", "internal"]);
    for (const [reason, { http }] of Object.entries(meanings)) {
      expect([reason, http >= 400 && http < 500]).toEqual([reason, !ours.has(reason)]);
    }
  });
});
