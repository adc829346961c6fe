"""Follow the README's first set-up, block by block, in a new home, as a person would who has read no more.

A control plane and a tus server run on this machine. The blocks are typed as they stand; pip alone is told, by its
variables, to build from this checkout and to take what is needed from its virtual environment, so that no network is
needed. At the end the agent must be connected; what was seen is printed.
"""

import argparse
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from scripts.demo import first_line, process

ROOT = Path(__file__).resolve().parent.parent
HEADING = "## A real set-up in five minutes"
CLIENT = "warehouse-7"
WITHIN_S = 240.0
PROMPT = "newcomer% "
# The child takes the terminal for its own, as a login does; else Ctrl-C would be nobody's signal.
SHELL = """
import fcntl, os, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
"""


class Lost(Exception):
    """A newcomer would not know how to go on; says where."""


@dataclass
class Newcomer:
    """Sits at a terminal. `seen` is what was shown, without colours."""

    master: int
    seen: str = ""
    _read_to: int = 0

    def types(self, text: str) -> None:
        """A line."""
        os.write(self.master, f"{text}\r".encode())

    def presses(self, key: str) -> None:
        """A key."""
        os.write(self.master, key.encode())

    def sees(self, *texts: str) -> str:
        """Read on until one of them is there, behind what was waited for before. Returns which. Raises Lost."""
        until = time.monotonic() + WITHIN_S
        while True:
            places = [(self.seen.find(text, self._read_to), text) for text in texts]
            found = min((place for place in places if place[0] >= 0), default=None)
            if found is not None:
                self._read_to = found[0] + len(found[1])
                return found[1]
            if time.monotonic() > until:
                raise Lost(f"none of {texts} was shown within {WITHIN_S:.0f} s")
            self._read()

    def _read(self) -> None:
        if not select.select([self.master], [], [], 1.0)[0]:
            return
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        if not data:
            raise Lost("the terminal was closed")
        # Colours and what a shell says about its modes; a sequence that is cut in two is left in, which does no harm.
        text = data.decode(errors="replace")
        self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()=>].?", "", text)


def blocks() -> list[str]:
    """The shell blocks of the README's first set-up, in order."""
    text = (ROOT / "README.md").read_text()
    part = text[text.index(HEADING) :].split("\n## ")[0]
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", part, re.MULTILINE | re.DOTALL)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE).strip() for block in found]


@contextmanager
def terminal(home: Path) -> Iterator[Newcomer]:
    """A shell in the checkout, with a home of its own and nothing set."""
    environment = {
        "HOME": str(home),
        "PATH": f"{home}/bin:/usr/local/bin:/usr/bin:/bin",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "PS1": PROMPT,
        "PYTHONPATH": str(_packages(home)),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        # pip reads this one the other way round.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_WARN_SCRIPT_LOCATION": "1",
    }
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(sys.executable)
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    child = subprocess.Popen(
        [sys.executable, "-c", SHELL],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        cwd=_checkout(home),
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Newcomer(master)
    finally:
        # The whole session: the agent is in a group of its own.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGHUP)
        os.close(master)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _packages(home: Path) -> Path:
    """What pip would have fetched: everything of this virtual environment but the agent itself."""
    folder = home / "packages"
    folder.mkdir()
    for entry in (Path(sys.prefix) / "lib").glob("python3*/site-packages/*"):
        if "sse_agent" not in entry.name and not entry.name.startswith("pip"):
            (folder / entry.name).symlink_to(entry)
    return folder


def _checkout(home: Path) -> Path:
    """What a newcomer has cloned: pip builds in it, and this one stays as it is."""
    folder = home / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "sse_agent"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def follow(person: Newcomer, url: str, token: str, endpoint: str, outgoing: Path) -> None:
    """Every block of the README, and the answers to what is asked. Raises Lost."""
    install, init, run = blocks()
    answers = {
        "Control plane's URL: ": url,
        "This agent's ID [": CLIENT,
        "Its token (not shown): ": token,
        "uploaded from: ": str(outgoing),
        "Another one [none]: ": "",
        "endpoint [none]: ": endpoint,
        "keeps its journal [": "",
    }
    person.sees(PROMPT)
    for command in install.splitlines():
        person.types(command)
        person.sees("\n")
        person.sees(PROMPT)
    person.types(init)
    while answers:
        asked = person.sees(*answers, PROMPT)
        if asked == PROMPT:
            raise Lost(f"init ended before it asked for {', '.join(answers)}")
        person.types(answers.pop(asked))
    person.sees("all ok")
    # What it names as the next command is the README's next block.
    person.sees("Next, in a terminal:")
    person.sees("run")
    person.sees(PROMPT)
    person.types(run)


def wait_connected(url: str, token: str) -> None:
    """Until the control plane says that the agent holds its stream. Raises Lost."""
    until = time.monotonic() + WITHIN_S
    headers = {"Authorization": f"Bearer {token}"}
    while time.monotonic() < until:
        answer = httpx.get(f"{url}/api/v1/agents/{CLIENT}", headers=headers, timeout=20, trust_env=False)
        if answer.status_code == 200 and answer.json()["presence"]["connected"]:
            return
        time.sleep(0.2)
    raise Lost("the agent did not connect")


def _server(stack: ExitStack, arguments: list[str], settings: dict[str, str], log: Path) -> dict[str, str]:
    """What it says in its first line; it lives as long as `stack`."""
    child = stack.enter_context(process(arguments, settings, log))
    assert child.stdout is not None
    stack.callback(child.stdout.close)
    return first_line(child, log)


def play(place: Path) -> tuple[str, float]:
    """What a newcomer sees, from the first block to the connected agent, and the seconds it took. Raises Lost."""
    agent_token, service_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    for name in ("home", "outgoing", "stored"):
        (place / name).mkdir()
    with ExitStack() as stack:
        tus_server = [sys.executable, str(ROOT / "scripts/demo_tus_server.py"), "--folder", str(place / "stored")]
        endpoint = _server(stack, tus_server, {}, place / "tus-server.log")["endpoint"]
        prefix = "SSE_AGENT_CONTROL_PLANE_"
        settings = {
            f"{prefix}PORT": "0",
            f"{prefix}DATABASE": str(place / "control-plane.db"),
            f"{prefix}AGENT_TOKENS": json.dumps({CLIENT: agent_token}),
            f"{prefix}SERVICE_TOKEN": service_token,
        }
        plane = [sys.executable, "-m", "sse_agent", "control-plane"]
        url = _server(stack, plane, settings, place / "control-plane.log")["listening"]
        person = stack.enter_context(terminal(place / "home"))
        began = time.monotonic()
        try:
            follow(person, url, agent_token, endpoint, place / "outgoing")
            wait_connected(url, service_token)
            took_s = time.monotonic() - began
            person.presses("\x03")
            person.sees(PROMPT)
        except Lost as lost:
            raise Lost(f"{lost}; this was seen:\n{person.seen[-4000:]}") from None
        if agent_token in person.seen:
            raise Lost("the token was shown")
        return person.seen, took_s


def main() -> int:
    """0 if a newcomer gets there by the README alone."""
    argparse.ArgumentParser(prog="scripts/first_setup", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="first-setup-") as place:
        try:
            seen, took_s = play(Path(place))
        except Lost as lost:
            print(f"first set-up: {lost}", file=sys.stderr)
            return 1
    print(seen)
    print(f"first set-up: connected after {took_s:.1f} s, by the README alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
