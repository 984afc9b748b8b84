/**
 * Many filters, kept by their levels, to find out which of them have to do with another one without a look at each: roles may hold
 * thousands, and each with each is millions. What covers what is as topic.ts says.
 */

interface Node {
  readonly below: Map<string, Node>;
  /** The one that ends here. */
  filter: string | undefined;
}

/** Filters, all well-formed. */
export class FilterSet {
  readonly #root = makeNode();

  constructor(filters: readonly string[]) {
    for (const filter of filters) this.#add(filter);
  }

  /** Whether one of them covers the filter. */
  covers(filter: string): boolean {
    return isCovered(this.#root, filter.split("/"), 0, false);
  }

  /** Whether another one than the filter itself does. */
  coversBeside(filter: string): boolean {
    return isCovered(this.#root, filter.split("/"), 0, true);
  }

  /** Those that may match something that the filter matches: all that do, and few others. */
  meeting(filter: string): string[] {
    const found: string[] = [];
    collect(this.#root, filter.split("/"), 0, found);
    return found;
  }

  #add(filter: string): void {
    let node = this.#root;
    for (const level of filter.split("/")) {
      let next = node.below.get(level);
      if (next === undefined) node.below.set(level, (next = makeNode()));
      node = next;
    }
    node.filter = filter;
  }
}

function makeNode(): Node {
  return { below: new Map(), filter: undefined };
}

/** From a node on, and a level on. `isLeftOut`: what led here is the filter so far, and the filter itself does not count. */
function isCovered(node: Node, levels: readonly string[], at: number, isLeftOut: boolean): boolean {
  const level = levels[at];
  // a wildcard at the start does not match names that start with $ (MQTT-4.7.2-1)
  const isOpen = at > 0 || level?.startsWith("$") !== true;
  if (isOpen && node.below.has("#") && !(isLeftOut && level === "#")) return true;
  if (level === undefined) return node.filter !== undefined && !isLeftOut;
  if (level === "#") return false;
  const same = node.below.get(level);
  if (same !== undefined && isCovered(same, levels, at + 1, isLeftOut)) return true;
  const any = isOpen && level !== "+" ? node.below.get("+") : undefined;
  return any !== undefined && isCovered(any, levels, at + 1, false);
}

function collect(node: Node, levels: readonly string[], at: number, found: string[]): void {
  const level = levels[at];
  if (node.filter !== undefined && (level === undefined || level === "#")) found.push(node.filter);
  const isWild = level === "+" || level === "#";
  for (const name of isWild ? node.below.keys() : new Set(["#", "+", level ?? "#"])) {
    const next = node.below.get(name);
    if (next === undefined) continue;
    if (name === "#") found.push(next.filter!);
    else if (level !== undefined) collect(next, levels, level === "#" ? at : at + 1, found);
  }
}
