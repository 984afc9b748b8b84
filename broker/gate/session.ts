/**
 * What one live connection may do, and until when.
 *
 * Decides publish, subscribe and delivery from the grants by the subset rule of RFC 9431 (section 2.3). `may` does no I/O
 * and, on a repeat, allocates nothing: decisions are kept per topic, a bounded number of them, until the grants change.
 */
import { samePublicKey } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import type { Confirmation } from "../../shared/claims.ts";
import type { DeviceCertificate } from "../../shared/device-certificate.ts";
import { Refusal } from "../../shared/refusal.ts";
import type { Reason } from "../../shared/refusal.ts";
import { mayPublish, maySubscribe, toPermissions } from "../../shared/scope.ts";
import type { Grant, Permissions } from "../../shared/scope.ts";
import type { VerifiedToken } from "../../shared/token.ts";
import {
  assertTopicFilter,
  assertTopicName,
  AUTHZ_INFO,
  MAX_TOPIC_LEVELS,
  readShared,
  SESSION_NEWS,
} from "../../shared/topic.ts";
import type { Connection } from "./connection.ts";

/** What a client does with a topic; a delivery is decided as `sub`. */
export type Action = "pub" | "sub";

/** What a session may do: from a token, from the roles of a certificate's client, or nothing but authz-info. */
export interface Rights {
  readonly kind: "token" | "roles" | "anonymous";
  readonly grants: readonly Grant[];
  /** Seconds since 1970; from then on the session is over. */
  readonly expiresAt: number;
  /** The token they come from. */
  readonly token?: VerifiedToken;
}

/** Who was admitted, with what. `subject` is empty for an anonymous client. */
export interface Admission extends Rights {
  readonly clientId: string;
  readonly subject: string;
  readonly address: string;
  /** The key whose possession was proven, by signature or by TLS. */
  readonly key?: PublicKey;
  readonly certificate?: DeviceCertificate;
  /** The will that was approved, the very object the broker keeps. */
  readonly will?: { readonly topic: string };
}

const decisionsKept = 256;
/** Longer texts are never granted and not worth keeping. */
const longestKept = 512;

/** The rights of one connection. */
export class Session {
  readonly connection: Connection;
  readonly admission: Admission;
  /** Filters granted and not given up, for the limit on their number. */
  get filters(): Set<string> {
    return (this.#filters ??= new Set());
  }
  #filters: Set<string> | undefined;
  /** Set once: nothing is allowed from then on. */
  isClosed = false;
  /** Set when the session was taken back: its will is not published either. */
  isTakenBack = false;
  #rights: Rights;
  #permissions: Permissions;
  #publish: Map<string, Reason | null> | undefined;
  #subscribe: Map<string, Reason | null> | undefined;
  readonly #topicLevels: number;

  /** `topicLevels`: how deep a topic may be. */
  constructor(connection: Connection, admission: Admission, topicLevels = MAX_TOPIC_LEVELS) {
    this.connection = connection;
    this.#topicLevels = topicLevels;
    this.admission = admission;
    this.#rights = admission;
    this.#permissions = toPermissions(admission.grants);
  }

  get rights(): Rights {
    return this.#rights;
  }

  /** Whether the topic may be published, or the filter subscribed, or a message of that topic delivered. */
  may(action: Action, topic: string): boolean {
    return this.refusalOf(action, topic) === null;
  }

  /** Why not, or null when it may. */
  refusalOf(action: Action, topic: string): Reason | null {
    if (this.isClosed) return "session.closed";
    const known = (action === "pub" ? this.#publish : this.#subscribe)?.get(topic);
    if (known !== undefined) return known;
    const decide = action === "pub" ? refusalToPublish : refusalToSubscribe;
    const decision = decide(this.#permissions, topic, this.#topicLevels);
    // made when they are needed: most connections are silent, or do only one of both
    const decisions = action === "pub" ? (this.#publish ??= new Map()) : (this.#subscribe ??= new Map());
    if (topic.length <= longestKept) keep(decisions, topic, decision);
    return decision;
  }

  /** Whether there is an approved will that was not taken back. */
  mayFireWill(): boolean {
    return this.admission.will !== undefined && !this.isTakenBack;
  }

  /** Nothing passes from here on; the will is not published, neither when the connection closes nor later. */
  takeBack(): void {
    this.isClosed = true;
    this.isTakenBack = true;
    this.connection._disconnected = true;
  }

  /** Whether the session has proven what a token asks for, so that the token may renew it (RFC 9202, section 4). */
  holds(confirmation: Confirmation | undefined): boolean {
    const { key, certificate } = this.admission;
    if (confirmation === undefined) {
      return this.#rights.token !== undefined && this.#rights.token.claims.cnf === undefined;
    }
    if (confirmation.kind === "key") return key !== undefined && samePublicKey(key, confirmation.key);
    if (confirmation.kind === "thumbprint") return false;
    return certificate !== undefined && Buffer.from(certificate.sha256).equals(confirmation.sha256);
  }

  /** Puts other rights in place of the present ones; nothing of those remains. */
  replace(rights: Rights): void {
    this.#rights = rights;
    this.#permissions = toPermissions(rights.grants);
    this.#publish?.clear();
    this.#subscribe?.clear();
  }
}

/** Why these grants do not let a topic be published, or null when they do. */
export function refusalToPublish(
  grants: readonly Grant[] | Permissions,
  topic: string,
  topicLevels = MAX_TOPIC_LEVELS,
): Reason | null {
  const malformed = refusalIn(() => assertTopicName(topic, topicLevels));
  if (malformed !== null) return malformed;
  if (topic.startsWith("$") || topic === AUTHZ_INFO) return "topic.reserved";
  return mayPublish(grants, topic) ? null : "publish.topic";
}

/** Why these grants do not let a filter be subscribed, or null when they do. */
function refusalToSubscribe(
  grants: readonly Grant[] | Permissions,
  filter: string,
  topicLevels: number,
): Reason | null {
  if (filter.startsWith("$share/")) {
    const shared = readShared(filter);
    if (shared === undefined) return "subscribe.shared";
    // what is reserved has no groups: neither another group nor the news of a session
    if (shared.filter.startsWith("$")) return "topic.reserved";
    return refusalToSubscribe(grants, shared.filter, topicLevels);
  }
  const malformed = refusalIn(() => assertTopicFilter(filter, topicLevels));
  if (malformed !== null) return malformed;
  if (filter === SESSION_NEWS) return null;
  if (filter.startsWith("$") || filter === AUTHZ_INFO) return "topic.reserved";
  return maySubscribe(grants, filter) ? null : "subscribe.filter";
}

function refusalIn(assert: () => void): Reason | null {
  try {
    assert();
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
}

function keep(decisions: Map<string, Reason | null>, topic: string, decision: Reason | null): void {
  if (decisions.size >= decisionsKept) {
    const oldest = decisions.keys().next();
    if (oldest.done !== true) decisions.delete(oldest.value);
  }
  decisions.set(topic, decision);
}
