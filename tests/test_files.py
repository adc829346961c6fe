"""Allowed folders, with each of the ways in which a platform can open beneath one."""

import base64
import ctypes
import errno
import os
import resource
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from sse_agent.clock import parse_timestamp
from sse_agent.errors import CannotStart, ErrorCode, ExitCode, GiveUp, TryAgain
from sse_agent.files import NOT_FOUND_MESSAGE, AllowedFolders, FileIdentity, names
from sse_agent.files.beneath import HeldFolder, find_opener, walk
from sse_agent.files.bypath import PathFolder
from sse_agent.files.folder import Folder
from sse_agent.files.listing import modified_at, page, parse_cursor
from sse_agent.messages import EVENT_LIMIT, EventType, FileList, event

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")

Hold = Callable[[Path], Folder]
Open = Callable[..., AllowedFolders]


def final_path(descriptor: int) -> str:
    """What GetFinalPathNameByHandleW says on Windows."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


FORMS = {
    "the best form": HeldFolder,
    "the walk": partial(HeldFolder, opener=walk),
    "by path": partial(PathFolder, final_path=final_path),
}


@pytest.fixture(params=FORMS)
def hold(request: pytest.FixtureRequest) -> Hold:
    return FORMS[request.param]


@pytest.fixture
def allow(hold: Hold) -> Iterator[Open]:
    """Holds folders in this form until the test is over."""
    held: list[AllowedFolders] = []

    def opened(*folders: Path) -> AllowedFolders:
        held.append(AllowedFolders(folders, hold=hold))
        return held[-1]

    yield opened
    for folders in held:
        folders.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An allowed folder with one of everything, and what lies around it."""
    for folder in ("allowed/sub", "allowed-evil", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("allowed/report.txt", "allowed/sub/deep.txt", "allowed/caf\u00e9.txt"):
        (tmp_path / file).write_bytes(b"inside")
    for file in ("allowed-evil/secret.txt", "outside/secret.txt", "secret.txt"):
        (tmp_path / file).write_bytes(b"secret")
    allowed = tmp_path / "allowed"
    (allowed / "link-to-outside").symlink_to(tmp_path / "outside" / "secret.txt")
    (allowed / "link-to-parent").symlink_to("../secret.txt")
    (allowed / "link-to-inside").symlink_to("report.txt")
    (allowed / "linked").symlink_to(tmp_path / "outside")
    (allowed / "linked-inside").symlink_to("sub")
    (allowed / "loop").symlink_to("loop")
    (allowed / "magic").symlink_to("/proc/self/root")
    os.mkfifo(allowed / "fifo")
    os.mknod(allowed / "socket", stat.S_IFSOCK | 0o600)
    return tmp_path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so this thread looks at files as another user; nobody but root needs that."""
    libc = ctypes.CDLL(None)
    before = os.geteuid()
    if before == 0:
        libc.setfsuid(65534)
    try:
        yield
    finally:
        libc.setfsuid(before)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - opens as many as it closes


def assert_not_found(refusal: GiveUp) -> None:
    assert (refusal.code, refusal.message, refusal.retryable) == (ErrorCode.NOT_FOUND, NOT_FOUND_MESSAGE, True)
    assert refusal.detail


# --- opening ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.txt", "sub/deep.txt", "@/report.txt", "@/sub/deep.txt", "caf\u00e9.txt"])
def test_a_file_opens_by_its_relative_and_by_its_absolute_name(tree: Path, allow: Open, name: str) -> None:
    raw = os.fsencode(name.replace("@", str(tree / "allowed")))
    with allow(tree / "allowed").open_file(raw) as file:
        assert file.file.read() == b"inside"
        assert file.name == raw.rpartition(b"/")[2]
        assert file.file.seek(2) == 2
        assert file.file.read(2) == b"si"
        assert not os.get_inheritable(file.file.fileno())


REFUSED = {
    "never existed": b"nothing",
    "never existed, deep": b"no/such/thing",
    "empty": b"",
    "a directory": b"sub",
    "the folder": b"@",
    "the folder with a slash": b"@/",
    "a dot": b".",
    "parent": b"../secret.txt",
    "parent from within": b"sub/../../secret.txt",
    "parent that stays inside": b"sub/../report.txt",
    "a dot within": b"./report.txt",
    "parent, absolute": b"@/../secret.txt",
    "outside": b"^/outside/secret.txt",
    "outside, system": b"/etc/passwd",
    "the root": b"/",
    "prefix trick": b"@-evil/secret.txt",
    "two slashes first": b"/@/report.txt",
    "two slashes": b"@//report.txt",
    "two slashes, relative": b"sub//deep.txt",
    "trailing slash": b"report.txt/",
    "trailing slash on a directory": b"sub/",
    "below a file": b"report.txt/more",
    "link to outside": b"link-to-outside",
    "link to outside, absolute": b"@/link-to-outside",
    "link to parent": b"link-to-parent",
    "link to inside": b"link-to-inside",
    "linked directory": b"linked/secret.txt",
    "linked directory inside": b"linked-inside/deep.txt",
    "link to itself": b"loop",
    "magic link": b"magic/etc/passwd",
    "socket": b"socket",
    "NUL": b"report.txt\0",
    "NUL before outside": b"report.txt\0/../../secret.txt",
    "file URL": b"file:///etc/passwd",
    "file URL of a file that is there": b"file://@/report.txt",
    "drive letter": b"C:/report.txt",
    "backslashes": b"..\\secret.txt",
    "UNC": b"\\\\host\\share\\secret.txt",
    "home": b"~/report.txt",
    "percent-encoded": b"%2e%2e/secret.txt",
    "overlong dot": b"\xc0\xae\xc0\xae/secret.txt",
    "another case": b"REPORT.TXT",
    "another Unicode form": "cafe\u0301.txt".encode(),
    "Latin-1": b"caf\xe9.txt",
    "full-width dots": "\uff0e\uff0e/secret.txt".encode(),
    "line break": b"report.txt\n",
    "a part of 256 bytes": b"a" * 256,
    "more than 64 parts": b"a/" * 64 + b"a",
    "more than 4096 bytes": b"a/" * 10 + b"a" * 4077,
}


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_what_may_not_be_opened_is_refused_in_the_same_words(tree: Path, allow: Open, name: bytes) -> None:
    raw = name.replace(b"@", os.fsencode(tree / "allowed")).replace(b"^", os.fsencode(tree))
    with pytest.raises(GiveUp) as refused:
        allow(tree / "allowed").open_file(raw)
    assert_not_found(refused.value)
    assert refused.value.detail.isprintable()


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


def test_names_may_have_any_bytes_but_nul_and_be_as_deep_as_64_parts(tree: Path, allow: Open) -> None:
    odd = [b"\x01\x1b[31m\n", b"\xff\xfe", b" ", b"...", b"a" * 255, b"-rf", b"a\\b", b"C:", b"%00"]
    raw = os.fsencode(tree / "allowed")
    deep = b"/".join([b"d"] * 63)
    Path(os.fsdecode(raw + b"/" + deep)).mkdir(parents=True)
    for name in [*odd, deep + b"/file"]:
        Path(os.fsdecode(raw + b"/" + name)).write_bytes(name)
    folders = allow(tree / "allowed")
    for name in [*odd, deep + b"/file"]:
        for asked in (name, raw + b"/" + name):
            with folders.open_file(asked) as file:
                assert file.file.read() == name


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
    with pytest.raises(GiveUp):
        allow(Path("/")).list(b"/proc", None, 10)


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


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Exchanges two directory entries as fast as it goes, each time in one step, while the block runs."""
    libc, is_over, at_cwd, exchange = ctypes.CDLL(None), threading.Event(), -100, 2
    paths = os.fsencode(one), os.fsencode(other)

    def swap() -> None:
        while not is_over.is_set() and libc.renameat2(at_cwd, paths[0], at_cwd, paths[1], exchange) == 0:
            pass

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
        assert swapper.is_alive(), "the file system can't exchange two entries"
    finally:
        is_over.set()
        swapper.join(10)


@pytest.mark.parametrize("name", ["sub", "sub/file"])
def test_what_is_swapped_for_a_link_to_outside_never_leads_there(tree: Path, allow: Open, name: str) -> None:
    allowed, outside = tree / "allowed", tree / "outside"
    (allowed / "sub" / "file").write_bytes(b"inside")
    (outside / "file").write_bytes(b"secret")
    (allowed / "evil").symlink_to(tree / name.replace("sub", "outside"))
    folders, seen = allow(allowed), {b"inside": 0, b"secret": 0, b"refused": 0}
    with swapping(allowed / name, allowed / "evil"):
        for _ in range(5000):
            try:
                with folders.open_file(b"sub/file") as file:
                    seen[file.file.read()] += 1
            except GiveUp:
                seen[b"refused"] += 1
    assert seen[b"secret"] == 0
    assert min(seen[b"inside"], seen[b"refused"]) > 50, "there was no race"


SECCOMP = """
import ctypes, os, struct, sys
from pathlib import Path
from sse_agent.errors import GiveUp
from sse_agent.files import AllowedFolders
from sse_agent.files.beneath import find_opener, walk

# load the call's number; is it openat2? then fail with this errno, else allow
program = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x00050000 | int(sys.argv[2])), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)), 0, 0) == 0
assert find_opener(os.open("/", os.O_RDONLY)) is walk
with AllowedFolders([Path(sys.argv[1])]) as folders:
    print(folders.open_file(b"sub/deep.txt").file.read().decode())
    try:
        folders.open_file(b"linked/secret.txt")
    except GiveUp as refusal:
        print(refusal.code)
"""


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.EPERM])
def test_where_openat2_is_missing_or_forbidden_the_walk_takes_its_place(tree: Path, reason: int) -> None:
    command = [sys.executable, "-c", SECCOMP, str(tree / "allowed"), str(reason)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.stdout, ended.stderr) == ("inside\nNOT_FOUND\n", "")


