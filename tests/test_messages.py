"""The wire: what is an envelope, what is a command, and what the bytes look like."""

import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from sse_agent.clock import parse_timestamp, timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.messages import (
    COMMAND_LIMIT,
    DEPTH_LIMIT,
    EVENT_PAYLOADS,
    METADATA_LIMIT,
    NUMBER_LIMIT,
    PAYLOADS,
    Chat,
    CommandType,
    EventId,
    EventType,
    ListFiles,
    UploadStart,
    derived_id,
    event,
    parse_envelope,
    parse_event_id,
    parse_hello,
    parse_payload,
)
from tests.doubles.control_plane import HELLO, command

AT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
START = {"fileId": "f-1", "fileName": "a/b.txt"}


def start(**more: object) -> UploadStart:
    found = parse_payload("UPLOAD_START", {**START, **more})
    assert isinstance(found, UploadStart)
    return found


# --- the envelope (what is none: test_stream.py, where it must hold up nothing) ---


def test_an_event_has_the_contracts_members_and_the_same_bytes_every_time() -> None:
    made = event(EventType.MESSAGE, Chat(text="hi", from_="me"), client_id="c", at=AT, message_id="m", in_reply_to="q")
    assert json.loads(made.encode()) == {
        "type": "MESSAGE",
        "id": "m",
        "timestamp": "2026-11-22T10:30:00.000Z",
        "clientId": "c",
        "payload": {"text": "hi", "from": "me"},
        "inReplyTo": "q",
    }
    assert made.encode() == made.encode()
    assert parse_envelope(made.encode()) == made


def test_what_follows_from_a_command_has_an_id_derived_from_it() -> None:
    first = derived_id("cmd", EventType.ACK, 0)
    assert first == derived_id("cmd", EventType.ACK, 0)
    others = [("cmd", EventType.ACK, 1), ("cmd", EventType.FILE_LIST, 0), ("cmd2", EventType.ACK, 0)]
    assert len({first, *(derived_id(*other) for other in others)}) == 4


def test_what_is_wrong_is_named_and_what_was_sent_is_not_repeated() -> None:
    with pytest.raises(GiveUp) as wrong:
        parse_envelope(command("c", clientId="sec ret", timestamp="hunter2"))
    assert wrong.value.code is ErrorCode.INVALID_ENVELOPE
    assert "clientId" in wrong.value.message
    assert "sec ret" not in wrong.value.message
    assert "hunter2" not in wrong.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * DEPTH_LIMIT + "0" + "]" * DEPTH_LIMIT, "levels deep"),
        ('{"a":' * DEPTH_LIMIT + "0" + "}" * DEPTH_LIMIT, "levels deep"),
        ("[" * 190 + "]" * 190, "levels deep"),
        ("[" * 30000, "not JSON"),
        (str(NUMBER_LIMIT + 1), "64 bits"),
        (str(-NUMBER_LIMIT - 1), "64 bits"),
        ("9" * 4000, "64 bits"),
        ("9" * 60000, "not JSON"),
        ("-" + "9" * 60000, "not JSON"),
        ("1e400", "a double"),
        ("-1e400", "a double"),
        ("1e" + "9" * 60000, "a double"),
        ("NaN", "not JSON"),
        ("Infinity", "not JSON"),
        ("-Infinity", "not JSON"),
        ("01", "not JSON"),
        (r'"\ud800"', "not JSON"),
        (r'"\udc00\ud800"', "not JSON"),
        ('"\0"', "not JSON"),
        ('"\n"', "not JSON"),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_the_bounds_hold_in_members_that_are_ignored_too(text: str, words: str) -> None:
    with pytest.raises(GiveUp, match=words) as wrong:
        parse_envelope(command("c", colour="?").replace(b'"?"', text.encode()))
    assert wrong.value.code is ErrorCode.INVALID_ENVELOPE
    with pytest.raises(GiveUp, match=words) as wrong:
        parse_hello(json.dumps({**HELLO, "future": "?"}).replace('"?"', text))
    assert wrong.value.code is ErrorCode.INVALID_ENVELOPE


