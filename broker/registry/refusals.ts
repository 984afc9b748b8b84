/**
 * Refusals in the audit log, bounded: a stranger can have so many rows written and no more, and so can a client or a
 * developer that has proven itself, and a project with all of its clients. What is left out is counted, and the count is a row
 * of its own.
 *
 * Nothing rests on the row. Where it cannot be written the refusal is what it was, and the row counts as left out.
 */
import type { Refusal } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { audit, ITSELF } from "./audit.ts";
import type { Registry } from "./registry.ts";

/** A refusal, and what is known of it. */
export interface Refused {
  /** `<thing>.refused`. */
  readonly event: string;
  readonly refusal: Pick<Refusal, "reason" | "id">;
  /** Who was refused, where they have proven who they are: as the audit log calls them. */
  readonly actor?: string | undefined;
  /** Where it came from. */
  readonly address?: string | undefined;
  readonly subject?: string | undefined;
  /** Counts where there is such a project. */
  readonly project?: string | undefined;
  /**
   * Whom a stranger claims to be, a client id or `<project>/<api>`; read only when the row is written. Where there is such a
   * project the row is of it, whether there is such a client or not, so that those who keep it see what is misspelt. A
   * stranger can so put rows before them, but no more than the bounds on strangers let through, which is the same for all.
   */
  readonly claimed?: (() => string | undefined) | undefined;
  /** Read only when the row is written. Nothing secret. */
  readonly facts?: (() => Readonly<Record<string, unknown>>) | undefined;
}

/** The actor of who has not proven to be anybody. */
export const STRANGER = "stranger";

/** Rows of one kind of party: in a second on average, and at once. */
interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** How many rows there may be: of strangers and of parties that are known, in all and of one address or party. */
export const refusalRates = {
  strangers: { all: { perSecond: 2, burst: 100 }, one: { perSecond: 0.5, burst: 50 } },
  known: { all: { perSecond: 20, burst: 1000 }, one: { perSecond: 0.5, burst: 100 } },
} as const satisfies Record<string, { all: Rate; one: Rate }>;

/** How long what is left out is counted before that is a row. */
export const leftOutMilliseconds = 10_000;
/** Addresses and parties that are remembered of each kind. */
const maxRemembered = 1_000;

interface Bucket {
  rows: number;
  at: number;
}

interface Kind {
  readonly all: Bucket;
  readonly each: Map<string, Bucket>;
  /** How much of what is gone from `all` each house has taken: a project with its clients and apis, or a developer. */
  readonly taken: Map<string, number>;
}

interface Book {
  readonly strangers: Kind;
  readonly known: Kind;
  leftOut: Map<string, number>;
  timer: NodeJS.Timeout | undefined;
}

const books = new WeakMap<Registry, Book>();

/**
 * Writes the row of a refusal, soon and together with others. Undefined where the row is left out; else resolves when it is
 * written, or cannot be: it never rejects.
 */
export function recordRefusal(r: Registry, refused: Refused): Promise<void> | undefined {
  const book = bookOf(r);
  const { refusal, actor, facts, address } = refused;
  const kind = actor === undefined ? "strangers" : "known";
  const party = { who: actor ?? address ?? "", house: actor === undefined ? undefined : houseOf(actor) };
  if (!r.db.open || !mayWrite(book[kind], refusalRates[kind], party, r.nowSeconds())) {
    leaveOut(r, book, refusal.reason);
    return undefined;
  }
  const written = r.appendSoon(() => {
    const claimed = refused.claimed?.();
    audit(r, {
      event: refused.event,
      actor: actor ?? STRANGER,
      subject: refused.subject,
      project: readProject(r, claimed === undefined ? refused : { subject: claimed }),
      reason: refusal.reason,
      refusalId: refusal.id,
      facts: { ...facts?.(), ...(claimed !== undefined && { claimed }) },
    });
  });
  return written.catch(() => leaveOut(r, book, refusal.reason));
}

