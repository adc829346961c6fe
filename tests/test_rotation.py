"""One key for another: whatever breaks in between, the key on the disk is one that the control plane takes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from joserfc.errors import JoseError

from sse_agent import identity
from sse_agent.credentials import AccessTokens, Grant, MachineKey, key
from sse_agent.errors import ErrorCode, GiveUp, TryAgain
from sse_agent.events import Feed, KeyRotated
from sse_agent.identity import Identity
from sse_agent.rotation import Rotation
from tests.doubles.assertions import verified
from tests.doubles.clock import FakeClock
from tests.doubles.witness import Witness

CLIENT, ISSUER = "warehouse-7-k3x9pd", "https://control.example.com"


@dataclass
class Plane:
    """Takes the keys that it knows; the first use of a new one ends the old one, as the contract says."""

    known: list[dict[str, Any]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    trouble: Exception | None = None
    is_answer_lost: bool = False
    granted: int = 0

    async def rotate(self, request: dict[str, Any]) -> None:
        self.requests.append(request)
        if self.trouble is not None:
            raise self.trouble
        if request["publicKey"] not in self.known:
            self.known.append(request["publicKey"])
        if self.is_answer_lost:
            raise TryAgain("no answer in time")

    async def grant(self, assertion: str) -> Grant:
        for public in self.known:
            try:
                verified(assertion, public)
            except JoseError:
                continue
            self.known = self.known[self.known.index(public) :]
            self.granted += 1
            return Grant(f"token-{self.granted}", 600.0)
        raise TryAgain("the control plane does not accept this machine's key")


@dataclass
class Machine:
    folder: Path
    plane: Plane
    tokens: AccessTokens
    rotation: Rotation
    witness: Witness

    @property
    def kept(self) -> MachineKey:
        """The key that the next start would use."""
        found = identity.read(self.folder)
        assert found is not None
        return key.load(self.folder, found.key_id)

    async def is_accepted(self) -> bool:
        """Whether the next start would get a token."""
        tokens = AccessTokens(self.kept, self.plane.grant, FakeClock(), client_id=CLIENT, issuer=ISSUER)
        try:
            await tokens.current()
        except TryAgain:
            return False
        return True


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    own = key.to_enrol_with(tmp_path)
    key.settle(tmp_path)
    identity.write(tmp_path, Identity(client_id=CLIENT, issuer=ISSUER, control_plane_url=ISSUER, key_id=own.key_id))
    plane, feed, witness = Plane([own.public]), Feed(), Witness()
    tokens = AccessTokens(own, plane.grant, FakeClock(), client_id=CLIENT, issuer=ISSUER)
    with feed.listening(witness.listen):
        yield Machine(tmp_path, plane, tokens, Rotation(tmp_path, tokens, plane.rotate, feed), witness)


async def test_the_new_key_is_told_by_both_kept_and_used_and_the_old_one_ends(machine: Machine) -> None:
    old = machine.kept
    assert await machine.tokens.current() == "token-1"
    fingerprint = await machine.rotation.rotate()
    new = machine.kept
    assert new.fingerprint == fingerprint != old.fingerprint
    [request] = machine.plane.requests
    assert set(request) == {"publicKey", "proof", "oldProof"}
    assert request["publicKey"] == new.public
    for proof, signer in (("proof", new), ("oldProof", old)):
        claims = verified(request[proof], signer.public).claims
        assert (claims["iss"], claims["sub"], claims["aud"]) == (CLIENT, CLIENT, ISSUER)
        assert (claims["jkt"], claims["exp"] - claims["iat"]) == (new.key_id, 60)
    assert machine.plane.known == [new.public]
    assert await machine.tokens.current() == "token-2"
    assert await machine.is_accepted()
    assert (await machine.witness.next(KeyRotated)).fingerprint == fingerprint


async def test_a_refusal_changes_nothing(machine: Machine) -> None:
    old = machine.kept
    machine.plane.trouble = GiveUp(ErrorCode.NOT_ALLOWED, "no")
    with pytest.raises(GiveUp):
        await machine.rotation.rotate()
    assert machine.kept.key_id == old.key_id
    assert await machine.is_accepted()
    assert machine.witness.all(KeyRotated) == []


async def test_a_lost_answer_leaves_the_old_key_in_use_and_the_next_try_tells_the_same_new_one(
    machine: Machine,
) -> None:
    old = machine.kept
    machine.plane.is_answer_lost = True
    with pytest.raises(TryAgain):
        await machine.rotation.rotate()
    assert machine.kept.key_id == old.key_id
    assert await machine.is_accepted()
    machine.plane.is_answer_lost = False
    await machine.rotation.rotate()
    first, second = machine.plane.requests
    assert first["publicKey"] == second["publicKey"]
    assert await machine.is_accepted()


@pytest.mark.parametrize("step", ["read", "write", "settle"])
async def test_a_disk_that_fails_at_any_step_leaves_a_key_that_is_accepted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*_: object) -> None:
        raise TryAgain("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(key if step == "settle" else identity, step, fails)
        with pytest.raises(TryAgain, match="disk is full"):
            await machine.rotation.rotate()
    assert await machine.tokens.refreshed(await machine.tokens.current()), "while it runs"
    assert await machine.is_accepted(), "and after a restart"


async def test_a_key_that_cant_be_written_is_no_reason_to_end_the_agent(machine: Machine) -> None:
    (machine.folder / "key-next.json").mkdir()
    with pytest.raises(TryAgain, match=r"key-next\.json"):
        await machine.rotation.rotate()
    assert machine.plane.requests == []


async def test_a_key_that_waits_to_be_confirmed_is_not_taken_for_a_rotated_one(machine: Machine) -> None:
    found = identity.read(machine.folder)
    assert found is not None
    new = key.to_enrol_with(machine.folder)
    identity.write_next(machine.folder, found.model_copy(update={"key_id": new.key_id}))
    with pytest.raises(TryAgain, match="waits to be confirmed"):
        await machine.rotation.rotate()
    assert machine.plane.requests == []
    assert await machine.is_accepted()


async def test_two_who_ask_at_once_rotate_one_after_the_other(machine: Machine) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(machine.rotation.rotate)
        group.start_soon(machine.rotation.rotate)
    first, second = machine.plane.requests
    assert first["publicKey"] != second["publicKey"]
    assert machine.kept.public == second["publicKey"]
    assert await machine.is_accepted()
