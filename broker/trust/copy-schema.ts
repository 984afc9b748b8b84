/**
 * The schema of the copy of trust that a broker elsewhere keeps. Schema changes are new steps at the end of the list; what is
 * there is never edited.
 *
 * `generation` is the reading from the beginning in which a row was last told: when such a reading is over, a row of an earlier
 * one is gone at the authority.
 */
import type { Schema } from "../sqlite/database.ts";

/** The file is ours and a copy of trust: "ptru". */
const APPLICATION_ID = 0x70747275;

const migrations: readonly string[] = [
  `
  CREATE TABLE follower (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    issuer TEXT NOT NULL,
    trl_cursor INTEGER,
    trust_cursor TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    sweep TEXT NOT NULL DEFAULT 'no' CHECK (sweep IN ('no', 'plain', 'restored')),
    list TEXT NOT NULL DEFAULT 'plain' CHECK (list IN ('no', 'plain', 'restored')),
    noted_at REAL,
    age_seconds REAL NOT NULL DEFAULT 0,
    authority_at REAL NOT NULL DEFAULT 0,
    offset_seconds REAL NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE signing_key (
    kid TEXT NOT NULL PRIMARY KEY,
    spki BLOB,
    thumbprint TEXT,
    is_revoked INTEGER NOT NULL CHECK (is_revoked IN (0, 1)),
    generation INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE api (
    audience TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    generation INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE client (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    generation INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE device_authority (
    id TEXT NOT NULL PRIMARY KEY,
    der BLOB NOT NULL,
    needs_list INTEGER NOT NULL CHECK (needs_list IN (0, 1)),
    list_ends_at INTEGER,
    generation INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE revoked_certificate (
    name TEXT NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE project (
    slug TEXT NOT NULL PRIMARY KEY,
    tokens_since INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE revoked_token (
    token_hash BLOB NOT NULL PRIMARY KEY,
    kept_until INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX revoked_token_kept ON revoked_token (kept_until) WHERE kept_until IS NOT NULL;
  `,
];

/** For `openFile`. */
export const copySchema: Schema = { migrations, applicationId: APPLICATION_ID };