def test_openat2_is_used_where_the_kernel_has_it(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    assert (find_opener(descriptor) is not walk) == (release >= (5, 6))
    os.close(descriptor)


# --- names on Windows ---------------------------------------------------------------------------------


WINDOWS_TRICKS = (
    *("sub/file.txt:stream", "sub/a:", "sub/file.txt.", "sub/file.txt ", "sub /x", "NUL", "sub/nul.txt", "Com1"),
    *("sub/LPT\u00b9.log", "aux .txt", "CONIN$", "sub/a?b", "sub/a*", "sub/<", "sub/tab\t", "sub\\\\x", "sub/"),
)


@pytest.mark.parametrize("name", WINDOWS_TRICKS)
def test_what_windows_would_read_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(names.Unsuitable):
        names.check(names.split(name.encode(), windows=True), windows=True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("C:\\out\\a.txt", (b"a.txt",)),
        ("c:/OUT/sub\\a.txt", (b"sub", b"a.txt")),
        ("C:\\outer\\a.txt", None),
        ("C:out\\a.txt", None),
        ("\\out\\a.txt", None),
        ("\\\\?\\C:\\out\\a.txt", None),
        ("\\\\host\\out\\a.txt", None),
        ("D:\\out\\a.txt", None),
    ],
)
def test_an_absolute_name_on_windows_lies_beneath_its_folder_or_nowhere(name: str, parts: names.Parts | None) -> None:
    components = names.split(name.encode(), windows=True)
    assert names.is_absolute(components, windows=True)
    assert names.beneath(components, names.spelling(b"C:\\out\\", windows=True), windows=True) == parts


