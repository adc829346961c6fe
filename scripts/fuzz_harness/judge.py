"""What must hold of what was read, found out by other means than those under test."""

import json
import math
from typing import Any, NoReturn

from scripts.fuzz_harness.complaint import CANARY, insist
from sse_agent.errors import GiveUp
from sse_agent.messages import DEPTH_LIMIT, NUMBER_LIMIT, Envelope

WORDS_LIMIT = 700
VISIBLE = frozenset(map(chr, range(0x21, 0x7F)))
NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-")


def judge_words(refusal: GiveUp) -> None:
    """Of a refusal: a short sentence of ours."""
    judge_sentence(refusal.message)


def judge_sentence(words: str) -> None:
    """Fit for an acknowledgement and a log."""
    insist(0 < len(words) <= WORDS_LIMIT, f"a refusal has {len(words)} characters")
    insist(words.isprintable(), f"a refusal holds control characters: {words!a}")
    insist(CANARY not in words, f"a refusal repeats what was sent: {words!a}")


def judge_envelope(data: bytes, envelope: Envelope) -> None:
    """Against the standard library's parser."""
    loaded = _loaded(data)
    insist(isinstance(loaded, dict), "what is no object was taken for an envelope")
    insist((envelope.id, envelope.type) == (loaded["id"], loaded["type"]), "another ID or type than json.loads reads")
    insist(envelope.payload == loaded["payload"], "another payload than json.loads reads")
    insist(set(envelope.id) <= VISIBLE and 0 < len(envelope.id) <= 128, "an ID that can't stand in a header")
    insist(set(envelope.client_id) <= NAME, "a client ID that can't stand in a path")
    judge_bounds({name: value for name, value in loaded.items() if name != "payload"})
    again = json.loads(envelope.encode())
    insist(again["id"] == envelope.id, "an envelope that is encoded is another")


def judge_bounds(members: dict[str, Any]) -> None:
    """Depth and numbers of an object that was taken."""
    depth, level = 0, [members]
    while level:
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict | list):
                deeper += value.values() if isinstance(value, dict) else value
            elif isinstance(value, float):
                insist(math.isfinite(value), "a number beyond a double was taken")
            elif isinstance(value, int):
                insist(abs(value) <= NUMBER_LIMIT, "an integer beyond 64 bits was taken")
        level, depth = deeper, depth + 1
    insist(depth - 1 <= DEPTH_LIMIT, f"JSON {depth - 1} levels deep was taken")


def _loaded(data: bytes) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(data.decode(), parse_constant=refuse)
    except ValueError as error:
        insist(False, f"what json.loads refuses was taken: {error}")
