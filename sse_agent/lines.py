"""Events → lines for a log: one JSON object an event (docs/reference/log-events.md), or one sentence for people."""

import dataclasses
import json
import os
import re
import select
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TextIO

from sse_agent import config, events
from sse_agent.clock import Clock, timestamp
from sse_agent.events import Event
from sse_agent.printable import byte_count, byte_share, next_try, printable, seconds

PROGRESS_EVERY_S = 10.0
LEVELS = ("debug", "info", "warning", "error")
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""As sd-daemon(3) numbers them."""
TEXT_LIMIT = 4096
NAMES_KEPT = 4096
HELD_LINES = 1000
ADVISED_EVERY = 10
_GOES_ON = (events.UploadLocated, events.PauseOverruled)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Lines:
    """A listener of the feed. It never raises and, where the platform can tell, never waits for a reader."""

    def __init__(self, stream: TextIO | None, clock: Clock, *, style: Literal["json", "text"], level: str) -> None:
        self._out = _Out(stream)
        self._clock = clock
        self._format = self._text if style == "text" else self._json
        self._least = LEVELS.index(level)
        self._is_journal = stream is not None and is_journal(stream, config.environment("JOURNAL_STREAM"))
        self._names: OrderedDict[str, str] = OrderedDict()
        self._progress_due: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """One event; nothing if it is below the level, or progress that was told a moment ago."""
        if not self._is_due(event):
            return
        if LEVELS.index(event.level) >= self._least:
            self._out.flush()
            if self._out.dropped and self._out.has_room:
                self._out.write(self._format(events.LinesDropped(self._out.forget_dropped())))
            self._out.write(self._format(event))
        self._note_name(event)

    def _is_due(self, event: Event) -> bool:
        """The first progress line comes `PROGRESS_EVERY_S` after the upload started: most are over by then."""
        file_id = getattr(event, "file_id", None)
        if file_id is None:
            return True
        now = self._clock.monotonic()
        if isinstance(event, events.UploadProgressed):
            if now < self._progress_due.get(file_id, now):
                return False
            self._progress_due[file_id] = now + PROGRESS_EVERY_S
        elif isinstance(event, events.UploadStarted):
            self._progress_due[file_id] = now + PROGRESS_EVERY_S
        elif not isinstance(event, _GOES_ON):
            self._progress_due.pop(file_id, None)
        return True

    def _note_name(self, event: Event) -> None:
        """Only some events of an upload name its file; people want to read it in all."""
        file_id, name = getattr(event, "file_id", None), getattr(event, "file_name", None)
        if file_id is None:
            return
        if isinstance(event, events.UploadCompleted | events.UploadCancelled):
            self._names.pop(file_id, None)
        elif name:
            self._names[file_id] = name
            self._names.move_to_end(file_id)
            if len(self._names) > NAMES_KEPT:
                self._names.popitem(last=False)

    # --- the two styles ---

    def _json(self, event: Event) -> str:
        fields = {field.name: _plain(getattr(event, field.name)) for field in dataclasses.fields(event)}
        line = {"at": timestamp(self._clock.now()), "level": event.level, "event": event.name, **fields}
        # ASCII, and so safe for any terminal and encoding; DEL is the one control character that JSON lets through.
        return json.dumps(line, separators=(",", ":")).replace("\x7f", "\\u007f")

    def _text(self, event: Event) -> str:
        sentence = SENTENCES.get(type(event))
        now = self._clock.now()
        words = sentence(event, self._name_of(event), now) if sentence else f"{event.name} {self._json(event)}"
        shown = printable(words[:TEXT_LIMIT])
        if self._is_journal:
            return f"<{PRIORITIES[event.level]}>{shown}"
        return f"{timestamp(now)[:19]}Z {event.level:<7} {shown}"

    def _name_of(self, event: Event) -> str:
        file_id = getattr(event, "file_id", "")
        return getattr(event, "file_name", None) or self._names.get(file_id, file_id)


def is_journal(stream: TextIO, named: str | None) -> bool:
    """Whether it is the one that systemd's journal reads (`named`: $JOURNAL_STREAM); it knows the time by itself.

    The variable alone is not enough: whoever starts us with another standard error may have inherited it.
    """
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def _plain(value: Any) -> Any:
    """As JSON has it. The bytes of a name that is not UTF-8 become `\\xff`: half a surrogate pair is no JSON text."""
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, str):
        return _LONE_SURROGATE.sub(lambda found: printable(found[0]), value[:TEXT_LIMIT])
    return round(value, 3) if isinstance(value, float) else value


class _Out:
    """The stream. What it does not take now is held for later; when that is too much, lines are dropped and counted."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._held: deque[bytes] = deque()
        self.dropped = 0

    @property
    def has_room(self) -> bool:
        """Whether another line would be kept."""
        return len(self._held) < HELD_LINES

    def forget_dropped(self) -> int:
        """How many lines were dropped, for the line that says so."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def write(self, line: str) -> None:
        """Now, or as soon as the stream takes it."""
        if self._stream is None:
            return
        if self.has_room:
            self._held.append(f"{line}\n".encode(self._encoding, "backslashreplace"))
        else:
            self.dropped += 1
        self.flush()

    def flush(self) -> None:
        """As much as is taken now. Never raises; a reader that went away is not missed."""
        if self._stream is None:
            return
        try:
            fd = _descriptor(self._stream)
            while self._held:
                if fd is None:
                    self._put(self._stream, self._held.popleft())
                elif not select.select([], [fd], [], 0)[1]:
                    return
                else:
                    self._put_part(fd)
        except BrokenPipeError:
            self._stream = None
        except (OSError, ValueError):
            # A full disk, say. The next time may fare better; a closed stream costs nothing to try again.
            return

    def _put(self, stream: TextIO, line: bytes) -> None:
        stream.write(line.decode(self._encoding))
        stream.flush()

    def _put_part(self, fd: int) -> None:
        """No more than a pipe that has room at all takes without waiting; what is left of the line stays first."""
        line = self._held[0]
        rest = line[os.write(fd, line[: select.PIPE_BUF]) :]
        if rest:
            self._held[0] = rest
        else:
            self._held.popleft()


def _descriptor(stream: TextIO) -> int | None:
    """Where a write need not wait. None where nobody can tell: elsewhere than on POSIX, and in memory."""
    if os.name != "posix":
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


# --- sentences --------------------------------------------------------------------------------------
# Of an event, the name of its file if it has one, and the time.


def _started(event: events.AgentStarted, *_: object) -> str:
    states = ", ".join(f"{count} {state}" for state, count in event.uploads.items()) or "none"
    left = f", {byte_count(event.queued_bytes)} to send" if event.queued_bytes else ""
    return f"sse-agent {event.version} started as {event.client_id} for {event.control_plane}; uploads: {states}{left}"


def _connected(event: events.StreamConnected, *_: object) -> str:
    how = "going on after the last command" if event.resumed else "starting anew"
    return f"connected to the control plane ({event.transport}), {how}"


def _received(event: events.CommandReceived, *_: object) -> str:
    actor = f" from {event.actor}" if event.actor else ""
    return f"command {event.type or 'of an unreadable kind'}{actor} received ({event.command_id})"


def _answered(event: events.CommandFinished, *_: object) -> str:
    why = ": ".join(part for part in (event.code, event.detail) if part)
    about = f" of {event.file_name}" if event.file_name else ""
    actor = f" from {event.actor}" if event.actor else ""
    return f"command {event.type}{about}{actor} {event.status}{f', {why}' if why else ''} ({event.command_id})"


def _queued(event: events.UploadQueued, name: str, _: datetime) -> str:
    if event.overruled_by:
        return _overruled(event, name)
    size = f", {byte_count(event.size)}" if event.size else ""
    offset = f", {byte_count(event.offset)} of it confirmed" if event.offset else ""
    if event.why == "stopped":
        return f"{name}: queued: goes on at the next start{size}{offset}"
    return f"{name}: queued ({event.why}{size}{offset})"


def _uploading(event: events.UploadStarted, name: str, _: datetime) -> str:
    confirmed = f", {_of(event)} confirmed so far" if event.offset else ""
    attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
    return f"{name}: uploading{confirmed}{attempt}"


def _located(event: events.UploadLocated, name: str, _: datetime) -> str:
    return f"{name}: goes on at {_of(event)}" if event.offset else f"{name}: begins anew, the tus server has none of it"


def _of(event: events.UploadStarted | events.UploadLocated) -> str:
    return f"{byte_count(event.offset)} of {byte_count(event.size)}"


def _progressed(event: events.UploadProgressed, name: str, _: datetime) -> str:
    percent = f" ({min(99, event.bytes_sent * 100 // event.size)} %)" if event.size else ""
    sent = byte_share(event.bytes_sent, event.size)
    still = "waiting for confirmation" if event.confirming else "stalled"
    rate = f"{byte_count(event.rate)}/s" if event.rate else still
    return f"{name}: {sent}{percent} sent, {byte_count(event.offset)} confirmed, {rate}"


def _waiting(event: events.UploadWaiting, name: str, now: datetime) -> str:
    when = f"{_next_try(event.next_try_at, now)} (attempt {event.tries + 1})"
    return f"{name}: waiting at {byte_count(event.offset)}: {event.reason}; {when}"


def _postponed(event: events.UploadPostponed, name: str, now: datetime) -> str:
    return f"{name}: {_next_try(event.next_try_at, now)}: its tus server is asked again then"


def _next_try(at: datetime, now: datetime) -> str:
    return next_try((at - now).total_seconds())


def _paused(event: events.UploadPaused, name: str, _: datetime) -> str:
    return f"{name}: paused {'here' if event.here else 'from afar'}, {byte_count(event.offset)} confirmed"


def _completed(event: events.UploadCompleted, name: str, _: datetime) -> str:
    return f"{name}: complete, {byte_count(event.size)} in {seconds(event.seconds)}, sha256 {event.sha256}"


def _ended(event: events.UploadEnded, name: str, _: datetime) -> str:
    hope = "retryable" if event.retryable else "given up"
    return f"{name}: {event.state}, {event.code}: {event.detail or event.message} ({hope})"


def _cancelled(event: events.UploadCancelled, name: str, _: datetime) -> str:
    actor = f" by {event.actor}" if event.actor else ""
    return f"{name}: cancelled {'here' if event.here else f'from afar{actor}'}"


def _overruled(event: events.UploadQueued | events.PauseOverruled, name: str, *_: object) -> str:
    return f"{name}: resumed by {event.overruled_by} from afar, though it was paused here"


def _lost(event: events.StreamLost, *_: object) -> str:
    # 0 is a connection that was good until it ended. Again from time to time: who looks later sees the last lines.
    is_advised = event.attempt == 1 or (event.attempt and event.attempt % ADVISED_EVERY == 0)
    advice = "; what to do: sse-agent check" if is_advised else ""
    return f"waiting for the control plane: {event.reason}; {next_try(event.wait_s)}{advice}"


def _held_up(event: events.SenderHeldUp, *_: object) -> str:
    what = f"no message reaches the control plane, {event.pending} wait"
    return f"{what}: {event.reason}; {next_try(event.wait_s)}"


def _stumbled(event: events.CommandStumbled, *_: object) -> str:
    return f"a bug in the agent, at {event.type} ({event.command_id}), time {event.attempts}: {event.error}"


SENTENCES: dict[type[Event], Callable[[Any, str, datetime], str]] = {
    events.AgentStarted: _started,
    events.AgentStopping: lambda event, *_: (
        f"stopping ({event.reason}): uploads are brought to a safe point within 10 s; a second signal stops at once"
    ),
    events.AgentStopped: lambda event, *_: f"stopped ({event.reason})",
    events.StreamConnected: _connected,
    events.StreamLost: _lost,
    events.StreamRenewed: lambda event, *_: "the access token was renewed, and the stream with it",
    events.KeyRotated: lambda event, *_: f"this machine has a new key; its fingerprint is {event.fingerprint}",
    events.KeyUnused: lambda event, *_: (
        f"this machine is enrolled as {event.enrolled_as}, but SSE_AGENT_TOKEN is set, and counts more than its key"
    ),
    events.SettingUnknown: lambda event, *_: event.sentence,
    events.StreamReset: lambda event, *_: f"{event.cause}; all is reported again",
    events.AgentParked: lambda event, *_: f"parked: {event.reason}; {next_try(event.wait_s)}",
    events.CommandReceived: _received,
    events.CommandRepeated: lambda event, *_: f"command received again, answered again ({event.command_id})",
    events.CommandFinished: _answered,
    events.CommandStumbled: _stumbled,
    events.UploadQueued: _queued,
    events.PauseOverruled: _overruled,
    events.UploadStarted: _uploading,
    events.UploadLocated: _located,
    events.UploadProgressed: _progressed,
    events.UploadWaiting: _waiting,
    events.UploadPostponed: _postponed,
    events.UploadPaused: _paused,
    events.UploadCompleted: _completed,
    events.UploadEnded: _ended,
    events.UploadCancelled: _cancelled,
    events.MessageShown: lambda event, *_: f"chat, {event.sender or 'somebody'}: {event.text}",
    events.SenderHeldUp: _held_up,
    events.MessageBuried: lambda event, *_: f"dead letter: {event.type} ({event.message_id}): {event.reason}",
    events.LinesDropped: lambda event, *_: f"{event.count} lines are missing here: nobody took them",
    events.JournalTrouble: lambda event, *_: f"the journal can't be written, no command is taken: {event.reason}",
}
