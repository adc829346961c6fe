-- Instants are RFC 3339 in UTC with milliseconds; bodies are UTF-8 JSON.

-- The roster, the queue's marks (see resumption.py), who speaks (see fencing.py), and what was last reported.
CREATE TABLE agents (
    client_id     TEXT PRIMARY KEY,
    numbering     TEXT NOT NULL,
    last_n        INTEGER NOT NULL DEFAULT 0,
    sent_n        INTEGER NOT NULL DEFAULT 0,
    passed_n      INTEGER NOT NULL DEFAULT 0,
    floor_n       INTEGER NOT NULL DEFAULT 1,
    journal       TEXT,
    epoch         INTEGER,
    instance      TEXT,
    stream        TEXT,                          -- the newest stream's ticket
    is_readmitted INTEGER NOT NULL DEFAULT 0,
    reset_reason  TEXT,
    reset_n       INTEGER,
    reset_since   TEXT,
    reported_at   TEXT,                          -- the last report's own timestamp
    recorded_at   TEXT,                          -- and when it was recorded
    last_seen_at  TEXT,                          -- to the minute
    connection    BLOB,                          -- the last CLIENT_CONNECTED
    status        BLOB,                          -- the last CLIENT_STATUS
    deleted_at    TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE journals (
    client_id TEXT NOT NULL,
    journal   TEXT NOT NULL,
    PRIMARY KEY (client_id, journal)
) STRICT, WITHOUT ROWID;

-- A row stays for ever, for its ID is taken for ever; its body goes when it is old, and the agent's floor rises with it.
CREATE TABLE commands (
    serial      INTEGER PRIMARY KEY,
    client_id   TEXT NOT NULL,
    n           INTEGER NOT NULL,
    id          TEXT NOT NULL UNIQUE,
    type        TEXT NOT NULL,
    body        BLOB,
    actor       TEXT,
    expires_at  TEXT,
    queued_at   TEXT NOT NULL,
    accepted_at TEXT,
    outcome     TEXT CHECK (outcome IN ('completed', 'failed', 'rejected', 'unknown')),
    error       BLOB,
    finished_at TEXT,
    UNIQUE (client_id, n)
) STRICT;
CREATE INDEX commands_open ON commands (client_id, n) WHERE outcome IS NULL;
CREATE INDEX commands_old ON commands (client_id, finished_at) WHERE body IS NOT NULL AND finished_at IS NOT NULL;

CREATE TABLE service_keys (
    key         TEXT PRIMARY KEY,
    digest      BLOB NOT NULL,
    recorded_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE message_keys (
    client_id TEXT NOT NULL,
    key       TEXT NOT NULL,
    digest    BLOB NOT NULL,
    PRIMARY KEY (client_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    serial      INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id   TEXT NOT NULL,
    type        TEXT NOT NULL,
    in_reply_to TEXT,                            -- the command's ID
    recorded_at TEXT NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX events_by_agent ON events (client_id, serial);
CREATE INDEX events_by_command ON events (in_reply_to) WHERE in_reply_to IS NOT NULL;
CREATE INDEX events_by_age ON events (type, recorded_at);

-- Revisions are one journal's: a new journal starts again at 1, so a change of journals sets them back to 0 here.
CREATE TABLE uploads (
    client_id  TEXT NOT NULL,
    file_id    TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    state      TEXT NOT NULL,
    details    BLOB NOT NULL,
    updated_at TEXT NOT NULL,
    is_lost    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (client_id, file_id)
) STRICT, WITHOUT ROWID;
