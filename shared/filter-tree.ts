/**
 * Many filters by their levels, to find out whether one of them covers another without a look at each: roles may hold
 * thousands, and each with each is millions. Says what `covers` of topic.ts says.
 */

interface Node {
  readonly below: Map<string, Node>;
  /** Whether a filter ends here. */
  isEnd: boolean;
}

/** Filters, all well-formed. */
export class FilterTree {
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

  #add(filter: string): void {
    let node = this.#root;
    for (const level of filter.split("/")) {
      let next = node.below.get(level);
      if (next === undefined) node.below.set(level, (next = makeNode()));
      node = next;
    }
    node.isEnd = true;
  }
}

function makeNode(): Node {
  return { below: new Map(), isEnd: false };
}

/** From a node on, and a level on. `isLeftOut`: what led here is the filter so far, and the filter itself does not count. */
function isCovered(node: Node, levels: readonly string[], at: number, isLeftOut: boolean): boolean {
  const level = levels[at];
  // a wildcard at the start does not match names that start with $ (MQTT-4.7.2-1)
  const isOpen = at > 0 || level?.startsWith("$") !== true;
  if (isOpen && node.below.has("#") && !(isLeftOut && level === "#")) return true;
  if (level === undefined) return node.isEnd && !isLeftOut;
  if (level === "#") return false;
  const same = node.below.get(level);
  if (same !== undefined && isCovered(same, levels, at + 1, isLeftOut)) return true;
  const any = isOpen && level !== "+" ? node.below.get("+") : undefined;
  return any !== undefined && isCovered(any, levels, at + 1, false);
}
