"""Draw the console as it is on a good day into docs/images/: the same every time.

`--text` shows it here instead; `--check` only tells, by its exit code, whether docs/images/ is current.
"""

import argparse
import io
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.terminal_theme import TerminalTheme

from sse_agent import events
from sse_agent.board import Board
from sse_agent.clock import timestamp
from sse_agent.console import Frame, Logbook, Mode, Moment, State
from sse_agent.console.glyphs import ASCII, PRETTY, Glyphs
from sse_agent.console.state import Ask, Stop
from sse_agent.lifecycle import UploadState
from sse_agent.lines import Lines

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
MIB = 1024 * 1024
KIB = 1024
START = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
NOW_S = 778.0
SENDING_S = 12
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
THEME = TerminalTheme(
    (24, 26, 32),
    (216, 220, 228),
    [(24, 26, 32), (224, 108, 117), (126, 200, 120), (229, 192, 105), (97, 150, 239), (198, 140, 230), (86, 194, 214)],
    [(216, 220, 228)],
)
QUEUED = [("scan-0417.tiff", 88 * MIB), ("scan-0418.tiff", 91 * MIB), ("scan-0419.tiff", 85 * MIB)]
STARTED = [
    ("warehouse-7-backup.tar.zst", 3_900 * MIB, 2_560 * MIB, 2_871 * MIB, 9_300 * KIB, 0),
    ("scan-0415.tiff", 87 * MIB, 32 * MIB, 57 * MIB, 1_100 * KIB, 0),
    ("検査報告 2026-11.pdf", 24 * MIB, 0, 11 * MIB, 270 * KIB, 12),
]
FINISHED = [
    ("scan-0412.tiff", 90 * MIB, "8f14e45fceea167a5a36dedd4bea2543", 14.2),
    ("scan-0413.tiff", 86 * MIB, "c9f0f895fb98ab9159f51fd0297e236d", 13.9),
    ("inventory [final].csv", 312_000, "45c48cce2e2d7fbdea1afc51c7c6ad26", 0.3),
    ("scan-0414.tiff", 89 * MIB, "6512bd43d9caa6e02c990b0a82652dca", 14.0),
]
SAID = [
    ("Ann", "The scans from gate 3 first, please. The backup can take its time.", False),
    ("you", "They are on their way. camera-2 is still writing its file, so I paused that one.", True),
]
# What somebody could call a file to confuse a terminal, or the person in front of it.
HOSTILE = [
    ("invoice\x1b[2J\x1b[31m.pdf", 3 * MIB),
    ("holiday-\u202egpj.exe", 2 * MIB),
    (b"caf\xe9-menu.txt".decode(errors="surrogateescape"), 40 * KIB),
    ("z" + "\u0301" * 40 + "algo.txt", 9 * KIB),
    ("[bold red]markup[/].log", 70 * KIB),
    ("👨\u200d👩\u200d👧 family ❤\ufe0f.png", 5 * MIB),
    ("a" * 250 + ".tiff", 88 * MIB),
]


