/**
 * The copy of trust that a broker keeps of an authority elsewhere, on one SQLite file: what it starts with while the authority
 * is away, and where it goes on reading.
 *
 * An answer is written in one transaction with the place that it leads to, and told to the gate after the commit, so that
 * whenever the process ends, content and place fit. Of a full list the parts are written first and the place last: what
 * is on it is true by itself. The file belongs to one issuer; with another one it starts empty.
 */
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import type { TrlPatch, TrustPart } from "../../shared/trl.ts";
import { openFile, statement } from "../sqlite/database.ts";
import { sweepEntries, tellEntries, writeEntry, type Reading, type Telling } from "./copy-entries.ts";
import { copySchema } from "./copy-schema.ts";
import { dropKept, replaceTokens, tellTokens, writePatches, type Replaced } from "./copy-tokens.ts";
import type { MemoryTrust } from "./memory-trust.ts";
import { takeBackUnwritten } from "./unwritten.ts";

/** Where the copy is, whose it is, and what it fills. */
export interface CopyOptions {
  /** Path of the SQLite file, or `:memory:`. */
  readonly file: string;
  readonly issuer: string;
  readonly trust: MemoryTrust;
  readonly log: Logger;
}

/** Where the copy stands. */
export interface Place {
  /** The newest update that is in it; null before the first. */
  readonly trlCursor: number | null;
  /** Empty at the beginning. */
  readonly trustCursor: string;
  /** Whether a full list is to be read next, and why. */
  readonly list: Reading | "no";
  /** Whether the rest is being read from the beginning, and why. */
  readonly sweep: Reading | "no";
}

/** What one process writes down of time for the next. Seconds. */
export interface RememberedTime {
  /** The clock of this machine when it was written down, since 1970. */
  readonly notedAt: number;
  /** How old the view was then. */
  readonly ageSeconds: number;
  /** The time at the authority then, since 1970, and by how much it was ahead of the clock of this machine. */
  readonly authorityAt: number;
  readonly offsetSeconds: number;
}

/** All revoked tokens: packed hashes, and the place after the newest update that is in them. */
export interface FullList {
  readonly hashes: Uint8Array;
  readonly cursor: number | null;
}

/** A part of an answer that is no list. `sent`: the cursor that was asked with. */
export interface ToldTrust {
  readonly sent: string;
  readonly part: TrustPart;
}

/** An open copy. One answer at a time. */
export interface Copy {
  readonly place: Place;
  /** What the last process wrote down; undefined before the first time. */
  readonly remembered: RememberedTime | undefined;
  remember(time: RememberedTime): void;
  /** Takes updates of the list, the newest first, and what comes with them. The cursor is the place after them. */
  takeUpdates(patches: readonly TrlPatch[], cursor: number | null, trust: ToldTrust | undefined): void;
  /** Takes a full list. Other work gets its turn meanwhile; rejects when it is told to stop on the way. */
  takeList(list: FullList, trust: ToldTrust | undefined, nowSeconds: number, signal?: AbortSignal): Promise<void>;
  /** From now on a full list is to be read, and everything else from the beginning. */
  restart(reading: Reading): void;
  close(): void;
}

/** Opens the copy and tells the trust all that is in it. Throws `registry.invalid` for a file it cannot use. */
export function openCopy(options: CopyOptions): Copy {
  try {
    return openReadable(options);
  } catch (error) {
    if (error instanceof Refusal && error.reason === "registry.invalid") throw error;
    const why = `${options.file} cannot be read (${(error as Error).message}): move it away, and all is read from the authority`;
    throw new Refusal("registry.invalid", why);
  }
}

