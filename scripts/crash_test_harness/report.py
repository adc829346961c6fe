"""What came of one world, and of several together: figures, steps, complaints, and the table that shows them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from scripts.crash_test_harness import judge, uploads
from scripts.crash_test_harness.kills import Count
from scripts.crash_test_harness.steps import named_steps
from scripts.crash_test_harness.tour import STUMBLING_STEP, Place
from scripts.crash_test_harness.world import MIB, World

Row = tuple[str, str]


@dataclass(slots=True)
class Report:
    """`sums` add up over several worlds, of `longest` (seconds) the longest counts."""

    complaints: list[str] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    has_steps: bool = False
    reached: set[str] = field(default_factory=set)
    not_reached_again: list[Place] = field(default_factory=list)


def report_of(world: World, count: Count, reached: Iterable[str] | None, seconds: dict[str, float]) -> Report:
    """The figures of one world, and everything that is to be complained about. `reached`: steps, where noted."""
    ledger, sent = world.ledger, list(world.book.uploads.values())
    # What an agent that ended by itself left undone says nothing more.
    complaints = ledger.complaints if world.has_failed else world.verdict()
    steps = set(reached or ())
    complaints = complaints + [
        f"the list of steps lacks {step}: see steps.py" for step in sorted(steps - named_steps())
    ]
    windows = [
        file_id for file_id, moves in ledger.moves.items() if uploads.in_the_window(moves, world.book.sent_for(file_id))
    ]
    sums = Counter(
        {
            "kills": count.kills,
            "kills of tusd": count.of_tusd,
            "in a PATCH": count.in_patch,
            "in a POST": count.in_post,
            "before the stream": count.before_stream,
            "places": len(set(count.killed_at)),
            "commands": len(ledger.orders),
            "given again": ledger.duplicates,
            "messages": len(ledger.messages),
            "received again": ledger.repeated,
            "messages refused": len(ledger.buried),
            "resets": ledger.restorations,
            "poisoned": len(judge.poisoned(ledger)),
            "uploads": len(world.traffic.started()),
            "complete": len(ledger.completions),
            "by the offset": sum(move.payload["confirmation"] == "offset" for move in ledger.completions),
            "bytes": world.bytes_complete,
            "bytes again": world.bytes_sent_for_complete - world.bytes_complete,
            "PATCHes": sum(one.patches for one in sent),
            "resumed": sum(one.resumed for one in sent),
            "refused": len(world.book.refusals),
            "refusals failed": sum(move.type == "UPLOAD_FAILED" for moves in ledger.moves.values() for move in moves),
            "refusals in the window": len(windows),
            "vanished": sum(one.is_gone for one in sent),
            "too large": world.faults.happened["413"],
            "cut": world.faults.happened["cutting"],
            "expired": world.faults.happened["expiring"],
            "typed": len(world.seat.typed),
            "shown": len(world.seat.shown),
            "lost": len(judge.lost(ledger)),
            "doubled": len(judge.doubled(ledger)),
        }
    )
    return Report(complaints, sums, seconds, reached is not None, steps, count.not_reached_again)


def merged(reports: list[Report]) -> Report:
    """All of them as one."""
    whole = Report()
    for number, report in enumerate(reports, start=1):
        whole.complaints += [f"{number}: {words}" if len(reports) > 1 else words for words in report.complaints]
        whole.sums.update(report.sums)
        for name, seconds in report.longest.items():
            whole.longest[name] = max(seconds, whole.longest.get(name, 0.0))
        whole.has_steps = report.has_steps
        whole.reached |= report.reached
        whole.not_reached_again += report.not_reached_again
    return whole


def show(report: Report) -> None:
    """The table."""
    print()
    for name, value in [*_kills(report), *_traffic(report), *_faults(report), *_verdict(report)]:
        print(f"{name:<34}{value}")


def _kills(report: Report) -> Iterator[Row]:
    sums = report.sums
    if not report.has_steps:
        yield "kills", f"{sums['kills']}, {sums['kills of tusd']} of tusd besides"
        yield "  while a PATCH ran", f"{sums['in a PATCH']}"
        yield "  while a POST ran", f"{sums['in a POST']}"
        yield "  before the stream was there", f"{sums['before the stream']}"
        return
    never = sorted(named_steps() - report.reached)
    missed = sorted(" ".join(place) for place in report.not_reached_again)
    yield "kills", f"{sums['kills']}"
    yield "journal steps of the agent", f"{len(named_steps())}, never reached: {', '.join(never) or 'none'}"
    yield "  killed before, inside, after", f"at {sums['places']} places, missed: {', '.join(missed) or 'none'}"
    yield "  by a bug put there", f"{STUMBLING_STEP}: nothing outside leads to it"
    yield "lines typed at the console", f"{sums['typed']}, {sums['shown']} of them shown as said"


def _traffic(report: Report) -> Iterator[Row]:
    sums = report.sums
    share = 100 * sums["bytes again"] / sums["bytes"] if sums["bytes"] else 0.0
    yield "commands", f"{sums['commands']}"
    yield "  given again", f"{sums['given again']}"
    yield "messages", f"{sums['messages']}"
    yield "  received again", f"{sums['received again']}"
    yield "uploads complete", f"{sums['complete']} of {sums['uploads']}"
    yield "  confirmed by the offset", f"{sums['by the offset']}"
    yield "  their bytes", f"{sums['bytes'] / MIB:.1f} MiB"
    yield "  bytes sent again", f"{sums['bytes again'] / MIB:.3f} MiB ({share:.2f} %)"
    yield "PATCHes", f"{sums['PATCHes']}, {sums['resumed']} from an offset above 0"


def _faults(report: Report) -> Iterator[Row]:
    sums = report.sums
    yield "resets of the cursor", f"{sums['resets']}"
    yield "messages refused for good (422)", f"{sums['messages refused']}"
    yield "files refused after the last byte", f"{sums['refused']}, {sums['refusals failed']} times UPLOAD_FAILED"
    yield "  answer lost, so complete", f"{sums['refusals in the window']}, each by the offset"
    yield "uploads gone from the tus server", f"{sums['vanished']}"
    yield "PATCHes too large for a proxy", f"{sums['too large']}"
    yield "PATCHes cut half-way", f"{sums['cut']}"
    yield "upload tokens expired", f"{sums['expired']}"
    yield "commands put aside as POISON", f"{sums['poisoned']}, each after 3 kills or more"


def _verdict(report: Report) -> Iterator[Row]:
    longest = report.longest
    yield "lost", f"{report.sums['lost']}"
    yield "carried out twice", f"{report.sums['doubled']}"
    yield "complaints", f"{len(report.complaints)}"
    peace = ", ".join(f"{seconds:.1f} {what}" for what, seconds in longest.items() if what != "all")
    yield "seconds", f"{longest.get('all', 0.0):.0f}" + (f"; {peace}" if peace else "")
