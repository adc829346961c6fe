-- Migration 3: whether the wish to pause came from a person at this machine.

ALTER TABLE uploads ADD COLUMN paused_here INTEGER NOT NULL DEFAULT 0;
