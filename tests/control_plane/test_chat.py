"""Lines that begin with a slash."""

import pytest

from sse_agent.control_plane.chat import UnknownChatCommand, command_of, without_escape


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/status", ("GET_STATUS", {})),
        ("/STATUS ", ("GET_STATUS", {})),
        ("/ls", ("LIST_FILES", {})),
        ("/ls reports", ("LIST_FILES", {"path": "reports"})),
        ('/ls "with spaces"', ("LIST_FILES", {"path": "with spaces"})),
        (r"/ls C:\Users\a", ("LIST_FILES", {"path": r"C:\Users\a"})),
        ("/pause f-1", ("UPLOAD_PAUSE", {"fileId": "f-1"})),
        ("/resume f-1", ("UPLOAD_RESUME", {"fileId": "f-1"})),
        ("/cancel f-1", ("UPLOAD_CANCEL", {"fileId": "f-1"})),
    ],
)
def test_they_are_commands(text: str, command: tuple[str, dict[str, str]]) -> None:
    assert command_of(text, "key") == command


def test_an_upload_is_the_same_one_for_the_same_key() -> None:
    first, again, other = (command_of("/upload 'a b.txt'", key) for key in ("k", "k", "l"))
    assert first is not None
    assert first == again != other
    assert first[1]["fileName"] == "a b.txt"


@pytest.mark.parametrize("text", ["hello", "", " /status", "//status", "a/b", "https://example.com"])
def test_other_lines_are_chat(text: str) -> None:
    assert command_of(text, "key") is None


def test_two_slashes_send_one() -> None:
    assert without_escape("//status") == "/status"
    assert without_escape("a//b") == "a//b"


@pytest.mark.parametrize(
    "text", ["/", "/rm", "/statusx", "/status now", "/pause", "/pause a b", "/upload", '/ls "open', "/exec ls"]
)
def test_what_is_no_command_is_refused_and_never_said(text: str) -> None:
    with pytest.raises(UnknownChatCommand):
        command_of(text, "key")
