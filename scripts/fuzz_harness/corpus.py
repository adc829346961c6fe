"""Inputs: good ones by grammar, then broken by mutation. All chance comes from the given generator."""

import gzip
import json
import random
from collections.abc import Callable

from scripts.fuzz_harness.complaint import CANARY

MOST_BYTES = 2 * 1024 * 1024
GIANT_ONE_IN = 250

HELLO = {
    "protocol": 1,
    "now": "2026-11-22T10:30:00Z",
    "heartbeatSeconds": 15,
    "resume": True,
    "latest": "k1/9",
    "floor": "k1/1",
}
TYPES = (
    *("UPLOAD_START", "UPLOAD_START", "UPLOAD_START", "UPLOAD_PAUSE", "UPLOAD_RESUME", "UPLOAD_CANCEL"),
    *("LIST_FILES", "GET_STATUS", "MESSAGE", "HEARTBEAT", "SELF_DESTRUCT", "ACK", "UPLOAD_PROGRESS", "FILE_LIST"),
)
RAW = (
    *("1e400", "-1e400", "1e-400", "-0", "-0.0", "0.1", "9223372036854775807", "9223372036854775808", "-1", "01"),
    *(
        "9" * 300,
        "9" * 4299,
        "9" * 5000,
        "1" + "0" * 60000,
        "0." + "3" * 3000,
        "NaN",
        "Infinity",
        "nul",
        "true",
        "null",
    ),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\0"', '"a\nb"', '"\\x"', '"\\/"', '""'),
    *("[" * 31 + "1" + "]" * 31, "[" * 40 + "1" + "]" * 40, "[" * 300, "[" * 20000, '{"a":' * 64 + "1" + "}" * 64),
    *("[[],{},[[]]]", "[1,2,]", "{'a':1}", '{"a":1,"a":2}', "{}{}", "[", '{"', "/**/1", "\ufeff1"),
)
TEXTS = (
    *("f", "a/b.txt", "../../etc/passwd", "/proc/self/mem", "file:///x", "C:\\x", "..", ".", "\0", "a\0b", "\r\nX: y"),
    *(
        "AAAA",
        "//4=",
        "****",
        "=AAA",
        "\u00fc" * 8,
        "\u202e",
        "\ufeff",
        "x" * 129,
        "x" * 5000,
        "ab" * 32,
        "k1/2",
        "k1/02",
    ),
    *("2026-11-22T10:30:00Z", "2026-13-40T99:99:99Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *(f"{CANARY}\x1b[31m", f"{CANARY} {CANARY}", f"{CANARY}\n", f"/{CANARY}", f"*{CANARY}", CANARY, "a" * 40 + "!"),
)
NAMES = (
    *("fileId", "fileName", "fileNameB64", "fileSize", "sha256", "tusEndpoint", "uploadToken", "metadata", "priority"),
    *("path", "pathB64", "cursor", "limit", "text", "from", "type", "id", "timestamp", "clientId", "payload", "actor"),
    *("expiresAt", "inReplyTo", "messages", "resume", "reset", "since", "reason", "protocol", "now", "latest", "floor"),
    *("heartbeatSeconds", "commandId", "status", "error", "entries", "revision", "state", "n", "", "\n", f"{CANARY}\n"),
)
LINE_ENDS = (b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"")
TOKENS = (
    *(b"\n\n", b"\r", b"\r\n", b"\n", b"data:", b"data", b"id:", b"id", b"event:", b"retry:", b"retry:7", b":", b" "),
    *(b"\0", b"\xef\xbb\xbf", b"\xef", b"\xff", b"\xe2\x80\xa8", b"\xf0\x9f", b"\x1b[2J", b"\x85", b"{", b"}", b'"'),
    *(b"id:k1/2\0\n", b"id:k9/1\n", b"retry:" + b"9" * 400, b"\\ud800", b"1e400", b"[[[[", b"k1/3", b"HELLO"),
)


def command(chance: random.Random) -> bytes:
    """A JSON text: mostly an envelope, mostly wrong in a few places; then perhaps some bytes changed."""
    data = (
        _envelope(chance)
        if chance.random() < 0.8
        else _text(chance, chance.choice((dict(HELLO), _anything(chance, 3))))
    )
    if chance.random() < 0.1:
        data = '{"messages":[' + ",".join([data] + [_envelope(chance) for _ in range(chance.randrange(3))]) + "]}"
    raw = data.encode("utf-8", "replace")
    return mutated(chance, raw) if chance.random() < 0.35 else raw


def stream(chance: random.Random) -> bytes:
    """A body: HELLO and commands, or lines of any kind; then perhaps some bytes changed."""
    kind = chance.random()
    if kind < 0.45:
        body = b"event: HELLO\ndata: " + _hello(chance) + b"\n\n"
        body += b"".join(_event(chance, n) for n in range(1, chance.randrange(1, 5)))
    elif kind < 0.9:
        body = b"".join(_line(chance) for _ in range(chance.randrange(1, 30)))
    else:
        body = _noise(chance)
    return mutated(chance, body) if chance.random() < 0.5 else body


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Between one and four of the usual mutations."""
    for _ in range(chance.randrange(1, 5)):
        data = chance.choice(MUTATIONS)(chance, data)[:MOST_BYTES]
    if chance.randrange(GIANT_ONE_IN) == 0:
        data = _giant(chance, data)
    return data


# --- JSON ---


def _envelope(chance: random.Random) -> str:
    kind = chance.choice(TYPES)
    members: dict[str, object] = {
        "type": kind,
        "id": f"cmd-{chance.randrange(9)}",
        "timestamp": "2026-11-22T10:30:00Z",
        "clientId": "agent-1" if chance.random() < 0.95 else "agent-2",
        "payload": _payload(chance, kind),
    }
    if chance.random() < 0.2:
        members["expiresAt"] = chance.choice(TEXTS)
    _spoil(chance, members, 0.25)
    return _text(chance, members)


def _payload(chance: random.Random, kind: str) -> dict[str, object]:
    of: dict[str, dict[str, object]] = {
        "UPLOAD_START": {"fileId": "f", "fileName": "a/b", "fileSize": 7, "metadata": {"k": "v"}, "sha256": "ab" * 32},
        "LIST_FILES": {"path": "a", "limit": 10},
        "MESSAGE": {"text": "hello", "from": "Ann"},
        "ACK": {"commandId": "c", "status": "failed", "error": {"code": "NOT_FOUND", "message": "m"}},
        "UPLOAD_PROGRESS": {
            "fileId": "f",
            "state": "uploading",
            "revision": 2,
            "n": 1,
            "offset": 1,
            "bytesSent": 2,
            "fileSize": 3,
            "rate": 4,
        },
        "FILE_LIST": {"path": "", "entries": [{"name": "n", "kind": "file", "size": 1, "modifiedAt": "x"}]},
    }
    payload = dict(of.get(kind, {"fileId": "f"}))
    if chance.random() < 0.3:
        payload["metadata"] = {
            chance.choice((*NAMES, *TEXTS)): chance.choice(TEXTS) for _ in range(chance.randrange(6))
        }
    _spoil(chance, payload, 0.6)
    return payload


def _spoil(chance: random.Random, members: dict[str, object], probability: float) -> None:
    while chance.random() < probability:
        name = chance.choice(list(members) or [""]) if chance.random() < 0.7 else chance.choice(NAMES)
        if chance.random() < 0.2:
            members.pop(name, None)
        else:
            members[name] = _anything(chance, 2)


class _Raw(str):
    """JSON text as it is, however wrong."""

    __slots__ = ()


def _anything(chance: random.Random, depth: int) -> object:
    kind = chance.randrange(8 if depth else 6)
    if kind < 2:
        return chance.choice(TEXTS)
    if kind < 4:
        return _Raw(chance.choice(RAW))
    if kind < 6:
        return chance.choice((True, None, 0, -1, 7, 2**53, 0.5, chance.getrandbits(70), chance.random()))
    if kind == 6:
        return [_anything(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(NAMES): _anything(chance, depth - 1) for _ in range(chance.randrange(4))}


def _text(chance: random.Random, value: object) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, dict):
        pairs = [f"{json.dumps(name)}:{_text(chance, item)}" for name, item in value.items()]
        if pairs and chance.random() < 0.05:
            pairs.append(chance.choice(pairs))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(chance, item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=chance.random() < 0.5)


# --- event streams ---


def _hello(chance: random.Random) -> bytes:
    members: dict[str, object] = dict(HELLO)
    if chance.random() < 0.2:
        members.update(resume=False, reset={"cursor": "k9/4", "since": "2026-11-22T10:30:00Z"})
    _spoil(chance, members, 0.15)
    return _text(chance, members).encode("utf-8", "replace").replace(b"\n", b" ")


def _event(chance: random.Random, n: int) -> bytes:
    number = n if chance.random() < 0.9 else chance.randrange(9)
    end = chance.choice((b"\n", b"\r\n", b"\r"))
    lines = [b"id: k1/%d" % number, b"event: HEARTBEAT", *(b"data: " + part for part in command(chance).split(b"\n"))]
    if chance.random() < 0.1:
        chance.shuffle(lines)
    return end.join([*lines, b"", b""])


def _line(chance: random.Random) -> bytes:
    name = chance.choice(
        (b"data", b"data", b"data", b"id", b"event", b"retry", b"", b"Data", b"x", b" data", b"data\0")
    )
    value = chance.choice((*TOKENS, b"x", b"1", b"", b"\xf0\x9f\x98\x80", chance.randbytes(chance.randrange(6))))
    return name + chance.choice((b":", b": ", b":  ", b"")) + value + chance.choice(LINE_ENDS)


def _noise(chance: random.Random) -> bytes:
    noise = chance.randbytes(chance.randrange(400))
    return gzip.compress(b"data: x\n\n" * 20, mtime=0) + noise if chance.random() < 0.5 else noise


# --- mutations ---


def _flip(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return b"\0"
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(TOKENS) + data[at:]


def _drop(chance: random.Random, data: bytes) -> bytes:
    at, size = chance.randrange(len(data) + 1), chance.randrange(1, 20)
    return data[:at] + data[at + size :]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    at, size = chance.randrange(len(data) + 1), chance.randrange(1, 60)
    return data[:at] + data[at : at + size] * chance.randrange(2, 5) + data[at + size :]


def _splice(chance: random.Random, data: bytes) -> bytes:
    at, to = chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)
    return data[:at] + data[to:]


def _mark(_: random.Random, data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip,
    _flip,
    _insert,
    _insert,
    _drop,
    _repeat,
    _splice,
    _mark,
)


def _giant(chance: random.Random, data: bytes) -> bytes:
    """A line, or very many lines, far over every bound."""
    filler = chance.choice((b"x", b"\xe2\x82\xac", b"data\n", b"data:y\r\n", b"id:1\n", b"[", b'"a":1,', b" ", b"9"))
    size = chance.choice((70_000, 300_000, MOST_BYTES))
    at = chance.randrange(len(data) + 1)
    return (data[:at] + filler * (size // len(filler)) + data[at:])[: MOST_BYTES + 4096]