class Story:
    """What an agent has seen by then: folded for the console, and as its log."""

    def __init__(self) -> None:
        self.board = Board()
        self.logbook = Logbook()
        self._at = START
        self._lines = Lines(self.logbook, self, style="text", level="info")
        self._tell()

    def now(self) -> datetime:
        """The clock of the log."""
        return self._at

    def monotonic(self) -> float:
        """Seconds since the start."""
        return (self._at - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Nobody waits in a story."""

    def take(self, event: events.Event, after_s: float) -> None:
        """One event, so long after the start."""
        self._at = START + timedelta(seconds=after_s)
        self.board.apply(event, after_s, self._at)
        self._lines(event)

    def _tell(self) -> None:
        counts: dict[str, int] = {UploadState.COMPLETE: 4_211, UploadState.QUEUED: 0}
        self.take(events.AgentStarted("0.1.0", "warehouse-7", "https://control.example.com", 12, counts, 0), 0)
        self.take(events.StreamConnected("sse", True, "k7/4312"), 1)
        for number, (name, size, sha256, seconds) in enumerate(FINISHED):
            self.take(events.UploadCompleted(f"done-{number}", name, size, sha256, seconds, "response"), 60)
        refusal = "outside the allowed folders: /etc/passwd"
        self.take(events.CommandFinished("c-1", "UPLOAD_START", "rejected", "NOT_FOUND", refusal), 61)
        for number, (name, size) in enumerate(QUEUED):
            self.take(events.UploadQueued(f"next-{number}", name, size, 0, 5, "new"), 62)
        for number, (name, size, confirmed, *_) in enumerate(STARTED):
            self.take(events.UploadStarted(f"now-{number}", name, size, confirmed, 1), 63)
        self.take(events.UploadStarted("waits", "scan-0416.tiff", 92 * MIB, 0, 1), 63)
        self.take(events.UploadProgressed("waits", 32 * MIB, 40 * MIB, 92 * MIB, 0), 64)
        next_try_at = START + timedelta(seconds=790)
        self.take(events.UploadWaiting("waits", 32 * MIB, "the tus server answered 423 Locked", next_try_at, 2), 65)
        self.take(events.UploadStarted("paused", "camera-2.mp4", 640 * MIB, 0, 1), 63)
        self.take(events.UploadPaused("paused", 192 * MIB, here=True), 66)
        for number, (sender, text, is_mine) in enumerate(SAID):
            self.take(events.MessageShown(sender, text, is_mine), 600 + 60 * number)
        self._send([(f"now-{number}", *figures) for number, (_, *figures) in enumerate(STARTED)])

    def _send(self, uploads: Iterable[tuple[str, int, int, int, int, int]]) -> None:
        """So that they are there by now, or were so many seconds ago."""
        happened = []
        for file_id, size, confirmed, sent, rate, still_s in uploads:
            for before_s in range(SENDING_S, -1, -1):
                there = max(confirmed, sent - before_s * rate)
                progress = events.UploadProgressed(file_id, confirmed, there, size, rate, there)
                happened.append((NOW_S - still_s - before_s, progress))
        for at, progress in sorted(happened, key=lambda one: one[0]):
            self.take(progress, at)

    def add_hostile(self) -> "Story":
        """More uploads, whose names are no good ones."""
        for number, (name, size) in enumerate(HOSTILE):
            self.take(events.UploadStarted(f"bad-{number}", name, size, 0, 1), NOW_S - SENDING_S - 1)
        self._send((f"bad-{n}", size, size // 4, size // 2, size // 99, 0) for n, (_, size) in enumerate(HOSTILE))
        return self

    def add_overruled(self) -> "Story":
        """Somebody resumed what a person here had paused."""
        queued = events.UploadQueued("paused", "camera-2.mp4", 640 * MIB, 192 * MIB, 5, "resumed", overruled_by="Ann")
        self.take(queued, NOW_S)
        return self


def details() -> dict[str, Any]:
    """Of the upload that waits."""
    ended = [(70, 42.0, 8, "no byte moved for 30 s"), (200, 61.0, 32, "the tus server answered 423 Locked")]
    ended += [(420, 3.2, 32, "the tus server answered 423 Locked")]
    tries = [
        {
            "endedAt": timestamp(START + timedelta(seconds=at)),
            "seconds": seconds,
            "offset": offset * MIB,
            "state": "waiting",
            "reason": reason,
        }
        for at, seconds, offset, reason in ended
    ]
    return {
        "fileId": "waits",
        "fileName": "scan-0416.tiff",
        "state": "waiting",
        "number": 1,
        "priority": 5,
        "fileSize": 92 * MIB,
        "offset": 32 * MIB,
        "reason": "the tus server answered 423 Locked",
        "nextTryAt": timestamp(START + timedelta(seconds=790)),
        "code": None,
        "message": None,
        "retryable": False,
        "pausedHere": False,
        "seconds": 106.2,
        "createdAt": timestamp(START + timedelta(seconds=3)),
        "finishedAt": None,
        "endpoint": "https://tus.example.com/files/",
        "tries": tries,
    }


@dataclass(frozen=True)
class Picture:
    """One file in docs/images/."""

    name: str
    width: int
    height: int
    story: Story
    state: State
    glyphs: Glyphs = PRETTY

    def frame(self) -> Frame:
        """As the console would draw it."""
        at = START + timedelta(seconds=NOW_S)
        moment = Moment(NOW_S, at, self.state, details=details(), logbook=self.story.logbook)
        return Frame(self.story.board, moment, self.width, self.height, self.glyphs)


def pictures() -> Iterator[Picture]:
    """All of them."""
    story = Story()
    seen = State(heard=story.board.heard)
    typing = replace(seen, mode=Mode.CHAT, draft=("Gate 3 is done in a min", ""))
    chosen = replace(seen, selected="waits")
    yield Picture("console", 100, 24, story, typing)
    yield Picture("console-80x24", 80, 24, story, chosen)
    yield Picture("console-120x40", 120, 40, Story().add_hostile(), chosen)
    yield Picture("console-200x60", 200, 60, Story().add_hostile(), replace(chosen, mode=Mode.DETAILS))
    yield Picture("console-details", 80, 24, story, replace(chosen, mode=Mode.DETAILS))
    yield Picture("console-log", 80, 24, story, replace(seen, mode=Mode.LOG))
    yield Picture("console-help", 80, 40, story, replace(seen, mode=Mode.HELP))
    ask = Ask("Cancel for good, and delete what is uploaded?", "scan-0416.tiff", Stop())
    yield Picture("console-asks", 80, 24, story, replace(chosen, ask=ask))
    yield Picture("console-overruled", 80, 24, Story().add_overruled(), State())
    yield Picture("console-40x10", 40, 10, story, chosen)
    yield Picture("console-ascii", 80, 24, Story().add_hostile(), chosen, ASCII)


@dataclass(frozen=True)
class Spaced:
    """A frame whose words stand alone: what draws SVG disagrees about spaces at the ends of a text."""

    frame: Frame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.frame, options):
            for text in re.findall(r" +|[^ ](?:.*[^ ])?(?= *$)", segment.text) or [segment.text]:
                yield Segment(text, segment.style, segment.control)


def self_contained(svg: str) -> str:
    """Without fonts from elsewhere: nobody's browser should ask for them, and few pages let it."""
    without = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    return without.replace("Fira Code, monospace", FONTS)


def drawn(picture: Picture) -> str:
    """As SVG."""
    console = Console(
        record=True,
        width=picture.width,
        height=picture.height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(Spaced(picture.frame()), end="", crop=False, soft_wrap=True)
    svg = console.export_svg(title="sse-agent run", theme=THEME, unique_id=picture.name)
    return self_contained(svg)


def text(picture: Picture) -> str:
    """As a terminal without colours shows it."""
    console = Console(width=picture.width, height=picture.height, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(picture.frame(), end="", crop=False, soft_wrap=True)
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", capture.get())


def main() -> int:
    """Write them, show them or compare them."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--text", action="store_true")
    arguments.add_argument("--check", action="store_true")
    options = arguments.parse_args()
    # The chat shows local time, and the picture should not depend on where it is made.
    os.environ["TZ"] = "UTC"
    time.tzset()
    old = []
    for picture in pictures():
        file = IMAGES / f"{picture.name}.svg"
        if options.text:
            print(f"{picture.name}\n{text(picture)}\n")
        elif options.check:
            old += [] if file.exists() and file.read_text() == drawn(picture) else [file.name]
        else:
            IMAGES.mkdir(parents=True, exist_ok=True)
            file.write_text(drawn(picture))
    if old:
        print(f"not current: {', '.join(old)}; run .venv/bin/python -m scripts.picture", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
