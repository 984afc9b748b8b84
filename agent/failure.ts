/**
 * The ways in which an agent does not get what it asked for, told apart because each asks for something else:
 * `refused` (someone answered no: a new credential or an operator is needed), `unreachable` (nobody answered: wait and try
 * again), `not-enrolled` and `not-connected` (the agent itself is not ready).
 *
 * Messages are one lower-case phrase and never hold a secret, a token or a payload.
 */
import { Refusal } from "../shared/refusal.ts";

/** What has to be done about a failure. */
export type FailureKind = "refused" | "unreachable" | "not-enrolled" | "not-connected";

/** What is known of a failure beside its kind. */
export interface FailureFacts {
  /** OAuth error code, or `connack-4`, `connack-5`, `suback`, `puback`: what the peer said. */
  readonly code?: string;
  /** The peer asked to be left alone for this long (RFC 9110, section 10.2.3). */
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** An expected failure of the agent. */
export class AgentFailure extends Error {
  readonly kind: FailureKind;
  readonly code: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(kind: FailureKind, message: string, facts: FailureFacts = {}) {
    super(message, { cause: facts.cause });
    this.name = "AgentFailure";
    this.kind = kind;
    this.code = facts.code;
    this.retryAfterSeconds = facts.retryAfterSeconds;
  }
}

/** The error as a failure: what the network threw is `unreachable`, what our own readers refused is `refused`. */
export function toFailure(error: unknown, what: string): AgentFailure {
  if (error instanceof AgentFailure) return error;
  if (error instanceof Refusal) return new AgentFailure("refused", `${what}: ${error.message}`, { code: error.reason });
  const { code, message } = error instanceof Error ? (error as NodeJS.ErrnoException) : { code: "", message: "" };
  return new AgentFailure("unreachable", `${what}: ${explainNetwork(code ?? "", message)}`, { cause: error });
}

/** Text of a peer, fit for one line of a log or a terminal: nothing in it moves the cursor. */
export function printable(text: string, longest: number = 200): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?").slice(0, longest);
}

function explainNetwork(code: string, message: string): string {
  return networkReasons[code] ?? (message === "" ? "the connection failed" : message.split("\n", 1)[0]!);
}

const networkReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "the connection was closed by the other side",
  EPIPE: "the connection was closed by the other side",
  ENOTFOUND: "the host name is not known",
  EAI_AGAIN: "the host name cannot be looked up now",
  ETIMEDOUT: "no answer in time",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no network",
  CERT_NOT_YET_VALID: "the server certificate is not valid yet by this machine's clock",
  CERT_HAS_EXPIRED: "the server certificate has expired by this machine's clock",
  ERR_TLS_CERT_ALTNAME_INVALID: "the server certificate is for another host name",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the server certificate is not from the expected authority",
  SELF_SIGNED_CERT_IN_CHAIN: "the server certificate is not from the expected authority",
  DEPTH_ZERO_SELF_SIGNED_CERT: "the server certificate is not from the expected authority",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the server certificate is not from the expected authority",
  ERR_SSL_NO_PROTOCOL_VERSION: "no common TLS version",
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "no common TLS version",
};
