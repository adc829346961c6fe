"""Chat lines that begin with `/`: the commands that people type, made real. Pure."""

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sse_agent.control_plane.problems import Problem
from sse_agent.messages import CommandType

Payload = dict[str, Any]
_HELP = (
    "type /status, /ls [folder], /upload FILE, /pause ID, /resume ID or /cancel ID; // sends a line that begins with /"
)


class UnknownChatCommand(Problem):
    status, slug, title = 422, "unknown-chat-command", "No chat command is called that"


def command_of(text: str, key: str) -> tuple[CommandType, Payload] | None:
    """The command that a line means; None: it is chat. `key` names what it makes. Raises UnknownChatCommand."""
    if not text.startswith("/") or text.startswith("//"):
        return None
    name, _, rest = text[1:].strip().partition(" ")
    make = _COMMANDS.get(name.lower())
    if make is None:
        raise UnknownChatCommand(_HELP)
    return make(_words(rest), key)


def without_escape(text: str) -> str:
    """A line that begins with two slashes is meant to begin with one."""
    return text[1:] if text.startswith("//") else text


def _words(text: str) -> Sequence[str]:
    try:
        # Backslashes are parts of names on Windows.
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
        return list(lexer)
    except ValueError:
        raise UnknownChatCommand('a quotation mark has no partner; write "a name with spaces"') from None


def _one(words: Sequence[str], what: str) -> str:
    if len(words) != 1:
        raise UnknownChatCommand(f'this needs one {what}; write "a name with spaces" in quotation marks')
    return words[0]


def _status(words: Sequence[str], _: str) -> tuple[CommandType, Payload]:
    if words:
        raise UnknownChatCommand("/status takes nothing else")
    return CommandType.GET_STATUS, {}


def _list(words: Sequence[str], _: str) -> tuple[CommandType, Payload]:
    return CommandType.LIST_FILES, {"path": _one(words, "folder")} if words else {}


def _upload(words: Sequence[str], key: str) -> tuple[CommandType, Payload]:
    # From the key, so that the same request again means the same upload.
    file_id = "chat-" + hashlib.sha256(key.encode()).hexdigest()[:16]
    return CommandType.UPLOAD_START, {"fileId": file_id, "fileName": _one(words, "file")}


def _wish(command: CommandType) -> Callable[[Sequence[str], str], tuple[CommandType, Payload]]:
    return lambda words, _: (command, {"fileId": _one(words, "upload's ID")})


_COMMANDS: Mapping[str, Callable[[Sequence[str], str], tuple[CommandType, Payload]]] = {
    "status": _status,
    "ls": _list,
    "upload": _upload,
    "pause": _wish(CommandType.UPLOAD_PAUSE),
    "resume": _wish(CommandType.UPLOAD_RESUME),
    "cancel": _wish(CommandType.UPLOAD_CANCEL),
}
