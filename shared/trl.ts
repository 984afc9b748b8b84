/**
 * The list of revoked tokens as it goes over the wire (RFC 9770, sections 5 to 9): the answers of the endpoint, its errors as
 * concise problem details (RFC 9290), and what Postern adds for brokers.
 *
 * Answers are written and read by hand, because a full set may hold a million hashes. What is accepted would be written with
 * the same bytes: one set, shortest heads, keys in order and each once, nothing unknown and nothing behind.
 */
import { asMap, decode, encode, type Cbor } from "./cbor.ts";
import { headBytes, major, readHead, writeHead, type Input } from "./cbor-head.ts";
import {
  countHashes,
  hashArrayBytes,
  itemsBytes,
  readHashArray,
  writeHashArray,
  writeHashItems,
} from "./hash-array.ts";
import { refuse } from "./refusal.ts";
import { decodeTrust, encodeTrust, type TrustPart } from "./trust-entries.ts";

export { HASH_BYTES } from "./hash-array.ts";
export type * from "./trust-entries.ts";

/** Media type of the answers. */
export const TRL_CBOR = "application/ace-trl+cbor";
/** Media type of the errors. */
export const PROBLEM_CBOR = "application/concise-problem-details+cbor";

/** One update of the list. Hashes are packed: {@link HASH_BYTES} each, one behind the other. */
export interface TrlPatch {
  readonly removed: Uint8Array;
  readonly added: Uint8Array;
}

/** What the endpoint answers: a full or a diff set, where the requester stands, and what a broker asked for besides. */
export interface TrlAnswer {
  /** Every hash of the requester's view, packed, in no order. */
  readonly fullSet?: Uint8Array;
  /** The newest update first. */
  readonly diffSet?: readonly TrlPatch[];
  /** Where the next diff query starts; null where there never was an update, or where updates were lost. */
  readonly cursor?: number | null;
  /** Whether more updates follow after the cursor; with a null cursor, that updates were lost. */
  readonly more?: boolean;
  readonly trust?: TrustPart;
}

/** Errors of the endpoint, in the order of their numbers (RFC 9770, section 6.1). */
export const trlErrors = ["list.parameter", "list.parameters", "list.cursor"] as const;
export type TrlError = (typeof trlErrors)[number];

/** An error as it goes over the wire. */
export interface TrlProblem {
  /** Absent where the endpoint failed for a reason of which RFC 9770 knows nothing. */
  readonly error?: TrlError;
  /** With an invalid cursor: the newest one, or null where there never was an update. */
  readonly cursor?: number | null;
  readonly title?: string;
  readonly detail?: string;
}

const parameter = { fullSet: 0, diffSet: 1, cursor: 2, more: 3, trust: -65537 } as const;
/** Encoded, they sort like this. */
const inOrder: readonly number[] = Object.values(parameter);
const problemKey = { trlError: 1, title: -1, detail: -2 } as const;
const errorKey = { id: 0, cursor: 1 } as const;
const simple = { false: 0xf4, true: 0xf5, null: 0xf6 } as const;
/** Longest answer that is read unless told otherwise: a full set of 1,900,000. */
const defaultMaxBytes = 64 * 1024 * 1024;
/** An update may take three bytes on the wire, and takes more in memory. */
const maxPatches = 65_536;

/** Writes an answer. Throws TypeError for packed hashes that are not whole. */
export function encodeTrl(answer: TrlAnswer): Uint8Array {
  if (answer.fullSet === undefined) return join(openAnswer(answer), encodeDiffSet(answer.diffSet), closeAnswer(answer));
  const { head, tail } = frameFullSet(countHashes(answer.fullSet), answer);
  const bytes = new Uint8Array(head.length + itemsBytes(countHashes(answer.fullSet)) + tail.length);
  bytes.set(head);
  bytes.set(tail, writeHashItems(bytes, head.length, answer.fullSet));
  return bytes;
}

/** What stands before and behind the hashes of a full set, for an answer that is sent in pieces. */
export function frameFullSet(
  count: number,
  rest: Pick<TrlAnswer, "cursor" | "trust">,
): { readonly head: Uint8Array; readonly tail: Uint8Array } {
  const array = new Uint8Array(1 + headBytes(count));
  writeHead(array, 1, major.array, count);
  array[0] = parameter.fullSet;
  return { head: join(openAnswer({ ...rest, fullSet: empty }), array), tail: closeAnswer(rest) };
}

/** The pieces between. */
export function encodeHashItems(packed: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(itemsBytes(countHashes(packed)));
  writeHashItems(bytes, 0, packed);
  return bytes;
}

/** Reads an answer of at most `maxBytes`, 64 MiB by default. Throws `cbor.*`. */
export function decodeTrl(bytes: Uint8Array, options: { readonly maxBytes?: number } = {}): TrlAnswer {
  if (bytes.length > (options.maxBytes ?? defaultMaxBytes)) refuse("cbor.too-large", `${bytes.length} bytes`);
  const input: Input = { bytes, at: 0 };
  const answer: { -readonly [Name in keyof TrlAnswer]: TrlAnswer[Name] } = {};
  let previous = -1;
  for (let left = readHead(input, major.map); left > 0; left--) {
    const key = readKey(input);
    const place = inOrder.indexOf(key);
    if (place < 0) refuse("cbor.type", `unknown key ${key}`);
    if (place === previous) refuse("cbor.duplicate-key");
    if (place < previous) refuse("cbor.not-deterministic", "map keys out of order");
    previous = place;
    if (key === parameter.fullSet) answer.fullSet = readHashArray(input);
    else if (key === parameter.diffSet) answer.diffSet = readDiffSet(input);
    else if (key === parameter.cursor)
      answer.cursor = isSimple(input, simple.null) ? null : readHead(input, major.uint);
    else if (key === parameter.more) answer.more = isSimple(input, simple.true) || readFalse(input);
    else {
      // it sorts last, so the rest is nothing else
      answer.trust = decodeTrust(bytes.subarray(input.at));
      input.at = bytes.length;
    }
  }
  if (input.at !== bytes.length) refuse("cbor.trailing", `${bytes.length - input.at} bytes after the item`);
  assertWhole(answer);
  return answer;
}

