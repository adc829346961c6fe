"""What the two parts of the test share: certificates, the process under test, and its end."""

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme

ROOT = Path(__file__).resolve().parent.parent.parent
ENDS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Papers:
    """Certificates in files; `ca` is trusted by the process under test, nobody trusts `stranger`."""

    ca: Path
    certificate: Path
    key: Path
    server: ssl.SSLContext
    stranger: ssl.SSLContext
    client: ssl.SSLContext


def papers(folder: Path) -> Papers:
    """Made for this run."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    ca, certificate, key = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    server, stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(server)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    return Papers(ca, certificate, key, server, stranger, ssl.create_default_context(cafile=str(ca)))


def start(
    folder: Path, name: str, command: list[str], settings: Mapping[str, str], *launcher: str
) -> "subprocess.Popen[bytes]":
    """A command of sse-agent under the launcher. Its output goes into `<name>.log`, its count into `<name>.census`."""
    # An empty one of our own, so that whoever runs this has no say.
    toml = folder / "settings.toml"
    toml.touch(0o600)
    is_foreign = ("SSE_AGENT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith(is_foreign)}
    own = {"PYTHONPATH": str(ROOT), "SSE_AGENT_SETTINGS_FILE": str(toml), **settings}
    census = str(folder / f"{name}.census")
    arguments = ["-m", "scripts.leak_test_harness.launcher", "--census", census, *launcher, "--", *command]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=others | own,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def end(process: "subprocess.Popen[bytes]") -> str | None:
    """SIGTERM; a complaint if it does not end with exit code 0."""
    if process.poll() is not None:
        return f"it ended by itself, with exit code {process.returncode}"
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"SIGTERM did not end it within {ENDS_WITHIN_S:g} s"
    return None if code == 0 else f"SIGTERM ended it with exit code {code}"
