"""Files arrive over TLS as they are, and are reported as they arrived."""

import base64
import hashlib
import json
import os
from pathlib import Path

from tests.doubles.processes import CLIENT, world

MIB = 1024 * 1024


def test_an_empty_a_small_and_a_large_file_arrive_over_tls_as_they_are(tmp_path: Path) -> None:
    sizes = {"empty": 0, "small": 1234, "large": 300 * MIB}
    with world(tmp_path) as there:
        digests = {name: _make(there.files / name, size) for name, size in sizes.items()}
        commands = [there.services.command("UPLOAD_START", fileId=name, fileName=name) for name in sizes]
        for command in commands:
            record = there.services.outcome(command, 90)
            assert record["outcome"] == "completed", record
        complete = {m["payload"]["fileId"]: m["payload"] for m in there.services.messages("UPLOAD_COMPLETE")}
        assert complete.keys() == sizes.keys()
        for name, size in sizes.items():
            report = complete[name]
            assert (report["fileSize"], report["sha256"]) == (size, digests[name])
            assert there.tusd.size(report["uploadId"]) == size
            assert there.tusd.sha256(report["uploadId"]) == digests[name]


def test_a_name_that_is_not_utf8_arrives(tmp_path: Path) -> None:
    name = b"r\xe9sum\xe9.txt"
    with world(tmp_path) as there:
        (there.files / os.fsdecode(name)).write_bytes(b"bonjour")
        record = there.services.carry_out("UPLOAD_START", fileId="f", fileNameB64=base64.b64encode(name).decode())
        assert record["outcome"] == "completed", record
        (upload_id,) = there.tusd.ids()
        assert there.tusd.read(upload_id) == b"bonjour"


def test_the_upload_carries_metadata_which_the_command_cannot_replace(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        (there.files / "report.pdf").write_bytes(b"%PDF")
        given = {
            "project": "Brücke",
            "filename": "x",
            "filetype": "x",
            "fileId": "x",
            "clientId": "x",
            "attemptId": "x",
        }
        record = there.services.carry_out("UPLOAD_START", fileId="f", fileName="report.pdf", metadata=given)
        assert record["outcome"] == "completed", record
        (upload_id,) = there.tusd.ids()
        stored = json.loads((there.tusd.store / f"{upload_id}.info").read_text())["MetaData"]
        attempt = stored.pop("attemptId")
        assert attempt not in ("", "x")
        assert stored == {
            "project": "Brücke",
            "filename": "report.pdf",
            "filetype": "application/pdf",
            "fileId": "f",
            "clientId": CLIENT,
        }


def _make(path: Path, size: int) -> str:
    """A file of that size that does not repeat; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, 16 * MIB):
            block = os.urandom(min(16 * MIB, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
