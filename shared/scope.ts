/**
 * What a client may publish and subscribe: grants, their AIF-MQTT encodings (RFC 9431, section 2.3, over RFC 9237),
 * and the algebra on them. For an api of kind http a scope is names (RFC 6749, section 3.3).
 *
 * An allow-list: nothing is permitted unless one grant covers it. An empty list is a scope that allows nothing.
 */
import { fromBase64url, toBase64url } from "./base64url.ts";
import { decode, encode, type Cbor, type DecodeOptions } from "./cbor.ts";
import { FilterSet } from "./filter-set.ts";
import { readClientId } from "./names.ts";
import { Refusal, refuse } from "./refusal.ts";
import { assertTopicFilter, coversLevels, intersectFilters } from "./topic.ts";

/** A topic filter with what it permits. A permission of a role may hold placeholders, a scope never does. */
export interface Grant {
  readonly filter: string;
  readonly pub: boolean;
  readonly sub: boolean;
}

/** The scope of a token: grants for an api of kind mqtt, names separated by spaces for kind http. */
export type Scope = readonly Grant[] | string;

/** How much {@link decodeScope} takes where a scope is not one of a token. */
export interface ScopeLimits extends Pick<DecodeOptions, "maxBytes" | "maxItems"> {
  readonly maxGrants?: number;
}

const placeholders: ReadonlySet<string> = new Set(["${client}", "${name}", "${project}"]);
const maxGrants = 256;
/** What roles come to is the same list for each token, until it changes and is another one. */
const encoded = new WeakMap<readonly Grant[], Uint8Array>();
const encodedTexts = new WeakMap<readonly Grant[], string>();
/** A `scope-token` of RFC 6749, section 3.3. */
const scopeName = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

/** The CBOR form: what stands in the scope claim of a CWT. */
export function encodeScope(grants: readonly Grant[]): Uint8Array {
  return remember(encoded, grants, () => encode(toAif(grants)));
}

/** Reads the CBOR form, of at most 256 grants unless told otherwise. Throws `token.scope`. */
export function decodeScope(bytes: Uint8Array, limits: ScopeLimits = {}): Grant[] {
  try {
    return fromAif(decode(bytes, { ...limits, anyOrder: true, maxDepth: 3 }), limits.maxGrants);
  } catch (error) {
    return refuse("token.scope", error instanceof Refusal ? error.message : "");
  }
}

/** The text form: base64url of the JSON array, what stands in the scope claim of a JWT. */
export function encodeScopeText(grants: readonly Grant[]): string {
  return remember(encodedTexts, grants, () => toBase64url(Buffer.from(JSON.stringify(toAif(grants)))));
}

/** Reads the text form. Throws `token.scope`. */
export function decodeScopeText(text: string): Grant[] {
  try {
    return fromAif(JSON.parse(Buffer.from(fromBase64url(text)).toString("utf8")) as Cbor);
  } catch (error) {
    return refuse("token.scope", error instanceof Refusal ? error.message : "not JSON");
  }
}

/** Reads names with one space between (RFC 6749, section 3.3), in any order, each once. Throws `token.scope`. */
export function readScopeNames(text: string): Set<string> {
  const names = text.split(" ");
  if (!names.every((name) => scopeName.test(name))) refuse("token.scope", "not names with one space between");
  return new Set(names);
}

/** Reads `pub:FILTER`, `sub:FILTER` or `pubsub:FILTER`, placeholders allowed. Throws `registry.invalid`. */
export function parsePermission(text: string): Grant {
  const colon = text.indexOf(":");
  const verb = text.slice(0, colon);
  const filter = text.slice(colon + 1);
  if (colon < 0 || !["pub", "sub", "pubsub"].includes(verb)) {
    return refuse("registry.invalid", "a permission is pub:FILTER, sub:FILTER or pubsub:FILTER");
  }
  assertPermissionFilter(filter);
  return { filter, pub: verb !== "sub", sub: verb !== "pub" };
}

/** The text that {@link parsePermission} reads. */
export function formatPermission(grant: Grant): string {
  return `${grant.pub ? "pub" : ""}${grant.sub ? "sub" : ""}:${grant.filter}`;
}

/** Checks a filter in which `${client}`, `${name}` and `${project}` may stand for whole levels. */
function assertPermissionFilter(filter: string): void {
  for (const level of filter.split("/")) {
    if (level.includes("${") && !placeholders.has(level)) {
      refuse("registry.invalid", "a placeholder is ${client}, ${name} or ${project} and stands for a whole level");
    }
  }
  try {
    assertTopicFilter(filter);
  } catch (error) {
    refuse("registry.invalid", error instanceof Refusal ? error.detail : "");
  }
}

/** Fills the placeholders for one client. */
export function expandGrants(grants: readonly Grant[], clientId: string): Grant[] {
  const { project, name } = readClientId(clientId);
  const values = new Map([
    ["${client}", clientId],
    ["${name}", name],
    ["${project}", project],
  ]);
  return grants.map((grant) => ({
    ...grant,
    filter: grant.filter
      .split("/")
      .map((level) => values.get(level) ?? level)
      .join("/"),
  }));
}

