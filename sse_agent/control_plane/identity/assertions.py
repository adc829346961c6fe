"""What agents sign: JWTs (RFC 7519) by their own Ed25519 key. Pure: reads one, with `now` handed in.

The algorithm is one of two names of the same (RFC 9864, RFC 8037), whatever the JWT says: no `none`, and no HMAC with
the public key as its secret.
"""

import re
import warnings
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeGuard

import pydantic_core
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry
from joserfc.util import to_bytes, urlsafe_b64decode

ALGORITHMS = ("Ed25519", "EdDSA")
LIFE_S = 60.0
SKEW_S = 5.0
SIZE = 4096
NOT_SIGNED = "it is not signed by this key with Ed25519"
_JTI = re.compile(r"[\x21-\x7e]{1,128}")


class Refused(Exception):
    """The words are for people; they repeat nothing of the JWT."""


class _Registry(JWSRegistry):
    def get_alg(self, name: str) -> Any:
        """Without a warning on standard error for each: `EdDSA` is what most libraries call it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return super().get_alg(name)


_REGISTRY = _Registry(algorithms=ALGORITHMS)


def read(text: str, key: OKPKey, audiences: Collection[str], now: datetime) -> Mapping[str, Any]:
    """Its claims; `aud`, `jti` and `exp` are as they must be. Raises Refused."""
    if len(text) > SIZE:
        raise Refused(f"it is longer than {SIZE} characters")
    try:
        claims = jwt.decode(text, key, algorithms=list(ALGORITHMS), registry=_REGISTRY).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        raise Refused(NOT_SIGNED) from None
    if claims.get("aud") not in audiences:
        raise Refused(f"its aud is not {min(audiences, key=len)}: the control plane's issuer")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise Refused("its jti is not 1 to 128 visible ASCII characters")
    _check_times(claims, now.timestamp())
    return claims


def subject(text: str) -> str | None:
    """Whose it claims to be, before anything of it is checked."""
    try:
        claims = pydantic_core.from_json(urlsafe_b64decode(to_bytes(text[:SIZE].split(".")[1])))
    except (ValueError, IndexError):
        return None
    found = claims.get("sub") if isinstance(claims, dict) else None
    return found if isinstance(found, str) else None


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    """Each comparison must be true of a number: of NaN none is."""
    expires = claims.get("exp")
    if not _is_number(expires):
        raise Refused("it has no exp")
    if not expires > now - SKEW_S:
        raise Refused("it is over: is this machine's clock right?")
    if not expires <= now + LIFE_S + SKEW_S:
        raise Refused(f"its exp is more than {LIFE_S:.0f} s ahead: is this machine's clock right?")
    not_before = claims.get("nbf", now)
    if not _is_number(not_before) or not not_before <= now + SKEW_S:
        raise Refused("its nbf is ahead: is this machine's clock right?")


def _is_number(value: object) -> TypeGuard[int | float]:
    """JSON's true and false are none. NaN and infinity, which Python reads, are."""
    return isinstance(value, int | float) and not isinstance(value, bool)
