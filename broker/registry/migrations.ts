/**
 * The schema, as the numbered steps that lead to it. A step that was released is never changed; a new one is added.
 *
 * Times are seconds. Lists that are only ever read whole are JSON. What is unique or belongs together is kept by the
 * schema itself: a client cannot hold a role of another project, because both references share the project column.
 * The three tables that every token request writes to have no references and as few indexes as can be.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE project (
    slug TEXT NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE api (
    project TEXT NOT NULL REFERENCES project (slug),
    name TEXT NOT NULL,
    audience TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('mqtt', 'http')),
    topics TEXT NOT NULL,
    scopes TEXT NOT NULL,
    ttl_seconds INTEGER NOT NULL,
    format TEXT CHECK (format IN ('cwt', 'jwt')),
    bearer INTEGER NOT NULL CHECK (bearer IN (0, 1)),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE role (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    api TEXT NOT NULL,
    permissions TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project, name),
    FOREIGN KEY (project, api) REFERENCES api (project, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE client (
    project TEXT NOT NULL REFERENCES project (slug),
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('device', 'service', 'app')),
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    secret_hash BLOB,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    PRIMARY KEY (project, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE client_role (
    project TEXT NOT NULL,
    client TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (project, client, role),
    FOREIGN KEY (project, client) REFERENCES client (project, name),
    FOREIGN KEY (project, role) REFERENCES role (project, name)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX client_role_by_role ON client_role (project, role);

  CREATE TABLE ticket (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES project (slug),
    client TEXT,
    uses INTEGER NOT NULL,
    used INTEGER NOT NULL CHECK (used <= uses),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    FOREIGN KEY (project, client) REFERENCES client (project, name)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX ticket_by_project ON ticket (project, id);

  CREATE TABLE ticket_role (
    ticket TEXT NOT NULL REFERENCES ticket (id),
    project TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (ticket, role),
    FOREIGN KEY (project, role) REFERENCES role (project, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE ticket_use (
    key_thumbprint TEXT NOT NULL,
    ticket TEXT NOT NULL REFERENCES ticket (id),
    client TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (key_thumbprint, ticket)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE certificate (
    serial TEXT NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    key_spki BLOB NOT NULL,
    key_thumbprint TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    der BLOB NOT NULL,
    ticket TEXT REFERENCES ticket (id),
    issued_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX certificate_by_client ON certificate (client, not_after);
  CREATE INDEX certificate_by_end ON certificate (not_after);

  CREATE TABLE signing_key (
    seq INTEGER PRIMARY KEY,
    kid TEXT NOT NULL UNIQUE,
    private_key TEXT NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE assertion (
    client TEXT NOT NULL,
    id BLOB NOT NULL,
    exp INTEGER NOT NULL,
    PRIMARY KEY (client, id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX assertion_by_exp ON assertion (exp);

  CREATE TABLE issued (
    number INTEGER PRIMARY KEY,
    token_hash BLOB NOT NULL,
    other_hash BLOB,
    client TEXT NOT NULL,
    audience TEXT NOT NULL,
    kid TEXT NOT NULL,
    key_thumbprint TEXT,
    issued_at INTEGER NOT NULL,
    exp INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX issued_by_exp ON issued (exp);

  CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    project TEXT,
    subject TEXT,
    reason TEXT,
    refusal_id TEXT,
    facts TEXT
  ) STRICT;
  CREATE INDEX audit_by_project ON audit (project, seq);
  `,
  `
  ALTER TABLE client ADD COLUMN tokens_after INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE client ADD COLUMN disabled_at INTEGER;
  UPDATE client SET disabled_at = unixepoch() WHERE enabled = 0 AND deleted_at IS NULL;
  CREATE INDEX client_by_disabling ON client (project, name) WHERE enabled = 0;
  ALTER TABLE project ADD COLUMN tokens_since INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE api ADD COLUMN purge TEXT NOT NULL DEFAULT 'client' CHECK (purge IN ('client', 'always', 'never'));
  ALTER TABLE signing_key ADD COLUMN revoked_at INTEGER;
  ALTER TABLE certificate ADD COLUMN revoked_at INTEGER;
  CREATE INDEX certificate_by_revocation ON certificate (key_thumbprint) WHERE revoked_at IS NOT NULL;
  CREATE INDEX certificate_on_list ON certificate (serial, not_after, revoked_at) WHERE revoked_at IS NOT NULL;
  CREATE INDEX issued_by_hash ON issued (token_hash);
  CREATE INDEX issued_by_other_hash ON issued (other_hash) WHERE other_hash IS NOT NULL;
  CREATE INDEX issued_by_client ON issued (client);

  CREATE TABLE revoked_token (
    token_hash BLOB NOT NULL PRIMARY KEY,
    other_hash BLOB,
    client TEXT NOT NULL,
    audience TEXT NOT NULL,
    exp INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX revoked_token_by_other_hash ON revoked_token (other_hash) WHERE other_hash IS NOT NULL;
  CREATE INDEX revoked_token_by_exp ON revoked_token (exp);
  CREATE INDEX revoked_token_by_client ON revoked_token (client);

  CREATE TABLE unlisted (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('client', 'key', 'project')),
    name TEXT NOT NULL,
    bound INTEGER NOT NULL,
    position INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE trl_update (
    requester TEXT NOT NULL,
    position INTEGER NOT NULL,
    removed BLOB NOT NULL,
    added BLOB NOT NULL,
    PRIMARY KEY (requester, position)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE trust_change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('key', 'api', 'client', 'certificate', 'project', 'authority')),
    name TEXT NOT NULL,
    UNIQUE (kind, name)
  ) STRICT;
  INSERT INTO trust_change (kind, name) SELECT 'key', kid FROM signing_key;
  INSERT INTO trust_change (kind, name) SELECT 'api', audience FROM api;
  INSERT INTO trust_change (kind, name) SELECT 'client', project || '.' || name FROM client;

  CREATE TABLE run (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    since INTEGER NOT NULL,
    started_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE device_authority (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    own INTEGER NOT NULL CHECK (own IN (0, 1)),
    der BLOB NOT NULL,
    needs_list INTEGER NOT NULL CHECK (needs_list IN (0, 1)),
    list_number TEXT,
    list_at INTEGER,
    list_ends_at INTEGER,
    list_entries INTEGER,
    created_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE foreign_certificate (
    authority TEXT NOT NULL REFERENCES device_authority (id),
    serial TEXT NOT NULL,
    PRIMARY KEY (authority, serial)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE crl (
    authority TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE broker (
    name TEXT NOT NULL PRIMARY KEY,
    hosts TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE broker_ticket (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE,
    broker TEXT NOT NULL REFERENCES broker (name),
    key_thumbprint TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE developer (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT UNIQUE,
    name TEXT NOT NULL,
    password TEXT,
    created_at INTEGER NOT NULL,
    confirmed_at INTEGER,
    deleted_at INTEGER
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE account_code (
    developer TEXT NOT NULL REFERENCES developer (id),
    purpose TEXT NOT NULL CHECK (purpose IN ('confirm', 'reset')),
    code_hash BLOB NOT NULL,
    tries INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (developer, purpose)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE login (
    token_hash BLOB NOT NULL PRIMARY KEY,
    developer TEXT NOT NULL REFERENCES developer (id),
    created_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX login_by_developer ON login (developer);
  CREATE INDEX login_by_end ON login (expires_at);

  CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    developer TEXT NOT NULL REFERENCES developer (id),
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    project TEXT REFERENCES project (slug),
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX api_key_by_developer ON api_key (developer, id);

  CREATE TABLE member (
    project TEXT NOT NULL REFERENCES project (slug),
    developer TEXT NOT NULL REFERENCES developer (id),
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'auditor', 'enroller')),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project, developer)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX member_by_developer ON member (developer, project);

  CREATE TABLE invitation (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE,
    email TEXT NOT NULL,
    project TEXT REFERENCES project (slug),
    role TEXT CHECK (role IN ('owner', 'admin', 'auditor', 'enroller')),
    invited_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    accepted_at INTEGER,
    revoked_at INTEGER,
    CHECK ((project IS NULL) = (role IS NULL))
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX invitation_by_project ON invitation (project, id);

  CREATE TABLE secret (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    client TEXT,
    api TEXT,
    secret_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    idle_seconds INTEGER NOT NULL,
    last_used_at INTEGER,
    retired_at INTEGER,
    CHECK ((client IS NULL) <> (api IS NULL)),
    FOREIGN KEY (project, client) REFERENCES client (project, name),
    FOREIGN KEY (project, api) REFERENCES api (project, name)
  ) STRICT;
  CREATE INDEX secret_by_client ON secret (project, client) WHERE client IS NOT NULL;
  CREATE INDEX secret_by_api ON secret (project, api) WHERE api IS NOT NULL;
  INSERT INTO secret (id, project, client, secret_hash, created_at, idle_seconds)
    SELECT lower(hex(randomblob(6))), project, name, secret_hash, created_at, 604800
    FROM client WHERE secret_hash IS NOT NULL;
  ALTER TABLE client DROP COLUMN secret_hash;

  CREATE TABLE public_key (
    number INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    client TEXT,
    api TEXT,
    thumbprint TEXT NOT NULL,
    spki BLOB NOT NULL,
    kid TEXT,
    created_at INTEGER NOT NULL,
    CHECK ((client IS NULL) <> (api IS NULL)),
    FOREIGN KEY (project, client) REFERENCES client (project, name),
    FOREIGN KEY (project, api) REFERENCES api (project, name)
  ) STRICT;
  CREATE UNIQUE INDEX public_key_by_client ON public_key (project, client, thumbprint) WHERE client IS NOT NULL;
  CREATE UNIQUE INDEX public_key_by_api ON public_key (project, api, thumbprint) WHERE api IS NOT NULL;

  ALTER TABLE assertion RENAME TO former_assertion;
  CREATE TABLE assertion (
    number INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    id BLOB NOT NULL,
    exp INTEGER NOT NULL
  ) STRICT;
  INSERT INTO assertion (client, id, exp) SELECT client, id, exp FROM former_assertion ORDER BY exp;
  DROP TABLE former_assertion;

  DROP INDEX issued_by_exp;
  DROP INDEX issued_by_hash;
  DROP INDEX issued_by_other_hash;

  CREATE INDEX revoked_token_by_audience ON revoked_token (audience);

  ALTER TABLE audit ADD COLUMN hash BLOB;
  CREATE INDEX audit_by_refusal ON audit (refusal_id) WHERE refusal_id IS NOT NULL;
  CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit WHEN OLD.hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
  CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
  `,
];