@pytest.mark.parametrize(
    "text",
    [
        "[" * (DEPTH_LIMIT - 1) + "0" + "]" * (DEPTH_LIMIT - 1),
        str(NUMBER_LIMIT),
        str(-NUMBER_LIMIT),
        "-0",
        "-0.0",
        "1e308",
        "0." + "9" * 60000,
        r'"\ud83d\ude00\u0000"',
        "[" + "0," * 29000 + "0]",
        '{"":null,"\u00fc":[true,false]}',
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_within_the_bounds_is_ignored(text: str) -> None:
    found = parse_envelope(command("c", payload={"colour": "?"}, colour="?").replace(b'"?"', text.encode()))
    assert parse_payload(found.type, found.payload) == parse_payload("HEARTBEAT", {})


@pytest.mark.parametrize(
    "text",
    ["1e400", str(NUMBER_LIMIT + 1), "9" * 4000, "[" * DEPTH_LIMIT + "0" + "]" * DEPTH_LIMIT, "[" * 190 + "]" * 190],
)
def test_a_payload_beyond_the_bounds_is_an_invalid_payload_of_a_command_that_can_be_named(text: str) -> None:
    found = parse_envelope(command("c", payload={"colour": "?"}).replace(b'"?"', text.encode()))
    assert found.id == "c"
    with pytest.raises(GiveUp) as wrong:
        parse_payload(found.type, found.payload)
    assert wrong.value.code is ErrorCode.INVALID_PAYLOAD


def test_of_a_member_that_comes_twice_the_last_counts() -> None:
    twice = b'{"id":"first","payload":{"fileId":"a","fileId":"b"},' + command("last", "UPLOAD_PAUSE")[1:]
    found = parse_envelope(twice.replace(b', "payload": {}', b""))
    assert found.id == "last"
    assert parse_payload("UPLOAD_PAUSE", found.payload).to_wire() == {"fileId": "b"}


@pytest.mark.parametrize("data", ["", " ", "7", "[]", "null", '"x"', "{", "{}{}", "\ufeff{}", "{'a':1}"])
def test_what_is_no_object_is_no_envelope_and_no_hello(data: str) -> None:
    for parse in (parse_envelope, parse_hello):
        with pytest.raises(GiveUp) as wrong:
            parse(data)
        assert wrong.value.code is ErrorCode.INVALID_ENVELOPE
    with pytest.raises(GiveUp):
        parse_envelope(data.encode("utf-16"))


MARK = "hunter2"
REPEATING: list[tuple[str, dict[str, Any]]] = [
    ("UPLOAD_START", {**START, "metadata": {f"{MARK}\n": "x"}}),
    ("UPLOAD_START", {**START, "metadata": {MARK: 7}}),
    ("UPLOAD_START", {**START, "metadata": {MARK: MARK * METADATA_LIMIT}}),
    ("UPLOAD_START", {**START, "metadata": MARK}),
    ("UPLOAD_START", {**START, "fileId": f"/{MARK}"}),
    ("UPLOAD_START", {**START, "fileNameB64": f"*{MARK}"}),
    ("UPLOAD_START", {**START, "fileNameB64": f"\u00fc{MARK}"}),
    ("UPLOAD_START", {**START, "fileName": [MARK]}),
    ("UPLOAD_START", {**START, "uploadToken": f" {MARK}"}),
    ("UPLOAD_START", {**START, "sha256": MARK}),
    ("UPLOAD_START", {**START, "priority": MARK}),
    ("LIST_FILES", {"path": {MARK: MARK}}),
    ("LIST_FILES", {"pathB64": f"*{MARK}"}),
    ("MESSAGE", {"text": [MARK]}),
    ("MESSAGE", {"text": MARK * 4000}),
    ("MESSAGE", {"text": "x", "from": MARK * 40}),
]


@pytest.mark.parametrize(("kind", "payload"), REPEATING)
def test_an_invalid_payload_is_answered_in_words_that_repeat_nothing_of_it(kind: str, payload: dict[str, Any]) -> None:
    with pytest.raises(GiveUp) as wrong:
        parse_payload(kind, payload)
    assert MARK not in wrong.value.message
    assert wrong.value.message.isprintable()
    assert len(wrong.value.message) < 700


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": "2026-11-22T10:30:00+98:76"},
        {"timestamp": "9876-13-22T10:30:00Z"},
        {"expiresAt": "9876"},
        {"actor": "9876" * 100},
        {"inReplyTo": "9876 "},
        {"clientId": "9876/"},
        {"type": "9876"},
        {"payload": ["9876"]},
        {"payload": None},
    ],
)
def test_an_invalid_envelope_is_answered_in_words_that_name_the_member_and_repeat_nothing(
    change: dict[str, object],
) -> None:
    (name,) = change
    data = json.dumps({**json.loads(command("c")), **change})
    with pytest.raises(GiveUp, match=name) as wrong:
        parse_envelope(data)
    assert "9876" not in wrong.value.message
    assert "timedelta" not in wrong.value.message, "the date parser's words"


