"""The agent's own disk takes nothing more: no command is taken, none is lost, and it goes on when there is room."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.processes import Process, world

COMMANDS = 20


def test_a_disk_that_takes_nothing_is_waited_for_and_every_command_is_carried_out_once(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        (there.files / "a.bin").write_bytes(b"content")
        before = there.services.carry_out("UPLOAD_START", fileId="before", fileName="a.bin")
        assert before["outcome"] == "completed"
        mark = there.agent.mark()
        with full_disk(there.agent):
            beats = [there.services.command("HEARTBEAT") for _ in range(COMMANDS)]
            start = there.services.command("UPLOAD_START", fileId="f", fileName="a.bin")
            trouble = there.agent.wait_for("stream.lost", after=mark)
            assert "the journal can't be written" in trouble["reason"], trouble
            assert {there.services.record(one)["status"] for one in (*beats, start)} <= {"queued", "sent"}
        assert [there.services.outcome(one)["outcome"] for one in beats] == ["completed"] * COMMANDS
        assert there.services.outcome(start)["outcome"] == "completed"
        acks = [message["payload"] for message in there.services.messages("ACK")]
        finals = [ack["commandId"] for ack in acks if ack["status"] != "accepted"]
        assert sorted(finals) == sorted([before["id"], *beats, start])
        assert len(there.services.messages("UPLOAD_COMPLETE")) == 2


@contextmanager
def full_disk(process: Process) -> Iterator[None]:
    """Every write of the process to a file fails (EFBIG), also into what the file has already."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
