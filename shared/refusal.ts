/**
 * The closed list of reasons for which Postern says no, and what a peer learns of each.
 *
 * Logs, audit rows and alerts carry the precise reason and the id; a peer sees only what `meanings` says: an HTTP
 * status, an OAuth error (RFC 6749 5.2, RFC 9200 5.8.3), an MQTT 3.1.1 CONNACK code, and one vague sentence.
 * A reason without a row in the table does not compile.
 */
import { randomBytes } from "node:crypto";

/**
 * Error codes of the OAuth and ACE endpoints (RFC 6749, section 5.2; RFC 9200, section 5.8.3; RFC 9449,
 * section 5).
 */
export type OauthError =
  | "invalid_request"
  | "invalid_client"
  | "invalid_grant"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "invalid_scope"
  | "unsupported_pop_key"
  | "incompatible_ace_profiles"
  | "invalid_dpop_proof"
  | "server_error";

/** What a peer learns of a reason. */
export interface Meaning {
  /** HTTP status code. */
  readonly http: number;
  /** Error code of the OAuth and ACE endpoints. */
  readonly oauth: OauthError;
  /** MQTT 3.1.1 CONNACK return code: 4 the credential is bad, 5 not authorized. */
  readonly connack: 4 | 5;
  /** The one sentence a stranger is told. */
  readonly says: string;
}

const badBody = { http: 400, oauth: "invalid_request", connack: 4, says: "the request is malformed" } as const;
const badKey = { http: 400, oauth: "unsupported_pop_key", connack: 4, says: "the key cannot be used" } as const;
const badClient = { http: 401, oauth: "invalid_client", connack: 4, says: "client authentication failed" } as const;
const badToken = { http: 401, oauth: "invalid_grant", connack: 4, says: "the token is not accepted" } as const;
const badProof = {
  http: 401,
  oauth: "invalid_client",
  connack: 4,
  says: "possession of the key is not proven",
} as const;
const notAllowed = { http: 403, oauth: "unauthorized_client", connack: 5, says: "not authorized" } as const;
const badTicket = { http: 401, oauth: "invalid_client", connack: 4, says: "the ticket is not accepted" } as const;

const badDpop = {
  http: 400,
  oauth: "invalid_dpop_proof",
  connack: 4,
  says: "the DPoP proof is not accepted",
} as const;
const badLogin = { http: 401, oauth: "invalid_client", connack: 4, says: "address or password is wrong" } as const;
const badKeyOfDeveloper = { http: 401, oauth: "invalid_client", connack: 4, says: "the key is not accepted" } as const;