def test_thousands_of_wrong_members_are_one_short_complaint() -> None:
    payload = {**START, "metadata": {f"wrong key {n}": n for n in range(4000)}}
    with pytest.raises(GiveUp) as wrong:
        parse_envelope(command("c", "UPLOAD_START", payload, timestamp=7, actor=7, expiresAt=7, inReplyTo=7))
    assert wrong.value.message.count(";") == 2
    with pytest.raises(GiveUp) as wrong:
        parse_payload("UPLOAD_START", payload)
    assert wrong.value.message == "metadata: a key is 1 to 64 letters, digits and . _ -"


def test_metadata_is_measured_in_bytes_of_utf_8_keys_and_values_together() -> None:
    most = {"k": "\u00fc" * 2047, "l": ""}
    assert start(metadata=most).metadata == most
    with pytest.raises(GiveUp, match="4096 bytes"):
        start(metadata={**most, "m": ""})


def test_a_value_of_metadata_may_hold_anything_for_it_travels_as_base64() -> None:
    value = "".join(map(chr, range(0x20))) + "\x7f\u2028\u202e\U0001f600, =;"
    assert start(metadata={"k": value}).metadata == {"k": value}


@pytest.mark.parametrize("name", ["fileId", "sha256", "uploadToken"])
def test_no_line_end_comes_behind_a_text_that_is_bounded(name: str) -> None:
    good = {"fileId": "f", "sha256": "ab" * 32, "uploadToken": "t"}[name]
    assert start(**{name: good})
    for end in ("\n", "\r", "\r\n", "\u2028", "\0", "\x85"):
        with pytest.raises(GiveUp, match=name):
            start(**{name: good + end})
        with pytest.raises(GiveUp, match="metadata"):
            start(metadata={"key" + end: "x"})
        with pytest.raises(GiveUp, match="id"):
            parse_envelope(command("c" + end))


# --- instants ---


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T10:30:00Z", AT),
        ("2026-11-22t10:30:00z", AT),
        ("2026-11-22 10:30:00Z", AT),
        ("2026-11-22T12:30:00.000000000+02:00", AT),
        ("2026-11-22T05:00:00-05:30", AT),
    ],
)
def test_an_instant_is_rfc_3339(text: str, instant: datetime) -> None:
    assert parse_timestamp(text) == instant
    assert timestamp(parse_timestamp(text)) == "2026-11-22T10:30:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T10:30:00",
        "2026-11-22T10:30Z",
        "20261122T103000Z",
        "2026-W47-7T10:30:00Z",
        "2026-13-22T10:30:00Z",
        "2026-11-22T10:30:00Z\n",
        "\uff12026-11-22T10:30:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_nothing_else_is_an_instant(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


