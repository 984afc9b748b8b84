/**
 * For every reason: which check said no, and the smallest change after which it would not. A reason without a row does not
 * compile.
 *
 * A change is a sentence, with the command that makes it where there is one. What nobody should allow (a forged signature,
 * something replayed) says who has to do otherwise.
 */
import type { Reason } from "../../../shared/refusal.ts";
import { missingPermission, missingRights, unknownAudience, type Case, type Change } from "./explain-case.ts";

/** A row: the check in words, and the change, of this case or of all. */
export interface Row {
  readonly check: string;
  readonly change: Change | ((about: Case) => Change);
}

const row = (check: string, change: string | ((about: Case) => Change)): Row => ({
  check,
  change: typeof change === "string" ? { says: change } : change,
});
/** A row whose command is about the client. */
const ofClient = (check: string, says: string, command: (client: string) => string): Row => ({
  check,
  change: ({ client }) => ({ says, command: command(client ?? "<client>") }),
});

const encoding = (what: string): Row =>
  row(`the bytes that arrived are ${what}`, "the sender has to encode it as docs/protocol.md says; nothing to allow");
const forged = (what: string): Row =>
  row(what, "get a new token from this authority and present it unchanged; nothing to allow");
const key = (what: string): Row => row(what, "use a key on P-256, and send its public half alone");
const assertion = (what: string, says: string): Row => row(`the client assertion: ${what}`, says);
const dpop = (what: string, says: string): Row => row(`the DPoP proof: ${what}`, says);
const topic = (what: string): Row => row(what, "use another topic; it is closed to everybody");
const expired = (what: string): Row => row(what, "nothing to change: get a new token");

const newCertificate = (check: string, says: string): Row =>
  ofClient(check, says, (client) => `postern ticket create --client ${client}`);
const newSecret = (check: string, says: string): Row => ({
  check,
  change: ({ client, api }) =>
    api === undefined
      ? { says, command: `postern secret create --client ${client ?? "<client>"}` }
      : { says, command: `postern secret create --api ${api.name} --project ${api.project}` },
});
const newTicket = (check: string, says: string): Row => ({
  check,
  change: ({ project }) => ({
    says,
    command: `postern ticket create --project ${project ?? "<project>"} --client <name>`,
  }),
});
const newClient = (check: string, says: string): Row => ({
  check,
  change: ({ project, claimed }) => {
    // an api that asks for a token claims <project>/<api>
    const [, at, name] = /^([^./]+)\.(.+)$/.exec(claimed ?? "") ?? [];
    return {
      says,
      command: `postern client create ${name ?? "<name>"} --project ${at ?? project ?? "<project>"} --kind <device|service|app>`,
    };
  },
});
const clock = (what: string): Row =>
  row(what, "set the clock of the client; the Date of any answer has the time here, and postern doctor compares");
const byCommand = (check: string, says: string, words: string): Row => ({
  check,
  change: { says, command: `postern ${words}` },
});
const newKey = "apikey create <name>";
const roles: (about: Case) => Change = missingRights;
const limit = "settings of the limits are in docs/operating.md; else wait and send less";

