"""The machine's key: Ed25519 (RFC 8032), made here, never leaves this machine, in a file that only its owner can read.

`key.json` belongs to the identity beside it (identity.py). While a machine is being enrolled its key is in
`key-next.json`: it is on the disk before anybody hears of it, and takes its place once the control plane knows it.
"""

import json
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey

from sse_agent.errors import CannotStart, ExitCode
from sse_agent.identity import read_private, remove, replace_lasting, write_private

KEY, NEXT = "key.json", "key-next.json"
ALGORITHM = "EdDSA"
"""RFC 8037. RFC 9864 calls the same `Ed25519`, which few libraries know yet."""
FINGERPRINT_BYTES = 10


class MachineKey:
    """Signs; shows its public half alone."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"MachineKey({self.fingerprint})"

    @property
    def key_id(self) -> str:
        """The thumbprint (RFC 7638, SHA-256)."""
        return str(self._key.thumbprint())

    @property
    def public(self) -> dict[str, Any]:
        """The public half as a JWK (RFC 8037): `kty`, `crv`, `x`."""
        members = self._key.as_dict(private=False)
        return {name: members[name] for name in ("kty", "crv", "x")}

    @property
    def fingerprint(self) -> str:
        """For people to compare: the first 80 bits of the thumbprint, `3F9A-22C1-07BD-E5A0-91C4`."""
        digits = urlsafe_b64decode(self.key_id + "=")[:FINGERPRINT_BYTES].hex().upper()
        return "-".join(digits[place : place + 4] for place in range(0, len(digits), 4))

    def signed(self, claims: Mapping[str, Any]) -> str:
        """A JWT with these claims, as compact JWS."""
        with _without_advice():
            return jwt.encode({"alg": ALGORITHM, "kid": self.key_id}, dict(claims), self._key, algorithms=[ALGORITHM])

    def check(self) -> None:
        """Raises JoseError, ValueError or TypeError if its two halves are not those of one key."""
        signed = self.signed({})
        with _without_advice():
            jwt.decode(signed, OKPKey.import_key(self.public), algorithms=[ALGORITHM])


@contextmanager
def _without_advice() -> Iterator[None]:
    """The library advises the algorithm's new name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        yield


def to_enrol_with(state_dir: Path, *, is_anew: bool = False) -> MachineKey:
    """The key of an enrolment that is under way, or a new one. It is on the disk. Raises CannotStart.

    `is_anew`: one that can't be used is replaced.
    """
    try:
        found = _read(state_dir / NEXT)
    except CannotStart:
        if not is_anew:
            raise
        found = None
    if found is not None:
        return found
    made = OKPKey.generate_key("Ed25519")
    write_private(state_dir / NEXT, json.dumps(made.as_dict(private=True)).encode() + b"\n")
    return MachineKey(made)


def following(state_dir: Path) -> MachineKey | None:
    """The key of an enrolment or a rotation that is under way. Raises CannotStart."""
    return _read(state_dir / NEXT)


def forget_following(state_dir: Path) -> None:
    """That key is good for nothing. Raises CannotStart, 77."""
    remove(state_dir / NEXT)


def settle(state_dir: Path) -> None:
    """The identity on the disk is that of the key that was enrolled with. Raises CannotStart, 77."""
    try:
        replace_lasting(state_dir / NEXT, state_dir / KEY)
    except OSError as error:
        why = (error.strerror or "its disk fails").lower()
        raise CannotStart(f"{state_dir / KEY} can't be written: {why}", ExitCode.NOT_PERMITTED) from None


def load(state_dir: Path, key_id: str) -> MachineKey:
    """The key with that thumbprint. Raises CannotStart: 77 if others can read it, 78 if it is not there or damaged."""
    found = _read(state_dir / KEY)
    if found is not None and found.key_id == key_id:
        return found
    new = following(state_dir)
    if new is not None and new.key_id == key_id:
        # The process that enrolled ended between its last two steps.
        settle(state_dir)
        return new
    what = "is not there" if found is None else "is another one than this machine was enrolled with"
    message = f"the key {state_dir / KEY} {what}; restore it from a backup, or enrol anew: sse-agent enroll --again"
    raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)


def _read(path: Path) -> MachineKey | None:
    content = read_private(path, "key")
    if content is None:
        return None
    try:
        key = OKPKey.import_key(json.loads(content))
        if key.is_private and key.curve_name == "Ed25519":
            found = MachineKey(key)
            found.check()
            return found
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        pass
    message = f"the key {path} is damaged; restore it from a backup, or enrol anew: sse-agent enroll --again"
    raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
