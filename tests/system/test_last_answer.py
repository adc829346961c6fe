"""The answer to the last byte decides: a refusal is one, and a lost answer is asked for again."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.doubles.processes import world
from tests.doubles.relay import Relay

SIZE = 1024 * 1024


def test_a_finished_upload_that_the_server_refuses_is_failed_and_can_be_revived(tmp_path: Path) -> None:
    with _hooks() as hooks, world(tmp_path, hooks_url=hooks.url) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        record = there.services.carry_out("UPLOAD_START", fileId="f", fileName="data.bin")
        assert (record["outcome"], record["error"]["code"]) == ("failed", "SERVER_REFUSED")
        (failed,) = there.services.messages("UPLOAD_FAILED")
        assert failed["payload"]["code"] == "SERVER_REFUSED"
        assert failed["payload"]["retryable"]
        assert not there.services.messages("UPLOAD_COMPLETE")
        hooks.refuses = False
        assert there.services.carry_out("UPLOAD_RESUME", fileId="f")["outcome"] == "completed"
        result = there.services.until_upload("f", "complete")["result"]
        refused, accepted = hooks.asked_of
        assert refused != accepted == result["uploadId"]
        assert there.tusd.read(result["uploadId"]) == (there.files / "data.bin").read_bytes()


def test_when_the_last_answer_is_lost_the_offset_confirms_the_upload(tmp_path: Path) -> None:
    with Relay() as relay, world(tmp_path, relay=relay) as there:
        (there.files / "data.bin").write_bytes(os.urandom(SIZE))
        relay.cuts_answers_after = SIZE
        record = there.services.carry_out("UPLOAD_START", fileId="f", fileName="data.bin")
        assert relay.cut.is_set()
        assert record["outcome"] == "completed", record
        (report,) = there.services.messages("UPLOAD_COMPLETE")
        assert report["payload"]["confirmation"] == "offset"
        assert there.tusd.sha256(report["payload"]["uploadId"]) == report["payload"]["sha256"]
        # It was asked for, not sent again.
        assert relay.forwarded < 1.5 * SIZE


@dataclass
class _Hooks:
    """tusd's hooks over HTTP: a finished upload is refused for as long as `refuses`."""

    url: str = ""
    refuses: bool = True
    asked_of: list[str] = field(default_factory=list)


@contextmanager
def _hooks() -> Iterator[_Hooks]:
    hooks = _Hooks()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            hooks.asked_of.append(asked["Event"]["Upload"]["ID"])
            answer = {"HTTPResponse": {"StatusCode": 500, "Body": "a virus, perhaps"}} if hooks.refuses else {}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hooks.url = f"http://127.0.0.1:{server.server_address[1]}/"
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        yield hooks
        server.shutdown()
        serving.join()
