/**
 * Every computed block of docs/protocol.md, made with the code that runs in production, the published test keys of RFC
 * 8392 A.2.3 (issuer) and RFC 6979 A.2.5 (client), the deterministic signer, and a time that stands still.
 */
import mqttPacket from "mqtt-packet";
import type { IConnectPacket, Packet } from "mqtt-packet";
import { defaultLimits as authorityLimits } from "../../broker/authority/context.ts";
import type { Connection, NewsPacket } from "../../broker/gate/connection.ts";
import { readCredential } from "../../broker/gate/credential.ts";
import { openGate } from "../../broker/gate/hooks.ts";
import { defaultLimits as gateLimits } from "../../broker/gate/limits.ts";
import { refusalNews, tell, type SessionNews } from "../../broker/gate/news.ts";
import { Session } from "../../broker/gate/session.ts";
import { brokerOptions } from "../../broker/mqtt/broker-options.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import * as ace from "../../shared/ace.ts";
import { MAX_ASSERTION_SECONDS, mintCwtAssertion, mintJwtAssertion, readAssertion } from "../../shared/assertion.ts";
import { toBase64url } from "../../shared/base64url.ts";
import { encode } from "../../shared/cbor.ts";
import type { Claims } from "../../shared/claims.ts";
import { toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { toBeSigned } from "../../shared/cose.ts";
import { mintCwt, readCwt } from "../../shared/cwt.ts";
import type { Signer } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { EXPORTER_BYTES, verifyProof } from "../../shared/proof.ts";
import { meanings, Refusal, type OauthError } from "../../shared/refusal.ts";
import { encodeScope, encodeScopeText, mergeGrants, parsePermission } from "../../shared/scope.ts";
import { formatTicket, parseTicket } from "../../shared/ticket.ts";
import { MAX_TOKEN_BYTES, tokenHashes, verifyToken } from "../../shared/token.ts";
import { AUTHZ_INFO } from "../../shared/topic.ts";
import { clientSigner, issuerSigner } from "../shared/keys.ts";
import { unhex } from "../shared/reading.ts";
import { dump, explainCbor, type Shape, type Stretch } from "./hexdump.ts";

/** 2026-01-01T00:00:00Z. */
const now = 1_767_225_600;
const issuer = "https://localhost:8443";
const clientId = "home.gateway";
const audience = "home.telemetry";
const grants = mergeGrants(
  ["pub:home/gateway/machine", "sub:home/gateway/command", "sub:home/all"].map(parsePermission),
);
/** Named as the registry names keys: the first two characters of the thumbprint. */
const signer: Signer = {
  ...issuerSigner,
  kid: toBase64url(unhex(issuerSigner.publicKey.thumbprint)).slice(0, 2),
};
const device: Signer = { ...clientSigner, kid: "" };
const claims: Claims = {
  iss: issuer,
  sub: clientId,
  aud: audience,
  exp: now + 3600,
  iat: now,
  id: unhex("04d2"),
  cnf: { kind: "key", key: device.publicKey },
  scope: grants,
};
const { cnf: _bound, ...unbound } = claims;

const grantShape: Shape = { each: { items: [{ says: "topic filter" }, { each: { says: "permission" } }] } };
const coseKeyShape: Shape = {
  map: {
    "1": { says: "kty: EC2" },
    "2": { says: "kid" },
    "3": { says: "alg: ES256" },
    "-1": { says: "crv: P-256" },
    "-2": { says: "x" },
    "-3": { says: "y: true is the odd point, false the even one" },
  },
};
const uncompressedShape: Shape = { map: { ...coseKeyShape.map, "-3": { says: "y" } } };
const cnfShape: Shape = { map: { "1": { says: "COSE_Key", ...coseKeyShape } } };
const claimsShape: Shape = {
  map: {
    "1": { says: "iss" },
    "2": { says: "sub" },
    "3": { says: "aud" },
    "4": { says: "exp" },
    "6": { says: "iat" },
    "7": { says: "cti: of an access token, its number" },
    "8": { says: "cnf", ...cnfShape },
    "9": { says: "scope", inner: grantShape },
  },
};
const cwtShape: Shape = {
  items: [
    { inner: { map: { "1": { says: "alg: ES256" }, "4": { says: "kid" } } } },
    { says: "unprotected header, always empty" },
    { inner: claimsShape },
    { says: "signature, r then s" },
  ],
};
const requestShape: Shape = {
  map: {
    "4": { says: "req_cnf", ...cnfShape },
    "5": { says: "audience" },
    "9": { says: "scope", inner: grantShape },
    "24": { says: "client_id" },
    "33": { says: "grant_type: client_credentials" },
    "38": { says: "ace_profile: name it in the answer" },
    "-65537": { says: "client_assertion", inner: cwtShape },
  },
};
const responseShape: Shape = {
  map: {
    "1": { says: "access_token" },
    "2": { says: "expires_in" },
    "9": { says: "scope", inner: grantShape },
    "34": { says: "token_type: 2 pop, 1 bearer" },
    "38": { says: "ace_profile: mqtt_tls" },
  },
};
const errorShape: Shape = { map: { "30": { says: "error" }, "31": { says: "error_description" } } };

/** The four CONNECT packets and what the gate takes each for, computed once and checked by the test. */
export interface Example {
  readonly name: string;
  readonly packet: Partial<IConnectPacket>;
  readonly hasCertificate: boolean;
  readonly kind: ReturnType<typeof readCredential>["kind"];
}

const cwt = mintCwt(claims, signer);
const jwt = mintJwt(claims, signer);
const bearerJwt = mintJwt(unbound, signer);
const exported = Uint8Array.from({ length: EXPORTER_BYTES }, (_, index) => index);
const proof = device.sign(exported);

export const examples: readonly Example[] = [
  {
    name: "connect.proof",
    packet: { username: `ace${toBase64url(cwt)}`, password: Buffer.from(proof) },
    hasCertificate: false,
    kind: "proof",
  },
  {
    name: "connect.certificate-token",
    packet: { username: `ace${toBase64url(cwt)}` },
    hasCertificate: true,
    kind: "certificate-token",
  },
  { name: "connect.certificate", packet: {}, hasCertificate: true, kind: "certificate" },
  {
    name: "connect.bearer",
    packet: { username: "any", password: Buffer.from(toBase64url(mintCwt(unbound, signer))) },
    hasCertificate: false,
    kind: "bearer",
  },
  { name: "connect.anonymous", packet: { clientId: "" }, hasCertificate: false, kind: "anonymous" },
];

/** What must hold of the examples before they are shown. */
export function checkExamples(): void {
  const expected = {
    issuer,
    keyFor: (kid: string) => (kid === signer.kid ? signer.publicKey : undefined),
    isAudience: (aud: string) => aud === audience,
    nowSeconds: now,
  };
  for (const token of [cwt, jwt, bearerJwt]) verifyToken(token, expected);
  verifyProof(device.publicKey, exported, proof);
  const { claims: read, isSignedBy } = readAssertion(assertion());
  if (!isSignedBy(device.publicKey) || read.sub !== clientId) throw new Error("the assertion is not the client's");
  if (parseTicket(ticket()).authority !== issuer) throw new Error("the ticket is not the authority's");
  for (const { packet, hasCertificate, kind } of examples) {
    const password = packet.password as Buffer | undefined;
    const credential = readCredential(packet.username, password, hasCertificate);
    if (credential.kind !== kind) throw new Error(`${kind} is taken for ${credential.kind}`);
  }
}

/** All blocks, by name. */
export function computeBlocks(): Map<string, string> {
  const message = readCwt(cwt).message;
  return new Map([
    ["keys", keys()],
    ["ticket.text", wrap(ticket())],
    ["ticket.cbor", ticketDump()],
    ["token.scope", `${encodeDump(encodeScope(grants), grantShape)}\n\n${wrap(encodeScopeText(grants))}`],
    [
      "token.cwt",
      `${cwt.length} bytes, ${toBase64url(cwt).length} characters as base64url\n\n${encodeDump(cwt, cwtShape)}`,
    ],
    [
      "token.signed",
      encodeDump(toBeSigned(message), {
        items: [
          { says: "context" },
          { says: "protected header, as it was received" },
          { says: "external data: none" },
          { says: "payload" },
        ],
      }),
    ],
    ["token.jwt", describeJwt(jwt)],
    ["token.jwt-bearer", describeJwt(bearerJwt)],
    ["token.hashes", describeHashes()],
    ["request.certificate", encodeDump(ace.encodeTokenRequest({ audience, wantsProfile: true }), requestShape)],
    [
      "request.narrow",
      encodeDump(
        ace.encodeTokenRequest({
          audience,
          scope: [parsePermission("pub:home/gateway/machine")],
          reqCnf: device.publicKey,
          wantsProfile: true,
        }),
        requestShape,
      ),
    ],
    ["assertion.cwt", encodeDump(assertion(), cwtShape)],
    ["request.assertion", encodeDump(ace.encodeTokenRequest({ audience, clientAssertion: assertion() }), requestShape)],
    ["assertion.jwt", describeJwt(mintJwtAssertion(assertionClaims(), device))],
    [
      "response",
      encodeDump(
        ace.encodeTokenResponse({
          accessToken: cwt,
          expiresIn: 3600,
          tokenType: "pop",
          scope: grants,
          profile: true,
        }),
        responseShape,
      ),
    ],
    ["errors", errors()],
    ["error.described", encodeDump(ace.encodeTokenError("invalid_client", meanings["client.secret"].says), errorShape)],
    ["keys.cose", coseKeys()],
    [
      "keys.jwk",
      JSON.stringify({ keys: [{ ...toJwk(signer.publicKey), kid: signer.kid, use: "sig", alg: "ES256" }] }, null, 2),
    ],
    ["proof", proofDump()],
    ...examples.map(({ name, packet }) => [name, connectDump(packet)] as const),
    ["authz-info", authzInfoDump()],
    [
      "session.events",
      newsOf()
        .map((news) => JSON.stringify(news))
        .join("\n"),
    ],
    ["session.packet", newsPacketDump()],
    ["connack", connacks()],
    ["suback", subacks()],
    ["reasons", reasons()],
    ["limits", limits()],
  ]);
}

function keys(): string {
  const name = ({ publicKey }: Signer): string[] => [
    `x           ${Buffer.from(publicKey.x).toString("hex")}`,
    `y           ${Buffer.from(publicKey.y).toString("hex")}`,
    `thumbprint  ${publicKey.thumbprint}`,
  ];
  return ["issuer", ...name(signer), `kid         ${signer.kid}`, "", "client", ...name(device)].join("\n");
}

function ticket(): string {
  return formatTicket({
    authority: issuer,
    pin: issuerSigner.publicKey.thumbprint,
    secret: toBase64url(Uint8Array.from({ length: 20 }, (_, index) => index)),
  });
}

function ticketDump(): string {
  const bytes = Buffer.from(ticket().slice(4), "base64url");
  return encodeDump(bytes, { items: [{ says: "authority" }, { says: "pin" }, { says: "secret" }] });
}

function assertionClaims() {
  return { iss: clientId, sub: clientId, aud: issuer, exp: now + 120, iat: now, id: unhex("a0a1a2a3a4a5a6a7") };
}

function assertion(): Uint8Array {
  return mintCwtAssertion(assertionClaims(), device);
}

function describeJwt(text: string): string {
  const [head, body] = text.split(".", 2).map((part) => Buffer.from(part, "base64url").toString());
  return [head, JSON.stringify(JSON.parse(body!), null, 2), "", wrap(text)].join("\n");
}

function describeHashes(): string {
  const [hash] = tokenHashes(cwt);
  const [asText, asBytes] = tokenHashes(jwt);
  return [
    `CWT                       ${hash}`,
    `JWT, hashed as it is      ${asText}`,
    `JWT, hashed as base64url  ${asBytes}`,
  ].join("\n");
}

function errors(): string {
  const names: readonly OauthError[] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "unsupported_pop_key",
    "incompatible_ace_profiles",
  ];
  return names.map((name) => `${Buffer.from(ace.encodeTokenError(name)).toString("hex")}  ${name}`).join("\n");
}

