"""A real nginx as a process, with the configurations that the how-to pages show."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.programs import debian

_PAGES = Path(__file__).parents[2] / "docs" / "how-to"
PAGE = _PAGES / "run-many-control-planes.md"
WITHIN_S = 20.0


def shown() -> str:
    """The http part of nginx.conf, as shown to people."""
    (found,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def adapted(text: str, port: int, backends: Sequence[int]) -> str:
    """For this machine: plain HTTP on a port of its own, and these control planes. Everything else as it is shown."""
    text = re.sub(r"listen .*?;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r"^ *(ssl_\w+|server_name) .*\n", "", text, flags=re.MULTILINE)
    lines = re.findall(r"^ *server 127\.0\.0\.1:\d+(.*;)\n", text, re.MULTILINE)
    assert len(lines) == 2, "the page shows two control planes"
    servers = "".join(f"    server 127.0.0.1:{backend}{lines[0]}\n" for backend in backends)
    return re.sub(r"(^ *server 127\.0\.0\.1:\d+.*;\n)+", servers, text, flags=re.MULTILINE)


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def nginx(folder: Path, backends: Sequence[int]) -> Iterator[str]:
    """The URL in front of those control planes; gone after the block."""
    port = free_port()
    with _started(folder, port, adapted(shown(), port, backends)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def under_a_path(folder: Path, port: int, backend: int) -> Iterator[None]:
    """nginx on that port, with a control plane under `/agents/`; gone after the block."""
    blocks = re.findall(r"```nginx\n(.*?)```", (_PAGES / "embed-the-live-page.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "location /agents/" in block)
    assert block.count("127.0.0.1:8787") == 1
    block = block.replace("127.0.0.1:8787", f"127.0.0.1:{backend}")
    with _started(folder, port, f"server {{ listen 127.0.0.1:{port};\n{block}\n}}"):
        yield


@contextmanager
def _started(folder: Path, port: int, http: str) -> Iterator[None]:
    """`http`: what stands inside of `http { … }`."""
    program = debian("nginx")
    folder.mkdir(parents=True, exist_ok=True)
    paths = "".join(
        f"    {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nworker_processes 1;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{\n    access_log off;\n{paths}"
        f"{http}\n}}\n"
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + WITHIN_S
        while not _listens(port):
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() < until, (folder / "error.log").read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(WITHIN_S)
        assert process.stderr is not None
        process.stderr.close()


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
