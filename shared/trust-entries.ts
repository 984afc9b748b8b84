/**
 * What a broker elsewhere is told beside the list of revoked tokens: keys, apis, clients, revoked certificates, projects and
 * device authorities, each as it is now, in a part of the answer that is of our own making.
 *
 * An entry states what is, and never what changed, so telling it twice does no harm. It is an array of the number of its
 * kind, a name, and the state, which is null where the thing is gone. What is accepted would be written with the same bytes.
 */
import { decode, encode, type Cbor } from "./cbor.ts";
import { readCoseKey, toCoseKey, type PublicKey } from "./cose-key.ts";
import { Refusal, refuse } from "./refusal.ts";
import { decodeScope, encodeScope, type Grant } from "./scope.ts";

/** One thing that a gate must know, as it is now; undefined where it is gone. */
export type TrustEntry =
  | { readonly kind: "key"; readonly kid: string; readonly key: PublicKey | undefined }
  | { readonly kind: "api"; readonly audience: string; readonly api: ApiState | undefined }
  | { readonly kind: "client"; readonly id: string; readonly client: ClientState | undefined }
  /** `name` is `<id of the authority>:<serial>`. */
  | { readonly kind: "certificate"; readonly name: string; readonly isRevoked: boolean }
  | { readonly kind: "project"; readonly slug: string; readonly tokensSince: number }
  | { readonly kind: "authority"; readonly id: string; readonly authority: AuthorityState | undefined };

/** An api as a gate sees it. */
export interface ApiState {
  readonly kind: "mqtt" | "http";
  readonly bearer: boolean;
  readonly topics: readonly string[];
  readonly purge: "client" | "always" | "never";
}

/** A client as a gate sees it, with what its roles allow on each api of kind mqtt. */
export interface ClientState {
  readonly enabled: boolean;
  readonly tokensAfter: number;
  readonly grants: readonly { readonly audience: string; readonly grants: readonly Grant[] }[];
}

/** Who issues device certificates. */
export interface AuthorityState {
  readonly der: Uint8Array;
  readonly needsList: boolean;
  /** Seconds since 1970; absent where there is no such time. */
  readonly listEndsAt?: number;
}

/** A part of what changed, oldest first. */
export interface TrustPart {
  /** The cursor that was sent is unknown: what follows starts from the beginning. */
  readonly isReset: boolean;
  /** Where the next part starts. */
  readonly cursor: string;
  readonly more: boolean;
  readonly entries: readonly TrustEntry[];
  /** Entries of a kind that is not known here, which were left out: an authority may be newer than its brokers. */
  readonly unknown?: number;
}

/** In the order of their numbers. */
const kinds = ["key", "api", "client", "certificate", "project", "authority"] as const;
const apiKinds = ["mqtt", "http"] as const;
const purges = ["client", "always", "never"] as const;
const maxNameLength = 512;
const maxItems = 4_000_000;

/** Writes the part. */
export function encodeTrust({ isReset, cursor, more, entries }: TrustPart): Uint8Array {
  return encode([isReset, cursor, more, entries.map(toItem)]);
}

/** Reads the part. Throws `cbor.*`. */
export function decodeTrust(bytes: Uint8Array): TrustPart {
  const [isReset, cursor, more, entries] = asTuple(decode(bytes, { maxBytes: bytes.length, maxItems }), 4);
  const items = asArray(entries).map((item) => {
    const entry = isOfLaterKind(item) ? undefined : withinCbor(() => fromItem(item));
    return { item, entry };
  });
  const head = { isReset: asBoolean(isReset), cursor: asName(cursor), more: asBoolean(more) };
  const known = items.flatMap(({ entry }) => entry ?? []);
  // keys and scopes have several forms, of which this is to be the one that we write
  const written = items.map(({ item, entry }) => (entry === undefined ? item : toItem(entry)));
  if (Buffer.compare(encode([head.isReset, head.cursor, head.more, written]), bytes) !== 0)
    refuse("cbor.not-deterministic", "another form of a key or a scope");
  const unknown = items.length - known.length;
  return { ...head, entries: known, ...(unknown > 0 && { unknown }) };
}

/** Refusing it would keep all that comes with it and after it from being heard. */
function isOfLaterKind(item: Cbor): boolean {
  const [kind] = asTuple(item, 3);
  return asNumber(kind) >= kinds.length;
}

