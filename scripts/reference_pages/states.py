"""The tables of states, drawn."""

from collections.abc import Iterable

from scripts.reference_pages import GENERATED
from sse_agent import lifecycle


def diagram(arrows: Iterable[tuple[str, str, str]], start: str) -> list[str]:
    """A Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start}"]
    for source, target, label in arrows:
        lines.append(f"    {source} --> {target}" + (f": {label}" if label else ""))
    return [*lines, "```", ""]


def page() -> str:
    """docs/reference/states.md."""
    upload = [(s, t, signal) for s, row in lifecycle.UPLOAD.items() for signal, t in row.items()]
    command = [(s, t, "") for s, row in lifecycle.COMMAND.items() for t in sorted(row)]
    delivery = [(s, t, "") for s, row in lifecycle.DELIVERY.items() for t in sorted(row)]
    lines = [
        "# States",
        "",
        GENERATED,
        "Drawn from the tables in `sse_agent/lifecycle.py`; there are no other changes of state.",
        "",
    ]
    lines += [
        "## An upload",
        "",
        "Every arrow raises the upload's `revision` by one. `failed` is left only while the failure is",
        "retryable.",
        "",
    ]
    lines += diagram(upload, "queued")
    lines += ["## A command in the inbox", "", *diagram(command, "received")]
    lines += ["## A message in the outbox", "", *diagram(delivery, "pending")]
    return "\n".join(lines).rstrip() + "\n"
