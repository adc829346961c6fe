"""A new key takes the place of the one in use only once the control plane accepts it.

While a new enrolment waits to be confirmed its identity is in `identity-next.json` and its key in `key-next.json`; what
is in use stays. Whoever finds the new one accepted first puts it in its place: `enroll` that waits, or the agent, when
its own key is refused. The identity is written first, then the key is moved (key.py finds it either way), then the
waiting one is forgotten: a process that ends in between leaves nothing that the next one can't finish.
"""

from collections.abc import Callable
from pathlib import Path

from sse_agent import identity
from sse_agent.credentials import key
from sse_agent.credentials.key import MachineKey
from sse_agent.identity import Identity


def waiting(state_dir: Path) -> tuple[Identity, MachineKey] | None:
    """The enrolment that waits to be confirmed beside the one in use. Raises CannotStart."""
    following = identity.read_next(state_dir)
    if following is None:
        return None
    new = key.following(state_dir)
    if new is None or new.key_id != following.key_id:
        # It has taken its place already, or begun anew.
        identity.forget_next(state_dir)
        return None
    return following, new


def take_over(state_dir: Path, following: Identity) -> None:
    """From now on this machine is that, with that key. Doing it again changes nothing. Raises CannotStart."""
    identity.write(state_dir, following)
    key.load(state_dir, following.key_id)
    identity.forget_next(state_dir)


def give_up(state_dir: Path) -> None:
    """What waited was refused: what is in use stays. Raises CannotStart."""
    identity.forget_next(state_dir)
    key.forget_following(state_dir)


class Succession:
    """For an agent that runs. `tell` is handed the fingerprint of a key that took over."""

    def __init__(self, state_dir: Path, client_id: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self._state_dir = state_dir
        self._client_id = client_id
        self.tell = tell

    def heir(self, key_id: str) -> MachineKey | None:
        """Another key of this agent than that one: which has taken over on the disk, or waits to. Raises CannotStart.

        A key whose enrolment was not answered any more counts, too: the control plane may have taken it.
        """
        enrolled = identity.read(self._state_dir)
        if enrolled is None or enrolled.client_id != self._client_id:
            return None
        if enrolled.key_id != key_id:
            return key.load(self._state_dir, enrolled.key_id)
        following = identity.read_next(self._state_dir)
        if following is not None and following.client_id != self._client_id:
            return None
        return key.following(self._state_dir)

    def settle(self, key_id: str) -> None:
        """That key was accepted. Raises CannotStart."""
        enrolled = identity.read_next(self._state_dir) or identity.read(self._state_dir)
        if enrolled is not None and enrolled.client_id == self._client_id:
            take_over(self._state_dir, enrolled.model_copy(update={"key_id": key_id}))
