"""Pairing codes and enrolment tokens. Pure but for the random numbers.

A code is eight letters. The first four are its ID, no secret: so a wrong try counts against one code, and five burn it.
The last four are the secret, of 160,000; the person who confirms a fingerprint is what a lucky guess still meets.
"""

import hashlib
import hmac
import re
import secrets

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Of RFC 8628, section 6.1: no vowels, so no words; no digits, so none that look like letters."""
HALF = 4
TRIES = 5
CODE_LIFE_S = 600.0
TOKEN_LIFE_S = 1800.0
KEPT_S = 86_400.0
"""How long after its end it is still told what became of it."""
_SEPARATORS = re.compile(r"[\s-]+")
_SHAPE = re.compile(f"[{ALPHABET}]{{{2 * HALF}}}")


def new_half() -> str:
    """Four letters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(HALF))


def new_token() -> str:
    """256 bits."""
    return secrets.token_urlsafe(32)


def shown(code_id: str, secret: str) -> str:
    """As people read it: `BCDF-GHJK`."""
    return f"{code_id}-{secret}"


def normalised(typed: str) -> str | None:
    """Eight upper-case letters, whatever case, spaces and dashes were typed; None if it can't be a code."""
    code = _SEPARATORS.sub("", typed).upper()
    return code if _SHAPE.fullmatch(code) else None


def digest(salt: str, secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(f"{salt}\n{secret}".encode()).hexdigest()


def is_same(one: str, other: str) -> bool:
    """In a time that says nothing about where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
