"""One page of a folder after the other."""

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sse_agent.clock import parse_timestamp
from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.files import AllowedFolders
from sse_agent.files.listing import modified_at, page, parse_cursor
from sse_agent.messages import EVENT_LIMIT, EventType, FileList, event
from tests.files.forms import FORMS, Open, as_nobody, assert_not_found

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")


def all_pages(folders: AllowedFolders, path: bytes, limit: int) -> Iterator[FileList]:
    listing = folders.list(path, None, limit)
    yield listing
    while listing.cursor is not None:
        listing = folders.list(path, listing.cursor, limit)
        yield listing


def test_a_listing_says_what_each_entry_is_and_follows_no_link(tree: Path, allow: Open) -> None:
    os.utime(tree / "allowed" / "report.txt", (0, 1_700_000_000.25))
    listing = allow(tree / "allowed").list(os.fsencode(tree / "allowed"), None, 1000)
    assert [(entry.name, entry.kind, entry.size) for entry in listing.entries] == [
        ("caf\u00e9.txt", "file", 6),
        ("fifo", "other", 0),
        ("link-to-inside", "link", 0),
        ("link-to-outside", "link", 0),
        ("link-to-parent", "link", 0),
        ("linked", "link", 0),
        ("linked-inside", "link", 0),
        ("loop", "link", 0),
        ("magic", "link", 0),
        ("report.txt", "file", 6),
        ("socket", "other", 0),
        ("sub", "directory", 0),
    ]
    assert listing.entries[9].modified_at == "2023-11-14T22:13:20.250Z"
    assert (listing.path, listing.cursor) == (str(tree / "allowed"), None)
    assert all(entry.name_b64 is None for entry in listing.entries)


@pytest.mark.parametrize("path", [b"sub", b"sub/", b"@/sub", b"@/sub/"])
def test_a_folder_is_listed_by_its_relative_and_by_its_absolute_name(tree: Path, allow: Open, path: bytes) -> None:
    raw = path.replace(b"@", os.fsencode(tree / "allowed"))
    listing = allow(tree / "allowed").list(raw, None, 10)
    assert ([entry.name for entry in listing.entries], listing.path) == (["deep.txt"], raw.decode())


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"report.txt",
        b"nothing",
        b"linked",
        b"linked-inside",
        b"..",
        b".",
        b"fifo",
        b"/",
        b"^",
        b"@-evil",
        b"sub//",
    ],
)
def test_what_is_no_folder_in_reach_is_refused_in_the_same_words(tree: Path, allow: Open, path: bytes) -> None:
    raw = path.replace(b"@", os.fsencode(tree / "allowed")).replace(b"^", os.fsencode(tree))
    with pytest.raises(GiveUp) as refused:
        allow(tree / "allowed").list(raw, None, 10)
    assert_not_found(refused.value)


def test_without_a_path_the_allowed_folders_are_listed_page_by_page(tree: Path, allow: Open) -> None:
    folders = allow(tree / "outside", tree / "allowed")
    first = folders.list(None, None, 1)
    second = folders.list(None, first.cursor, 1)
    assert [(entry.name, entry.kind, entry.size) for entry in first.entries + second.entries] == [
        (str(tree / "allowed"), "directory", 0),
        (str(tree / "outside"), "directory", 0),
    ]
    assert (first.path, second.cursor) == ("", None)


def test_paging_loses_and_repeats_nothing_in_the_order_of_the_bytes(tmp_path: Path, allow: Open) -> None:
    wanted = sorted(f"{prefix}{n}".encode() for n in range(500) for prefix in ("a", "B", "\u00e9", "\U0001f600", "-"))
    for name in wanted:
        (tmp_path / name.decode()).touch()
    pages = list(all_pages(allow(tmp_path), os.fsencode(tmp_path), 999))
    assert [len(page.entries) for page in pages] == [999, 999, 502]
    assert [entry.name.encode() for page in pages for entry in page.entries] == wanted
    assert len(wanted) == 2500