/** The rows. */
export const explanations = {
  "cbor.truncated": encoding("all there"),
  "cbor.trailing": encoding("one item and nothing after it"),
  "cbor.not-deterministic": encoding("deterministic CBOR"),
  "cbor.indefinite": encoding("CBOR of definite lengths"),
  "cbor.duplicate-key": encoding("a map with each key once"),
  "cbor.too-deep": encoding("CBOR of few levels"),
  "cbor.too-large": encoding("not too many"),
  "cbor.tag": encoding("without a tag that has no place there"),
  "cbor.type": encoding("of the type that the place wants"),
  "cbor.utf8": encoding("text in UTF-8"),
  "base64url.malformed": encoding("base64url without padding"),

  "cose.structure": forged("the token is a COSE_Sign1 message"),
  "cose.tag": forged("the token carries the tags of a CWT and no others"),
  "cose.header": forged("the header of the token holds what it must and nothing else"),
  "cose.algorithm": forged("the token is signed with ES256"),
  "cose.unprotected": forged("the unprotected header of the token is empty"),
  "cose.signature": forged("the signature of the token is that of the key it names"),
  "key.malformed": key("the key can be read"),
  "key.type": key("the key is of type EC2"),
  "key.curve": key("the key is on P-256"),
  "key.point": key("the key is a point of its curve"),
  "key.algorithm": key("the key is for ES256"),
  "key.private": key("the key is public"),

  "token.malformed": forged("the token is a CWT or a JWT"),
  "token.too-large": row("the token is not larger than brokers accept", "ask for less in it, or for fewer permissions"),
  "token.type": forged("the JWT is an access token, typ at+jwt"),
  "token.algorithm": forged("the token is signed with ES256"),
  "token.key-unknown": forged("the key that signed the token is one of this authority and not revoked"),
  "token.signature": forged("the signature of the token is that of the key it names"),
  "token.claims": forged("the claims of the token are those of an access token"),
  "token.issuer": forged("the token is from this authority"),
  "token.audience": row(
    "the token is for this api",
    "ask for a token with the audience of the api that is called (postern api list names it)",
  ),
  "token.expired": expired("the token has not expired"),
  "token.revoked": expired("the token was not revoked"),
  "token.not-yet-valid": clock("the token is valid already"),
  "token.scope": forged("the scope of the token can be read"),
  "token.unbound": row(
    "the token is bound to a key",
    "ask for a bound token (req_cnf, a client certificate or DPoP); an api that was created with --bearer takes others",
  ),
  "token.subject": row("the token is of whoever presents it", "present a token of one's own; nothing to allow"),
  "token.key-changed": row("a renewed token is bound to the same key", "connect anew to change the key"),

  "proof.missing": row(
    "possession of the token's key is proven",
    "sign the exporter value, or connect with the certificate of that key",
  ),
  "proof.length": row("the proof is a signature of 64 bytes", "send r and s, 32 bytes each"),
  "proof.signature": row("the proof is signed by the token's key", "sign with the key that the token is bound to"),
  "proof.tls": row("the connection has an exporter value", "connect over TLS 1.3"),
  "proof.key": row("the proof is of the key that the token names", "use the key that the token is bound to"),
  "certificate.missing": newCertificate(
    "the connection has a client certificate",
    "enrol the device, and connect with it",
  ),
  "certificate.untrusted": newCertificate(
    "the certificate is of an authority that is trusted",
    "enrol the device here, or add its authority with postern cert authority-add",
  ),
  "certificate.expired": newCertificate("the certificate has not expired", "renew it before its end; now enrol anew"),
  "certificate.not-yet-valid": clock("the certificate is valid already"),
  "certificate.usage": newCertificate("the certificate is for client authentication", "enrol the device here"),
  "certificate.identity": row(
    "the certificate names the client that is claimed, and nothing else",
    "claim the id that is in the certificate, or none",
  ),
  "certificate.unknown": newCertificate("the certificate is on record for its client", "enrol the device again"),
  "certificate.revoked": newCertificate("the certificate is not revoked", "enrol the device with another key"),
  "certificate.list": row(
    "the list of revoked certificates of the authority is not too old",
    "import a newer one: postern cert import-crl <authority> <file>",
  ),

  "credential.missing": row(
    "the request proves who it is from",
    "send a client certificate, an assertion, or a secret: exactly one of them",
  ),
  "credential.malformed": row("the credential can be read", "send it as docs/protocol.md says"),
  "credential.too-large": row("the credential is not too large", "send a token, and nothing else, as the credential"),
  "client.unknown": newClient("there is such a client", "create it, or correct the id"),
  "client.disabled": ofClient(
    "the client is enabled",
    "enable it; it needs new tokens",
    (client) => `postern client enable ${client}`,
  ),
  "client.secret": newSecret("the secret is one of the client's", "correct the secret, or make another"),
  "client.grants": { check: "the roles of the client allow anything on this api", change: roles },
  "client-id.malformed": row("the MQTT client id can be one", "connect as the sub of the token, or as sub:suffix"),
  "client-id.foreign": row(
    "the MQTT client id is of whoever connects",
    "connect as the sub of the token, or as sub:suffix",
  ),
  "assertion.malformed": assertion("it can be read", "make it as docs/protocol.md says"),
  "assertion.subject": assertion("iss and sub are the client", "put the client id into both"),
  "assertion.audience": assertion("it is for this authority", "put the issuer into aud"),
  "assertion.expired": assertion("it has not expired", "make a new one for each request, and compare the clocks"),
  "assertion.lifetime": assertion(
    "it does not reach too far ahead",
    "let exp be five minutes ahead at most, and compare the clocks",
  ),
  "assertion.signature": {
    check: "the client assertion: a key of the client signed it",
    change: ({ client }) => ({
      says: "sign with a key that is registered for the client, or register the one that was used beside it",
      ...(client !== undefined && { command: `postern client keys ${client}` }),
    }),
  },
  "assertion.replayed": assertion("it was not used before", "make a new one, with another id, for each request"),
  "secret.expired": newSecret("the secret has not expired", "make another"),
  "secret.retired": newSecret("the secret was not retired, by hand or because it was not used", "make another"),
  "resource-server.unknown": {
    check: "there is such an api, and it may ask",
    change: ({ claimed }) => {
      const [project, name] = claimed?.split("/") ?? [];
      return {
        says: "create the api, or correct <project>/<api>",
        command: `postern api create ${name ?? "<name>"} --project ${project ?? "<project>"} --kind http --scopes <scope>`,
      };
    },
  },

  "dpop.malformed": dpop("it can be read", "make it as RFC 9449, section 4.2 says"),
  "dpop.type": dpop("its typ is dpop+jwt", "set typ to dpop+jwt"),
  "dpop.algorithm": dpop("it is signed with ES256", "use ES256"),
  "dpop.key": dpop("its key is a public one on P-256", "put the public half of the key into jwk"),
  "dpop.signature": dpop("the key in it signed it", "sign with that key"),
  "dpop.method": dpop("htm is the method of the request", "set htm to the method"),
  "dpop.url": dpop("htu is the address of the request", "set htu to the address without query and fragment"),
  "dpop.time": dpop("iat is now", "make it when it is sent, and compare the clocks with postern doctor"),
  "dpop.token": dpop("ath is the hash of the token", "make one for this token"),
  "dpop.replayed": dpop("its jti was not used before", "make a new one for each request"),

  "ticket.malformed": newTicket("the ticket can be read", "copy all of it, or make another"),
  "ticket.unknown": newTicket("there is such a ticket", "make one"),
  "ticket.expired": newTicket("the ticket has not expired", "make another, with a longer --ttl"),
  "ticket.used-up": newTicket("the ticket has a use left", "make another, with more --uses"),
  "ticket.revoked": newTicket("the ticket was not revoked", "make another"),
  "ticket.pin": row("the authority is the one that the ticket names", "make a ticket at the authority that is asked"),
  "csr.malformed": row("the certification request can be read", "send PKCS #10 in base64 of DER"),
  "csr.signature": row("the certification request is signed by its key", "sign it with its own key"),
  "csr.key": key("the key of the certification request is on P-256"),

  "request.malformed": row("the request can be read", "send it as /openapi.json or docs/protocol.md says"),
  "request.media-type": row("the media type is one that the path takes", "set Content-Type"),
  "request.too-large": row("the body is not larger than the limit", "send less, or raise http_body_bytes"),
  "request.not-found": row("there is such a path", "correct the path; /openapi.json has those of /v1"),
  "request.method": row("the path has this method", "use one of those in Allow"),
  "request.grant-type": row("the grant is client_credentials", "set grant_type to client_credentials"),
  "request.audience": { check: "there is an api of this audience", change: unknownAudience },
  "request.scope": { check: "the roles of the client allow some of what was asked for", change: roles },
  "request.key": row("the token is bound to a key that was proven", "ask for none, or for the key that is proven"),
  "request.unbound": row(
    "the token is bound to a key, or the api takes others",
    "bind it to a key: token get with --dpop-key (for an api of kind http), with --cert and --key-file, or with a registered --key-file; or create the api with --bearer",
  ),
  "request.profile": row("the profile is mqtt_tls", "leave ace_profile out, or empty"),

  "account.unknown": byCommand("there is such an account", "register", "developer register <email>"),
  "account.password": byCommand("the password is right", "try again, or reset it", "developer reset <email>"),
  "account.unconfirmed": byCommand(
    "the address is confirmed",
    "confirm it with the code that was mailed",
    "developer confirm <email> <code>",
  ),
  "account.code": row("the code is the newest, not expired, and not tried too often", "have another one mailed"),
  "account.last-owner": row("every project keeps an owner", "make somebody else owner first: postern member set"),
  "account.login": byCommand("the login is there and not over", "log in again", "login <email>"),
  "api-key.unknown": byCommand("there is such an API key", "make one", newKey),
  "api-key.expired": byCommand("the API key has not expired", "make another", newKey),
  "api-key.revoked": byCommand("the API key was not revoked", "make another", newKey),
  "registration.closed": row("registration is not closed", 'set registration to "invite" or "open", and start again'),
  "registration.invitation": row(
    "there is an invitation for this address that is not used, revoked or expired",
    "have whoever holds the admin key, or an owner of a project, invite it",
  ),
  "access.permission": {
    check: "the role in the project, and the scopes of the API key, permit it",
    change: missingPermission,
  },

  "admin.key": row("the key is the admin key, a login or an API key", "use the key in admin.key of the data folder"),
  "registry.not-found": row("there is such a thing, and it may be seen", "correct the name, or create it first"),
  "registry.conflict": row("the name is free, and nothing stands in the way", "take another name"),
  "registry.invalid": row("each field is valid", "correct the field that the detail names"),

  "packet.malformed": row("the packet is one of MQTT", "use a client that speaks MQTT 3.1.1"),
  "packet.too-large": row("the packet is not larger than the limit", limit),
  "packet.unexpected": row("the packet may come at this place", "send CONNECT first and once"),
  "connect.deadline": row("CONNECT arrives in time", limit),

  "topic.name": row("the topic can be published to", "use a topic without wildcards, of fewer levels"),
  "topic.filter": row("the filter is one of MQTT", "write it as MQTT 3.1.1, section 4.7 says"),
  "topic.reserved": topic("the topic is not reserved"),
  "will.topic": { check: "the token allows to publish to the topic of the will", change: roles },
  "publish.topic": { check: "the token allows to publish to the topic", change: roles },
  "subscribe.filter": { check: "the token allows to subscribe to the filter", change: roles },
  "subscribe.shared": row("this broker shares subscriptions", "subscribe without $share"),
  "deliver.topic": { check: "the token allows to receive from the topic", change: roles },
  "session.expired": expired("the session has not expired"),
  "session.closed": row("the session is not over", "connect again"),

  "list.parameter": row("the parameter has such a value", "ask as RFC 9770, section 6 says"),
  "list.parameters": row("the parameters go together", "ask as RFC 9770, section 6 says"),
  "list.cursor": row("the cursor is one that was given out", "start again without a cursor"),
  "trust.stale": row(
    "what this broker knows of revocations is not too old",
    "let it reach its authority again, or raise --max-staleness",
  ),

  "token.query": row("the token is in the Authorization header", "move it there from the address"),
  "token.inactive": expired("the authority calls the token active"),
  "scope.insufficient": { check: "the token has the scope that the route wants", change: roles },
  "authority.unreachable": row("the authority can be asked", "start it, or let the resource server reach it"),

  "rate.limited": row("there were not too many requests", limit),
  "limit.reached": row("a limit is not reached", limit),
  "storage.failed": row("the disk can be written", "free some space; nothing was changed"),
  internal: row("the program has no fault", "report it with the line of the log that has this id"),
} as const satisfies Record<Reason, Row>;