function coseKeys(): string {
  const kid = Buffer.from(signer.kid, "latin1");
  const set = encode([toCoseKey(signer.publicKey, { kid, alg: true, uncompressed: true })]);
  return encodeDump(set, { each: uncompressedShape });
}

function proofDump(): string {
  return dump([
    { bytes: exported, says: "what both ends export" },
    { bytes: proof.subarray(0, 32), says: "r" },
    { bytes: proof.subarray(32), says: "s" },
  ]);
}

function connectDump(wish: Partial<IConnectPacket>): string {
  const packet = { cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clean: true, keepalive: 60, clientId };
  const bytes = mqttPacket.generate({ ...packet, ...wish } as Packet);
  const { stretches, at } = explainFixed(bytes, "CONNECT");
  const text = explainFields(bytes, at, [
    ["protocol name", "text"],
    ["protocol level 4: MQTT 3.1.1", 1],
    ["flags: clean session", 1],
    ["keep alive, seconds", 2],
    ["client id", "text"],
    ...(wish.username === undefined ? [] : [["user name", "text"] as const]),
    ...(wish.password === undefined ? [] : [["password", "bytes"] as const]),
  ]);
  const flags = [
    "flags: clean session",
    ...(wish.username === undefined ? [] : ["user name"]),
    ...(wish.password === undefined ? [] : ["password"]),
  ].join(", ");
  return dump([...stretches, ...text.map((one) => (one.says.startsWith("flags") ? { ...one, says: flags } : one))]);
}

