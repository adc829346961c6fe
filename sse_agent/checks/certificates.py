"""Who issued a certificate that was not trusted. Pure.

The ssl module tells of a certificate only what it has verified; what people must know is who made the one that it has
not. This reads as much of X.509 (RFC 5280, section 4.1) in DER as that takes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_UTC_TIME, _GENERALIZED_TIME, _BMP_STRING = 0x17, 0x18, 0x1E
_COMMON_NAME, _ORGANIZATION, _UNIT = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x0b"
NAME_LIMIT = 120


@dataclass(frozen=True, slots=True)
class Certificate:
    """Names as text for people, not made printable; instants are aware."""

    issuer: str
    subject: str
    not_before: datetime
    not_after: datetime


def read(der: bytes) -> Certificate:
    """Raises ValueError for what is no certificate."""
    try:
        fields = list(_elements(_content(_content(der))))
        if fields[0][0] == _VERSION:
            del fields[0]
        _, _, issuer, validity, subject = (content for _, content in fields[:5])
        not_before, not_after = (_instant(tag, content) for tag, content in list(_elements(validity))[:2])
        return Certificate(_name(issuer), _name(subject), not_before, not_after)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no certificate: {error}") from None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of each element in a row."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("no certificate: an element is longer than what it is in")
        yield tag, data[at : at + length]
        at += length


def _content(data: bytes) -> bytes:
    """Of the first element, which is a sequence."""
    tag, content = next(_elements(data), (0, b""))
    if tag != _SEQUENCE:
        raise ValueError("no certificate: it does not begin with a sequence")
    return content


def _instant(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280, section 4.1.2.5.1: 50 is 1950, 49 is 2049.
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no certificate: no instants")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _name(content: bytes) -> str:
    """The common name, or else the unit, and the organization; without any, that there is none."""
    found: dict[bytes, str] = {}
    for _, relative in _elements(content):
        for _, attribute in _elements(relative):
            parts = list(_elements(attribute))
            if len(parts) == 2 and parts[0][0] == _OID:
                tag, value = parts[1]
                found[parts[0][1]] = value.decode("utf-16-be" if tag == _BMP_STRING else "utf-8", "replace")
    names = (found.get(_COMMON_NAME) or found.get(_UNIT), found.get(_ORGANIZATION))
    return ", ".join(filter(None, names))[:NAME_LIMIT] or "nobody (no name is in it)"
