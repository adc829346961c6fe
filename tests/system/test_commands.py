"""Every command is answered, and none holds up the next."""

import os
from pathlib import Path

from anyio import to_thread

from tests.doubles.control_plane import ControlPlane, Request, command, control_plane
from tests.doubles.processes import agent_of, world


def test_the_commands_that_move_no_file_are_answered(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        for name in ("b", "a", "c"):
            (there.files / name).write_text(name)
        services = there.services
        assert services.carry_out("HEARTBEAT")["outcome"] == "completed"
        (listing,) = services.carry_out("LIST_FILES", path=str(there.files))["replies"]
        assert [entry["name"] for entry in listing["payload"]["entries"]] == ["a", "b", "c"]
        (status,) = services.carry_out("GET_STATUS")["replies"]
        assert status["type"] == "CLIENT_STATUS"
        assert status["payload"]["diskFree"] > 0
        said = services.carry_out("MESSAGE", text="Hello?", **{"from": "Anna"})
        assert said["outcome"] == "completed"
        assert "Nobody is at the console" in said["replies"][0]["payload"]["text"]


def test_what_the_agent_does_not_do_is_rejected_with_its_code(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        services = there.services
        expired = services.command("HEARTBEAT", expires_at="2020-01-01T00:00:00Z")
        unknown = services.command("MAKE_COFFEE", sugar=2)
        elsewhere = services.command(
            "UPLOAD_START", fileId="f", fileName="x", tusEndpoint="https://elsewhere.invalid/files/"
        )
        no_upload = services.command("UPLOAD_PAUSE", fileId="never-seen")
        found = [services.outcome(one) for one in (expired, unknown, elsewhere, no_upload)]
        assert [(one["outcome"], one["error"]["code"]) for one in found] == [
            ("rejected", "EXPIRED"),
            ("rejected", "UNKNOWN_TYPE"),
            ("rejected", "NOT_ALLOWED"),
            ("rejected", "NOT_FOUND"),
        ]


def test_a_probe_learns_nothing_of_files_that_it_may_not_have(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        (tmp_path / "outside").write_text("secret")
        (there.files / "directory").mkdir()
        (there.files / "link").symlink_to(tmp_path / "outside")
        os.mkfifo(there.files / "pipe")
        names = [str(tmp_path / "outside"), "../outside", "missing", "directory", "link", "pipe"]
        started = [
            there.services.command("UPLOAD_START", fileId=f"f-{n}", fileName=name) for n, name in enumerate(names)
        ]
        answers = [there.services.outcome(one) for one in started]
        assert {one["outcome"] for one in answers} == {"rejected"}
        assert {one["error"]["code"] for one in answers} == {"NOT_FOUND"}
        assert len({one["error"]["message"] for one in answers}) == 1
        # The person at this machine is told.
        details = {there.agent.wait_for("command.finished", command_id=one)["detail"] for one in started}
        assert len(details) > 1


async def test_duplicate_and_malformed_commands_are_answered_and_passed_over(tmp_path: Path) -> None:
    async with control_plane() as plane:
        agent = agent_of(plane.url, tmp_path)
        agent.start()
        try:
            stream = await plane.stream_request()
            await stream.open_stream(latest="k1/6", floor="k1/1")
            await stream.say("k1/1", command("c-1"))
            await stream.say("k1/2", command("c-1", "GET_STATUS"))
            await stream.say("k1/3", b"no JSON")
            await stream.say("k1/4", command("c-4", "LIST_FILES", {"limit": "many"}))
            await stream.say("k1/5", command("c-5", clientId="agent-2"))
            await stream.say("k1/6", command("c-6"))
            acks = await _acks(plane, until="c-6")
            assert {name: [error for _, error in found] for name, found in acks.items()} == {
                "c-1": ["completed"] * len(acks["c-1"]),
                "k1/3": ["INVALID_ENVELOPE"],
                "c-4": ["INVALID_PAYLOAD"],
                "c-5": ["WRONG_CLIENT"],
                "c-6": ["completed"],
            }
            # The first message with an ID stands; its acknowledgement may come again, but never another one.
            assert len({message_id for message_id, _ in acks["c-1"]}) == 1
            assert await _reconnects_behind(plane, stream) == "k1/6"
        finally:
            await to_thread.run_sync(agent.kill)


async def _acks(plane: ControlPlane, until: str) -> dict[str, list[tuple[str, str]]]:
    """Final acknowledgements by command, each its message ID and error code or status, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    expected = {"c-1", "k1/3", "c-4", "c-5", until}
    while not expected <= found.keys():
        post = await plane.post()
        for message in post.messages:
            payload = message["payload"]
            if message["type"] == "ACK" and payload["status"] != "accepted":
                outcome = payload.get("error", {}).get("code", payload["status"])
                found.setdefault(payload["commandId"], []).append((message["id"], outcome))
        await post.accept()
    return found


async def _reconnects_behind(plane: ControlPlane, stream: Request) -> str:
    await stream.end()
    return (await plane.stream_request()).headers["last-event-id"]
