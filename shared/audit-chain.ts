/**
 * The chain through the audit log: the hash of each row covers its content and the hash of the row before it, so that no row
 * can be changed, removed or put elsewhere without every later hash being another.
 *
 * hash(n) is SHA-256 over hash(n-1), 32 zero bytes before the first row, followed by the UTF-8 of a JSON array: seq, at, event,
 * actor, project, subject, reason, refusal_id, and facts as the text that is kept; as `JSON.stringify` writes it. Whoever can
 * write the file can make the whole chain anew: only a head that was noted down elsewhere shows that, and that the end is cut.
 */
import { hash } from "node:crypto";

/** What a hash covers, by the names of the columns. */
export interface AuditRow {
  /** 1 for the first row, without gaps. */
  readonly seq: number;
  /** In seconds. */
  readonly at: number;
  readonly event: string;
  readonly actor: string;
  readonly project: string | null;
  readonly subject: string | null;
  readonly reason: string | null;
  readonly refusal_id: string | null;
  /** JSON, as it is kept. */
  readonly facts: string | null;
}

/** A row with its hash, hex; null where it has none. */
export interface ChainedRow extends AuditRow {
  readonly hash: string | null;
}

/** A place in the chain: the number of a row and its hash, hex. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
}

/** What is wrong, and with which row. */
export interface ChainFault {
  readonly seq: number;
  readonly why: string;
}

/** Follows a chain from its first row. */
export interface ChainCheck {
  /** Takes the next row; says what is wrong with it. After a fault there is no going on. */
  take(row: ChainedRow): ChainFault | undefined;
  /** Says what is wrong with the end. */
  end(): ChainFault | undefined;
  /** The last row that was taken; before the first, 0 and 32 zero bytes. */
  readonly head: ChainHead;
}

/** Bytes of a hash. */
export const CHAIN_HASH_BYTES = 32;
/** What stands in for the hash before the first row. */
export const CHAIN_START: Uint8Array = new Uint8Array(CHAIN_HASH_BYTES);

const columns = ["seq", "at", "event", "actor", "project", "subject", "reason", "refusal_id", "facts", "hash"] as const;

/** The hash of a row, from that of the row before it. */
export function hashRow(previous: Uint8Array, row: AuditRow): Buffer {
  const text = JSON.stringify([
    row.seq,
    row.at,
    row.event,
    row.actor,
    row.project,
    row.subject,
    row.reason,
    row.refusal_id,
    row.facts,
  ]);
  // by way of text, which costs a third of bytes that are given out alone
  return Buffer.from(hash("sha256", Buffer.concat([previous, Buffer.from(text, "utf8")]), "hex"), "hex");
}

/** Follows a chain; `noted` is a head of it from earlier. */
export function openChainCheck(noted?: ChainHead): ChainCheck {
  let head: ChainHead = { seq: 0, hash: Buffer.from(CHAIN_START).toString("hex") };
  return {
    get head() {
      return head;
    },
    take(row) {
      if (row.seq !== head.seq + 1) return outOfPlace(head.seq + 1, row.seq);
      const expected = hashRow(Buffer.from(head.hash, "hex"), row).toString("hex");
      if (row.hash !== expected) return { seq: row.seq, why: "its hash is not that of its content and the row before" };
      head = { seq: row.seq, hash: expected };
      const isAsNoted = noted?.seq !== row.seq || noted.hash === expected;
      return isAsNoted ? undefined : { seq: row.seq, why: "its hash is not the one that was noted down" };
    },
    end() {
      if (noted === undefined || head.seq >= noted.seq) return undefined;
      return { seq: head.seq + 1, why: `the log ends before it, and row ${noted.seq} was noted down` };
    },
  };
}

/** A row as a line of an export, without the line break. */
export function formatRow(row: ChainedRow): string {
  return JSON.stringify(row, [...columns]);
}

/** Reads a line of an export; undefined for what {@link formatRow} would not write like that, to the byte. */
export function parseRow(line: string): ChainedRow | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const row = readRow(value);
  return row !== undefined && formatRow(row) === line ? row : undefined;
}

/** A row that came as JSON; undefined for what is none. */
export function readRow(value: unknown): ChainedRow | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { seq, at, event, actor, ...texts } = value as Record<string, unknown>;
  const isRow =
    Number.isSafeInteger(seq) &&
    Number.isSafeInteger(at) &&
    typeof event === "string" &&
    typeof actor === "string" &&
    Object.keys(texts).length === columns.length - 4 &&
    columns.slice(4).every((name) => texts[name] === null || typeof texts[name] === "string");
  return isRow ? (value as ChainedRow) : undefined;
}

/** A head as a person notes it down, `<seq>:<hash>`. */
export function formatHead({ seq, hash: hex }: ChainHead): string {
  return `${seq}:${hex}`;
}

/** Reads {@link formatHead}; undefined for what is none. */
export function parseHead(text: string): ChainHead | undefined {
  const [, seq, hex] = /^([1-9][0-9]{0,14}):([0-9a-f]{64})$/.exec(text) ?? [];
  return seq === undefined || hex === undefined ? undefined : { seq: Number(seq), hash: hex };
}

function outOfPlace(expected: number, found: number): ChainFault {
  return { seq: expected, why: `it is missing or not in its place, row ${found} stands there` };
}
