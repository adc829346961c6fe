"""What enrolment leaves on this machine: whole, durable, and for its owner's eyes alone."""

import os
import stat
from pathlib import Path

import pytest

from sse_agent import identity
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.identity import IDENTITY, Identity

FOUND = Identity(
    client_id="warehouse-7-k3x9pd",
    issuer="https://control.example.com",
    control_plane_url="https://control.example.com",
    key_id="9WmY_0-8A0uDlnlRVvKRwbCbwjhC12PZj8gkoIB2Vdg",
)


def test_what_is_written_is_read_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        identity.write(tmp_path, FOUND)
    finally:
        os.umask(before)
    assert identity.read(tmp_path) == FOUND
    assert stat.S_IMODE((tmp_path / IDENTITY).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [IDENTITY], "nothing is left beside it"


def test_a_machine_that_was_never_enrolled_has_none(tmp_path: Path) -> None:
    assert identity.read(tmp_path) is None
    assert identity.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660])
def test_a_file_that_others_can_read_or_write_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    identity.write(tmp_path, FOUND)
    (tmp_path / IDENTITY).chmod(mode)
    with pytest.raises(CannotStart, match=f"open to others.*chmod 600 {tmp_path / IDENTITY}") as refused:
        identity.read(tmp_path)
    assert refused.value.exit_code is ExitCode.NOT_PERMITTED
    (tmp_path / IDENTITY).chmod(0o600)
    assert identity.read(tmp_path) == FOUND


def test_a_file_of_another_user_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity.write(tmp_path, FOUND)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(CannotStart, match=rf"belongs to user {me}, and this is user {me + 1}: run this as") as refused:
        identity.read(tmp_path)
    assert refused.value.exit_code is ExitCode.NOT_PERMITTED


def test_a_link_to_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    identity.write(elsewhere, FOUND)
    (tmp_path / IDENTITY).symlink_to(elsewhere / IDENTITY)
    with pytest.raises(CannotStart, match="it is a link"):
        identity.read(tmp_path)


def test_something_else_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / IDENTITY).mkdir(mode=0o700)
    with pytest.raises(CannotStart) as refused:
        identity.read(tmp_path)
    assert refused.value.exit_code is ExitCode.NOT_PERMITTED


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"clientId": "a b", "issuer": "i", "keyId": "k"}'])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    identity.write_private(tmp_path / IDENTITY, content.encode())
    with pytest.raises(CannotStart, match=r"damaged; restore it.*enroll --again") as refused:
        identity.read(tmp_path)
    assert refused.value.exit_code is ExitCode.WRONG_CONFIGURATION


def test_it_is_on_the_disk_under_its_name_before_anybody_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    identity.write_private(tmp_path / "secret", b"x")
    assert steps == ["file", "rename", "folder"]


def test_a_disk_that_fails_leaves_what_was_there_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity.write(tmp_path, FOUND)

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(CannotStart, match="can't be written: no space left"):
        identity.write(tmp_path, FOUND.model_copy(update={"client_id": "another"}))
    assert identity.read(tmp_path) == FOUND
    assert [path.name for path in tmp_path.iterdir()] == [IDENTITY]
