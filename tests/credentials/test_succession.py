"""A new key takes over once it is accepted: whatever happens in between, there is a key that is accepted."""

from pathlib import Path

import anyio
import pytest
from joserfc.errors import JoseError

from sse_agent import identity
from sse_agent.credentials import AccessTokens, Grant, KeyRefused, MachineKey, Succession, key, succession
from sse_agent.errors import CannotStart, ExitCode, Parked, TryAgain
from sse_agent.identity import Identity
from tests.doubles.assertions import verified
from tests.doubles.clock import FakeClock

CLIENT, ISSUER = "agent-1", "https://control.example.com"


class Machine:
    """One with a key in use and one that waits to be confirmed; and a control plane that accepts `accepted`."""

    def __init__(self, folder: Path, following: str = CLIENT) -> None:
        self.folder = folder
        self.old = key.to_enrol_with(folder)
        key.settle(folder)
        identity.write(folder, self._identity(CLIENT, self.old))
        self.new = key.to_enrol_with(folder)
        identity.write_next(folder, self._identity(following, self.new))
        self.accepted = self.old
        self.told: list[str] = []
        self.trouble: TryAgain = KeyRefused("nobody's")

    def _identity(self, client_id: str, own: MachineKey) -> Identity:
        return Identity(client_id=client_id, issuer=ISSUER, control_plane_url=ISSUER, key_id=own.key_id)

    def agent(self) -> AccessTokens:
        """As it starts."""
        found = identity.read(self.folder)
        assert found is not None
        own = key.load(self.folder, found.key_id)
        heirs = Succession(self.folder, found.client_id, self.told.append)
        return AccessTokens(own, self._grant, FakeClock(), client_id=CLIENT, issuer=ISSUER, succession=heirs)

    async def _grant(self, assertion: str) -> Grant:
        try:
            verified(assertion, self.accepted.public)
        except JoseError:
            raise self.trouble from None
        return Grant("t0k3n", 600.0)

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


BOTH = {"identity.json", "identity-next.json", "key.json", "key-next.json"}


async def test_the_key_in_use_stays_until_the_new_one_is_accepted_and_then_that_takes_over(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    agent = machine.agent()
    assert await agent.current() == "t0k3n"
    assert (machine.files, machine.told) == (BOTH, [])
    machine.accepted = machine.new
    assert await agent.refreshed("t0k3n") == "t0k3n"
    assert machine.files == {"identity.json", "key.json"}
    assert machine.told == [machine.new.fingerprint]
    assert await machine.agent().current() == "t0k3n"


async def test_a_key_that_enroll_has_put_in_its_place_is_found_by_the_agent_that_runs(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    agent = machine.agent()
    following = identity.read_next(tmp_path)
    assert following is not None
    for _ in range(2):
        succession.take_over(tmp_path, following)
    machine.accepted = machine.new
    assert await agent.current() == "t0k3n"
    assert machine.files == {"identity.json", "key.json"}


@pytest.mark.parametrize(("place", "step"), [(identity, "write"), (key, "settle"), (identity, "forget_next")])
async def test_a_process_that_ends_at_any_step_leaves_a_key_that_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: object, step: str
) -> None:
    machine = Machine(tmp_path)
    machine.accepted = machine.new
    agent = machine.agent()

    def fails(*_: object) -> None:
        raise CannotStart("the disk is full", ExitCode.NOT_PERMITTED)

    with monkeypatch.context() as broken:
        broken.setattr(place, step, fails)
        assert await agent.current() == "t0k3n", "while it runs"
    assert await machine.agent().current() == "t0k3n", "and after a restart"
    assert succession.waiting(tmp_path) is None
    assert machine.files == {"identity.json", "key.json"}


async def test_what_is_accepted_for_neither_key_is_told_of_the_one_in_use_and_changes_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    machine = Machine(tmp_path)
    machine.accepted = key.to_enrol_with(tmp_path_factory.mktemp("another"))
    with pytest.raises(KeyRefused, match="nobody's"):
        await machine.agent().current()
    assert machine.files == BOTH
    machine.trouble = Parked("deleted")
    with pytest.raises(Parked):
        await machine.agent().current()


async def test_the_key_of_another_agent_is_not_tried(tmp_path: Path) -> None:
    machine = Machine(tmp_path, following="agent-2")
    machine.accepted = machine.new
    with anyio.fail_after(20), pytest.raises(KeyRefused):
        await machine.agent().current()
    assert machine.files == BOTH