function authzInfoDump(): string {
  const bytes = mqttPacket.generate({
    cmd: "publish",
    topic: AUTHZ_INFO,
    payload: Buffer.from(cwt),
    qos: 1,
    retain: false,
    dup: false,
    messageId: 1,
  });
  const { stretches, at } = explainFixed(bytes, "PUBLISH, QoS 1");
  const fields = explainFields(bytes, at, [
    ["topic", "text"],
    ["packet identifier", 2],
  ]);
  const end = bytes.length - cwt.length;
  const puback = mqttPacket.generate({ cmd: "puback", messageId: 1 });
  return dump([
    ...stretches,
    ...fields,
    { bytes: bytes.subarray(end), says: "the token" },
    { bytes: puback, says: "PUBACK: it was taken" },
  ]);
}

function newsOf(): readonly SessionNews[] {
  const refusal = Object.assign(new Refusal("token.subject"), { id: "AAECAwQFBgcI" });
  return [{ event: "expiring", exp: now + 3600 }, { event: "renewed", exp: now + 7200 }, refusalNews(refusal)];
}

/** The packet of the first event, as the gate hands it to a connection that has subscribed. */
function newsPacketDump(): string {
  let sent: NewsPacket | undefined;
  const connection = {
    closed: false,
    subscriptions: { "$postern/session": {} },
    publish: (packet: NewsPacket) => (sent = packet),
  } as unknown as Connection;
  const admission = { kind: "token", clientId, subject: clientId, address: "", grants, expiresAt: now + 3600 } as const;
  tell(new Session(connection, admission), newsOf()[0]!);
  const { topic, payload, qos, retain, dup, cmd } = sent!;
  const bytes = mqttPacket.generate({ cmd, topic, payload, qos, retain, dup });
  const { stretches, at } = explainFixed(bytes, "PUBLISH, QoS 0");
  const fields = explainFields(bytes, at, [["topic", "text"]]);
  return dump([
    ...stretches,
    ...fields,
    { bytes: bytes.subarray(bytes.length - payload.length), says: payload.toString() },
  ]);
}

