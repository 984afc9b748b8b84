/** Whether a filter matches a topic, level by level, as MQTT 3.1.1, section 4.7 says it; and filters and topics to try. */
import fc from "fast-check";

/** `hidesDollar`: a wildcard in the first level leaves out topics that begin with `$`. */
export function matches(filter: string, topic: string, hidesDollar: boolean): boolean {
  const levels = filter.split("/");
  if (hidesDollar && topic.startsWith("$") && (levels[0] === "+" || filter === "#")) return false;
  return matchesLevels(levels, topic.split("/"));
}

function matchesLevels(filter: readonly string[], topic: readonly string[]): boolean {
  const [first, ...rest] = filter;
  if (first === undefined) return topic.length === 0;
  if (first === "#" && rest.length === 0) return true;
  if (topic.length === 0) return false;
  return (first === "+" || first === topic[0]) && matchesLevels(rest, topic.slice(1));
}

const level = fc.constantFrom("", "a", "b", "$s", "__proto__", "constructor");
const levels = (one: fc.Arbitrary<string>) => fc.array(one, { minLength: 1, maxLength: 5 });

/** Few different levels, so that many match. */
export const arbitraryTopic = levels(level).map((parts) => parts.join("/"));

/** Well-formed, and some with `#` before the end. */
export const arbitraryFilter = fc
  .tuple(
    levels(fc.oneof({ weight: 8, arbitrary: level }, { weight: 6, arbitrary: fc.constant("+") }, fc.constant("#"))),
    fc.boolean(),
  )
  .map(([parts, isSome]) => (isSome ? [...parts.slice(1), "#"] : parts).join("/"));
