"""Every line that a log may have."""

import dataclasses

from scripts.reference_pages import GENERATED
from sse_agent import events

HEAD = f"""# Log events

{GENERATED}
A headless agent writes one JSON object a line to standard error: `at` (RFC 3339, UTC), `level`, `event` (a name below)
and the event's fields. The names and fields are stable. `upload.progress` comes at most once in 10 s for each upload.
Text from outside is escaped; no line holds a secret or an upload URL.

With `--log-format text` each event is a sentence behind its time (UTC) and level. Where standard error is systemd's
journal (`JOURNAL_STREAM`), the sentence has a priority in front instead, `<3>` error to `<7>` debug, and no time of its
own: `journalctl -p warning` works, and `journalctl -o short-iso` has the times. JSON is the same everywhere.
"""


def page() -> str:
    """docs/reference/log-events.md."""
    lines = [HEAD, "| event | level | when | fields |", "|---|---|---|---|"]
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    for kind in kinds:
        if kind is events.Event:
            continue
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
        what = " ".join((kind.__doc__ or "").split())
        lines.append(f"| `{kind.name}` | {kind.level} | {what} | {fields} |")
    return "\n".join(lines) + "\n"