function openReadable({ file, issuer, trust, log }: CopyOptions): Copy {
  const db = openFile(file, copySchema);
  const commit = (work: () => readonly Telling[]): void => {
    for (const tell of db.transaction(work).immediate()) tell(trust);
    place = readPlace();
  };
  const readPlace = (): Place => {
    const row = statement<FollowerRow>(db, `SELECT * FROM follower`).get()!;
    return { trlCursor: row.trl_cursor, trustCursor: row.trust_cursor, list: row.list, sweep: row.sweep };
  };

  const writeTrust = ({ sent, part }: ToldTrust): Telling[] => {
    if (part.isReset) {
      // an empty cursor is none of anybody's: then it says nothing of the authority
      const reading = sent === "" ? "plain" : "restored";
      if (reading === "restored") log.warn("the authority does not know where this broker was: all is read again");
      statement(db, `UPDATE follower SET generation = generation + 1`).run();
      begin(reading);
    }
    if (part.unknown !== undefined) {
      log.warn({ entries: part.unknown }, "the authority tells of what this release does not know: it is left out");
    }
    const generation = statement<number>(db, `SELECT generation FROM follower`).pluck().get()!;
    const tellings = part.entries.flatMap((entry) => writeEntry(db, entry, generation, log) ?? []);
    const { sweep } = statement<FollowerRow>(db, `SELECT sweep FROM follower`).get()!;
    if (!part.more && sweep !== "no") {
      tellings.push(...sweepEntries(db, generation, sweep));
      statement(db, `UPDATE follower SET sweep = 'no'`).run();
    }
    statement(db, `UPDATE follower SET trust_cursor = ?`).run(part.cursor);
    return tellings;
  };
  /** A restored authority stays one until everything was read. */
  const begin = (reading: Reading): void => {
    const sql = `UPDATE follower SET sweep = CASE sweep WHEN 'restored' THEN sweep ELSE $reading END,
      list = CASE list WHEN 'restored' THEN list ELSE $reading END`;
    statement(db, sql).run({ reading });
  };

  /** Whether the trust was told of what is not on the disk. */
  let isAhead = false;
  const heed = (patches: readonly TrlPatch[], told: ToldTrust | undefined): void => {
    isAhead = true;
    takeBackUnwritten(trust, patches, told?.part.entries ?? []);
  };

  let place: Place;
  try {
    const known = statement<string>(db, `SELECT issuer FROM follower`).pluck().get();
    if (known !== issuer) {
      if (known !== undefined) log.warn({ issuer, before: known }, "another issuer: the copy of trust starts empty");
      db.transaction(() => {
        for (const table of contents) db.exec(`DELETE FROM ${table}`);
        statement(db, `INSERT INTO follower (id, issuer) VALUES (1, ?)`).run(issuer);
      }).immediate();
    }
    place = readPlace();
    tellEntries(db, trust, log);
    tellTokens(db, trust);
  } catch (error) {
    db.close();
    throw error;
  }

  return {
    get place() {
      return place;
    },
    get remembered() {
      const row = statement<FollowerRow>(db, `SELECT * FROM follower`).get()!;
      if (row.noted_at === null) return undefined;
      const { noted_at: notedAt, age_seconds: ageSeconds } = row;
      return { notedAt, ageSeconds, authorityAt: row.authority_at, offsetSeconds: row.offset_seconds };
    },
    remember({ notedAt, ageSeconds, authorityAt, offsetSeconds }) {
      const sql = `UPDATE follower SET noted_at = ?, age_seconds = ?, authority_at = ?, offset_seconds = ?`;
      statement(db, sql).run(notedAt, ageSeconds, authorityAt, offsetSeconds);
    },
    takeUpdates(patches, cursor, told) {
      try {
        commit(() => {
          const tellings: Telling[] = writePatches(db, patches);
          statement(db, `UPDATE follower SET trl_cursor = ?`).run(cursor);
          if (told !== undefined) tellings.push(...writeTrust(told));
          return tellings;
        });
      } catch (error) {
        heed(patches, told);
        throw error;
      }
    },
    async takeList({ hashes, cursor }, told, nowSeconds, signal) {
      const isRestored = told !== undefined && told.part.isReset && told.sent !== "";
      const reading = isRestored || place.list === "restored" ? "restored" : "plain";
      const turn = async (): Promise<void> => {
        await new Promise(setImmediate);
        signal?.throwIfAborted();
      };
      let counts: Replaced & { readonly revoked: number; readonly dropped: number };
      try {
        const replaced = await replaceTokens(db, trust, hashes, { reading, nowSeconds, turn, isAhead });
        const dropped = dropKept(db, trust, nowSeconds);
        commit(() => {
          const tellings = told === undefined ? [] : writeTrust(told);
          statement(db, `UPDATE follower SET trl_cursor = ?, list = 'no'`).run(cursor);
          return tellings;
        });
        isAhead = false;
        counts = { revoked: trust.revokedTokens, ...replaced, dropped };
      } catch (error) {
        if (signal?.aborted !== true) heed([{ removed: new Uint8Array(), added: hashes }], told);
        throw error;
      }
      if (reading === "restored") {
        log.warn(counts, "the authority is older than this broker: tokens that it does not list stay revoked for now");
      } else if (counts.added + counts.released + counts.dropped > 0) log.info(counts, "revoked tokens read again");
    },
    restart(reading) {
      commit(() => {
        begin(reading);
        statement(db, `UPDATE follower SET trust_cursor = ''`).run();
        return [];
      });
    },
    close: () => void db.close(),
  };
}

const contents = [
  "follower",
  "signing_key",
  "api",
  "client",
  "device_authority",
  "revoked_certificate",
  "project",
  "revoked_token",
] as const;

interface FollowerRow {
  readonly issuer: string;
  readonly trl_cursor: number | null;
  readonly trust_cursor: string;
  readonly sweep: Reading | "no";
  readonly list: Reading | "no";
  readonly noted_at: number | null;
  readonly age_seconds: number;
  readonly authority_at: number;
  readonly offset_seconds: number;
}
