"""What agents sign: every way in which it can be wrong."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt

from sse_agent.control_plane.identity import assertions
from sse_agent.control_plane.identity.assertions import Refused
from tests.control_plane.identity.machines import new_key, sign
from tests.properties.profile import REPEATABLE

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER = "https://control.example"
AUDIENCES = (ISSUER, f"{ISSUER}/api/v1/token")
GOOD = {"iss": "a", "sub": "a", "aud": ISSUER, "jti": "1", "exp": AT + 60}
KEY = new_key()


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("alg", ["Ed25519", "EdDSA"])
@pytest.mark.parametrize("aud", AUDIENCES)
def test_both_names_of_the_algorithm_and_both_audiences_are_good(alg: str, aud: str) -> None:
    claims = {**GOOD, "aud": aud}
    assert assertions.read(sign(KEY, claims, alg), KEY, AUDIENCES, NOW) == claims


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"aud": "https://other.example"}, "aud"),
        ({"aud": f"{ISSUER}/"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [ISSUER]}, "aud"),
        ({"aud": [ISSUER, "https://other.example"]}, "aud"),
        ({"aud": {"a": 1}}, "aud"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": "x" * 129}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "a b"}, "jti"),
        ({"exp": None}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"exp": AT - 6}, "clock"),
        ({"exp": AT - 3600}, "clock"),
        ({"exp": AT + 66}, "clock"),
        ({"exp": AT + 3600}, "clock"),
        ({"exp": 1e300}, "clock"),
        ({"exp": 10**400}, "clock"),
        ({"exp": -(10**400)}, "clock"),
        ({"exp": float("nan")}, "clock"),
        ({"exp": float("inf")}, "clock"),
        ({"nbf": float("nan")}, "nbf"),
        ({"nbf": 10**400}, "clock"),
        ({"nbf": AT + 6}, "clock"),
        ({"nbf": "x"}, "clock"),
    ],
)
def test_each_wrong_claim_is_named(change: dict[str, Any], word: str) -> None:
    claims = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(Refused, match=word):
        assertions.read(sign(KEY, claims), KEY, AUDIENCES, NOW)


@pytest.mark.parametrize("exp", [AT - 4, AT + 64, AT + 0.5])
def test_clocks_may_differ_by_seconds(exp: float) -> None:
    assertions.read(sign(KEY, {**GOOD, "exp": exp}), KEY, AUDIENCES, NOW)


def test_another_key_is_refused() -> None:
    with pytest.raises(Refused, match="not signed"):
        assertions.read(sign(new_key(), GOOD), KEY, AUDIENCES, NOW)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
def test_no_algorithm_is_refused(alg: str) -> None:
    for signature in ("", part(b"x" * 64)):
        with pytest.raises(Refused, match="not signed"):
            assertions.read(f"{part({'alg': alg})}.{part(GOOD)}.{signature}", KEY, AUDIENCES, NOW)


def test_the_public_key_is_no_secret_of_an_hmac() -> None:
    public = KEY.get_op_key("verify")
    assert isinstance(public, Ed25519PublicKey)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    jwk = json.dumps(KEY.as_dict(private=False)).encode()
    for secret in (pem, raw, jwk, KEY.as_dict(private=False)["x"].encode()):
        head = f"{part({'alg': 'HS256'})}.{part(GOOD)}"
        forged = f"{head}.{part(hmac.digest(secret, head.encode(), hashlib.sha256))}"
        with pytest.raises(Refused, match="not signed"):
            assertions.read(forged, KEY, AUDIENCES, NOW)


def test_a_key_that_the_head_brings_along_is_not_believed() -> None:
    stranger = new_key()
    forged = assertions_with_head({"alg": "Ed25519", "jwk": stranger.as_dict(private=False)}, stranger)
    with pytest.raises(Refused, match="not signed"):
        assertions.read(forged, KEY, AUDIENCES, NOW)


def assertions_with_head(head: dict[str, Any], key: Any) -> str:
    return jwt.encode(head, dict(GOOD), key, algorithms=["Ed25519"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "e30.e30.",
        "ü.ü.ü",
        "x" * 5000,
        f"{part([])}.{part(GOOD)}.",
        f"{part({'alg': 7})}.e30.e30",
    ],
)
def test_what_is_no_jwt_is_refused_and_names_nobody(text: str) -> None:
    with pytest.raises(Refused):
        assertions.read(text, KEY, AUDIENCES, NOW)


def test_a_jwt_that_is_too_deep_is_refused() -> None:
    deep = b"[" * 2500 + b"]" * 100
    head = f"{part({'alg': 'Ed25519'})}.{part(deep)}"
    private = KEY.get_op_key("sign")
    with pytest.raises(Refused):
        assertions.read(f"{head}.{part(private.sign(head.encode()))}", KEY, AUDIENCES, NOW)
    assert assertions.subject(f"{head}.x") is None


NUMBERS = [0, -1, AT, AT + 60, AT + 66, 10**400, 0.5, float("nan"), float("inf")]
TEXTS = ["", "x", "Ed25519", "none", ISSUER]
VALUES = st.sampled_from([*NUMBERS, *TEXTS, None, True, False, [], ["b64"], ["exp"], [ISSUER], {}, {"a": [1]}])
HEADS = st.dictionaries(
    st.sampled_from(["alg", "typ", "crit", "b64", "kid", "jwk", "jku", "x5c", "cty", "zip"]), VALUES
)
CLAIMS = st.dictionaries(st.sampled_from(["aud", "jti", "exp", "nbf", "iat", "sub"]), VALUES)


@REPEATABLE
@given(HEADS, CLAIMS, st.sampled_from(["Ed25519", "EdDSA", "none", "HS256", "ES256"]))
def test_whatever_is_signed_is_refused_or_is_as_it_must_be(
    head: dict[str, Any], change: dict[str, Any], alg: str
) -> None:
    text = f"{part({'alg': alg, **head})}.{part({**GOOD, **change})}"
    signed = f"{text}.{part(KEY.get_op_key('sign').sign(text.encode()))}"
    try:
        claims = assertions.read(signed, KEY, AUDIENCES, NOW)
    except Refused:
        return
    assert {"alg": alg, **head}["alg"] in ("Ed25519", "EdDSA")
    assert claims["aud"] in AUDIENCES
    assert AT - 5 < claims["exp"] <= AT + 65
    assert 1 <= len(claims["jti"]) <= 128


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.!.c", "a.bnVsbA.c", f"a.{part([1])}.c", f"a.{part({'sub': 7})}.c"])
def test_whose_it_is_can_be_asked_of_anything(text: str) -> None:
    assert assertions.subject(text) is None


def test_whose_it_is_is_its_sub() -> None:
    assert assertions.subject(sign(KEY, {**GOOD, "sub": "warehouse"})) == "warehouse"
