"""What the control plane sends is read within bounds, or refused in words of our own."""

import json
import math
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tusclient.uploader.baseuploader import BaseUploader

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.messages import (
    DEPTH_LIMIT,
    METADATA_LIMIT,
    NUMBER_LIMIT,
    CommandType,
    EventId,
    UploadStart,
    parse_envelope,
    parse_event_id,
    parse_hello,
    parse_payload,
)
from tests.doubles.control_plane import HELLO, command
from tests.properties.profile import REPEATABLE

TEXTS = st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
DEEP = st.integers(1, 60).map(lambda levels: json.loads("[" * levels + "0" + "]" * levels))
ANYTHING = VALUES | DEEP
NAMES = st.sampled_from(
    ["fileId", "fileName", "fileNameB64", "fileSize", "sha256", "tusEndpoint", "uploadToken", "metadata", "priority"]
)
GOOD = {"fileId": "f", "fileName": "a/b"}
KINDS = st.sampled_from(list(CommandType))


def levels(value: object) -> int:
    """Levels of arrays and objects with something in them."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((1 + levels(item) for item in inner), default=0)


def has_odd_number(value: object) -> bool:
    """A number that is not to be read."""
    if isinstance(value, dict | list):
        return any(has_odd_number(item) for item in (value.values() if isinstance(value, dict) else value))
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and abs(value) > NUMBER_LIMIT


def refusal_of(parse: Callable[[], object]) -> GiveUp | None:
    """Why it was refused; nothing else may be raised."""
    try:
        parse()
    except GiveUp as refusal:
        return refusal
    return None


def is_ours(refusal: GiveUp, *codes: ErrorCode) -> bool:
    """One of the codes, and short words without controls."""
    return refusal.code in codes and refusal.message.isprintable() and 0 < len(refusal.message) < 700


@given(data=st.binary(max_size=200) | st.text(max_size=200) | ANYTHING.map(json.dumps))
@settings(REPEATABLE, max_examples=200)
def test_bytes_are_an_envelope_or_are_refused(data: bytes | str) -> None:
    text = data if isinstance(data, str) else data.decode("latin-1")
    for parse in (lambda: parse_envelope(data), lambda: parse_hello(text)):
        refusal = refusal_of(parse)
        assert refusal is None or is_ours(refusal, ErrorCode.INVALID_ENVELOPE)


@given(kind=KINDS, base=st.sampled_from([GOOD, {}]), changes=st.dictionaries(NAMES | TEXTS, ANYTHING, max_size=4))
@settings(REPEATABLE, max_examples=400)
def test_a_payload_is_read_within_the_bounds_or_is_refused(
    kind: CommandType, base: dict[str, Any], changes: dict[str, Any]
) -> None:
    payload = {**base, **changes}
    refusal = refusal_of(lambda: parse_payload(kind, payload))
    if refusal is not None:
        assert is_ours(refusal, ErrorCode.INVALID_PAYLOAD)
        return
    found = parse_payload(kind, payload)
    assert levels(payload) <= DEPTH_LIMIT
    assert not has_odd_number(payload)
    if isinstance(found, UploadStart):
        assert found.raw_name()
        assert found.identity() == parse_payload(kind, json.loads(json.dumps(payload))).identity()  # type: ignore[attr-defined]
        assert found.identity().isascii()


@given(future=ANYTHING)
@settings(REPEATABLE, max_examples=150)
def test_a_member_that_is_not_known_is_ignored_exactly_if_it_is_within_the_bounds(future: object) -> None:
    # Ahead of the member stands the object that it is in.
    is_within = levels(future) + 1 <= DEPTH_LIMIT and not has_odd_number(future)
    hello = json.dumps({**HELLO, "future": future})
    for parse in (lambda: parse_envelope(command("c", future=future or 0)), lambda: parse_hello(hello)):
        refusal = refusal_of(parse)
        assert (refusal is None) == is_within
        assert refusal is None or is_ours(refusal, ErrorCode.INVALID_ENVELOPE)


KEYS = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


@given(metadata=st.dictionaries(KEYS, st.text(max_size=60), max_size=8))
@settings(REPEATABLE, max_examples=150)
def test_metadata_of_any_text_makes_one_header_line_and_comes_out_as_it_went_in(metadata: dict[str, str]) -> None:
    found = parse_payload("UPLOAD_START", {**GOOD, "metadata": metadata})
    assert isinstance(found, UploadStart)
    assert found.metadata == metadata
    pairs = BaseUploader.encode_metadata(_Carrying(found.metadata))  # type: ignore[arg-type, no-untyped-call]
    header = ",".join(pairs)
    assert header.isascii()
    assert not header or header.isprintable()
    assert len(header) <= 2 * METADATA_LIMIT


class _Carrying:
    """What tuspy's encoder wants to know."""

    metadata_encoding = "utf-8"

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata


@given(text=st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9]{1,32}/[0-9]{1,18}", fullmatch=True))
@settings(REPEATABLE, max_examples=150)
def test_an_event_id_has_one_spelling_and_fits_into_a_header(text: str) -> None:
    try:
        found = parse_event_id(text)
    except ValueError:
        return
    assert str(found) == text
    assert text.isascii()
    assert text.isprintable()
    assert parse_event_id(str(EventId(found.numbering, found.n + 1 if found.n < 10**17 else found.n)))
