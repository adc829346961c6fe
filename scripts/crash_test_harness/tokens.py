"""Upload tokens: the oracle mints them, the relay asks for them, and they expire."""

import threading

from scripts.crash_test_harness.faults import Faults


class Tokens:
    """Which tokens the tus server accepts for each upload; None stands for no token at all."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._accepted: dict[str, set[str | None]] = {}
        self._refused_in: dict[str, int] = {}
        self._count = 0

    def first(self, file_id: str, *, is_given: bool) -> str | None:
        """What the command that starts the upload names as its token."""
        with self._lock:
            token = self._new(file_id) if is_given else None
            self._accepted[file_id] = {token}
            return token

    def mint(self, file_id: str) -> str:
        """Another one, as the control plane does when it is asked; those before it stay as good as they were."""
        with self._lock:
            token = self._new(file_id)
            self._accepted.setdefault(file_id, set()).add(token)
            return token

    def accepts(self, file_id: str, token: str | None, life: int) -> bool:
        """Whether it is good; by chance all that were minted until now expire at that moment.

        Only as the first refusal in that life of the agent: two in one attempt are, by the contract, a failure.
        """
        with self._lock:
            if file_id not in self._accepted:
                return True
            if self._refused_in.get(file_id) != life and self._faults.happens("expiring"):
                self._accepted[file_id] = set()
            is_good = token in self._accepted[file_id]
            if not is_good:
                self._refused_in[file_id] = life
            return is_good

    def _new(self, file_id: str) -> str:
        self._count += 1
        return f"token-{self._count}-of-{file_id}"
