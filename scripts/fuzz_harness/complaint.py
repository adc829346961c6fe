"""What the fuzz says when something is wrong."""

CANARY = "c4n4ry"
"""Stands in whatever texts are made up: words of ours must never repeat it."""


class Complaint(Exception):
    """No error that anything under test knows, so that nothing swallows it."""


def insist(is_so: bool, words: str) -> None:
    """Complain unless it is so."""
    if not is_so:
        raise Complaint(words)
