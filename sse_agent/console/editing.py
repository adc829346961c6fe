"""One line of text, edited in place. Pure."""

from collections.abc import Callable

from sse_agent.messages import MESSAGE_LIMIT

Draft = tuple[str, str]
"""What is typed: before and after the cursor."""
EMPTY: Draft = ("", "")
PASTE = "paste:"


def edited(draft: Draft, key: str) -> Draft | None:
    """The line after this key; None if it is no key of an editor."""
    before, after = draft
    if key.startswith(PASTE) or len(key) == 1:
        room = max(0, MESSAGE_LIMIT - len(before) - len(after))
        return before + key.removeprefix(PASTE)[:room], after
    edit = EDITS.get(key)
    return None if edit is None else edit(before, after)


def without_word(before: str, after: str) -> Draft:
    """Without the word before the cursor and the space behind it."""
    kept = before.rstrip()
    last = kept.rsplit(None, 1)[-1:]
    return kept[: len(kept) - len("".join(last))], after


def _left(before: str, after: str) -> Draft:
    return before[:-1], before[-1:] + after


def _right(before: str, after: str) -> Draft:
    return before + after[:1], after[1:]


EDITS: dict[str, Callable[[str, str], Draft]] = {
    "backspace": lambda before, after: (before[:-1], after),
    "delete": lambda before, after: (before, after[1:]),
    "ctrl-u": lambda _, after: ("", after),
    "ctrl-k": lambda before, _: (before, ""),
    "ctrl-w": without_word,
    "left": _left,
    "right": _right,
    "home": lambda before, after: ("", before + after),
    "end": lambda before, after: (before + after, ""),
}
