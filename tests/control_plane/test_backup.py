"""A backup while it runs, and back: agents come by the contract's reset, and nothing that is finished is forgotten."""

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sse_agent.clock import SystemClock
from sse_agent.control_plane.backup import backup, restore
from sse_agent.control_plane.sqlite.database import connect
from sse_agent.errors import CannotStart
from tests.doubles.planes import WITHIN_S, Agent, Plane, plane, slug

CLOCK = SystemClock()


def taken(there: Plane, file: Path) -> Path:
    backup(there.database, file, CLOCK)
    return file


def put_back(there: Plane, file: Path) -> None:
    """As a person does it: stop, restore, start."""
    there.terminate()
    there.wait()
    there.close()
    restore(there.database, file, CLOCK)
    there.start()


def again(there: Plane, agent: Agent) -> Agent:
    """The same agent, at the port of today."""
    return Agent(there.client, agent.client_id, agent.journal, agent.epoch, agent.instance)


def test_after_a_restore_an_agent_gets_a_reset_and_every_command_it_has_not_passed(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        agent = there.fresh()
        first = there.order(agent).json()
        with agent.stream() as stream:
            stream.hello()
            assert stream.event()["id"] == first["eventId"]
        agent.poll(first["eventId"])
        second = there.order(agent, key="second").json()
        file = taken(there, tmp_path / "backup")
        lost = there.order(agent, key="lost").json()
        agent.poll(lost["eventId"])
        put_back(there, file)
        with again(there, agent).stream(lost["eventId"]) as stream:
            hello = stream.hello()
            assert (hello["resume"], hello["reason"]) == (False, "unknown-cursor")
            event = stream.event()
            assert event["id"].partition("/")[2] == second["eventId"].partition("/")[2]
            assert event["id"] != second["eventId"], "an event ID never names two commands"
        assert there.ask("GET", "/api/v1/commands/lost").status_code == 404


def test_what_was_reported_since_the_backup_is_taken_again(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        agent = there.fresh()
        before = agent.envelope("UPLOAD_COMPLETE", complete("a"))
        agent.report(before)
        file = taken(there, tmp_path / "backup")
        after = agent.envelope("UPLOAD_COMPLETE", complete("b"))
        agent.report(after)
        there.order(agent)
        logs = {f"{agent.path}/messages": "messages", "/api/v1/audit": "entries"}
        read = {path: there.ask("GET", path).json()[name][-1]["n"] for path, name in logs.items()}
        for _ in range(2):
            put_back(there, file)
            agent = again(there, agent)
            assert [agent.report(message).status_code for message in (before, after)] == [200, 202]
            there.order(agent)
            for path, name in logs.items():
                (new,) = there.ask("GET", f"{path}?after={read[path]}").json()[name]
                read[path] = new["n"]
        uploads = there.ask("GET", f"{agent.path}/uploads").json()["uploads"]
        assert {upload["fileId"]: upload["state"] for upload in uploads} == {"a": "complete", "b": "complete"}


def test_names_of_uploads_are_restored_and_what_lets_somebody_in_once_is_not(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        agent = there.fresh()
        order = {"fileId": "a", "fileName": "Übersicht.pdf", "tusEndpoint": "http://127.0.0.1:1/"}
        assert there.order(agent, type="UPLOAD_START", payload=order).status_code == 202
        agent.report(agent.envelope("UPLOAD_COMPLETE", complete("a")))
        link = there.ask("POST", "/api/v1/signin-links", json={}, headers={"idempotency-key": "l"}).json()["link"]
        put_back(there, taken(there, tmp_path / "backup"))
        uploads = there.ask("GET", f"{agent.path}/uploads").json()["uploads"]
        assert [upload["fileName"] for upload in uploads] == ["Übersicht.pdf"]
        answer = there.ask("POST", "/api/v1/sessions", json={"secret": link.rpartition("=")[2]})
        assert slug(answer) == "link-not-valid"


def complete(file_id: str) -> dict[str, object]:
    return {
        "fileId": file_id,
        "revision": 3,
        "fileSize": 1,
        "sha256": "0" * 64,
        "uploadId": f"u-{file_id}",
        "seconds": 1.0,
        "confirmation": "response",
    }


def test_a_backup_under_load_is_whole_and_stops_nobody(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        agent = there.fresh()
        answered: list[int] = []
        is_enough = threading.Event()

        def load() -> None:
            while not is_enough.is_set():
                answered.append(there.order(agent).status_code)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for n in range(5):
                file = taken(there, tmp_path / f"backup-{n}")
        finally:
            is_enough.set()
            thread.join(WITHIN_S)
        assert set(answered) == {202}
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = connection.execute("SELECT count(*) FROM commands").fetchone()[0]
        assert 0 < kept <= len(answered)


def test_of_a_stopped_control_plane_a_backup_is_made_too_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        there.terminate()
        there.wait()
        file = taken(there, tmp_path / "backup")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.part")) == []


def test_nothing_is_overwritten_and_nothing_is_restored_under_a_running_one(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        file = taken(there, tmp_path / "backup")
        before = file.read_bytes()
        with pytest.raises(CannotStart, match="exists already"):
            taken(there, file)
        assert file.read_bytes() == before
        with pytest.raises(CannotStart, match="another process holds"):
            restore(there.database, file, CLOCK)
        assert there.order(there.fresh()).status_code == 202


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_what_is_no_backup_changes_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    with plane(tmp_path) as there:
        there.terminate()
        there.wait()
        before = there.database.read_bytes()
        with pytest.raises(CannotStart, match="nothing was changed"):
            restore(there.database, tmp_path / "other", CLOCK)
        assert there.database.read_bytes() == before


def test_what_was_there_before_a_restore_is_kept_beside_it(tmp_path: Path) -> None:
    with plane(tmp_path) as there:
        file = taken(there, tmp_path / "backup")
        key = "only in the one that is replaced"
        there.order(there.fresh(), key=key.replace(" ", "-"))
        put_back(there, file)
        (aside,) = tmp_path.glob("control-plane.db.before-*")
        with closing(sqlite3.connect(aside)) as connection:
            assert connection.execute("SELECT count(*) FROM commands").fetchone() == (1,)


def stopped(folder: Path) -> tuple[Path, Path]:
    """A database on which nothing runs, and a backup of it."""
    database, file = folder / "control-plane.db", folder / "backup"
    connect(database).close()
    backup(database, file, CLOCK)
    return database, file


def test_a_damaged_database_is_put_aside_whole_and_the_backup_takes_its_place(tmp_path: Path) -> None:
    database, file = stopped(tmp_path)
    damaged, wal = b"no database" * 1000, b"what was not yet in it" * 100
    database.write_bytes(damaged)
    database.with_name("control-plane.db-wal").write_bytes(wal)
    restore(database, file, CLOCK)
    connect(database).close()
    kept = {path.name.endswith("-wal"): path.read_bytes() for path in tmp_path.glob("control-plane.db.before-*")}
    assert kept == {False: damaged, True: wal}
    assert not database.with_name("control-plane.db-wal").exists()


def test_a_restore_that_is_cut_off_leaves_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, file = stopped(tmp_path)

    class Cut(Exception):
        """The end."""

    def until_its_turn(source: Path, target: Path) -> None:
        if target == database:
            raise Cut
        real(source, target)

    real = os.replace
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, until_its_turn)
    with pytest.raises(Cut):
        restore(database, file, CLOCK)
    monkeypatch.undo()
    assert database.exists()
    restore(database, file, CLOCK)
    connect(database).close()
