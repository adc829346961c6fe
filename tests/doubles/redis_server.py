"""A real Redis as a process: on a socket in a folder of its own, with an append-only file, evicting nothing."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.programs import debian

PROGRAM = "redis-server"
WITHIN_S = 20.0
DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}


class RedisServer:
    """Start it, end it, start it again on the same data. `settings` are lines of redis.conf."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._program = debian(PROGRAM)
        self._folder = folder
        # The path of a socket has no more than about a hundred characters: not in pytest's own deep folder.
        self._place = Path(tempfile.mkdtemp(prefix="redis-"))
        self.settings = {**DURABLE, **{name.replace("_", "-"): value for name, value in settings.items()}}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._place / "redis.sock"

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self._folder / "redis.log").read_text()

    def start(self) -> None:
        """Until it answers, with its data read."""
        fixed = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self._folder),
            "daemonize": "no",
            "logfile": str(self._folder / "redis.log"),
        }
        lines = [f'{name} "{value}"' for name, value in {**fixed, **self.settings}.items()]
        configuration = self._place / "redis.conf"
        configuration.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen([self._program, str(configuration)], stdin=subprocess.DEVNULL)
        until = time.monotonic() + WITHIN_S
        while self.ask("PING") != b"+PONG\r\n":
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.02)

    def ask(self, *words: str) -> bytes:
        """The start of the answer to one command; empty if it can't be reached. RESP, so that no client is needed."""
        body = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WITHIN_S)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"*%d\r\n%s" % (len(words), body))
                return connection.recv(65536)
            except OSError:
                return b""

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(WITHIN_S)

    def close(self) -> None:
        """Nothing of it is left but its data."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._place, ignore_errors=True)


@contextmanager
def redis_server(folder: Path, **settings: str) -> Iterator[RedisServer]:
    """One that is gone after the block."""
    server = RedisServer(folder, **settings)
    try:
        yield server
    finally:
        server.close()
