"""Keys of agents: what is taken for one, and how people name it."""

from typing import Any

import pytest

from sse_agent.control_plane.identity import keys
from tests.control_plane.identity.machines import new_key

# RFC 8037, appendices A.1 to A.3.
RFC_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_thumbprint_is_that_of_the_rfc_and_the_fingerprint_its_beginning() -> None:
    key = keys.public_key(RFC_KEY)
    assert key.thumbprint() == RFC_THUMBPRINT
    assert keys.fingerprint(key) == "90FA-CAFE-A9B1-5566-9854"


def test_other_members_do_not_matter() -> None:
    key = keys.public_key({**RFC_KEY, "kid": "x", "use": "sig", "alg": "EdDSA"})
    assert key.thumbprint() == RFC_THUMBPRINT
    assert keys.as_jwk(key) == RFC_KEY


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct", "k": "AAAA"},
        {"kty": None},
        {"crv": "X25519"},
        {"crv": "Ed448"},
        {"x": ""},
        {"x": None},
        {"x": 7},
        {"x": RFC_KEY["x"] + "="},
        {"x": RFC_KEY["x"][:-1]},
        {"x": RFC_KEY["x"].replace("_", "/")},
        {"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
    ],
)
def test_what_is_no_public_ed25519_key_is_refused_without_repeating_it(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="publicKey") as refused:
        keys.public_key({**RFC_KEY, **change})
    for value in change.values():
        assert not value or len(str(value)) < 8 or str(value) not in str(refused.value)


def test_a_fingerprint_is_known_again_in_whatever_form_it_is_typed() -> None:
    wanted = keys.fingerprint(keys.public_key(RFC_KEY))
    for typed in (wanted, wanted.lower(), wanted.replace("-", " "), f" {wanted.replace('-', '')} "):
        assert keys.is_fingerprint(typed, wanted)
    other = keys.fingerprint(new_key())
    for typed in ("", "90FA", other, wanted[:-1]):
        assert not keys.is_fingerprint(typed, wanted)