/** Writes an error, for example `a101a10000`. */
export function encodeTrlProblem({ error, cursor, title, detail }: TrlProblem): Uint8Array {
  const map = new Map<Cbor, Cbor>();
  if (error !== undefined) {
    const inner = new Map<Cbor, Cbor>([[errorKey.id, trlErrors.indexOf(error)]]);
    if (cursor !== undefined) inner.set(errorKey.cursor, cursor);
    map.set(problemKey.trlError, inner);
  }
  if (title !== undefined) map.set(problemKey.title, title);
  if (detail !== undefined) map.set(problemKey.detail, detail);
  return encode(map);
}

/** Reads an error; keys and errors that it does not know are ignored (RFC 9290, section 2). Throws `cbor.*`. */
export function decodeTrlProblem(bytes: Uint8Array): TrlProblem {
  const map = asMap(decode(bytes, { anyOrder: true }));
  const inner = map.has(problemKey.trlError) ? asMap(map.get(problemKey.trlError)) : undefined;
  const error = trlErrors[inner?.get(errorKey.id) as number];
  const cursor = inner?.get(errorKey.cursor);
  const isCursor = typeof cursor === "number" || typeof cursor === "bigint" || cursor === null;
  const [title, detail] = [map.get(problemKey.title), map.get(problemKey.detail)];
  return {
    ...(error !== undefined && { error }),
    ...(isCursor && { cursor: cursor === null ? null : Number(cursor) }),
    ...(typeof title === "string" && { title }),
    ...(typeof detail === "string" && { detail }),
  };
}

const empty = new Uint8Array(0);

/** The head of the map. */
function openAnswer(answer: TrlAnswer): Uint8Array {
  const size = [answer.fullSet ?? answer.diffSet, answer.cursor, answer.more, answer.trust];
  return Uint8Array.of((major.map << 5) | size.filter((one) => one !== undefined).length);
}

/** What comes after the set. */
function closeAnswer({ cursor, more, trust }: Pick<TrlAnswer, "cursor" | "more" | "trust">): Uint8Array {
  return join(
    cursor === undefined ? empty : join(Uint8Array.of(parameter.cursor), encode(cursor)),
    more === undefined ? empty : Uint8Array.of(parameter.more, more ? simple.true : simple.false),
    trust === undefined ? empty : join(encode(parameter.trust), encodeTrust(trust)),
  );
}

function encodeDiffSet(patches: readonly TrlPatch[] | undefined): Uint8Array {
  if (patches === undefined) throw new TypeError("an answer has a full or a diff set");
  const sizes = patches.map(({ removed, added }) => 1 + hashArrayBytes(removed) + hashArrayBytes(added));
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 1 + headBytes(patches.length)));
  bytes[0] = parameter.diffSet;
  let at = writeHead(bytes, 1, major.array, patches.length);
  for (const { removed, added } of patches) {
    at = writeHashArray(bytes, writeHead(bytes, at, major.array, 2), removed);
    at = writeHashArray(bytes, at, added);
  }
  return bytes;
}

function readDiffSet(input: Input): TrlPatch[] {
  const patches: TrlPatch[] = [];
  const count = readHead(input, major.array);
  if (count > maxPatches) refuse("cbor.too-large", `${count} updates`);
  for (let left = count; left > 0; left--) {
    if (readHead(input, major.array) !== 2) refuse("cbor.type", "an update is what it removed and what it added");
    patches.push({ removed: readHashArray(input), added: readHashArray(input) });
  }
  return patches;
}

function readKey(input: Input): number {
  const isNegative = (input.bytes[input.at] ?? 0) >> 5 === major.negative;
  return isNegative ? -1 - readHead(input, major.negative) : readHead(input, major.uint);
}

/** Goes past the simple value if that is what stands there. */
function isSimple(input: Input, value: number): boolean {
  if (input.bytes[input.at] !== value) return false;
  input.at++;
  return true;
}

function readFalse(input: Input): false {
  if (input.at >= input.bytes.length) refuse("cbor.truncated");
  return isSimple(input, simple.false) ? false : refuse("cbor.type", "neither true nor false");
}

/** One set, and of a diff set either both cursor and more or none of them (RFC 9770, sections 6 to 9). */
function assertWhole({ fullSet, diffSet, cursor, more }: TrlAnswer): void {
  if ((fullSet === undefined) === (diffSet === undefined)) refuse("cbor.type", "not one set");
  if (fullSet !== undefined ? more !== undefined : (cursor === undefined) !== (more === undefined)) {
    refuse("cbor.type", "cursor and more do not go with the set");
  }
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : new Uint8Array(Buffer.concat(parts));
}
