/**
 * Bytes as they stand in the documentation: hexadecimal on the left, at most sixteen bytes a line, and what they say on
 * the right. CBOR is taken apart to the last byte, also where it stands in a byte string.
 */

/** One stretch of bytes and what it says; `depth` indents the text. */
export interface Stretch {
  readonly bytes: Uint8Array;
  readonly says: string;
  readonly depth?: number;
}

/** What the items of a CBOR message mean. Keys of `map` are in diagnostic notation. */
export interface Shape {
  readonly says?: string;
  readonly map?: Readonly<Record<string, Shape>>;
  readonly items?: readonly Shape[];
  readonly each?: Shape;
  /** What stands in a byte string that is itself CBOR. */
  readonly inner?: Shape;
}

const lineBytes = 16;

/** The dump: two columns. */
export function dump(stretches: readonly Stretch[]): string {
  return stretches.flatMap(toLines).join("\n");
}

/** The bytes of a dump again: everything to the left of the second column. */
export function readDump(text: string): Uint8Array {
  return Buffer.from(
    text
      .split("\n")
      .map((line) => line.slice(0, 2 * lineBytes).trim())
      .join(""),
    "hex",
  );
}

/** Stretches of one CBOR item. */
export function explainCbor(bytes: Uint8Array, shape: Shape = {}): Stretch[] {
  const stretches: Stretch[] = [];
  const end = explainItem(bytes, 0, 0, shape, stretches);
  if (end !== bytes.length) throw new Error("bytes after the item");
  return stretches;
}

function toLines({ bytes, says, depth = 0 }: Stretch): string[] {
  const lines: string[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += lineBytes) {
    const hex = Buffer.from(bytes.subarray(at, at + lineBytes)).toString("hex");
    const text = at === 0 ? `${"  ".repeat(depth)}${says}` : "";
    lines.push(`${hex.padEnd(2 * lineBytes)}  ${text}`.trimEnd());
  }
  return lines;
}

function explainItem(bytes: Uint8Array, start: number, depth: number, shape: Shape, into: Stretch[]): number {
  const major = bytes[start]! >> 5;
  const { value, next } = readHead(bytes, start);
  const head = bytes.subarray(start, next);
  const length = Number(value);
  const push = (upTo: number, text: string): void => {
    into.push({ bytes: bytes.subarray(start, upTo), says: named(text, shape.says), depth });
  };
  switch (major) {
    case 0:
    case 1:
      push(next, major === 0 ? String(value) : String(-1n - value));
      return next;
    case 2:
    case 3: {
      const content = bytes.subarray(next, next + length);
      if (major === 3) push(next + length, JSON.stringify(Buffer.from(content).toString("utf8")));
      else if (shape.inner === undefined) push(next + length, `${length} bytes`);
      else {
        push(next, `${length} bytes`);
        explainItem(content, 0, depth + 1, shape.inner, into);
      }
      return next + length;
    }
    case 4: {
      push(next, `array of ${length}`);
      let at = next;
      for (let i = 0; i < length; i++) {
        at = explainItem(bytes, at, depth + 1, shape.items?.[i] ?? shape.each ?? {}, into);
      }
      return at;
    }
    case 5: {
      push(next, `map of ${length}`);
      let at = next;
      for (let i = 0; i < length; i++) {
        const name = diagnose(bytes, at);
        const entry = shape.map?.[name] ?? {};
        at = explainItem(bytes, at, depth + 1, entry.says === undefined ? {} : { says: entry.says }, into);
        const { says: _, ...value } = entry;
        at = explainItem(bytes, at, depth + 2, value, into);
      }
      return at;
    }
    case 6:
      into.push({ bytes: head, says: `tag ${value}`, depth });
      return explainItem(bytes, next, depth + 1, shape, into);
    default:
      push(next, ({ 20: "false", 21: "true", 22: "null" } as Record<number, string>)[length] ?? "?");
      return next;
  }
}

function named(text: string, says: string | undefined): string {
  return says === undefined ? text : `${text}  ${says}`;
}

/** A map key that is an integer. */
function diagnose(bytes: Uint8Array, start: number): string {
  const { value } = readHead(bytes, start);
  return bytes[start]! >> 5 === 0 ? String(value) : String(-1n - value);
}

function readHead(bytes: Uint8Array, start: number): { readonly value: bigint; readonly next: number } {
  const info = bytes[start]! & 31;
  if (info < 24) return { value: BigInt(info), next: start + 1 };
  const size = 1 << (info - 24);
  const next = start + 1 + size;
  return { value: BigInt(`0x${Buffer.from(bytes.subarray(start + 1, next)).toString("hex")}`), next };
}
