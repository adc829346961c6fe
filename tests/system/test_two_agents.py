"""There is one agent of a journal, and one journal of an agent."""

import shutil
from pathlib import Path

from tests.doubles.processes import world

TRY_AGAIN = 75


def test_a_second_agent_on_the_same_journal_ends_with_75_and_leaves_the_first_alone(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        second = there.another_agent()
        second.start()
        assert second.wait() == TRY_AGAIN
        assert there.services.carry_out("HEARTBEAT")["outcome"] == "completed"


def test_of_a_cloned_machine_the_one_with_the_older_epoch_parks(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        assert there.agent.stop() == 0
        shutil.copytree(tmp_path / "state", tmp_path / "clone", symlinks=True)
        there.connect()
        # The clone was started once more than the original: a higher epoch takes over.
        clone = there.another_agent(SSE_AGENT_STATE_DIR=str(tmp_path / "clone"))
        clone.start()
        clone.wait_for("agent.parked")
        assert clone.stop() == 0
        mark = clone.mark()
        clone.start()
        try:
            clone.wait_for("stream.connected", after=mark)
            parked = there.agent.wait_for("agent.parked")
            assert "another copy" in parked["reason"]
            assert there.services.carry_out("HEARTBEAT")["outcome"] == "completed"
            clone.wait_for("command.received", after=mark, type="HEARTBEAT")
            assert there.agent.stop() == 0
        finally:
            clone.kill()
