-- Migration 3: what the person at this machine wants and wants to know.

ALTER TABLE uploads ADD COLUMN paused_here INTEGER NOT NULL DEFAULT 0;     -- the wish to pause came from this machine

CREATE TABLE tries (            -- the last attempts at each upload, for people
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id TEXT NOT NULL,
    ended_at TEXT NOT NULL,
    seconds REAL NOT NULL,
    "offset" INTEGER NOT NULL,  -- confirmed by the tus server when it ended
    state TEXT NOT NULL,        -- that it led to
    reason TEXT                 -- why, with what the tus server answered
) STRICT;
CREATE INDEX tries_of ON tries (file_id, n);
