"""`outbox`: dead letters are looked at, and sent again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.resting import Shell, dead_letter, documented, fill, members


@pytest.fixture
def sse_agent(tmp_path: Path, shell: Callable[[Path], Shell]) -> Shell:
    return shell(fill(tmp_path, dead_letter("one", "422 malformed"), dead_letter("two", "413\x1b[2J")))


def ids(sse_agent: Shell) -> list[str]:
    return [one["messageId"] for one in sse_agent.json("outbox", "list")["deadLetters"]]


@pytest.mark.usefixtures("far_east")
def test_dead_letters_are_listed_with_why_they_were_refused_oldest_first_in_local_time(sse_agent: Shell) -> None:
    told = sse_agent.says("outbox", "list")
    assert told[0].split() == ["MESSAGE", "ID", "TYPE", "FROM", "WHY"]
    assert [line.split("  ")[1:] for line in told[1:]] == [
        ["MESSAGE", "2026-11-22 19:30:00", "422 malformed"],
        ["MESSAGE", "2026-11-22 19:30:00", "413\\x1b[2J"],
    ]
    assert sse_agent.says("outbox", "list", "--limit", "1")[2:] == ["... and more: --limit 10"]
    assert sse_agent.says("outbox", "list", "--limit", "2") == told
    assert sse_agent.json("outbox", "list", "--limit", "1")["isComplete"] is False
    assert sse_agent.json("outbox", "list", "--limit", "2")["isComplete"] is True
    assert [line.split()[0] for line in told[1:]] == ids(sse_agent)
    listed = sse_agent.json("outbox", "list")["deadLetters"]
    assert {one["timestamp"] for one in listed} == {"2026-11-22T10:30:00.000Z"}


def test_some_or_all_are_sent_again(sse_agent: Shell) -> None:
    first, _ = ids(sse_agent)
    assert sse_agent.says("outbox", "retry", first, first) == ["1 to be sent again"]
    assert (sse_agent.code, sse_agent.err) == (0, "")
    assert len(ids(sse_agent)) == 1
    assert sse_agent.json("outbox", "retry", "--all") == {"count": 1, "refused": []}
    assert sse_agent.says("outbox", "list") == sse_agent.says("outbox", "retry", "--all") == ["no dead letters"]
    assert sse_agent.says("status")[-1] == "  outbox         2 messages to send"


def test_an_id_of_no_dead_letter_is_named_with_what_to_do_and_exit_code_1(sse_agent: Shell) -> None:
    assert sse_agent.says("outbox", "retry", "nope\x1b[2J") == []
    advice = "no dead letter has this ID; `sse-agent outbox list` shows those there are\n"
    assert (sse_agent.code, sse_agent.err) == (1, f"nope\\x1b[2J: {advice}")
    first, _ = ids(sse_agent)
    assert sse_agent.says("outbox", "retry", "nope", first) == ["1 to be sent again"]
    assert (sse_agent.code, sse_agent.err) == (1, f"nope: {advice}")
    refused = [{"messageId": first, "code": "NOT_FOUND", "message": "no dead letter has this ID"}]
    assert sse_agent.json("outbox", "retry", first) == {"count": 0, "refused": refused}
    assert sse_agent.code == 1
    assert len(ids(sse_agent)) == 1


@pytest.mark.parametrize("arguments", [[], ["x", "--all"]])
def test_it_must_be_said_which_ones(sse_agent: Shell, arguments: list[str]) -> None:
    assert sse_agent.says("outbox", "retry", *arguments) == []
    assert (sse_agent.code, sse_agent.err) == (78, "sse-agent: name the messages by their IDs, or --all\n")
    assert len(ids(sse_agent)) == 2


def test_what_is_printed_as_json_is_what_the_reference_says(sse_agent: Shell) -> None:
    assert set(members(sse_agent.json("outbox", "list"))) == documented("outbox list")
    assert set(members(sse_agent.json("outbox", "retry", "nope"))) == documented("outbox retry")
