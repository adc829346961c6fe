-- Migration 2: the running hash of what was sent. A resumed upload holds the file to it.

ALTER TABLE uploads ADD COLUMN hashed INTEGER NOT NULL DEFAULT 0;   -- bytes
ALTER TABLE uploads ADD COLUMN hashed_sha256 TEXT;
