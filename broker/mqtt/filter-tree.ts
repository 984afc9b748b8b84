/**
 * Topic filters and topics, each kept so that the other finds what matches it without looking at all of them
 * (MQTT 3.1.1, section 4.7).
 *
 * Knows nothing of what is valid: a wildcard that is not a whole level, or `#` before the last one, is an ordinary level.
 */

/** How filters are read; what is absent is as in MQTT. */
export interface FilterSyntax {
  readonly separator?: string | undefined;
  readonly wildcardOne?: string | undefined;
  readonly wildcardSome?: string | undefined;
  /** Whether `+` matches a level without characters; default true. */
  readonly matchEmptyLevels?: boolean | undefined;
  /** Whether a wildcard in the first level leaves out topics that begin with `$` (MQTT-4.7.2-1); default false. */
  readonly hidesDollar?: boolean | undefined;
}

/** Up to so many values of one filter are searched one by one. */
const few = 8;

const none: readonly never[] = [];

/**
 * Filters, each with values.
 *
 * A value is kept once for a filter however often it is added. What `match` returns is not changed by what is added or
 * removed later, and must not be changed by who gets it.
 */
export class FilterTree<T> {
  readonly #separator: string;
  readonly #one: string;
  readonly #some: string;
  readonly #matchEmptyLevels: boolean;
  readonly #hidesDollar: boolean;
  readonly #exact = new Map<string, Values<T>>();
  readonly #root = new FilterNode<T>();
  #inTree = 0;
  #count = 0;
  // what a match has found, while it runs
  #first: readonly T[] = none;
  #all: T[] | undefined;

  constructor(syntax: FilterSyntax = {}) {
    this.#separator = syntax.separator ?? "/";
    this.#one = syntax.wildcardOne ?? "+";
    this.#some = syntax.wildcardSome ?? "#";
    this.#matchEmptyLevels = syntax.matchEmptyLevels ?? true;
    this.#hidesDollar = syntax.hidesDollar ?? false;
  }

  /** How many values there are, over all filters. */
  get count(): number {
    return this.#count;
  }

  /** Whether it was added, and not there before. */
  add(filter: string, value: T): boolean {
    const levels = this.#wildLevels(filter);
    let isNew: boolean;
    if (levels === undefined) {
      let values = this.#exact.get(filter);
      if (values === undefined) this.#exact.set(filter, (values = new Values()));
      isNew = values.add(value);
    } else {
      const isSome = levels.at(-1) === this.#some;
      const depth = isSome ? levels.length - 1 : levels.length;
      let node = this.#root;
      for (let index = 0; index < depth; index += 1) node = this.#grow(node, levels[index]!);
      isNew = isSome ? (node.some ??= new Values()).add(value) : (node.here ??= new Values()).add(value);
      if (isNew) this.#inTree += 1;
    }
    if (isNew) this.#count += 1;
    return isNew;
  }

  /** Whether it was there. */
  remove(filter: string, value: T): boolean {
    return this.#take(filter, (values) => (values.delete(value) ? 1 : 0)) > 0;
  }

  /** Removes every value of a filter; how many there were. */
  removeAll(filter: string): number {
    return this.#take(filter, (values) => values.clear());
  }

  /** The values of all filters that match the topic; a value as often as it has such filters. */
  match(topic: string): readonly T[] {
    const exact = this.#exact.size === 0 ? none : (this.#exact.get(topic)?.list ?? none);
    if (this.#inTree === 0) return exact;
    this.#first = exact;
    this.#walk(topic);
    const found = this.#all ?? this.#first;
    this.#first = none;
    this.#all = undefined;
    return found;
  }

  /** Level by level, all nodes of a level at a time, chained by `next` so that nothing is allocated for them. */
  #walk(topic: string): void {
    const separator = this.#separator;
    let isHidden = this.#hidesDollar && topic.startsWith("$");
    let reached: FilterNode<T> | undefined = this.#root;
    for (let start = 0; reached !== undefined;) {
      const end = topic.indexOf(separator, start);
      const stop = end < 0 ? topic.length : end;
      const mayBeOne = !isHidden && (this.#matchEmptyLevels || stop > start);
      let level: string | undefined;
      let deeper: FilterNode<T> | undefined;
      while (reached !== undefined) {
        const node: FilterNode<T> = reached;
        reached = node.next;
        node.next = undefined;
        if (node.some !== undefined && !isHidden) this.#found(node.some);
        if (node.children !== undefined) {
          const child = node.children.get((level ??= topic.slice(start, stop)));
          if (child !== undefined) {
            child.next = deeper;
            deeper = child;
          }
        }
        if (node.one !== undefined && mayBeOne) {
          node.one.next = deeper;
          deeper = node.one;
        }
      }
      if (end < 0) {
        this.#end(deeper);
        return;
      }
      start = end + separator.length;
      isHidden = false;
      reached = deeper;
    }
  }

  /** The nodes that the last level of a topic leads to; `#` includes the level above it (MQTT-4.7.1-2). */
  #end(nodes: FilterNode<T> | undefined): void {
    for (let node = nodes; node !== undefined;) {
      if (node.here !== undefined) this.#found(node.here);
      if (node.some !== undefined) this.#found(node.some);
      const next: FilterNode<T> | undefined = node.next;
      node.next = undefined;
      node = next;
    }
  }