# --- identity ---------------------------------------------------------------------------------------


def test_the_identity_changes_when_the_file_is_rewritten_with_the_same_size(tree: Path, allow: Open) -> None:
    path = tree / "allowed" / "report.txt"
    with allow(tree / "allowed").open_file(b"report.txt") as file:
        assert file.current_identity() == file.identity
        before = path.stat()
        path.write_bytes(b"INSIDE")
        # Not even the time of the last change set back hides it.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.current_identity() != file.identity
        assert file.current_identity().size == file.identity.size


def test_the_identity_is_that_of_the_opened_file_not_of_what_has_its_name_now(tree: Path, allow: Open) -> None:
    folders, path = allow(tree / "allowed"), tree / "allowed" / "report.txt"
    with folders.open_file(b"report.txt") as file:
        (tree / "other").write_bytes(b"INSIDE")
        (tree / "other").rename(path)
        assert file.file.read() == b"inside"
        assert file.current_identity().inode == file.identity.inode
        with folders.open_file(b"report.txt") as other:
            assert other.identity != file.identity


def test_an_identity_survives_the_journal_and_a_new_number_of_its_device() -> None:
    identity = FileIdentity(device=66306, inode=2**63, size=2**40, mtime_ns=-1, ctime_ns=10**18)
    assert FileIdentity.from_text(identity.to_text()) == identity
    assert FileIdentity.from_text(identity.to_text()).device == 66306
    assert FileIdentity(1, 2, 3, 4, 5) == FileIdentity(9, 2, 3, 4, 5)
    for text in ("", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 x"):
        with pytest.raises(ValueError, match=r"unpack|invalid literal"):
            FileIdentity.from_text(text)


def test_trouble_in_reading_is_a_reason_to_try_again(tree: Path, allow: Open) -> None:
    with allow(tree / "allowed").open_file(b"report.txt") as file:
        directory = os.open(tree, os.O_RDONLY)
        os.dup2(directory, file.file.fileno())
        os.close(directory)
        for read in (lambda: file.file.read(1), lambda: file.file.readinto(bytearray(1))):
            with pytest.raises(TryAgain):
                read()


# --- listing ----------------------------------------------------------------------------------------


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


# --- starting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nothing", ExitCode.WRONG_CONFIGURATION),
        ("allowed/report.txt", ExitCode.WRONG_CONFIGURATION),
        ("allowed/report.txt/x", ExitCode.WRONG_CONFIGURATION),
        ("allowed/fifo", ExitCode.WRONG_CONFIGURATION),
        ("allowed/loop", ExitCode.WRONG_CONFIGURATION),
        ("/proc", ExitCode.WRONG_CONFIGURATION),
        ("/proc/self/task", ExitCode.WRONG_CONFIGURATION),
        ("/sys/kernel", ExitCode.WRONG_CONFIGURATION),
        ("/dev", ExitCode.WRONG_CONFIGURATION),
        ("allowed/magic/proc", ExitCode.WRONG_CONFIGURATION),
    ],
)
def test_a_folder_that_cannot_be_one_stops_the_start(tree: Path, hold: Hold, path: str, code: ExitCode) -> None:
    before = descriptors()
    with pytest.raises(CannotStart) as refused:
        AllowedFolders([tree / "allowed", tree / path], hold=hold)
    assert refused.value.exit_code is code
    assert repr(str(tree / path)) in str(refused.value)
    assert descriptors() == before


@pytest.mark.parametrize("mode", [0, 0o644])
@pytest.mark.parametrize("below", ["", "below"])
@pytest.mark.parametrize("form", ["the best form", "the walk"])
def test_a_folder_that_may_not_be_searched_stops_the_start(form: str, mode: int, below: str) -> None:
    # Not in tmp_path: nobody gets that far.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "folder"
        (folder / "below").mkdir(parents=True)
        Path(place).chmod(0o755)
        folder.chmod(mode)
        try:
            with as_nobody(), pytest.raises(CannotStart) as refused:
                AllowedFolders([folder / below], hold=FORMS[form])
        finally:
            folder.chmod(0o700)
    assert refused.value.exit_code is ExitCode.NOT_PERMITTED
