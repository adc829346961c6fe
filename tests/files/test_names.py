"""What names may say, and what they may not."""

import os
import sys
import unicodedata
from pathlib import Path

import pytest

from sse_agent.errors import GiveUp
from sse_agent.files import names
from tests.files.forms import Open, assert_not_found

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is made here is made as Linux makes it")


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
    "more than 4096 bytes, absolute": b"@/" + b"a" * 4096,
    "a part of 256 bytes, absolute": b"@/" + b"a" * 256 + b"/report.txt",
    "parent, last": b"sub/..",
    "parent, then back": b"../allowed/report.txt",
    "parent, then back, absolute": b"@/../allowed/report.txt",
    "parent in the folder's own path": b"^/outside/../allowed/report.txt",
    "a dot in the folder's own path": b"^/./allowed/report.txt",
    "two slashes in the folder's own path": b"^//allowed/report.txt",
    "many parents": b"../" * 40 + b"etc/passwd",
    "parent with a trailing slash": b"../",
    "three dots": b".../secret.txt",
    "parent with a space": b".. /secret.txt",
    "parent with a NUL": b"..\0/secret.txt",
    "NUL first": b"\0report.txt",
    "NUL in the middle": b"sub\0/deep.txt",
    "NUL in the middle, absolute": b"@\0/report.txt",
    "file URL, one slash": b"file:/etc/passwd",
    "file URL, relative": b"file:report.txt",
    "file URL, with a host": b"file://localhost@/report.txt",
    "file URL in capitals": b"FILE://@/report.txt",
    "another scheme": b"http://127.0.0.1/report.txt",
    "drive letter with backslashes": b"C:\\report.txt",
    "drive letter, relative": b"C:report.txt",
    "verbatim path": b"\\\\?\\C:\\report.txt",
    "device path": b"\\\\.\\C:\\report.txt",
    "share with slashes": b"//host/share/secret.txt",
    "backslash as a separator": b"sub\\deep.txt",
    "stream of a file": b"report.txt:stream",
    "stream, the plain one": b"report.txt::$DATA",
    "home of another": b"~root/report.txt",
    "variable": b"$HOME/report.txt",
    "variable of Windows": b"%TEMP%/report.txt",
    "pattern": b"*.txt",
    "pattern for one character": b"report.tx?",
    "trailing dot": b"report.txt.",
    "trailing dot on a directory": b"sub./deep.txt",
    "trailing space": b"report.txt ",
    "leading space": b" report.txt",
    "space before the absolute name": b" @/report.txt",
    "trailing tab": b"report.txt\t",
    "quoted": b'"report.txt"',
    "percent-encoded slash": b"sub%2fdeep.txt",
    "another case of a directory": b"SUB/deep.txt",
    "another case of the folder": b"^/ALLOWED/report.txt",
    "another Unicode form, absolute": b"@/" + "cafe\u0301.txt".encode(),
    "another Unicode form, in capitals": "CAF\u00c9.TXT".encode(),
    "full-width letters": "\uff52\uff45\uff50\uff4f\uff52\uff54.txt".encode(),
    "full-width slash": "sub\uff0fdeep.txt".encode(),
    "division slash": "sub\u2215deep.txt".encode(),
    "two-dot leader": "\u2025/secret.txt".encode(),
    "one-dot leaders": "\u2024\u2024/secret.txt".encode(),
    "zero-width space": "report\u200b.txt".encode(),
    "soft hyphen": "rep\u00adort.txt".encode(),
    "right to left": "report\u202etxt.".encode(),
    "byte order mark": "\ufeffreport.txt".encode(),
    "UTF-16": "report.txt".encode("utf-16-le"),
    "overlong slash": b"sub\xc0\xafdeep.txt",
    "a lone surrogate": b"\xed\xb3\xa9report.txt",
    "magic link, absolute": b"@/magic/etc/passwd",
    "magic link that leads back inside": b"@/magic@/report.txt",
    "magic link itself": b"magic",
    "by way of /proc/self/root": b"/proc/self/root@/report.txt",
    "by way of /proc/self/cwd": b"/proc/self/cwd/report.txt",
    "by way of /proc and this process": b"/proc/thread-self/root@/report.txt",
    "standard input": b"/dev/stdin",
    "a descriptor": b"/dev/fd/0",
    "a descriptor, relative": b"dev/fd/0",
    "by way of an unknown link to the folder": b"^/way-in/report.txt",
}


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_what_may_not_be_opened_is_refused_in_the_same_words(tree: Path, allow: Open, name: bytes) -> None:
    (tree / "way-in").symlink_to("allowed")
    raw = name.replace(b"@", os.fsencode(tree / "allowed")).replace(b"^", os.fsencode(tree))
    with pytest.raises(GiveUp) as refused:
        allow(tree / "allowed").open_file(raw)
    assert_not_found(refused.value)
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize("where", ["", "outside", "allowed/sub"])
@pytest.mark.parametrize("directory", ["proc/self/fd", "dev/fd"])
def test_a_descriptor_of_an_open_file_is_no_way_to_it(tree: Path, allow: Open, directory: str, where: str) -> None:
    (tree / "allowed" / "fd").symlink_to(f"/{directory}")
    file = tree / where / "held.txt"
    file.write_bytes(b"held")
    with file.open("rb") as held:
        for name in (f"/{directory}/{held.fileno()}", f"fd/{held.fileno()}"):
            with pytest.raises(GiveUp) as refused:
                allow(tree / "allowed").open_file(name.encode())
            assert_not_found(refused.value)


@pytest.mark.parametrize(
    "present", ["caf\u00e9", "cafe\u0301", "\u212b", "A\u030a", "\u00c5", "\ufb01", "\u1e9e", "I", "\u0131"]
)
def test_a_file_opens_by_its_own_bytes_only_and_by_no_other_form_of_them(
    tmp_path: Path, allow: Open, present: str
) -> None:
    (tmp_path / present).write_bytes(b"inside")
    folders = allow(tmp_path)
    folders.open_file(present.encode()).close()
    forms = {unicodedata.normalize(form, present) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    others = forms | {present.lower(), present.upper(), present.casefold(), present.swapcase()}
    for other in others - {present}:
        with pytest.raises(GiveUp) as refused:
            folders.open_file(other.encode())
        assert_not_found(refused.value)
    assert others - {present}


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


WINDOWS_TRICKS = (
    *("sub/file.txt:stream", "sub/a:", "sub/file.txt.", "sub/file.txt ", "sub /x", "NUL", "sub/nul.txt", "Com1"),
    *(
        "file:///C:/out/a.txt",
        "file:a.txt",
        "..\\a",
        "sub\\..\\a",
        "..",
        "a\0",
        "sub/COM\u00b2",
        "nul ",
        "clock$",
        "a\x1f",
    ),
    "\\\\.\\C:\\out\\a.txt",
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
        ("\\\\?\\GLOBALROOT\\Device\\HarddiskVolume1\\out\\a.txt", None),
        ("\\\\?\\UNC\\host\\out\\a.txt", None),
        ("\\??\\C:\\out\\a.txt", None),
        ("/out/a.txt", None),
        ("C:\\\\out\\a.txt", None),
        ("file:///C:/out/a.txt", None),
    ],
)
def test_an_absolute_name_on_windows_lies_beneath_its_folder_or_nowhere(name: str, parts: names.Parts | None) -> None:
    components = names.split(name.encode(), windows=True)
    assert names.is_absolute(components, windows=True)
    assert names.beneath(components, names.spelling(b"C:\\out\\", windows=True), windows=True) == parts
