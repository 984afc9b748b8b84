/**
 * The schema of the store, as the numbered steps that lead to it. A step that was released is never changed; a new one
 * is added. What is in the tables is told in `docs/storage.md`.
 *
 * The tables that every message is written to have no references and no index beside their keys, except for entries
 * that carry a packet identifier of somebody else's choosing, of which the engine room makes none. Retained messages are
 * found by their publisher, too, so that one client's go without a look at all.
 */
import type { Schema } from "../../sqlite/database.ts";

const migrations: readonly string[] = [
  `
  CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    client TEXT NOT NULL UNIQUE,
    since INTEGER NOT NULL,
    left_at INTEGER,
    sent INTEGER NOT NULL,
    next INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE subscription (
    session INTEGER NOT NULL REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    filter TEXT NOT NULL,
    qos INTEGER NOT NULL CHECK (qos IN (0, 1, 2)),
    rh INTEGER,
    rap INTEGER,
    nl INTEGER,
    identifier INTEGER,
    PRIMARY KEY (session, filter)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload ANY NOT NULL,
    retain INTEGER NOT NULL,
    publisher TEXT,
    broker_id TEXT,
    broker_counter INTEGER,
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE queue (
    session INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    message INTEGER NOT NULL,
    qos INTEGER NOT NULL,
    released INTEGER NOT NULL,
    message_id INTEGER,
    PRIMARY KEY (session, sequence)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX queue_by_message_id ON queue (session, message_id) WHERE message_id IS NOT NULL;

  CREATE TABLE retained (
    topic TEXT NOT NULL PRIMARY KEY,
    payload ANY NOT NULL,
    qos INTEGER NOT NULL,
    publisher TEXT,
    further TEXT
  ) STRICT;

  CREATE TABLE will (
    client TEXT NOT NULL PRIMARY KEY,
    broker_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    payload ANY NOT NULL,
    qos INTEGER NOT NULL,
    retain INTEGER NOT NULL,
    grounds TEXT
  ) STRICT;

  CREATE TABLE receipt (
    session INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (session, message_id)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE retained ADD COLUMN after_purge INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX retained_by_publisher ON retained (publisher) WHERE publisher IS NOT NULL;

  CREATE TABLE purge (
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('client', 'credential'))
  ) STRICT;
  `,
];

/** The store's file; `application_id` reads "pmqt". */
export const storeSchema: Schema = { migrations, applicationId: 0x706d7174 };
