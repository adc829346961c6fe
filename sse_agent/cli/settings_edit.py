"""Change a few lines of a settings file that somebody wrote, and nothing else in it."""

import json
import re
import tomllib
from collections.abc import Mapping


def updated(text: str, values: Mapping[str, str | None]) -> str:
    """The file's text with these settings; None takes one out (its line becomes a comment without the value).

    Raises ValueError where the file is written in a way that can't be changed line by line.
    """
    head, rest = _split(text)
    for name, value in values.items():
        head = _with(head, name, value)
    result = head + rest
    try:
        found = tomllib.loads(result)
    except tomllib.TOMLDecodeError:
        raise ValueError("it can't be changed line by line") from None
    before = tomllib.loads(text)
    if found != {**{name: old for name, old in before.items() if name not in values}, **_set(values)}:
        raise ValueError("it can't be changed line by line")
    return result


def _set(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _split(text: str) -> tuple[str, str]:
    """What is above the first table, and the rest."""
    table = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    return (text[: table.start()], text[table.start() :]) if table else (text, "")


def _with(text: str, name: str, value: str | None) -> str:
    line = re.compile(rf"^[ \t]*{name}[ \t]*=.*$", re.MULTILINE)
    comment = re.compile(rf"^#[ \t]*{name}[ \t]*=.*$", re.MULTILINE)
    if value is None:
        return line.sub(f'#{name} = "…"', text, count=1)
    wanted = f"{name} = {json.dumps(value)}"
    for pattern in (line, comment):
        if pattern.search(text):
            return pattern.sub(lambda _: wanted, text, count=1)
    return text + ("" if not text or text.endswith("\n") else "\n") + wanted + "\n"