# --- commands ---


def test_every_command_and_every_event_of_the_contract_has_a_model() -> None:
    assert set(PAYLOADS) == set(CommandType)
    assert set(EVENT_PAYLOADS) == set(EventType)


def test_unknown_members_are_ignored_and_an_unknown_type_is_named() -> None:
    assert start(colour="red") == start()
    with pytest.raises(GiveUp, match="TELEPORT") as unknown:
        parse_payload("TELEPORT", {})
    assert unknown.value.code is ErrorCode.UNKNOWN_TYPE


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("UPLOAD_START", {"fileId": "f-1"}, "fileName"),
    ("UPLOAD_START", {"fileName": "x"}, "fileId"),
    ("UPLOAD_START", {"file_id": "f-1", "file_name": "x"}, "fileId"),
    ("UPLOAD_START", {**START, "fileId": "a/b"}, "fileId"),
    ("UPLOAD_START", {**START, "fileId": "a\n"}, "fileId"),
    ("UPLOAD_START", {**START, "fileId": ""}, "fileId"),
    ("UPLOAD_START", {**START, "fileId": "x" * 129}, "fileId"),
    ("UPLOAD_START", {**START, "fileId": 7}, "fileId"),
    ("UPLOAD_START", {**START, "fileName": ""}, "fileName"),
    ("UPLOAD_START", {**START, "fileNameB64": "****"}, "base64"),
    ("UPLOAD_START", {**START, "fileSize": -1}, "fileSize"),
    ("UPLOAD_START", {**START, "fileSize": 2**63}, "fileSize"),
    ("UPLOAD_START", {**START, "fileSize": "7"}, "fileSize"),
    ("UPLOAD_START", {**START, "fileSize": True}, "fileSize"),
    ("UPLOAD_START", {**START, "fileSize": float("inf")}, "fileSize"),
    ("UPLOAD_START", {**START, "sha256": "abc"}, "sha256"),
    ("UPLOAD_START", {**START, "priority": 10}, "priority"),
    ("UPLOAD_START", {**START, "uploadToken": "line\nend"}, "uploadToken"),
    ("UPLOAD_START", {**START, "metadata": {"key with space": "x"}}, "metadata"),
    ("UPLOAD_START", {**START, "metadata": {"key": 7}}, "metadata"),
    ("UPLOAD_START", {**START, "metadata": {"key": "\u00fc" * 2048}}, "metadata"),
    ("UPLOAD_PAUSE", {}, "fileId"),
    ("UPLOAD_CANCEL", {"fileId": None}, "fileId"),
    ("LIST_FILES", {"limit": 0}, "limit"),
    ("LIST_FILES", {"limit": 1001}, "limit"),
    ("LIST_FILES", {"pathB64": "***"}, "base64"),
    ("MESSAGE", {}, "text"),
    ("MESSAGE", {"text": "x" * 4001}, "text"),
]


@pytest.mark.parametrize(("kind", "payload", "named"), INVALID)
def test_a_missing_or_mistyped_member_is_an_invalid_payload_and_is_named(
    kind: str, payload: dict[str, Any], named: str
) -> None:
    with pytest.raises(GiveUp, match=named) as wrong:
        parse_payload(kind, payload)
    assert wrong.value.code is ErrorCode.INVALID_PAYLOAD


def test_the_most_that_is_allowed_is() -> None:
    found = start(
        fileId="x" * 128,
        fileSize=2**63 - 1,
        sha256="AB" * 32,
        metadata={"k": "x" * 4095},
        priority=0,
        uploadToken="t" * 8192,
    )
    assert found.sha256 == "ab" * 32
    assert "t" * 8 not in repr(found)
    assert parse_payload("MESSAGE", {"text": "\0" * 4000, "from": "ada"}).to_wire()["from"] == "ada"
    listing = parse_payload("LIST_FILES", {"limit": 1000})
    assert isinstance(listing, ListFiles)
    assert listing.raw_path() is None


