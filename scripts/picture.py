"""Draw the console as it is in the middle of a good day into docs/images/console.svg; the same every time."""

import io
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.terminal_theme import TerminalTheme

from sse_agent import events
from sse_agent.board import Board
from sse_agent.console import Frame, Moment
from sse_agent.lifecycle import UploadState

PICTURE = Path(__file__).resolve().parent.parent / "docs/images/console.svg"
WIDTH, HEIGHT = 100, 24
MIB = 1024 * 1024
KIB = 1024
START = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
THEME = TerminalTheme(
    (24, 26, 32),
    (216, 220, 228),
    [(24, 26, 32), (224, 108, 117), (126, 200, 120), (229, 192, 105), (97, 150, 239), (198, 140, 230), (86, 194, 214)],
    [(216, 220, 228)],
)
QUEUED = [("scan-0417.tiff", 88 * MIB), ("scan-0418.tiff", 91 * MIB), ("scan-0419.tiff", 85 * MIB)]
STARTED = [
    ("warehouse-7-backup.tar.zst", 3_900 * MIB, 2_560 * MIB, 2_871 * MIB, 9_300 * KIB),
    ("scan-0415.tiff", 87 * MIB, 32 * MIB, 57 * MIB, 4_100 * KIB),
    ("検査報告 2026-11.pdf", 24 * MIB, 0, 11 * MIB, 2_700 * KIB),
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


def board() -> Board:
    """What an agent has seen by then."""
    board = Board()
    counts = {UploadState.COMPLETE: 4_211, UploadState.QUEUED: 0}

    def take(event: events.Event, after_s: float) -> None:
        board.apply(event, after_s, START + timedelta(seconds=after_s))

    take(events.AgentStarted("0.1.0", "warehouse-7", "https://control.example.com", 12, counts, 0), 0)
    take(events.StreamConnected("sse", True, "k7/4312"), 1)
    for number, (name, size, sha256, seconds) in enumerate(FINISHED):
        take(events.UploadCompleted(f"done-{number}", name, size, sha256, seconds, "response"), 60)
    refusal = "outside the allowed folders: /etc/passwd"
    take(events.CommandFinished("c-1", "UPLOAD_START", "rejected", "NOT_FOUND", refusal), 61)
    for number, (name, size) in enumerate(QUEUED):
        take(events.UploadQueued(f"next-{number}", name, size, 0, 5, "new"), 62)
    for number, (name, size, confirmed, sent, rate) in enumerate(STARTED):
        take(events.UploadStarted(f"now-{number}", name, size, confirmed, 1), 63)
        take(events.UploadProgressed(f"now-{number}", confirmed, sent, size, rate), 64)
    take(events.UploadStarted("waits", "scan-0416.tiff", 92 * MIB, 0, 1), 63)
    take(events.UploadProgressed("waits", 32 * MIB, 40 * MIB, 92 * MIB, 0), 64)
    next_try_at = START + timedelta(seconds=790)
    take(events.UploadWaiting("waits", 32 * MIB, "the tus server answered 423 Locked", next_try_at, 2), 65)
    take(events.UploadStarted("paused", "camera-2.mp4", 640 * MIB, 0, 1), 63)
    take(events.UploadPaused("paused", 192 * MIB), 66)
    for number, (sender, text, is_mine) in enumerate(SAID):
        take(events.MessageShown(sender, text, is_mine), 600 + 60 * number)
    return board


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


def main() -> None:
    """Write it."""
    # The chat shows local time, and the picture should not depend on where it is made.
    os.environ["TZ"] = "UTC"
    time.tzset()
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    moment = Moment(778.0, START + timedelta(seconds=778), draft=("Gate 3 is done in a min", ""))
    console.print(Spaced(Frame(board(), moment, WIDTH, HEIGHT)), end="")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(self_contained(console.export_svg(title="sse-agent run", theme=THEME, unique_id="console")))


if __name__ == "__main__":
    main()