/** Writes how many rows were left out, where some were. Called in time, and before the registry is closed. */
export function writeLeftOut(r: Registry): void {
  const book = books.get(r);
  if (book === undefined || book.leftOut.size === 0 || !r.db.open) return;
  const { leftOut } = book;
  book.leftOut = new Map();
  clearTimeout(book.timer);
  book.timer = undefined;
  const count = [...leftOut.values()].reduce((sum, each) => sum + each, 0);
  const facts = { count, reasons: Object.fromEntries(leftOut) };
  try {
    r.append(() => audit(r, { event: "refusals.left-out", actor: ITSELF, facts }));
  } catch {
    for (const [reason, each] of leftOut) book.leftOut.set(reason, each + (book.leftOut.get(reason) ?? 0));
  }
}

function bookOf(r: Registry): Book {
  let book = books.get(r);
  if (book === undefined) {
    const kind = ({ all }: { readonly all: Rate }): Kind => ({
      all: { rows: all.burst, at: 0 },
      each: new Map(),
      taken: new Map(),
    });
    const { strangers, known } = refusalRates;
    book = { strangers: kind(strangers), known: kind(known), leftOut: new Map(), timer: undefined };
    books.set(r, book);
  }
  return book;
}

/** Whatever is named by the refused is a project of the log only when there is one. */
function readProject(r: Registry, { project, subject }: Pick<Refused, "project" | "subject">): string | undefined {
  const slug = project ?? /^[^./]*(?=[./])/.exec(subject ?? "")?.[0];
  const sql = `SELECT slug FROM project WHERE slug = ?`;
  return slug === undefined ? undefined : statement<{ slug: string }>(r.db, sql).get(slug)?.slug;
}

function leaveOut(r: Registry, book: Book, reason: string): void {
  book.leftOut.set(reason, (book.leftOut.get(reason) ?? 0) + 1);
  book.timer ??= setTimeout(() => {
    book.timer = undefined;
    writeLeftOut(r);
  }, leftOutMilliseconds).unref();
}

/** Of a client or an api its project, of a developer and their keys the developer: never whom they were refused. */
function houseOf(actor: string): string {
  const slug = /^([^.:/]+)[./]/.exec(actor)?.[1];
  return slug === undefined ? actor.split("/", 1)[0]! : `project:${slug}`;
}

/** Whose row it would be. Strangers have no house. */
interface Party {
  readonly who: string;
  readonly house: string | undefined;
}

/**
 * Takes one row from the bucket of the one and from that of all; from neither when one of them is empty, or when the house has
 * taken as much as there is left for all. So one house alone gets half, two a third each, and whoever comes next finds some.
 */
function mayWrite(kind: Kind, rates: { readonly all: Rate; readonly one: Rate }, { who, house }: Party, now: number) {
  const { all, each, taken } = kind;
  let one = each.get(who);
  if (one === undefined) {
    // whoever was seen first goes first: the bound on all of them holds all the same
    if (each.size >= maxRemembered) each.delete(each.keys().next().value!);
    each.set(who, (one = { rows: rates.one.burst, at: now }));
  }
  fill(one, rates.one, now);
  const before = all.rows;
  fill(all, rates.all, now);
  if (all.rows > before) giveBack(taken, all.rows - before);
  if (one.rows < 1 || all.rows < 1) return false;
  if (house !== undefined) {
    const ofHouse = taken.get(house) ?? 0;
    if (ofHouse >= all.rows) return false;
    taken.set(house, ofHouse + 1);
  }
  one.rows--;
  all.rows--;
  return true;
}

/** What has come back is taken off all houses alike; what is more than one of them has, off the others. */
function giveBack(taken: Map<string, number>, rows: number): void {
  let [left, houses] = [rows, taken.size];
  for (const [house, ofHouse] of [...taken].toSorted(([, a], [, b]) => a - b)) {
    const off = Math.min(ofHouse, left / houses--);
    left -= off;
    if (off < ofHouse) taken.set(house, ofHouse - off);
    else taken.delete(house);
  }
}

function fill(bucket: Bucket, { perSecond, burst }: Rate, now: number): void {
  // a clock that was set back fills nothing until it has caught up, and empties nothing
  const passed = Math.max(now - bucket.at, 0);
  bucket.rows = Math.min(bucket.rows + passed * perSecond, burst);
  bucket.at = now;
}
