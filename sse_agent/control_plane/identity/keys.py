"""Public keys of agents: Ed25519 as JWK (RFC 8037), their thumbprints (RFC 7638) and fingerprints. Pure."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

FINGERPRINT_BYTES = 10
"""80 bits: to find a second key with the same is out of reach, and a person still compares it."""
_X = re.compile(r"[A-Za-z0-9_-]{43}")


def public_key(jwk: Mapping[str, Any]) -> OKPKey:
    """The key, with nothing but what makes it one. Raises ValueError, which repeats nothing of it."""
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise ValueError("publicKey is a JWK with kty OKP and crv Ed25519")
    if "d" in jwk:
        raise ValueError("publicKey holds a private key: make a new one, and send its public half alone")
    x = jwk.get("x")
    if not isinstance(x, str) or not _X.fullmatch(x):
        raise ValueError("x of publicKey is 32 bytes in base64url without padding")
    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
        key.thumbprint()
    except (JoseError, ValueError):
        raise ValueError("publicKey is no Ed25519 key") from None
    return key


def as_jwk(key: OKPKey) -> dict[str, Any]:
    """What is kept of it."""
    return {name: value for name, value in key.as_dict(private=False).items() if name in ("kty", "crv", "x")}


def fingerprint(key: OKPKey) -> str:
    """For people: `3F9A-22C1-07BD-E5A0-91C4`."""
    raw = base64.urlsafe_b64decode(key.thumbprint() + "=")[:FINGERPRINT_BYTES].hex().upper()
    return "-".join(raw[at : at + 4] for at in range(0, len(raw), 4))


def is_fingerprint(typed: str, wanted: str) -> bool:
    """Whether somebody typed that fingerprint, in whatever case and grouping."""
    return re.sub(r"[\s-]+", "", typed).upper() == wanted.replace("-", "")
