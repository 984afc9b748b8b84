/**
 * Topics, each with a value, so that a topic filter finds those it matches without looking at all of them
 * (MQTT 3.1.1, section 4.7).
 *
 * A wildcard in the first level leaves out topics that begin with `$` (MQTT-4.7.2-1). Knows nothing of what is valid.
 */

/** Levels that are looked at in one step of a search. */
const perStep = 256;

/** A map of topics. */
export class TopicTree<V extends string | number | object> {
  readonly #root = new Branch<V>("");
  #size = 0;

  /** How many topics there are. */
  get size(): number {
    return this.#size;
  }

  get(topic: string): V | undefined {
    return this.#find(topic)?.value;
  }

  has(topic: string): boolean {
    return this.get(topic) !== undefined;
  }

  set(topic: string, value: V): void {
    let branch = this.#root;
    for (let start = 0, end = 0; end >= 0; start = end + 1) {
      end = topic.indexOf("/", start);
      branch = branch.grow(end < 0 ? topic.slice(start) : topic.slice(start, end));
    }
    if (branch.value === undefined) this.#size += 1;
    branch.value = value;
  }

  /** Whether it was there. */
  delete(topic: string): boolean {
    const path = [this.#root];
    const levels = topic.split("/");
    for (const [index, level] of levels.entries()) {
      const child = path[index]!.child(level);
      if (child === undefined) return false;
      path.push(child);
    }
    const last = path[levels.length]!;
    if (last.value === undefined) return false;
    last.value = undefined;
    this.#size -= 1;
    for (let index = levels.length; index > 0 && path[index]!.isEmpty; index -= 1) {
      path[index - 1]!.prune(levels[index - 1]!);
    }
    return true;
  }

  /**
   * The topics that a filter matches, in no particular order. The tree may change between two steps: what is there from the
   * first step to the last comes exactly once, what is set or deleted meanwhile once or not at all, and what is deleted never
   * after.
   */
  *matching(filter: string): Generator<[topic: string, value: V], void, undefined> {
    for (const found of this.search(filter)) if (found !== undefined) yield found;
  }

  /** The same in short steps, of which many find nothing: undefined, so that whoever searches can let others have their turn. */
  *search(filter: string): Generator<[topic: string, value: V] | undefined, void, undefined> {
    let count = 0;
    const levels = filter.split("/");
    const steps: Step<V>[] = [{ branches: [this.#root], at: 0, depth: 0, above: undefined }];
    for (let step = steps.at(-1); step !== undefined; step = steps.at(-1)) {
      const branch = step.branches[step.at];
      if (branch === undefined) {
        steps.pop();
        continue;
      }
      step.at += 1;
      if (++count % perStep === 0) yield undefined;
      const { depth } = step;
      const isRoot = branch === this.#root;
      const topic = isRoot ? undefined : step.above === undefined ? branch.level : `${step.above}/${branch.level}`;
      const isSome = depth === levels.length - 1 && levels[depth] === "#";
      if (depth < levels.length) {
        const wanted = levels[depth]!;
        const branches = isSome || wanted === "+" ? branch.children(isRoot) : only(branch.child(wanted));
        if (branches.length > 0) steps.push({ branches, at: 0, depth: isSome ? depth : depth + 1, above: topic });
      }
      // `#` includes the level above it (MQTT-4.7.1-2)
      if ((isSome || depth === levels.length) && topic !== undefined && branch.value !== undefined) {
        yield [topic, branch.value];
      }
    }
  }

  #find(topic: string): Branch<V> | undefined {
    let branch: Branch<V> | undefined = this.#root;
    for (let start = 0, end = 0; end >= 0 && branch !== undefined; start = end + 1) {
      end = topic.indexOf("/", start);
      branch = branch.child(end < 0 ? topic.slice(start) : topic.slice(start, end));
    }
    return branch;
  }
}

/** Branches side by side that are still to be visited: how many levels of the filter led there, and the topic above. */
interface Step<V> {
  readonly branches: readonly Branch<V>[];
  at: number;
  readonly depth: number;
  readonly above: string | undefined;
}

/** A level of topics. Most have one below them, which takes no map. */
class Branch<V> {
  readonly level: string;
  value: V | undefined = undefined;
  #below: Branch<V> | Map<string, Branch<V>> | undefined = undefined;

  constructor(level: string) {
    this.level = level;
  }

  get isEmpty(): boolean {
    return this.value === undefined && this.#below === undefined;
  }

  child(level: string): Branch<V> | undefined {
    const below = this.#below;
    if (below instanceof Map) return below.get(level);
    return below?.level === level ? below : undefined;
  }

  /** All below, as they are now. */
  children(withoutDollar: boolean): readonly Branch<V>[] {
    const below = this.#below;
    const all = below instanceof Map ? [...below.values()] : only(below);
    return withoutDollar ? all.filter(({ level }) => !level.startsWith("$")) : all;
  }

  grow(level: string): Branch<V> {
    const known = this.child(level);
    if (known !== undefined) return known;
    const child = new Branch<V>(level);
    const below = this.#below;
    if (below === undefined) this.#below = child;
    else if (below instanceof Map) below.set(level, child);
    else this.#below = new Map([below, child].map((one) => [one.level, one]));
    return child;
  }

  prune(level: string): void {
    if (this.#below instanceof Map) {
      this.#below.delete(level);
      if (this.#below.size > 0) return;
    }
    this.#below = undefined;
  }
}

function only<V>(branch: Branch<V> | undefined): readonly Branch<V>[] {
  return branch === undefined ? [] : [branch];
}
