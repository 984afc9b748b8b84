/**
 * Every computed block of docs/protocol.md, by name.
 */
import { defaultLimits as authorityLimits } from "../../broker/authority/context.ts";
import * as ace from "../../shared/ace.ts";
import { mintJwtAssertion } from "../../shared/assertion.ts";
import { toBase64url } from "../../shared/base64url.ts";
import { encode } from "../../shared/cbor.ts";
import { toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { toBeSigned } from "../../shared/cose.ts";
import { readCwt } from "../../shared/cwt.ts";
import { DPOP_LEEWAY_SECONDS } from "../../shared/dpop.ts";
import type { Signer } from "../../shared/es256.ts";
import { meanings, type OauthError } from "../../shared/refusal.ts";
import { encodeScope, encodeScopeText, parsePermission } from "../../shared/scope.ts";
import { tokenHashes } from "../../shared/token.ts";
import { dump, explainCbor, type Shape } from "./hexdump.ts";
import {
  assertion,
  assertionClaims,
  audience,
  bearerJwt,
  cwt,
  device,
  examples,
  exported,
  grants,
  jwt,
  proof,
  signer,
  ticket,
} from "./protocol-example.ts";
import { authzInfoDump, connacks, connectDump, newsOf, newsPacketDump, subacks } from "./protocol-packets.ts";
import { httpBlocks } from "./protocol-http.ts";
import { introspectionBlocks } from "./protocol-introspection.ts";
import { trlBlocks } from "./protocol-trl.ts";
import { cwtShape, errorShape, grantShape, requestShape, responseShape, uncompressedShape } from "./protocol-shapes.ts";

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
    ...httpBlocks(describeJwt),
    ...trlBlocks(),
    ...introspectionBlocks(describeJwt),
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

function ticketDump(): string {
  const bytes = Buffer.from(ticket().slice(4), "base64url");
  return encodeDump(bytes, { items: [{ says: "authority" }, { says: "pin" }, { says: "secret" }] });
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

function reasons(): string {
  const rows = Object.entries(meanings).map(([reason, { http, oauth, connack, says }]) =>
    [reason.padEnd(26), String(http), oauth.padEnd(25), String(connack), says].join("  "),
  );
  const heading = ["reason".padEnd(26), "HTTP", "OAuth and ACE error".padEnd(24), "MQTT", "what the peer is told"];
  return [heading.join(" "), ...rows].join("\n");
}

function limits(): string {
  const rows: readonly (readonly [string, unknown, string])[] = [
    ["certification request", authorityLimits.csrBytes, "bytes of DER"],
    ["HTTP request, first byte to last", authorityLimits.requestMs, "ms"],
    ["HTTP connections", authorityLimits.connections, "at a time"],
    ["HTTP connection on which nothing moves", authorityLimits.silenceMs, "ms"],
    ["device certificate", authorityLimits.certificateDays, "days"],
    ["assertion, life", authorityLimits.assertionSeconds, "s"],
    ["DPoP proof, from our time either way", DPOP_LEEWAY_SECONDS, "s"],
  ];
  return rows.map(([what, value, unit]) => `${what.padEnd(46)} ${String(value).padStart(7)} ${unit}`).join("\n");
}

function encodeDump(bytes: Uint8Array, shape: Shape): string {
  return dump(explainCbor(bytes, shape));
}

/** Long text in lines of 100 characters. */
function wrap(text: string): string {
  return text.match(/.{1,100}/g)!.join("\n");
}
