-- Migration 1. Instants are RFC 3339 in UTC with milliseconds: they sort as text.

CREATE TABLE about (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
-- journal_id, epoch, origin, client_id, cursor

CREATE TABLE inbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    command_id TEXT NOT NULL UNIQUE,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    lane TEXT NOT NULL,         -- of its acknowledgements in the outbox: the upload, else the command itself
    file_id TEXT,               -- the upload that an open command waits for
    body BLOB NOT NULL,         -- as received
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    ack_id TEXT NOT NULL,       -- its last ACK in the outbox
    received_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE INDEX inbox_received ON inbox (n) WHERE state = 'received';
CREATE INDEX inbox_open ON inbox (file_id, type) WHERE state = 'open';
CREATE INDEX inbox_finished ON inbox (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE uploads (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id TEXT NOT NULL UNIQUE,
    command_id TEXT NOT NULL,   -- the UPLOAD_START it came from
    identity TEXT NOT NULL,     -- what another start of the same file_id must be equal in
    name BLOB NOT NULL,         -- as commanded, raw bytes
    endpoint TEXT NOT NULL,
    token TEXT,
    metadata TEXT NOT NULL,     -- JSON object
    priority INTEGER NOT NULL,
    wanted_size INTEGER,
    wanted_sha256 TEXT,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    wish TEXT NOT NULL,
    wish_command_id TEXT,       -- the command that the present wish came with
    attempt_id TEXT NOT NULL,
    url TEXT,                   -- a secret: whoever knows it reads and deletes the upload
    file_identity TEXT,
    size INTEGER,
    "offset" INTEGER NOT NULL DEFAULT 0,    -- confirmed by the tus server
    furthest INTEGER NOT NULL DEFAULT 0,    -- the highest offset so far: less than this again is no progress
    sent_limit INTEGER NOT NULL DEFAULT 0,  -- no byte beyond it was ever handed to the network
    refusal TEXT,               -- the error that answered the PATCH with the last byte
    refusal_status INTEGER,
    recreated INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,       -- failed in a row without progress
    reason TEXT,
    next_try_at TEXT,           -- of a waiting one; of a queued one: since when it could run
    progressed_at TEXT NOT NULL,            -- moved on by the time in which nobody tried
    seconds REAL NOT NULL DEFAULT 0,        -- spent uploading
    code TEXT,
    message TEXT,
    retryable INTEGER NOT NULL DEFAULT 0,
    outcome_id TEXT,            -- the UPLOAD_COMPLETE, _FAILED or _CANCELLED in the outbox
    created_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE INDEX uploads_queued ON uploads (priority DESC, n) WHERE state = 'queued';
CREATE INDEX uploads_waiting ON uploads (next_try_at) WHERE state = 'waiting';
CREATE INDEX uploads_by_state ON uploads (state);
CREATE INDEX uploads_finished ON uploads (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE cancelled_before_start (
    file_id TEXT PRIMARY KEY,
    at TEXT NOT NULL
) STRICT;

CREATE TABLE terminations (     -- uploads to be DELETEd on the tus server
    url TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    token TEXT,
    since TEXT NOT NULL
) STRICT;

CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    lane TEXT NOT NULL,         -- messages of one lane go out in order
    body BLOB NOT NULL,         -- the bytes, made once
    at TEXT NOT NULL,           -- the envelope's timestamp
    state TEXT NOT NULL,
    is_kept INTEGER NOT NULL,   -- stays after it was sent, to be sent again when asked for
    refusal TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (lane, seq) WHERE state = 'pending';
CREATE INDEX outbox_dead ON outbox (seq) WHERE state = 'dead';
CREATE INDEX outbox_at ON outbox (at);
