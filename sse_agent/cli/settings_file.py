"""The commented settings file that `init` writes. It holds the token: from its first byte on it is its owner's."""

import json
import os
import secrets
import stat
import textwrap
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sse_agent import config
from sse_agent.config import PREFIX, Settings
from sse_agent.errors import CannotStart, ExitCode

WIDTH = 100
EXAMPLES: Mapping[str, Any] = {
    "token": "put-the-token-here",
    "tus_endpoint": "https://uploads.example.com/files/",
    "tus_token": "put-the-token-here",
    "upload_origins": ["https://uploads.example.com"],
    "commands": ["-LIST_FILES", "-MESSAGE"],
    "ca_file": "/etc/ssl/certs/company.pem",
}


def text(values: Mapping[str, Any]) -> str:
    """TOML: what is in `values` is set, every other setting stands there as a comment. Raises ValueError."""
    lines = [
        "# Settings of sse-agent, written by `sse-agent init`. It holds a secret: keep it to yourself (chmod 600).",
        f"# Flags and variables count more: {PREFIX}CLIENT_ID, say, over client_id here.",
    ]
    for name, field in Settings.model_fields.items():
        is_set = values.get(name) not in (None, [])
        value = values[name] if is_set else EXAMPLES.get(name, field.default)
        words = [f"# {line}" for line in textwrap.wrap(field.description or "", WIDTH)]
        lines += ["", *words, f"{'' if is_set else '#'}{name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def read(path: Path) -> dict[str, Any]:
    """What an earlier one sets, as far as it is right; nothing if others can write it, or it is no TOML."""
    if not config.trusted(path):
        return {}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    values = {}
    for name in Settings.model_fields.keys() & found.keys():
        value = found[name]
        with suppress(ValueError):
            values[name] = config.parse(name, json.dumps(value) if isinstance(value, list) else str(value))
    return values


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, int | float):
        return str(value)
    plain = str(value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise ValueError("a settings file is UTF-8, and this is not") from None
    # TOML's strings are JSON's but for DEL, and for characters beyond U+FFFF, which stand there as they are.
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007F")


def write(path: Path, content: str, *, is_anew: bool = False) -> Path | None:
    """Write it for its owner alone, whole or not at all. What was there is kept beside it; returns where.

    What replaces a file stays open to its group if it was: that may be the agent's. The owner stays, too, but for
    `is_anew`: then it is whoever writes, for nobody is to read what another may change.
    Raises CannotStart, 77, if it can't be written there.
    """
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)
        kept = path.with_name(path.name + ".bak") if path.exists() else None
        before = path.lstat() if path.is_file() and not path.is_symlink() else None
        owner = before.st_uid if before is not None and not is_anew else -1
        if kept is not None:
            _put(kept, path.read_bytes(), before, owner)
        _put(path, content.encode(), before, owner)
    except OSError as error:
        message = f"{path} can't be written: {(error.strerror or 'the disk takes it not').lower()}; see --settings-file"
        raise CannotStart(message, ExitCode.NOT_PERMITTED) from None
    return kept


def _put(path: Path, content: bytes, before: os.stat_result | None, owner: int) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if before is not None and os.name == "posix":
                _let_in(descriptor, before, owner)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()


def _let_in(descriptor: int, before: os.stat_result, owner: int) -> None:
    """This owner, -1 for whoever writes, and the group that could read the file of `before`; never all the world."""
    # Others than root give nothing away, but to a group of their own.
    for user in (owner, -1):
        with suppress(OSError):
            os.fchown(descriptor, user, before.st_gid)
            break
    # A file that was open to all was opened to no group in particular.
    if os.fstat(descriptor).st_gid == before.st_gid and not before.st_mode & stat.S_IROTH:
        os.fchmod(descriptor, 0o600 | before.st_mode & stat.S_IRGRP)
