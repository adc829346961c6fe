-- See documents.py. Instants are RFC 3339 in UTC with milliseconds.
CREATE TABLE documents (
    kind       TEXT NOT NULL,
    key        TEXT NOT NULL,
    version    INTEGER NOT NULL,
    body       BLOB NOT NULL,
    expires_at TEXT,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_old ON documents (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE entries (
    n    INTEGER PRIMARY KEY AUTOINCREMENT,
    log  TEXT NOT NULL,
    at   TEXT NOT NULL,
    key  TEXT,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX entries_by_log ON entries (log, n);
CREATE INDEX entries_by_age ON entries (log, at);
CREATE UNIQUE INDEX entries_by_key ON entries (log, key) WHERE key IS NOT NULL;
