"""Which files open, and that the others are refused at once, in the same words, and without a trace."""

import ctypes
import os
import resource
import sys
from pathlib import Path

import anyio
import pytest

from sse_agent.errors import GiveUp, TryAgain
from sse_agent.files import AllowedFolders
from tests.files.forms import FORMS, Open, as_nobody, assert_not_found, descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")


@pytest.mark.parametrize("name", ["report.txt", "sub/deep.txt", "@/report.txt", "@/sub/deep.txt", "caf\u00e9.txt"])
def test_a_file_opens_by_its_relative_and_by_its_absolute_name(tree: Path, allow: Open, name: str) -> None:
    raw = os.fsencode(name.replace("@", str(tree / "allowed")))
    with allow(tree / "allowed").open_file(raw) as file:
        assert file.file.read() == b"inside"
        assert file.name == raw.rpartition(b"/")[2]
        assert file.file.seek(2) == 2
        assert file.file.read(2) == b"si"
        assert not os.get_inheritable(file.file.fileno())


async def test_a_fifo_is_refused_at_once(tree: Path, allow: Open) -> None:
    folders, refusals = allow(tree / "allowed"), []

    def attempt() -> None:
        try:
            folders.open_file(b"fifo")
        except GiveUp as refusal:
            refusals.append(refusal)

    try:
        with anyio.fail_after(5):
            await anyio.to_thread.run_sync(attempt, abandon_on_cancel=True)
    finally:
        # Both ends at once: whoever hangs in open() is let go.
        os.close(os.open(tree / "allowed" / "fifo", os.O_RDWR | os.O_NONBLOCK))
    assert_not_found(refusals[0])


@pytest.mark.parametrize("form", ["the best form", "the walk"])
def test_a_fifo_is_not_even_opened_so_that_its_writer_goes_on_waiting(tree: Path, form: str) -> None:
    libc, in_open, fifo = ctypes.CDLL(None), 0x20, tree / "allowed" / "fifo"
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert libc.inotify_add_watch(watch, os.fsencode(fifo), in_open) > 0
    try:
        with AllowedFolders([tree / "allowed"], hold=FORMS[form]) as folders, pytest.raises(GiveUp):
            folders.open_file(b"fifo")
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
        os.close(os.open(fifo, os.O_RDWR))
        assert os.read(watch, 4096), "the watch sees nothing"
    finally:
        os.close(watch)


def test_what_the_user_may_not_read_is_refused_in_the_same_words(tree: Path, allow: Open) -> None:
    allowed = tree / "allowed"
    allowed.chmod(0o755)
    (allowed / "report.txt").chmod(0)
    (allowed / "sub").chmod(0)
    folders = allow(allowed)
    try:
        with as_nobody():
            for ask in (
                lambda: folders.open_file(b"report.txt"),
                lambda: folders.open_file(b"sub/deep.txt"),
                lambda: folders.list(b"sub", None, 10),
            ):
                with pytest.raises(GiveUp) as refused:
                    ask()
                assert_not_found(refused.value)
    finally:
        (allowed / "sub").chmod(0o700)


@pytest.mark.parametrize("form", ["the best form", "the walk"])
def test_a_directory_that_may_only_be_passed_through_does_not_hide_its_files(tree: Path, form: str) -> None:
    (tree / "allowed").chmod(0o755)
    (tree / "allowed" / "sub").chmod(0o711)
    (tree / "allowed" / "sub" / "deep.txt").chmod(0o644)
    with AllowedFolders([tree / "allowed"], hold=FORMS[form]) as folders, as_nobody():
        folders.open_file(b"sub/deep.txt").close()


def test_a_relative_name_means_the_first_folder_that_has_it(tree: Path, allow: Open) -> None:
    first, second = tree / "first", tree / "second"
    (first / "both").mkdir(parents=True)
    second.mkdir()
    (first / "one").write_bytes(b"first")
    for name in ("one", "two", "both"):
        (second / name).write_bytes(b"second")
    folders = allow(first, second)
    read = {}
    for name in (b"one", b"two", b"both"):
        with folders.open_file(name) as file:
            read[name] = file.file.read()
    assert read == {b"one": b"first", b"two": b"second", b"both": b"second"}


