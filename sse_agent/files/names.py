"""What a name means: raw bytes → the parts beneath an allowed folder. Pure: no file is touched.

Names are compared as bytes: no case is folded and no Unicode form equated, but by the file system itself.
"""

import os

Parts = tuple[bytes, ...]

NAME_LIMIT = 4096
DEPTH_LIMIT = 64
NO_FILE = b"no such file"
"""Looked for where nothing is to be found. If somebody makes it, it is still not given out for another name."""
WINDOWS = os.name == "nt"

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file; the superscript digits count as digits there.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [port + digit for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
_NOT_IN_NAMES = frozenset('<>:"|?*') | {chr(code) for code in range(32)}


class Unsuitable(Exception):
    """Why a name is refused, in words for this machine's own log."""


def split(name: bytes, *, windows: bool = WINDOWS) -> Parts:
    """The components of a name, the empty one before a leading slash included. Raises Unsuitable."""
    if not name:
        raise Unsuitable("the name is empty")
    if len(name) > NAME_LIMIT:
        raise Unsuitable(f"the name has more than {NAME_LIMIT} bytes")
    if b"\0" in name:
        raise Unsuitable("the name has a NUL")
    components = tuple((name.replace(b"\\", b"/") if windows else name).split(b"/"))
    if b"." in components or b".." in components:
        raise Unsuitable("the name has a part that is . or ..")
    return components


def spelling(folder: bytes, *, windows: bool = WINDOWS) -> Parts:
    """The components of a folder's own absolute path, without a trailing slash."""
    plain = folder.replace(b"\\", b"/") if windows else folder
    return tuple(plain.rstrip(b"/").split(b"/"))


def is_absolute(components: Parts, *, windows: bool = WINDOWS) -> bool:
    """Also true for what Windows reads as a drive, a stream or a share: none of these is relative to a folder."""
    return components[0] == b"" or (windows and b":" in components[0])


def beneath(components: Parts, folder: Parts, *, windows: bool = WINDOWS) -> Parts | None:
    """What follows the folder's own components, or None if the name lies elsewhere."""
    own = components[: len(folder)]
    if own == folder or (windows and _lower(own) == _lower(folder)):
        return components[len(folder) :]
    return None


def check(parts: Parts, *, windows: bool = WINDOWS) -> None:
    """Raises Unsuitable for parts that no file in a folder can have."""
    if len(parts) > DEPTH_LIMIT:
        raise Unsuitable(f"the name has more than {DEPTH_LIMIT} parts")
    if b"" in parts:
        raise Unsuitable("the name has an empty part")
    if windows:
        for part in parts:
            _check_on_windows(part)


def _check_on_windows(part: bytes) -> None:
    """Windows would quietly open something else than these say."""
    try:
        text = part.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Unsuitable("the name is not UTF-8") from None
    if _NOT_IN_NAMES.intersection(text):
        raise Unsuitable("the name has a character that Windows does not allow")
    if text.endswith((".", " ")):
        raise Unsuitable("a part of the name ends in a dot or a space")
    if text.partition(".")[0].rstrip(" ").lower() in _DEVICES:
        raise Unsuitable("a part of the name is a device of Windows")


def _lower(parts: Parts) -> Parts:
    return tuple(part.lower() for part in parts)
