"""The newest progress, each once."""

import pytest

from sse_agent.control_plane.webhooks import progress
from sse_agent.control_plane.webhooks.progress import Progress


def test_of_each_upload_the_newest_is_told_once() -> None:
    found = Progress()
    found.note("a", "f", b"1")
    found.note("a", "g", b"2")
    found.note("a", "f", b"3")
    count, news = found.since(0)
    assert news == [("a", b"2"), ("a", b"3")]
    assert found.since(count) == (count, [])
    found.note("a", "g", b"4")
    assert found.since(count)[1] == [("a", b"4")]


def test_what_ended_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Progress()
    found.note("a", "f", b"1")
    found.forget("a", "f")
    assert found.since(0)[1] == []


def test_it_holds_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LIMIT", 3)
    found = Progress()
    for n in range(10):
        found.note("a", str(n), b"%d" % n)
    assert [body for _, body in found.since(0)[1]] == [b"7", b"8", b"9"]