/** What is in both: each requested filter cut to each allowed one. */
export function intersectGrants(allowed: readonly Grant[], requested: readonly Grant[]): Grant[] {
  const both = new Map<string, Grant>();
  const add = (filter: string, pub: boolean, sub: boolean): void => {
    const known = both.get(filter);
    both.set(filter, { filter, pub: pub || known?.pub === true, sub: sub || known?.sub === true });
    // no token has room for more
    if (both.size > maxGrants) refuse("request.scope", "too many combinations with the roles: ask for less");
  };
  const sets = toSets(allowed);
  for (const { filter, ...asked } of requested) {
    for (const permission of (["pub", "sub"] as const).filter((one) => asked[one])) {
      const set = sets[permission];
      // what is allowed as a whole is not looked for in parts
      const parts = set.covers(filter) ? [filter] : set.meeting(filter).map((one) => intersectFilters(one, filter));
      for (const part of parts) if (part !== undefined) add(part, permission === "pub", permission === "sub");
    }
  }
  return mergeGrants([...both.values()]);
}

/** Grants cut to what is allowed; the very array where that cuts nothing. Throws `request.scope` where it leaves too many pieces. */
export function cutGrants(allowed: readonly Grant[], grants: readonly Grant[]): readonly Grant[] {
  const sets = toSets(allowed);
  const isAllowed = ({ filter, pub, sub }: Grant): boolean =>
    (!pub || sets.pub.covers(filter)) && (!sub || sets.sub.covers(filter));
  return grants.every(isAllowed) ? grants : intersectGrants(allowed, grants);
}

/** The same permissions with one entry a filter, sorted. */
export function gatherGrants(grants: readonly Grant[]): Grant[] {
  const byFilter = new Map<string, Grant>();
  for (const grant of grants) {
    const known = byFilter.get(grant.filter);
    byFilter.set(grant.filter, {
      filter: grant.filter,
      pub: grant.pub || known?.pub === true,
      sub: grant.sub || known?.sub === true,
    });
  }
  return [...byFilter.values()].sort((a, b) => (a.filter < b.filter ? -1 : 1));
}

/** The same permissions in the fewest entries: one a filter, sorted, what others cover dropped. */
export function mergeGrants(grants: readonly Grant[]): Grant[] {
  const all = gatherGrants(grants);
  const sets = toSets(all);
  const needed = (grant: Grant, permission: "pub" | "sub"): boolean =>
    grant[permission] && !sets[permission].coversBeside(grant.filter);
  return all
    .map((grant) => ({ filter: grant.filter, pub: needed(grant, "pub"), sub: needed(grant, "sub") }))
    .filter((grant) => grant.pub || grant.sub);
}

/** Grants split into levels once, for whoever asks often. */
export interface Permissions {
  readonly pub: ReadonlyArray<readonly string[]>;
  readonly sub: ReadonlyArray<readonly string[]>;
}

/** Splits the filters of grants, by what they permit. */
export function toPermissions(grants: readonly Grant[]): Permissions {
  const levelsOf = (permitted: readonly Grant[]): string[][] => permitted.map(({ filter }) => filter.split("/"));
  return { pub: levelsOf(grants.filter(({ pub }) => pub)), sub: levelsOf(grants.filter(({ sub }) => sub)) };
}

/** Whether one grant lets the topic name be published. */
export function mayPublish(grants: readonly Grant[] | Permissions, topic: string): boolean {
  const levels = topic.split("/");
  return permissionsOf(grants).pub.some((granted) => coversLevels(granted, levels));
}

/** Whether one grant covers the filter (or the topic name of a delivery). */
export function maySubscribe(grants: readonly Grant[] | Permissions, filter: string): boolean {
  const levels = filter.split("/");
  return permissionsOf(grants).sub.some((granted) => coversLevels(granted, levels));
}

function toSets(grants: readonly Grant[]): Readonly<Record<"pub" | "sub", FilterSet>> {
  const setOf = (permission: "pub" | "sub"): FilterSet =>
    new FilterSet(grants.filter((grant) => grant[permission]).map(({ filter }) => filter));
  return { pub: setOf("pub"), sub: setOf("sub") };
}

function permissionsOf(grants: readonly Grant[] | Permissions): Permissions {
  return "pub" in grants ? grants : toPermissions(grants);
}

function toAif(grants: readonly Grant[]): Cbor[] {
  return grants.map(({ filter, pub, sub }) => [filter, [...(pub ? ["pub"] : []), ...(sub ? ["sub"] : [])]]);
}

function fromAif(value: Cbor, most = maxGrants): Grant[] {
  if (!Array.isArray(value)) return refuse("token.scope", "not an array");
  if (value.length > most) return refuse("token.scope", "too many entries");
  return value.map((entry) => {
    if (!Array.isArray(entry) || entry.length !== 2) return refuse("token.scope", "an entry is a pair");
    const [filter, permissions] = entry;
    if (typeof filter !== "string" || !Array.isArray(permissions) || permissions.length === 0) {
      return refuse("token.scope", "an entry is a filter and its permissions");
    }
    if (!permissions.every((permission) => permission === "pub" || permission === "sub")) {
      return refuse("token.scope", "an unknown permission");
    }
    assertTopicFilter(filter);
    return { filter, pub: permissions.includes("pub"), sub: permissions.includes("sub") };
  });
}

function remember<T>(known: WeakMap<readonly Grant[], T>, grants: readonly Grant[], encodeNow: () => T): T {
  let found = known.get(grants);
  if (found === undefined) known.set(grants, (found = encodeNow()));
  return found;
}
