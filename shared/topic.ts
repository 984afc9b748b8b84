/**
 * Topic names and filters: what is well-formed, and when one filter lies within another (MQTT 3.1.1, section 4.7;
 * RFC 9431, section 2.3: what is asked must equal or be a subset of one granted filter).
 *
 * Stricter than MQTT: no control characters, no U+FFFD (what broken UTF-8 decodes to, so that two byte strings would
 * become one name), at most 32 levels and 512 bytes.
 */
import { refuse } from "./refusal.ts";

/** The topic to which a client publishes a token (RFC 9431, section 2.2.2). */
export const AUTHZ_INFO = "authz-info";
/** The topic on which a session hears of itself. */
export const SESSION_NEWS = "$postern/session";

/** Stands among the filters of a stored session that has none. */
export const NO_FILTER = "$postern/none";

/** Levels of a topic or filter at most. */
export const MAX_TOPIC_LEVELS = 32;
const maxBytes = 512;
// C0 and C1 controls, the replacement character, and the non-characters at the end of the plane
// oxlint-disable-next-line no-control-regex
const forbidden = /[\u0000-\u001f\u007f-\u009f\ufffd-\uffff]/;

/** Checks a topic name, of at most `maxLevels` levels. Throws `topic.name`. */
export function assertTopicName(topic: string, maxLevels = MAX_TOPIC_LEVELS): void {
  if (topic.includes("+") || topic.includes("#")) refuse("topic.name", "a wildcard in a topic name");
  assertText(topic, "topic.name", maxLevels);
}

/** Checks a topic filter: a wildcard stands for a whole level, `#` last; at most `maxLevels`. Throws `topic.filter`. */
export function assertTopicFilter(filter: string, maxLevels = MAX_TOPIC_LEVELS): void {
  assertText(filter, "topic.filter", maxLevels);
  if (!filter.includes("+") && !filter.includes("#")) return;
  const levels = filter.split("/");
  levels.forEach((level, index) => {
    if (level.length > 1 && /[+#]/.test(level)) refuse("topic.filter", "a wildcard within a level");
    if (level === "#" && index !== levels.length - 1) refuse("topic.filter", "# before the last level");
  });
}

/** A shared subscription (MQTT 5, section 4.8.2): one member of the group gets each message that the filter matches. */
export interface SharedFilter {
  readonly group: string;
  readonly filter: string;
}

/** Takes `$share/<group>/<filter>` apart; undefined for any other filter, and for a group that is none. */
export function readShared(filter: string): SharedFilter | undefined {
  if (!filter.startsWith("$share/")) return undefined;
  const end = filter.indexOf("/", 7);
  const group = filter.slice(7, end);
  if (end < 8 || end === filter.length - 1 || /[+#]/.test(group) || forbidden.test(group)) return undefined;
  return { group, filter: filter.slice(end + 1) };
}

/**
 * Whether every topic that `requested` (a name or a filter) matches is matched by `granted`. Both are well-formed.
 * Never too wide; of sets that are equal it refuses the one pair that ends `+/#` against `#`.
 */
export function covers(granted: string, requested: string): boolean {
  return coversLevels(granted.split("/"), requested.split("/"));
}

/** The same of filters that are split into their levels already. */
export function coversLevels(g: readonly string[], r: readonly string[]): boolean {
  // a wildcard at the start does not match names that start with $ (MQTT-4.7.2-1)
  if ((g[0] === "#" || g[0] === "+") && r[0]!.startsWith("$")) return false;
  for (let i = 0; i < g.length; i++) {
    if (g[i] === "#") return true;
    if (i >= r.length || r[i] === "#") return false;
    if (g[i] !== "+" && g[i] !== r[i]) return false;
  }
  return g.length === r.length;
}

/** The filter that matches exactly what both match, or undefined when nothing is left. */
export function intersectFilters(a: string, b: string): string | undefined {
  const left = a.split("/");
  const right = b.split("/");
  if (a.startsWith("$") !== b.startsWith("$")) return undefined;
  const both: string[] = [];
  for (let i = 0; ; i++) {
    const l = left[i];
    const r = right[i];
    if (l === "#") return [...both, ...right.slice(i)].join("/");
    if (r === "#") return [...both, ...left.slice(i)].join("/");
    if (l === undefined || r === undefined) return l === r ? both.join("/") : undefined;
    if (l !== "+" && r !== "+" && l !== r) return undefined;
    both.push(l === "+" ? r : l);
  }
}

function assertText(text: string, reason: "topic.name" | "topic.filter", maxLevels: number): void {
  if (text === "") refuse(reason, "empty");
  if (forbidden.test(text)) refuse(reason, "a character that is not allowed");
  // no character takes more than three bytes of UTF-8 for each of its UTF-16 units
  if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes) refuse(reason, `longer than ${maxBytes} bytes`);
  let levels = 1;
  for (let at = text.indexOf("/"); at >= 0; at = text.indexOf("/", at + 1)) {
    if (++levels > maxLevels) refuse(reason, "too many levels");
  }
}