def test_a_name_that_is_not_utf_8_comes_as_base64_and_then_counts() -> None:
    assert start(fileNameB64="//4=").raw_name() == b"\xff\xfe"
    assert parse_payload("UPLOAD_START", {"fileId": "f", "fileNameB64": "//4="})
    assert start(fileName="\u00fc").raw_name() == "\u00fc".encode()


def test_two_starts_are_the_same_upload_if_all_but_token_and_priority_is_equal() -> None:
    same = start(uploadToken="another", priority=9, unknown=1)
    assert same.identity() == start().identity()
    for change in ({"fileName": "b"}, {"fileSize": 1}, {"metadata": {"a": "b"}}, {"tusEndpoint": "https://x"}):
        assert start(**change).identity() != start().identity()


# --- the stream's own ---


def test_an_event_id_is_a_numbering_and_a_number() -> None:
    assert parse_event_id("k7/41") == EventId("k7", 41)
    assert str(EventId("k7", 41)) == "k7/41"
    assert parse_event_id("k7/0") == EventId("k7", 0)
    wrongs = ["", "41", "k7/", "/41", "k7/-1", "k7/4.1", "k_7/1", "\u00fc/1", "k7/\u0661", "k7/1/2", "k7/1\n", "k7/ 1"]
    for wrong in [*wrongs, "x" * 33 + "/1", "k7/" + "9" * 19, "k7/07", "k7/00", "\nk7/1"]:
        with pytest.raises(ValueError, match="event ID"):
            parse_event_id(wrong)


def test_a_hello_is_read_and_what_is_not_known_of_it_is_ignored() -> None:
    hello = parse_hello(json.dumps({**HELLO, "heartbeatSeconds": 0.5 + 1, "future": [1]}))
    assert (hello.heartbeat_seconds, hello.resume, hello.floor) == (1.5, True, "k1/1")
    with pytest.raises(GiveUp, match="resume"):
        parse_hello(json.dumps({**HELLO, "resume": "yes"}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"heartbeatSeconds": 0.5}, "heartbeatSeconds"),
        ({"heartbeatSeconds": 61}, "heartbeatSeconds"),
        ({"heartbeatSeconds": "15"}, "heartbeatSeconds"),
        ({"heartbeatSeconds": True}, "heartbeatSeconds"),
        ({"now": "9876-13-01T00:00:00Z"}, "now"),
        ({"latest": "k1/01"}, "latest"),
        ({"floor": "k1/9876\r\nX: y"}, "floor"),
        ({"protocol": 1.5}, "protocol"),
        ({"reason": "9876" * 100}, "reason"),
        ({"resume": False}, "reset"),
        ({"resume": False, "reset": {"cursor": "9876", "since": "2026-11-22T10:30:00Z"}}, "reset.cursor"),
        ({"resume": False, "reset": {"cursor": "k1/1", "since": "9876"}}, "reset.since"),
        ({"reset": {"9876": 1}}, "reset.cursor"),
    ],
)
def test_a_hello_that_is_wrong_is_named_and_not_repeated(change: dict[str, object], named: str) -> None:
    with pytest.raises(GiveUp, match=named) as wrong:
        parse_hello(json.dumps({**HELLO, **change}))
    assert wrong.value.code is ErrorCode.INVALID_ENVELOPE
    assert "9876" not in wrong.value.message
    assert wrong.value.message.isprintable()


def test_the_worst_command_takes_a_bounded_amount_of_memory() -> None:
    head, tail = b'{"type":"HEARTBEAT","a":[', b"[]]}"
    worst = head + b"{}," * ((COMMAND_LIMIT - len(head) - len(tail)) // 3) + tail
    tracemalloc.start()
    try:
        with pytest.raises(GiveUp):
            parse_envelope(worst)
        assert tracemalloc.get_traced_memory()[1] < 100 * COMMAND_LIMIT
    finally:
        tracemalloc.stop()
