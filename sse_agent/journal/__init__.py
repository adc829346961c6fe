"""Everything durable: plain functions of a transaction, run by the one writer thread."""

from sse_agent.journal.at_rest import opened_at_rest
from sse_agent.journal.bell import Bell
from sse_agent.journal.database import Journal, Transaction, opened

__all__ = ["Bell", "Journal", "Transaction", "opened", "opened_at_rest"]