def test_a_cursor_outlives_the_entry_that_it_names(tmp_path: Path, allow: Open) -> None:
    for name in "abcdef":
        (tmp_path / name).touch()
    folders = allow(tmp_path)
    first = folders.list(os.fsencode(tmp_path), None, 3)
    for name in "ace":
        (tmp_path / name).unlink()
    (tmp_path / "bb").touch()
    second = folders.list(os.fsencode(tmp_path), first.cursor, 3)
    assert [entry.name for entry in first.entries + second.entries] == ["a", "b", "c", "d", "f"]


def test_names_that_are_not_utf8_come_with_their_bytes(tmp_path: Path, allow: Open) -> None:
    wanted = [b"caf\xe9", b"plain", b"\xed\xa0\x80", b"\xff" * 255]
    for name in wanted:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    folders = allow(tmp_path)
    pages = list(all_pages(folders, os.fsencode(tmp_path), 1))
    entries = [entry for page in pages for entry in page.entries]
    raw = [base64.b64decode(entry.name_b64) if entry.name_b64 else entry.name.encode() for entry in entries]
    assert raw == wanted
    assert [entry.name_b64 is None for entry in entries] == [False, True, False, False]
    assert entries[0].name == "caf\ufffd"
    for name in raw:
        folders.open_file(name).close()


@pytest.mark.parametrize("filler", [b"\x01", b"\xff", "\u00e9".encode(), b"x"])
def test_a_page_ends_early_rather_than_outgrow_an_event(tmp_path: Path, allow: Open, filler: bytes) -> None:
    # A path that is shown at six times its length, and names as long as they can be.
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + b"\x02" * 250 + b"/" + b"\x03" * 250))
    folder.mkdir(parents=True)
    for n in range(1000):
        name = b"%04d" % n + filler * 250
        (folder / os.fsdecode(name[:254])).touch()
    pages = list(all_pages(allow(tmp_path), os.fsencode(folder), 1000))
    sizes = [_encoded_size(page) for page in pages]
    assert max(sizes) < EVENT_LIMIT
    assert sum(len(page.entries) for page in pages) == 1000
    assert all(size > EVENT_LIMIT * 0.9 for size in sizes[:-1])


def _encoded_size(page: FileList) -> int:
    at = parse_timestamp("2026-11-22T10:30:00Z")
    envelope = event(EventType.FILE_LIST, page, client_id="c" * 128, at=at, message_id="i" * 128, in_reply_to="r" * 128)
    return len(envelope.encode())


def test_an_entry_that_vanishes_meanwhile_is_left_out_and_paging_goes_on_after_it(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    names_read = [b"here", b"gone"]
    first = page("", names_read, lambda name: (tmp_path / os.fsdecode(name)).lstat(), b"", 1)
    second = page("", names_read, lambda name: (tmp_path / os.fsdecode(name)).lstat(), parse_cursor(first.cursor), 1)
    assert ([entry.name for entry in first.entries], [entry.name for entry in second.entries]) == ([], ["here"])


@pytest.mark.parametrize("form", ["the best form", "the walk"])
def test_entries_that_may_not_be_looked_at_are_listed_all_the_same(tree: Path, form: str) -> None:
    sub = tree / "allowed" / "sub"
    (tree / "allowed").chmod(0o755)
    sub.chmod(0o644)
    try:
        with AllowedFolders([tree / "allowed"], hold=FORMS[form]) as folders, as_nobody():
            entries = folders.list(b"sub", None, 10).entries
    finally:
        sub.chmod(0o755)
    assert [(entry.name, entry.kind, entry.size) for entry in entries] == [("deep.txt", "other", 0)]


@pytest.mark.parametrize("cursor", ["", "!", "YQ", "Y Q==", "\u00e9", "YQ==\n"])
def test_a_cursor_that_was_never_given_out_is_an_invalid_payload(tree: Path, allow: Open, cursor: str) -> None:
    for path in (None, b"sub"):
        with pytest.raises(GiveUp) as refused:
            allow(tree / "allowed").list(path, cursor, 10)
        assert refused.value.code is ErrorCode.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("mtime_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**63 * 10**9, "9999-12-31T23:59:59.999Z"),
        (-(2**63) * 10**9, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_beyond_the_calendar_are_clamped(mtime_ns: int, text: str) -> None:
    assert modified_at(mtime_ns) == text