def test_a_folder_configured_by_a_link_is_known_by_both_spellings(tree: Path, allow: Open) -> None:
    (tree / "alias").symlink_to("allowed")
    folders = allow(tree / "alias")
    for name in (tree / "alias" / "report.txt", tree / "allowed" / "report.txt"):
        folders.open_file(os.fsencode(name)).close()
    assert folders.paths() == [str(tree / "alias")]


def test_a_folder_within_another_one_is_tried_as_well(tree: Path, allow: Open) -> None:
    (tree / "real").mkdir()
    (tree / "real" / "file").write_bytes(b"inside")
    (tree / "allowed" / "to-real").symlink_to(tree / "real")
    folders = allow(tree / "allowed", tree / "allowed" / "to-real")
    folders.open_file(os.fsencode(tree / "allowed" / "to-real" / "file")).close()


@pytest.mark.parametrize("form", ["the best form", "the walk"])
def test_a_folder_stays_the_one_that_was_opened_when_its_path_is_replaced(tree: Path, form: str) -> None:
    with AllowedFolders([tree / "allowed"], hold=FORMS[form]) as folders:
        (tree / "allowed").rename(tree / "moved")
        (tree / "allowed").symlink_to("outside")
        folders.open_file(b"report.txt").close()
        with pytest.raises(GiveUp):
            folders.open_file(b"secret.txt")


@pytest.mark.parametrize("name", [f"/proc/{os.getpid()}/environ", "/proc/version", "/sys/kernel/notes", "/dev/null"])
def test_a_kernel_file_system_within_a_folder_is_refused(allow: Open, name: str) -> None:
    assert Path(name).exists()
    with pytest.raises(GiveUp) as refused:
        allow(Path("/")).open_file(name.encode())
    assert_not_found(refused.value)
    for place in (b"/proc", b"/sys", b"/dev"):
        with pytest.raises(GiveUp) as refused:
            allow(Path("/")).list(place, None, 10)
        assert_not_found(refused.value)


def test_every_way_out_gives_its_descriptors_back(tree: Path, allow: Open) -> None:
    folders = allow(tree / "allowed")

    def use_everything() -> None:
        for name in (b"report.txt", b"sub/deep.txt", b"sub", b"fifo", b"linked/secret.txt", b"a/b/c", b"report.txt/x"):
            try:
                folders.open_file(name).close()
            except GiveUp as refusal:
                assert_not_found(refusal)
        for name in (b"sub", b"report.txt", b"linked", None):
            try:
                folders.list(name, None, 10)
            except GiveUp as refusal:
                assert_not_found(refusal)

    use_everything()
    before = descriptors()
    for _ in range(20):
        use_everything()
    assert descriptors() == before


def test_too_many_open_files_is_no_refusal_but_a_reason_to_try_again(tree: Path, allow: Open) -> None:
    folders = allow(tree / "allowed")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        for ask in (lambda: folders.open_file(b"report.txt"), lambda: folders.list(b"sub", None, 10)):
            with pytest.raises(TryAgain) as later:
                ask()
            assert str(tree) not in later.value.reason
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_hard_link_is_a_name_like_any_other(tree: Path, allow: Open) -> None:
    (tree / "allowed" / "again.txt").hardlink_to(tree / "allowed" / "report.txt")
    (tree / "allowed" / "snapshot.txt").hardlink_to(tree / "outside" / "secret.txt")
    folders = allow(tree / "allowed")
    for name, content in ((b"again.txt", b"inside"), (b"report.txt", b"inside"), (b"snapshot.txt", b"secret")):
        with folders.open_file(name) as file:
            assert file.file.read() == content
