"""A second parser of event streams, to judge the first by. It shares nothing with it.

HTML Living Standard, 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream", one sentence after the
other, over the whole body at once, one code point at a time. Slow, and with no bounds.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dispatched:
    """One event: what a browser's script would see as `lastEventId`, `type` and `data`."""

    last_event_id: str
    type: str
    data: str


@dataclass
class Reading:
    """What a whole body says. `retry_ms` is the reconnection time, if the stream sets one."""

    events: list[Dispatched] = field(default_factory=list)
    last_event_id: str = ""
    retry_ms: int | None = None


def read_stream(body: bytes, last_event_id: str = "") -> Reading:
    """`body` as the standard reads it; `last_event_id` is what the connection before ended with."""
    # "Streams must be decoded using the UTF-8 decode algorithm", which strips one leading byte order mark.
    text = body.decode("utf-8", "replace")
    if text[:1] == "\N{ZERO WIDTH NO-BREAK SPACE}":
        text = text[1:]
    reading = Reading(last_event_id=last_event_id)
    buffers = {"last event ID": last_event_id, "data": "", "event type": ""}
    for line in _lines(text):
        if line == "":
            _dispatch(reading, buffers)
        elif line[0] == ":":
            continue
        elif ":" in line:
            at = line.index(":")
            value = line[at + 1 :]
            if value != "" and value[0] == " ":
                value = value[1:]
            _process(reading, buffers, line[:at], value)
        else:
            _process(reading, buffers, line, "")
    return reading


def _lines(text: str) -> list[str]:
    """`stream = [ bom ] *event`, each line with its end; what has none is discarded at the end of the file."""
    lines, line, at = [], "", 0
    while at < len(text):
        if text[at] == "\r":
            lines.append(line)
            line = ""
            at += 2 if text[at + 1 : at + 2] == "\n" else 1
        elif text[at] == "\n":
            lines.append(line)
            line = ""
            at += 1
        else:
            line += text[at]
            at += 1
    return lines


def _process(reading: Reading, buffers: dict[str, str], name: str, value: str) -> None:
    """ "The steps to process the field given a field name and a field value"."""
    if name == "event":
        buffers["event type"] = value
    elif name == "data":
        buffers["data"] += value + "\n"
    elif name == "id":
        if "\0" not in value:
            buffers["last event ID"] = value
    elif name == "retry" and value != "" and all(digit in "0123456789" for digit in value):
        reading.retry_ms = _decimal(value)


def _decimal(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 10 + ord(digit) - ord("0")
    return number


def _dispatch(reading: Reading, buffers: dict[str, str]) -> None:
    """ "When the user agent is required to dispatch the event"."""
    reading.last_event_id = buffers["last event ID"]
    if buffers["data"] == "":
        buffers["event type"] = ""
        return
    data = buffers["data"]
    if data[-1] == "\n":
        data = data[:-1]
    reading.events.append(Dispatched(reading.last_event_id, buffers["event type"] or "message", data))
    buffers["data"] = ""
    buffers["event type"] = ""
