/**
 * Lists of revoked tokens as long as a case wants them, written straight into the database.
 */
import { randomFillSync } from "node:crypto";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "../../../broker/registry/database.ts";
import { statement } from "../../../broker/sqlite/database.ts";
import { HASH_BYTES } from "../../../shared/trl.ts";
import type { Installation } from "../installation.ts";

export interface Copy {
  readonly dataDir: string;
  remove(): void;
}

/** In the data directory: the hashes on the list, packed, for whoever asks after them. */
export const LISTED_FILE = "bench-listed.bin";
const hashName = 0x01;
const tokenSeconds = 24 * 3600;

/** Copies the installation and puts as many tokens on its list. */
export function copyWithList({ dataDir: original }: Installation, count: number): Copy {
  const dataDir = mkdtempSync(join(tmpdir(), "postern-bench-"));
  cpSync(original, dataDir, { recursive: true });
  fillList(dataDir, count);
  return { dataDir, remove: () => rmSync(dataDir, { recursive: true, force: true }) };
}

/** Puts tokens on the list of a data directory that no server has open, each of another client, all for one of its apis. */
export function fillList(dataDir: string, count: number): void {
  const db = openDatabase(join(dataDir, "postern.db"));
  const now = Math.floor(Date.now() / 1000);
  const audience = statement<string>(db, `SELECT min(audience) FROM api WHERE kind = 'mqtt'`).pluck().get();
  const insert = statement(db, `INSERT INTO revoked_token (token_hash, client, audience, exp) VALUES (?, ?, ?, ?)`);
  const hashes = drawHashes(count);
  const fill = db.transaction(() => {
    for (let index = 0; index < count; index++) {
      const hash = hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
      const client = `gone.c${String(index).padStart(7, "0")}`;
      insert.run(hash, client, audience, now + tokenSeconds + Math.floor(index / 1000));
    }
  });
  fill();
  const note = statement(db, `INSERT INTO trl_update (requester, position, removed, added) VALUES (?, ?, x'', ?)`);
  // as if the last had come alone
  if (count > 0) for (const view of ["all", "mqtt"]) note.run(view, count - 1, hashes.subarray(-HASH_BYTES));
  db.close();
  writeFileSync(join(dataDir, LISTED_FILE), hashes);
}

/** Random token hashes, packed, in their order, in which SQLite takes them fastest. */
export function drawHashes(count: number): Buffer {
  const hashes = randomFillSync(Buffer.alloc(count * HASH_BYTES));
  const starts = randomFillSync(new Uint32Array(count)).sort();
  for (const [index, start] of starts.entries()) {
    hashes[index * HASH_BYTES] = hashName;
    hashes.writeUInt32BE(start, index * HASH_BYTES + 1);
  }
  return hashes;
}
