"""The rows of the list: one upload each, in columns that stay where they are. Pure."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from rich.segment import Segment

from sse_agent.board import Upload
from sse_agent.console.glyphs import Glyphs
from sse_agent.console.rows import (
    BAD,
    CARE,
    CURSOR,
    FAINT,
    GOOD,
    MOVING,
    PLAIN,
    STRONG,
    Row,
    cause,
    padded_name,
    spread,
    width_of,
    words,
)
from sse_agent.lifecycle import UploadState
from sse_agent.printable import byte_count, byte_share, duration


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide the columns of the uploads are; 0 for one that there is no room for. Two spaces between them."""

    name: int
    bar: int
    percent: int
    share: int
    confirmed: int
    rate: int
    left: int

    @classmethod
    def for_width(cls, width: int) -> "Columns":
        percent, share, rate = 5, (13 if width >= 64 else 0), (10 if width >= 76 else 0)
        confirmed = 9 if width >= 104 else 0
        left = 11 if width >= 92 else 7 if width >= 34 else 0
        fixed = [column for column in (percent, share, confirmed, rate, left) if column]
        room = width - 2 - sum(fixed) - 2 * (len(fixed) + 1)
        bar = 0 if room < 14 else max(6, min(48, room * 2 // 5))
        return cls(room - bar, bar, percent, share, confirmed, rate, left)


def titles(columns: Columns) -> Row:
    """What the columns are, for those who have the room to read it."""
    cells = [" " * columns.name, " " * columns.bar, " " * columns.percent]
    for title, width in (
        ("sent", columns.share),
        ("confirmed", columns.confirmed),
        ("rate", columns.rate),
        ("left", columns.left),
    ):
        if width:
            cells.append(title.rjust(width))
    return [Segment(" " + "  ".join(cells), FAINT)]


def upload(upload: Upload, now: float, at: datetime, width: int, columns: Columns, glyphs: Glyphs) -> Row:
    """One upload of the list, at this monotonic instant and that one on the wall."""
    if upload.state is UploadState.QUEUED:
        return _queued(upload.name, upload.bytes_left if upload.size else None, width, columns.name, glyphs)
    name = padded_name(upload.name, columns.name, glyphs)
    if upload.state is UploadState.UPLOADING:
        return [Segment(" "), Segment(name), Segment("  "), *_moving(upload, now, columns, glyphs), Segment(" ")]
    if upload.state is UploadState.WAITING:
        return _waiting(upload, name, at, width, columns, glyphs)
    if upload.state is UploadState.PAUSED:
        return _paused(upload, name, width, columns, glyphs)
    return _over(upload, name, width, columns, glyphs)


def selected(row: Row, glyphs: Glyphs) -> Row:
    """The row, as that of the selected upload."""
    return [Segment(glyphs.prompt, STRONG), Segment(row[1].text, CURSOR), *row[2:]]


@lru_cache(maxsize=512)
def _queued(name: str, left: int | None, width: int, name_width: int, glyphs: Glyphs) -> Row:
    row = [Segment(" "), Segment(padded_name(name, name_width, glyphs), FAINT), Segment("  queued", FAINT)]
    return spread(row, [Segment("" if left is None else f"{byte_count(left)} ", FAINT)], width)


def _paused(upload: Upload, name: str, width: int, columns: Columns, glyphs: Glyphs) -> Row:
    """By whom is told as long as there is any room; the figures go first."""
    by_whom = Segment("  paused here" if upload.is_paused_here else "  paused from afar", MOVING)
    percent = Segment(f"  {_percent(upload.offset, upload.size).rjust(columns.percent)}", FAINT)
    share = Segment(f"  {byte_share(upload.offset, upload.size):>13}", FAINT)
    bar = [Segment("  "), *_bar(upload, columns.bar, glyphs, is_moving=False)]
    head = [Segment(" "), Segment(name)]
    for middle in ([*bar, percent, share], [*bar, percent], [percent], []):
        row = [*head, *middle, by_whom]
        if width_of(row) < width:
            return row
    return [*head, Segment("  paused", MOVING)]


def _over(upload: Upload, name: str, width: int, columns: Columns, glyphs: Glyphs) -> Row:
    """Only a filter lists what is over."""
    style = {UploadState.COMPLETE: GOOD, UploadState.FAILED: BAD}.get(upload.state, FAINT)
    row = [Segment(" "), Segment(name), Segment(f"  {upload.state}", style)]
    size = byte_count(upload.size) if upload.size else ""
    room = width - width_of(row) - len(size) - 4
    if upload.reason and room >= 8:
        row += [Segment("  "), Segment(words(upload.reason, room, glyphs))]
    return spread(row, [Segment(size + " ", FAINT)], width)


def _moving(upload: Upload, now: float, columns: Columns, glyphs: Glyphs) -> Row:
    cells = []
    if columns.share:
        cells.append(byte_share(upload.bytes_sent, upload.size).rjust(columns.share))
    if columns.confirmed:
        cells.append(byte_count(upload.offset).rjust(columns.confirmed))
    percent = _percent(upload.bytes_sent, upload.size).rjust(columns.percent)
    figures = "".join(f"  {cell}" for cell in cells)
    row = [*_bar(upload, columns.bar, glyphs), Segment(f"  {percent}", STRONG), Segment(figures)]
    pace = [width for width in (columns.rate, columns.left) if width]
    if not pace:
        return row
    confirming_s = upload.confirming_s(now)
    if confirming_s is not None:
        share = [byte_share(upload.bytes_sent, upload.size).rjust(columns.share)] if columns.share else []
        return [*row[:-1], *_confirming(confirming_s, share, [width for width in (columns.confirmed, *pace) if width])]
    still_s = upload.stalled_s(now)
    if still_s is not None:
        room = sum(pace) + 2 * (len(pace) - 1)
        return [*row, Segment(f"  {_stalled(still_s, room)}".rjust(room + 2), CARE)]
    # No figure before there is enough to go by; but that nothing moves is known.
    is_still = upload.attempt_sent and not upload.rate and not upload.is_confirming
    rate = "0 B/s" if is_still else glyphs.dropped
    left = glyphs.dropped
    if upload.left_s is not None:
        rate = f"{byte_count(upload.rate)}/s"
        left = duration(rounded(upload.left_s)) if columns.left > 7 else brief(upload.left_s)
    cells = [text.rjust(width) for text, width in ((rate, columns.rate), (left, columns.left)) if width]
    return [*row, Segment("".join(f"  {cell}" for cell in cells))]


def _confirming(seconds: float, share: list[str], rest: list[int]) -> Row:
    """That it is sent and what is waited for, in the place of the figures: of them the share stays longest."""
    long, short = duration(seconds), duration(seconds, 1)
    waits = [f"waiting for confirmation {long}", f"waiting for confirmation {short}"]
    brief = [f"unconfirmed for {short}", f"unconfirmed {short}"]
    beside = sum(rest) + 2 * (len(rest) - 1)
    alone = beside + sum(len(cell) + 2 for cell in share)
    tried = [(share, waits, beside), ([], waits, alone), ([], brief, alone)]
    for cells, texts, room in [*tried, (share, ["sent"], beside)]:
        text = next((text for text in texts if len(text) <= room), None)
        if text is not None:
            return [Segment("".join(f"  {cell}" for cell in cells)), Segment(f"  {text.rjust(room)}", MOVING)]
    return []


def _stalled(seconds: float, room: int) -> str:
    """As much of it as there is room for."""
    long = duration(seconds)
    short = duration(seconds, 1)
    texts = (f"no bytes for {long}", f"no bytes for {short}", f"no bytes {short}", "stalled")
    return next((text for text in texts if len(text) <= room), "")


def rounded(seconds: float) -> float:
    """So that the time left does not pretend to know more than it does."""
    step = 1 if seconds < 20 else 5 if seconds < 60 else 10 if seconds < 600 else 60
    return max(1.0, round(seconds / step) * step)


def brief(seconds: float) -> str:
    """The same in one unit, at most 6 cells up to 999 days: `42 s`, `98 min`, `47 h`, `3 d`."""
    left = rounded(seconds)
    for unit, size, below in (("s", 1, 60), ("min", 60, 99 * 60), ("h", 3600, 48 * 3600)):
        if left < below:
            return f"{round(left / size)} {unit}"
    return f"{round(left / 86400)} d"


def _percent(part: int, whole: int) -> str:
    # Never 100 % before it is over.
    return f"{min(99, part * 100 // whole)} %" if whole else ""


def _bar(upload: Upload, width: int, glyphs: Glyphs, *, is_moving: bool = True) -> Row:
    """Confirmed, sent and not confirmed yet, still to go: by their glyphs, and in colours where there are any."""
    whole = upload.size or 1
    confirmed = min(width, upload.offset * width // whole)
    sent = max(confirmed, min(width, upload.bytes_sent * width // whole))
    return [
        Segment(glyphs.confirmed * confirmed, GOOD if is_moving else PLAIN),
        Segment(glyphs.sent * (sent - confirmed), MOVING),
        Segment(glyphs.left * (width - sent), FAINT),
    ]


def _waiting(upload: Upload, name: str, at: datetime, width: int, columns: Columns, glyphs: Glyphs) -> Row:
    left_s = (upload.next_try_at - at).total_seconds() if upload.next_try_at else 0.0
    short = f"next try in {duration(left_s, 1)}" if left_s >= 1 else "next try now"
    agains = [short if width >= 60 else short.removeprefix("next try ")]
    if width >= 100:
        long = f"next try in {duration(left_s)}" if left_s >= 1 else short
        agains = [f"{long}, attempt {upload.tries + 1}"] * bool(upload.tries) + [long, short]
    # Why is more than when to the minute and second, and how often.
    rooms = [width - columns.name - len(again) - 14 for again in agains]
    needed = width_of([Segment(cause(upload.reason, width, glyphs))])
    again, room = next((pair for pair in zip(agains, rooms, strict=True) if pair[1] >= needed), (agains[-1], rooms[-1]))
    row = [Segment(" "), Segment(name), Segment("  waiting", CARE)]
    if room >= 8:
        row += [Segment("  "), Segment(cause(upload.reason, room, glyphs))]
    return spread(row, [Segment(again, FAINT), Segment(" ")], width)