  #found(values: Values<T>): void {
    if (this.#first.length === 0) {
      this.#first = values.list;
      return;
    }
    const all = (this.#all ??= [...this.#first]);
    for (const value of values.list) all.push(value);
  }

  #grow(node: FilterNode<T>, level: string): FilterNode<T> {
    if (level === this.#one) return (node.one ??= new FilterNode());
    const children = (node.children ??= new Map());
    let child = children.get(level);
    if (child === undefined) children.set(level, (child = new FilterNode()));
    return child;
  }

  /** Takes values of a filter away, and the filter with the last of them. */
  #take(filter: string, from: (values: Values<T>) => number): number {
    const levels = this.#wildLevels(filter);
    if (levels === undefined) {
      const values = this.#exact.get(filter);
      if (values === undefined) return 0;
      const taken = from(values);
      if (values.size === 0) this.#exact.delete(filter);
      this.#count -= taken;
      return taken;
    }
    const isSome = levels.at(-1) === this.#some;
    const depth = isSome ? levels.length - 1 : levels.length;
    const path = [this.#root];
    for (let index = 0; index < depth; index += 1) {
      const level = levels[index]!;
      const child = level === this.#one ? path[index]!.one : path[index]!.children?.get(level);
      if (child === undefined) return 0;
      path.push(child);
    }
    const node = path[depth]!;
    const values = isSome ? node.some : node.here;
    if (values === undefined) return 0;
    const taken = from(values);
    if (values.size === 0) {
      if (isSome) node.some = undefined;
      else node.here = undefined;
    }
    this.#inTree -= taken;
    this.#count -= taken;
    for (let index = depth; index > 0 && path[index]!.isEmpty; index -= 1) {
      path[index - 1]!.prune(levels[index - 1]!, path[index]!);
    }
    return taken;
  }

  /** The levels of a filter with a wildcard; undefined for one that matches a single topic. */
  #wildLevels(filter: string): string[] | undefined {
    if (!filter.includes(this.#one) && !filter.includes(this.#some)) return undefined;
    const levels = filter.split(this.#separator);
    return levels.includes(this.#one) || levels.at(-1) === this.#some ? levels : undefined;
  }
}

/** A level of filters with a wildcard. */
class FilterNode<T> {
  children: Map<string, FilterNode<T>> | undefined = undefined;
  one: FilterNode<T> | undefined = undefined;
  /** Of the filters that end with `#` below this level. */
  some: Values<T> | undefined = undefined;
  /** Of the filters that end with this level. */
  here: Values<T> | undefined = undefined;
  next: FilterNode<T> | undefined = undefined;

  get isEmpty(): boolean {
    return this.children === undefined && this.one === undefined && this.some === undefined && this.here === undefined;
  }

  prune(level: string, child: FilterNode<T>): void {
    if (this.one === child) {
      this.one = undefined;
      return;
    }
    this.children?.delete(level);
    if (this.children?.size === 0) this.children = undefined;
  }
}

/** Values of one filter. A list that was given away is never changed. */
class Values<T> {
  #list: readonly T[] | undefined = none;
  #set: Set<T> | undefined = undefined;

  get size(): number {
    return this.#set?.size ?? this.list.length;
  }

  get list(): readonly T[] {
    return (this.#list ??= [...(this.#set ?? none)]);
  }

  add(value: T): boolean {
    if (this.#set === undefined) {
      const list = this.list;
      if (list.includes(value)) return false;
      if (list.length < few) {
        this.#list = [...list, value];
        return true;
      }
      this.#set = new Set(list);
    }
    if (this.#set.has(value)) return false;
    this.#set.add(value);
    this.#list = undefined;
    return true;
  }

  delete(value: T): boolean {
    if (this.#set !== undefined) {
      if (!this.#set.delete(value)) return false;
      this.#list = undefined;
      return true;
    }
    const index = this.list.indexOf(value);
    if (index < 0) return false;
    this.#list = this.list.filter((_value, at) => at !== index);
    return true;
  }

  clear(): number {
    const { size } = this;
    this.#set = undefined;
    this.#list = none;
    return size;
  }
}
