"""The engine on SQLite: one process, one connection, one writer thread, group commit."""

from sse_agent.control_plane.sqlite.adapter import SqliteEngine

__all__ = ["SqliteEngine"]
