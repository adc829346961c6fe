"""What a control plane reads in what an agent signed."""

import warnings
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey
from joserfc.jwt import Token


def verified(token: str, public: Mapping[str, Any]) -> Token:
    """Header and claims. Raises JoseError if somebody else signed it."""
    with warnings.catch_warnings():
        # It advises the new name of EdDSA.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.decode(token, OKPKey.import_key(dict(public)), algorithms=["EdDSA"])
