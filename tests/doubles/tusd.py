"""The real tusd, on a free port of this machine, with a store in a folder of the test's own."""

import hashlib
import os
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import pytest

from tests.doubles.programs import find

STARTS_WITHIN_S = 20.0
STOPS_WITHIN_S = 20.0
_READY = "You can now upload files to: "


def find_tusd() -> str:
    """The program's path. Without it the test is skipped, but fails where everything is meant to be there (CI)."""
    return find("tusd", "go install github.com/tus/tusd/v2/cmd/tusd@v2.10.0")


class Tusd:
    """A context manager. `endpoint` stays the same over `kill` and `start`, and so does what is stored."""

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        hooks_url: str | None = None,
        flags: Sequence[str] = (),
        trusts: Path | None = None,
    ) -> None:
        self.store = folder
        self.endpoint = ""
        self.lines: deque[str] = deque(maxlen=1000)
        self._program = find_tusd()
        self._flags = [f"-upload-dir={folder}", "-host=127.0.0.1", "-show-greeting=false", *flags]
        if certificate is not None and key is not None:
            self._flags += [f"-tls-certificate={certificate}", f"-tls-key={key}"]
        if hooks_url is not None:
            self._flags.append(f"-hooks-http={hooks_url}")
        self._environment = {**os.environ, **({} if trusts is None else {"SSL_CERT_FILE": str(trusts)})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process, to be measured or stopped (SIGSTOP) by a test."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the same port as the last time, and wait until it listens."""
        port = urlsplit(self.endpoint).port or 0
        self.store.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [self._program, f"-port={port}", *self._flags],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, ready), name="tusd", daemon=True)
        self._reader.start()
        if not ready.wait(STARTS_WITHIN_S) or self._process.poll() is not None:
            self.kill()
            pytest.fail("tusd did not start:\n" + "\n".join(self.lines))

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        """Read what it says, for a full pipe would stop it."""
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())
            if _READY in line:
                self.endpoint = line.partition(_READY)[2].strip()
                ready.set()
        ready.set()

    def kill(self) -> None:
        """As kill -9 does: the store is left as it is, lock files included."""
        self._end(subprocess.Popen.kill)

    def stop(self) -> None:
        """As a service manager does: uploads under way are ended in order."""
        self._end(subprocess.Popen.terminate)

    def _end(self, how: "type[subprocess.Popen[str]] | object") -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert callable(how)
        how(process)
        process.wait(STOPS_WITHIN_S)
        assert self._reader is not None
        self._reader.join(STOPS_WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()

    def ids(self) -> list[str]:
        """Of every upload in the store."""
        return sorted(path.stem for path in self.store.glob("*.info"))

    def size(self, upload_id: str) -> int:
        """Bytes stored of an upload."""
        return (self.store / upload_id).stat().st_size

    def read(self, upload_id: str) -> bytes:
        """The bytes stored of an upload."""
        return (self.store / upload_id).read_bytes()

    def sha256(self, upload_id: str) -> str:
        """The hexadecimal SHA-256 of what is stored of an upload."""
        with (self.store / upload_id).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