function toItem(entry: TrustEntry): Cbor {
  const kind = kinds.indexOf(entry.kind);
  if (entry.kind === "key") return [kind, entry.kid, entry.key === undefined ? null : toCoseKey(entry.key)];
  if (entry.kind === "api") return [kind, entry.audience, entry.api === undefined ? null : toApi(entry.api)];
  if (entry.kind === "client") return [kind, entry.id, entry.client === undefined ? null : toClient(entry.client)];
  if (entry.kind === "certificate") return [kind, entry.name, entry.isRevoked ? true : null];
  if (entry.kind === "project") return [kind, entry.slug, entry.tokensSince];
  return [kind, entry.id, entry.authority === undefined ? null : toAuthority(entry.authority)];
}

function toApi({ kind, bearer, topics, purge }: ApiState): Cbor {
  return [apiKinds.indexOf(kind), bearer, [...topics], purges.indexOf(purge)];
}

function toClient({ enabled, tokensAfter, grants }: ClientState): Cbor {
  return [enabled, tokensAfter, grants.map((one) => [one.audience, encodeScope(one.grants)])];
}

function toAuthority({ der, needsList, listEndsAt }: AuthorityState): Cbor {
  return [der, needsList, listEndsAt ?? null];
}

function fromItem(item: Cbor): TrustEntry {
  const [number, named, state] = asTuple(item, 3);
  const kind = kinds[asNumber(number)]!;
  const name = asName(named);
  const ifThere = <T>(read: (state: Cbor | undefined) => T): T | undefined =>
    state === null ? undefined : read(state);
  if (kind === "key") return { kind, kid: name, key: ifThere(readCoseKey) };
  if (kind === "api") return { kind, audience: name, api: ifThere(fromApi) };
  if (kind === "client") return { kind, id: name, client: ifThere(fromClient) };
  if (kind === "certificate") return { kind, name, isRevoked: ifThere(asTrue) ?? false };
  if (kind === "project") return { kind, slug: name, tokensSince: asNumber(state) };
  return { kind, id: name, authority: ifThere(fromAuthority) };
}

function fromApi(state: Cbor | undefined): ApiState {
  const [kind, bearer, topics, purge] = asTuple(state, 4);
  return {
    kind: apiKinds[asNumber(kind)] ?? refuse("cbor.type", "an unknown kind of api"),
    bearer: asBoolean(bearer),
    topics: asArray(topics).map(asName),
    purge: purges[asNumber(purge)] ?? refuse("cbor.type", "an unknown purge"),
  };
}

function fromClient(state: Cbor | undefined): ClientState {
  const [enabled, tokensAfter, grants] = asTuple(state, 3);
  return {
    enabled: asBoolean(enabled),
    tokensAfter: asNumber(tokensAfter),
    grants: asArray(grants).map((pair) => {
      const [audience, scope] = asTuple(pair, 2);
      const bytes = asBytes(scope);
      // no token has room for so many, but the roles of a client may come to them
      const limits = { maxBytes: bytes.length, maxItems, maxGrants: maxItems };
      return { audience: asName(audience), grants: decodeScope(bytes, limits) };
    }),
  };
}

function fromAuthority(state: Cbor | undefined): AuthorityState {
  const [der, needsList, listEndsAt] = asTuple(state, 3);
  return {
    der: asBytes(der),
    needsList: asBoolean(needsList),
    ...(listEndsAt !== null && { listEndsAt: asNumber(listEndsAt) }),
  };
}

/** What is wrong with a key or a scope is here a fault of the message. */
function withinCbor<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason.startsWith("cbor.")) throw error;
    return refuse("cbor.type", error.message);
  }
}

function asTuple(value: Cbor | undefined, length: number): Cbor[] {
  const array = asArray(value);
  return array.length === length ? array : refuse("cbor.type", `${array.length} elements in place of ${length}`);
}

function asArray(value: Cbor | undefined): Cbor[] {
  return Array.isArray(value) ? value : refuse("cbor.type", "not an array");
}

function asBoolean(value: Cbor | undefined): boolean {
  return typeof value === "boolean" ? value : refuse("cbor.type", "not a boolean");
}

function asTrue(value: Cbor | undefined): true {
  return value === true ? value : refuse("cbor.type", "neither true nor null");
}

function asBytes(value: Cbor | undefined): Uint8Array {
  return value instanceof Uint8Array ? value : refuse("cbor.type", "not a byte string");
}

function asName(value: Cbor | undefined): string {
  const isName = typeof value === "string" && value !== "" && value.length <= maxNameLength;
  return isName ? value : refuse("cbor.type", "not a name");
}

function asNumber(value: Cbor | undefined): number {
  const number = typeof value === "bigint" ? Number(value) : value;
  const isCount = typeof number === "number" && number >= 0 && Number.isSafeInteger(number);
  return isCount ? number : refuse("cbor.type", "not a number");
}
