"""With its hooks wired to the control plane, the real tusd stores what was commanded and nothing else."""

import os
from pathlib import Path

import httpx

from tests.doubles.processes import world
from tests.doubles.services import until

SECRET = "hook-secret-of-the-test"
SIZE = 300_000


def test_an_upload_that_was_commanded_is_stored_and_the_servers_view_of_it_noted(tmp_path: Path) -> None:
    with world(tmp_path, hook_secret=SECRET) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        upload = there.services.until_upload("f", "complete", 60)
        # It comes after the answer, by itself.
        until(
            lambda: [one["state"] for one in there.services.stored("f")] == ["finished"], "tusd's news of it is there"
        )
        (news,) = there.services.stored("f")
        assert (news["size"], news["uploadId"]) == (SIZE, upload["result"]["uploadId"])
        assert SECRET not in "\n".join([*there.plane.lines, *there.agent.lines])


def test_what_nobody_commanded_is_not_stored(tmp_path: Path) -> None:
    with world(tmp_path, hook_secret=SECRET, connected=False) as there:
        answer = httpx.post(
            there.tusd.endpoint,
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Authorization": "Bearer wrong"},
            verify=there.trust,
            trust_env=False,
        )
        assert (answer.status_code, answer.text) == (401, "the upload token is not valid, or over")
        assert there.tusd.ids() == []


def test_a_wrong_token_of_a_command_is_replaced_by_a_fresh_one(tmp_path: Path) -> None:
    with world(tmp_path, hook_secret=SECRET) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="g", fileName="data.bin")
        there.services.until_upload("g", "complete", 60)
        # Of the configured tus server: whoever commanded it, the agent may ask for another token.
        for name in ("g", "f"):
            there.services.command("UPLOAD_START", fileId=name, fileName="data.bin", uploadToken="over")
        there.services.until_upload("f", "complete", 60)
        # Of a tus server that the command names: a token of ours is none of its business.
        named = {"tusEndpoint": there.tusd.endpoint, "uploadToken": "over"}
        there.services.command("UPLOAD_START", fileId="h", fileName="data.bin", **named)
        failed = there.services.until_upload("h", "failed", 60)
        assert (failed["result"]["code"], failed["result"]["retryable"]) == ("SERVER_REFUSED", True)


def test_while_the_control_plane_is_down_nothing_is_let_in_and_nothing_is_lost(tmp_path: Path) -> None:
    with world(tmp_path, hook_secret=SECRET) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        there.services.command("UPLOAD_START", fileId="f", fileName="data.bin")
        there.services.until_upload("f", "complete", 60)
        there.plane.kill()
        answer = httpx.post(
            there.tusd.endpoint,
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "10"},
            verify=there.trust,
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == 500
        assert len(there.tusd.ids()) == 1