function connacks(): string {
  const lines: Stretch[] = [
    [0, "connected"],
    [4, "the credential is not accepted"],
    [5, "not authorized"],
  ].map(([returnCode, says]) => ({
    bytes: mqttPacket.generate({ cmd: "connack", returnCode: returnCode as number, sessionPresent: false }),
    says: String(says),
  }));
  return dump(lines);
}

function subacks(): string {
  const bytes = mqttPacket.generate({ cmd: "suback", messageId: 1, granted: [1, 128] });
  return dump([{ bytes, says: "the first filter is granted at QoS 1, the second is refused" }]);
}

function reasons(): string {
  const rows = Object.entries(meanings).map(([reason, { http, oauth, connack, says }]) =>
    [reason.padEnd(26), String(http), oauth.padEnd(25), String(connack), says].join("  "),
  );
  const heading = ["reason".padEnd(26), "HTTP", "OAuth and ACE error".padEnd(24), "MQTT", "what the peer is told"];
  return [heading.join(" "), ...rows].join("\n");
}

function limits(): string {
  const gate = openGate({ trust: createMemoryTrust({ issuer }) });
  const { connectTimeout, drainTimeout, maxInflightInbound, maxClientsIdLength } = brokerOptions(gate);
  gate.close();
  const rows: readonly (readonly [string, unknown, string])[] = [
    ["HTTP body", authorityLimits.bodyBytes, "bytes"],
    ["certification request", authorityLimits.csrBytes, "bytes of DER"],
    ["HTTP request, first byte to last", authorityLimits.requestMs, "ms"],
    ["HTTP connections", authorityLimits.connections, "at a time"],
    ["device certificate", authorityLimits.certificateDays, "days"],
    ["token", MAX_TOKEN_BYTES, "bytes"],
    ["assertion, life", MAX_ASSERTION_SECONDS, "s"],
    ["TCP accept to CONNECT", connectTimeout, "ms"],
    ["a write that does not drain", drainTimeout, "ms"],
    ["QoS 1 and 2 messages in flight to the broker", maxInflightInbound, "of one client"],
    ["client id, MQTT 3.1", maxClientsIdLength, "characters"],
    ["subscriptions", gateLimits.subscriptions, "of one session"],
    ["anonymous clients", gateLimits.strangers, "at a time"],
    ["anonymous clients of one address", gateLimits.strangersPerAddress, "at a time"],
    ["anonymous client, stay", gateLimits.strangerSeconds, "s"],
    ["tokens of anonymous clients of one address", gateLimits.strangerTokensPerMinute, "a minute"],
    ["tokens kept from authz-info", gateLimits.keptTokens, "in all"],
    ["verified tokens remembered", gateLimits.verifiedTokens, "in all"],
    ["verified certificates remembered", gateLimits.verifiedCertificates, "in all"],
  ];
  return rows.map(([what, value, unit]) => `${what.padEnd(46)} ${String(value).padStart(7)} ${unit}`).join("\n");
}

