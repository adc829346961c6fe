"""What the contract says of commands and uploads, in plain Python: no tables, no database, no code of the agent."""

from dataclasses import dataclass, field

GOING = ("queued", "uploading", "waiting", "paused")


@dataclass
class Upload:
    """One upload. `starts` and `cancels` are the commands that wait for it."""

    variant: int
    state: str = "queued"
    revision: int = 1
    wish: str = "run"
    is_retryable: bool = False
    code: str = ""
    starts: list[str] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Nothing brings it back."""
        return self.state in ("complete", "cancelled") or (self.state == "failed" and not self.is_retryable)

    def move(self, state: str) -> None:
        """Every change raises the revision."""
        self.state = state
        self.revision += 1


@dataclass
class Command:
    """One command. `final` is its final ACK, as (status, code)."""

    kind: str
    file_id: str
    variant: int = 0
    final: tuple[str, str] | None = None


class Model:
    """All of it."""

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}
        self.commands: dict[str, Command] = {}
        self.cancelled_before: set[str] = set()

    def carry_out(self, command_id: str, *, is_there: bool) -> None:
        """What the command does; `is_there`: the file that a start names can be opened."""
        command = self.commands[command_id]
        upload = self.uploads.get(command.file_id)
        if command.kind == "UPLOAD_START":
            self._start(command_id, command, upload, is_there=is_there)
        elif command.kind == "HEARTBEAT":
            command.final = ("completed", "")
        elif command.kind == "UPLOAD_CANCEL":
            self._cancel(command_id, command, upload)
        elif upload is None:
            command.final = ("rejected", "NOT_FOUND")
        elif command.kind == "UPLOAD_PAUSE":
            self._pause(command, upload)
        else:
            self._resume(command, upload)

    def _start(self, command_id: str, command: Command, upload: Upload | None, *, is_there: bool) -> None:
        if upload is None:
            if command.file_id in self.cancelled_before:
                command.final = ("rejected", "CANCELLED")
            elif not is_there:
                command.final = ("rejected", "NOT_FOUND")
            else:
                self.uploads[command.file_id] = Upload(command.variant, starts=[command_id])
        elif upload.variant != command.variant:
            command.final = ("rejected", "FILE_ID_IN_USE")
        elif upload.state == "complete":
            command.final = ("completed", "")
        elif upload.state == "cancelled":
            command.final = ("failed", "CANCELLED")
        elif upload.state == "failed":
            command.final = ("failed", upload.code)
        else:
            upload.starts.append(command_id)

    def _pause(self, command: Command, upload: Upload) -> None:
        if upload.state not in GOING or upload.wish == "cancel":
            command.final = ("rejected", "WRONG_STATE")
            return
        upload.wish = "pause"
        if upload.state in ("queued", "waiting"):
            upload.move("paused")
        command.final = ("completed", "")

    def _resume(self, command: Command, upload: Upload) -> None:
        if upload.is_over or upload.wish == "cancel":
            command.final = ("rejected", "WRONG_STATE")
            return
        upload.wish = "run"
        if upload.state in ("paused", "failed"):
            upload.move("queued")
        command.final = ("completed", "")

    def _cancel(self, command_id: str, command: Command, upload: Upload | None) -> None:
        if upload is None:
            self.cancelled_before.add(command.file_id)
            command.final = ("completed", "")
        elif upload.state == "cancelled":
            command.final = ("completed", "")
        elif upload.is_over:
            command.final = ("rejected", "WRONG_STATE")
        else:
            upload.wish = "cancel"
            upload.cancels.append(command_id)
            if upload.state != "uploading":
                self._end(upload, "cancelled", ("failed", "CANCELLED"), ("completed", ""))

    def begin(self, file_id: str) -> bool:
        """A worker takes it, if it is to run."""
        upload = self.uploads[file_id]
        if upload.wish != "run" or upload.state not in ("queued", "waiting"):
            return False
        upload.move("uploading")
        return True

    def settle(self, file_id: str, result: str, code: str = "", *, is_retryable: bool = False) -> None:
        """`result`: outcome, refusal, trouble or interrupted."""
        upload = self.uploads[file_id]
        if result == "outcome":
            self._end(upload, "complete", ("completed", ""), ("failed", "WRONG_STATE"))
        elif upload.wish == "cancel":
            self._end(upload, "cancelled", ("failed", "CANCELLED"), ("completed", ""))
        elif result == "refusal":
            upload.is_retryable, upload.code = is_retryable, code
            self._end(upload, "failed", ("failed", code), ("failed", "WRONG_STATE"))
        elif upload.wish == "pause":
            upload.move("paused")
        else:
            upload.move("waiting" if result == "trouble" else "queued")

    def restart(self) -> None:
        """The process ended, and another one begins: what was under way is queued, and then as people wish."""
        for upload in self.uploads.values():
            if upload.state != "uploading":
                continue
            upload.move("queued")
            if upload.wish == "pause":
                upload.move("paused")
            elif upload.wish == "cancel":
                self._end(upload, "cancelled", ("failed", "CANCELLED"), ("completed", ""))

    def _end(self, upload: Upload, state: str, of_starts: tuple[str, str], of_cancels: tuple[str, str]) -> None:
        upload.move(state)
        for command_id in upload.starts:
            self.commands[command_id].final = of_starts
        for command_id in upload.cancels:
            self.commands[command_id].final = of_cancels
        upload.starts, upload.cancels = [], []
