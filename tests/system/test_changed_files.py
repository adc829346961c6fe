"""A file that changes under its upload is never stored mixed: it fails by name, and tusd keeps nothing of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles.processes import world
from tests.doubles.relay import Relay
from tests.doubles.services import until

MIB = 1024 * 1024
SIZE = 24 * MIB
RATE = 6 * MIB
MIDDLE = 10 * MIB


def rewrite_what_was_sent(path: Path) -> None:
    """Its times are put back, as some backup programs do."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"another beginning")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def shrink(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(os.urandom(SIZE))
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "code"),
    [(rewrite_what_was_sent, "FILE_CHANGED"), (shrink, "FILE_SHRUNK"), (grow, "FILE_CHANGED")],
)
def test_a_file_that_changes_while_it_is_sent_fails_and_tusd_keeps_nothing_of_it(
    tmp_path: Path, change: Callable[[Path], None], code: str
) -> None:
    with Relay(RATE) as relay, world(tmp_path, relay=relay) as there:
        path = there.files / "data.bin"
        path.write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        until(lambda: relay.forwarded > MIDDLE, "it is in the middle")
        assert len(there.tusd.ids()) == 1
        change(path)
        relay.rate = None
        upload = there.services.until_upload("f", "failed", 60)
        assert upload["result"]["code"] == code
        until(lambda: there.tusd.ids() == [], "tusd keeps nothing")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (rewrite_what_was_sent, "FILE_CHANGED"),
        (shrink, "FILE_SHRUNK"),
        (grow, "FILE_CHANGED"),
        (replace, "FILE_CHANGED"),
    ],
)
def test_a_file_that_changes_while_the_agent_is_away_fails_and_tusd_keeps_nothing_of_it(
    tmp_path: Path, change: Callable[[Path], None], code: str
) -> None:
    with Relay(RATE) as relay, world(tmp_path, relay=relay) as there:
        path = there.files / "data.bin"
        path.write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        until(lambda: relay.forwarded > MIDDLE, "it is in the middle")
        there.agent.kill()
        change(path)
        relay.rate = None
        there.connect()
        upload = there.services.until_upload("f", "failed", 60)
        assert upload["result"]["code"] == code
        until(lambda: there.tusd.ids() == [], "tusd keeps nothing")


def test_a_file_that_is_not_the_one_meant_fails_with_its_checksum_and_tusd_keeps_nothing_of_it(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin", sha256="0" * 64)
        upload = there.services.until_upload("f", "failed", 60)
        assert upload["result"]["code"] == "CHECKSUM_MISMATCH"
        until(lambda: there.tusd.ids() == [], "tusd keeps nothing")
