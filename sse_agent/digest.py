"""SHA-256 of a file's beginning, with checkpoints to go back to: a broken PATCH must not cost reading it all again.

What is read a second time has to be what was sent the first time, else the tus server would get a mixed file.
"""

import hashlib

CHECKPOINT_EVERY = 64 * 1024 * 1024
CHECKPOINTS_KEPT = 64
DIGESTS_KEPT = 256


class RunningDigest:
    """Grows with the bytes that are sent; `rewind` goes back to a place at or before an offset.

    A checkpoint is a copy of the hash's state, some hundred bytes. The older they are the fewer there are: a tus server
    that lost some bytes lost the last ones, and memory must not grow with the file.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """From the first byte, of what may be another file now."""
        self._hash = hashlib.sha256()
        self._checkpoints = [(0, self._hash.copy())]
        self._witness: tuple[int, str] | None = None
        self.position = 0

    def expect(self, length: int, sha256: str) -> None:
        """The first `length` bytes had this hash when they were sent: reading them again has to give the same."""
        if length > self.position:
            self._note_witness(length, sha256)

    def update(self, block: bytes | memoryview) -> None:
        """The next bytes of the file."""
        self._hash.update(block)
        self.position += len(block)
        if self.position - self._checkpoints[-1][0] >= CHECKPOINT_EVERY:
            self.mark()

    def mark(self) -> None:
        """Remember this place: the tus server confirmed it, or a PATCH starts here."""
        if self.position > self._checkpoints[-1][0]:
            self._checkpoints.append((self.position, self._hash.copy()))
        if len(self._checkpoints) > CHECKPOINTS_KEPT:
            del self._checkpoints[1 : CHECKPOINTS_KEPT * 3 // 4 : 2]

    def rewind(self, offset: int) -> None:
        """Go back to the last checkpoint at or before `offset` if we are beyond it; what was read is expected again."""
        if self.position > offset:
            self._note_witness(self.position, self.hexdigest())
            self._go_back(offset)

    def stops(self, offset: int) -> list[int]:
        """Where a reader on its way to `offset` stops and asks whether it `agrees`: there, and where a hash is known.

        That may be beyond `offset`. Nothing to stop at: all is as it should be already.
        """
        if self._witness is None:
            return [offset] if self.position < offset else []
        return sorted({offset, self._witness[0]})

    def agrees(self) -> bool:
        """Whether the bytes so far are those that were sent, as far as that is known of this place."""
        return self._witness is None or self.position != self._witness[0] or self.hexdigest() == self._witness[1]

    def go_on_from(self, offset: int) -> None:
        """Everything agreed and nothing more is expected; back to the last checkpoint at or before `offset`."""
        self._witness = None
        self._go_back(offset)

    def _note_witness(self, length: int, sha256: str) -> None:
        if self._witness is None or length > self._witness[0]:
            self._witness = (length, sha256)

    def _go_back(self, offset: int) -> None:
        if self.position <= offset:
            return
        while self._checkpoints[-1][0] > offset:
            self._checkpoints.pop()
        self.position, at_checkpoint = self._checkpoints[-1]
        self._hash = at_checkpoint.copy()

    def hexdigest(self) -> str:
        """Of the bytes so far, as 64 lower-case hexadecimal digits."""
        return self._hash.hexdigest()


class Digests:
    """Those of uploads that rest and may go on; without its own a file is read again up to where it is."""

    def __init__(self) -> None:
        self._resting: dict[str, RunningDigest] = {}

    def take(self, file_id: str) -> RunningDigest:
        """The one that was kept, else a new one."""
        return self._resting.pop(file_id, None) or RunningDigest()

    def keep(self, file_id: str, digest: RunningDigest) -> None:
        """For the next time; of too many the one that rests longest goes."""
        self._resting[file_id] = digest
        if len(self._resting) > DIGESTS_KEPT:
            del self._resting[next(iter(self._resting))]