/** The fixed header of a control packet (MQTT 3.1.1, section 2.2). */
function explainFixed(bytes: Uint8Array, says: string): { readonly stretches: Stretch[]; readonly at: number } {
  let at = 1;
  while (bytes[at++]! >= 0x80);
  const remaining = bytes.length - at;
  return {
    stretches: [
      { bytes: bytes.subarray(0, 1), says },
      { bytes: bytes.subarray(1, at), says: `remaining length ${remaining}` },
    ],
    at,
  };
}

type Field = readonly [says: string, size: number | "text" | "bytes"];

function explainFields(bytes: Uint8Array, start: number, fields: readonly Field[]): Stretch[] {
  let at = start;
  return fields.flatMap(([says, size]): Stretch[] => {
    const from = at;
    if (typeof size === "number") {
      at += size;
      const value = Buffer.from(bytes.subarray(from, at)).readUIntBE(0, size);
      return [{ bytes: bytes.subarray(from, at), says: size === 2 ? `${says}: ${value}` : says }];
    }
    const length = (bytes[at]! << 8) | bytes[at + 1]!;
    at += 2 + length;
    const content = bytes.subarray(from + 2, at);
    const text = size === "text" && length <= 40 ? ` ${JSON.stringify(Buffer.from(content).toString())}` : "";
    return [
      { bytes: bytes.subarray(from, from + 2), says: `${length} bytes` },
      ...(length === 0 ? [] : [{ bytes: content, says: `${says}${text}` }]),
    ];
  });
}

function encodeDump(bytes: Uint8Array, shape: Shape): string {
  return dump(explainCbor(bytes, shape));
}

/** Long text in lines of 100 characters. */
function wrap(text: string): string {
  return text.match(/.{1,100}/g)!.join("\n");
}