/** Every reason, with what it means on each wire. */
export const meanings = {
  // what arrives is not well-formed
  "cbor.truncated": badBody,
  "cbor.trailing": badBody,
  "cbor.not-deterministic": badBody,
  "cbor.indefinite": badBody,
  "cbor.duplicate-key": badBody,
  "cbor.too-deep": badBody,
  "cbor.too-large": badBody,
  "cbor.tag": badBody,
  "cbor.type": badBody,
  "cbor.utf8": badBody,
  "base64url.malformed": badBody,

  // COSE messages and keys
  "cose.structure": badToken,
  "cose.tag": badToken,
  "cose.header": badToken,
  "cose.algorithm": badToken,
  "cose.unprotected": badToken,
  "cose.signature": badToken,
  "key.malformed": badKey,
  "key.type": badKey,
  "key.curve": badKey,
  "key.point": badKey,
  "key.algorithm": badKey,
  "key.private": badKey,

  // tokens
  "token.malformed": badToken,
  "token.too-large": badToken,
  "token.type": badToken,
  "token.algorithm": badToken,
  "token.key-unknown": badToken,
  "token.signature": badToken,
  "token.claims": badToken,
  "token.issuer": badToken,
  "token.audience": badToken,
  "token.expired": badToken,
  "token.revoked": badToken,
  "token.not-yet-valid": badToken,
  "token.scope": badToken,
  "token.unbound": notAllowed,
  "token.subject": notAllowed,
  "token.key-changed": notAllowed,

  // proofs of possession and device certificates
  "proof.missing": badProof,
  "proof.length": badProof,
  "proof.signature": badProof,
  "proof.tls": badProof,
  "proof.key": badProof,
  "certificate.missing": badProof,
  "certificate.untrusted": notAllowed,
  "certificate.expired": notAllowed,
  "certificate.not-yet-valid": notAllowed,
  "certificate.usage": notAllowed,
  "certificate.identity": notAllowed,
  "certificate.unknown": notAllowed,
  "certificate.revoked": notAllowed,
  "certificate.list": notAllowed,

  // who connects or asks
  "credential.missing": badClient,
  "credential.malformed": badClient,
  "credential.too-large": badClient,
  "client.unknown": badClient,
  "client.disabled": badClient,
  "client.secret": badClient,
  "client.grants": notAllowed,
  "client-id.malformed": notAllowed,
  "client-id.foreign": notAllowed,
  "assertion.malformed": badClient,
  "assertion.subject": badClient,
  "assertion.audience": badClient,
  "assertion.expired": badClient,
  "assertion.lifetime": badClient,
  "assertion.signature": badClient,
  "assertion.replayed": badClient,
  "secret.expired": badClient,
  "secret.retired": badClient,
  "resource-server.unknown": badClient,

  // DPoP (RFC 9449)
  "dpop.malformed": badDpop,
  "dpop.type": badDpop,
  "dpop.algorithm": badDpop,
  "dpop.key": badDpop,
  "dpop.signature": badDpop,
  "dpop.method": badDpop,
  "dpop.url": badDpop,
  "dpop.time": badDpop,
  "dpop.token": badDpop,
  "dpop.replayed": badDpop,

  // enrolment
  "ticket.malformed": badTicket,
  "ticket.unknown": badTicket,
  "ticket.expired": badTicket,
  "ticket.used-up": badTicket,
  "ticket.revoked": badTicket,
  "ticket.pin": badTicket,
  "csr.malformed": badBody,
  "csr.signature": badBody,
  "csr.key": badKey,

  // requests over HTTP
  "request.malformed": badBody,
  "request.media-type": { ...badBody, http: 415, says: "the media type is not supported here" },
  "request.too-large": { ...badBody, http: 413, says: "the request is too large" },
  "request.not-found": { ...badBody, http: 404, says: "not found" },
  "request.method": { ...badBody, http: 405, says: "the method is not allowed here" },
  "request.grant-type": {
    http: 400,
    oauth: "unsupported_grant_type",
    connack: 4,
    says: "only client_credentials is granted here",
  },
  "request.audience": { ...badBody, says: "the audience is not known" },
  "request.scope": { http: 400, oauth: "invalid_scope", connack: 5, says: "nothing of the requested scope is allowed" },
  "request.key": badKey,
  "request.unbound": { ...badBody, says: "this api takes tokens bound to a key only" },
  "request.profile": { http: 400, oauth: "incompatible_ace_profiles", connack: 4, says: "no common profile" },

  // developers, and what they may
  "account.unknown": badLogin,
  "account.password": badLogin,
  "account.unconfirmed": badLogin,
  "account.code": { http: 400, oauth: "invalid_request", connack: 4, says: "the code is not accepted" },
  "account.last-owner": { http: 409, oauth: "invalid_request", connack: 5, says: "a project would have no owner" },
  "account.login": badKeyOfDeveloper,
  "api-key.unknown": badKeyOfDeveloper,
  "api-key.expired": badKeyOfDeveloper,
  "api-key.revoked": badKeyOfDeveloper,
  "registration.closed": { ...notAllowed, says: "registration is closed" },
  "registration.invitation": { ...notAllowed, says: "the invitation is not accepted" },
  "access.permission": notAllowed,

  // the registry
  "admin.key": { http: 401, oauth: "invalid_client", connack: 4, says: "the key is not accepted" },
  "registry.not-found": { http: 404, oauth: "invalid_request", connack: 5, says: "not found" },
  "registry.conflict": { http: 409, oauth: "invalid_request", connack: 5, says: "it exists already or is in use" },
  "registry.invalid": { http: 422, oauth: "invalid_request", connack: 5, says: "a field is not valid" },

  // MQTT before and around its packets
  "packet.malformed": badBody,
  "packet.too-large": { ...badBody, connack: 5, says: "the packet is too large" },
  "packet.unexpected": { ...badBody, connack: 5, says: "the packet is not expected here" },
  "connect.deadline": { http: 408, oauth: "invalid_request", connack: 5, says: "it took too long" },

  // MQTT after CONNECT
  "topic.name": notAllowed,
  "topic.filter": notAllowed,
  "topic.reserved": notAllowed,
  "will.topic": notAllowed,
  "publish.topic": notAllowed,
  "subscribe.filter": notAllowed,
  "subscribe.shared": notAllowed,
  "deliver.topic": notAllowed,
  "session.expired": notAllowed,
  "session.closed": notAllowed,

  // a list of what is revoked (RFC 9770), and a view of one that is too old
  "list.parameter": { ...badBody, says: "a parameter has no such value" },
  "list.parameters": { ...badBody, says: "these parameters do not go together" },
  "list.cursor": { ...badBody, says: "the cursor is out of bounds" },
  "trust.stale": { http: 503, oauth: "server_error", connack: 5, says: "the service is not ready" },

  // a request to a resource server
  "token.query": { ...badBody, says: "a token belongs into the Authorization header" },
  "token.inactive": badToken,
  "scope.insufficient": { http: 403, oauth: "invalid_scope", connack: 5, says: "the token does not allow this" },
  "authority.unreachable": { http: 503, oauth: "server_error", connack: 5, says: "the service is not ready" },

  // limits and our own faults
  "rate.limited": { http: 429, oauth: "invalid_request", connack: 5, says: "too many requests" },
  "limit.reached": { http: 429, oauth: "invalid_request", connack: 5, says: "a limit is reached" },
  "storage.failed": {
    http: 507,
    oauth: "server_error",
    connack: 5,
    says: "nothing could be written, and nothing was changed",
  },
  internal: { http: 500, oauth: "server_error", connack: 5, says: "the service failed" },
} as const satisfies Record<string, Meaning>;

/** Why something is refused: the names in {@link meanings} and no other. */
export type Reason = keyof typeof meanings;

/** An expected no. `id` is what an operator looks up; `detail` is for operators only and holds nothing secret. */
export class Refusal extends Error {
  readonly reason: Reason;
  readonly id: string;
  readonly detail: string;

  constructor(reason: Reason, detail = "") {
    super(detail === "" ? reason : `${reason}: ${detail}`);
    this.name = "Refusal";
    this.reason = reason;
    // an id is an argument of `postern explain`, and what begins with - is an option there
    this.id = randomBytes(9).toString("base64url").replace(/^-/, "_");
    this.detail = detail;
  }
}

/** Throws a {@link Refusal}. */
export function refuse(reason: Reason, detail = ""): never {
  throw new Refusal(reason, detail);
}

/** The row of the table for a reason. */
export function meaningOf(reason: Reason): Meaning {
  return meanings[reason];
}
