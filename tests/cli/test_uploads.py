"""`uploads`: at an agent at rest, whose journal takes the wishes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sse_agent.errors import ErrorCode, GiveUp
from sse_agent.journal import wishes
from tests.cli.resting import Shell, complete, documented, failed, fill, members, paused, tried, upload, waiting

UNKNOWN = "nobody: no upload has this fileId (NOT_FOUND); `sse-agent uploads list` shows those there are"
HOSTILE = "ev\x1b[31mil\u202e\n.txt".encode() + b"\xff"


@pytest.fixture
def sse_agent(tmp_path: Path, shell: Callable[[Path], Shell]) -> Shell:
    """One upload in each state but those under way, and one with an ill name."""
    names = [upload(file_id, f"{file_id}.bin".encode()) for file_id in ("q", "p", "f", "w", "c")]
    ends = [paused("p"), failed("f"), waiting("w"), complete("c")]
    return shell(fill(tmp_path, *names, *ends, upload("evil", HOSTILE, 3 << 30)))


def states(sse_agent: Shell) -> dict[str, str]:
    return {one["fileId"]: one["state"] for one in sse_agent.json("uploads", "list")["uploads"]}


def test_uploads_are_listed_in_straight_columns_with_why_they_stand_still(sse_agent: Shell) -> None:
    assert sse_agent.says("uploads", "list") == [
        "FILE ID  STATE     CONFIRMED        OF  NAME",
        "q        queued          0 B  2.00 KiB  q.bin",
        "p        paused          0 B  2.00 KiB  p.bin  (paused here)",
        "f        failed          0 B  2.00 KiB  f.bin  (SERVER_REFUSED: the tus server refused the file; retryable)",
        "w        waiting         0 B  2.00 KiB  w.bin  (the tus server says 423 Locked)",
        "c        complete   2.00 KiB  2.00 KiB  c.bin",
        "evil     queued          0 B  3.00 GiB  ev\\x1b[31mil\\u202e\\n.txt\\xff",
    ]
    assert sse_agent.code == 0


def test_on_a_terminal_a_long_name_is_shortened_and_what_is_said_of_it_stays(
    tmp_path: Path, shell: Callable[[Path], Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = b"a-name-" + b"\xff" * 200 + b".report.pdf"
    place = shell(fill(tmp_path / "long", upload("f", long), failed("f"), upload("q", long)))
    assert len(place.says("uploads", "list")[2]) > 800, "a file has no width"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "130")
    failed_one, queued_one = place.says("uploads", "list")[1:]
    assert len(queued_one) <= 130
    assert queued_one.endswith(".report.pdf")
    assert len(failed_one) <= 130
    assert failed_one.endswith("report.pdf  (SERVER_REFUSED: the tus server refused the file; retryable)")
    monkeypatch.setenv("COLUMNS", "40")
    assert place.says("uploads", "list")[2].endswith("  a-name-…\\xff.report.pdf"), "less would tell nothing"


def test_a_list_may_be_of_some_states_of_some_names_and_of_a_length(sse_agent: Shell) -> None:
    def listed(*arguments: str) -> list[str]:
        return [line.split()[0] for line in sse_agent.says("uploads", "list", *arguments)[1:]]

    assert listed("--state", "queued") == ["q", "evil"]
    assert listed("--state", "paused", "--state", "failed") == ["p", "f"]
    assert listed("--name", "il") == ["evil"]
    assert listed("--state", "queued", "--name", "q.b") == ["q"]
    assert sse_agent.says("uploads", "list", "--name", "nothing") == ["no uploads"]
    assert sse_agent.says("uploads", "list", "--limit", "2")[-1] == "... and more: --limit 20"
    assert sse_agent.json("uploads", "list", "--limit", "2")["isComplete"] is False
    assert sse_agent.json("uploads", "list", "--limit", "20")["isComplete"] is True


def test_a_long_list_is_fetched_in_pages(
    tmp_path: Path, shell: Callable[[Path], Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_agent.cli.uploads.PAGE", 3)
    place = shell(fill(tmp_path / "many", *(upload(f"f{n}") for n in range(10))))
    assert list(states(place)) == [f"f{n}" for n in range(10)]
    assert len(place.json("uploads", "list", "--limit", "7")["uploads"]) == 7


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5"])
def test_a_length_that_is_none_is_named(sse_agent: Shell, limit: str) -> None:
    for what in ("uploads", "outbox"):
        assert sse_agent.says(what, "list", f"--limit={limit}") == []
        assert sse_agent.code == 78
        assert "--limit: expected a whole number from 1 on" in sse_agent.err


def test_one_upload_is_shown_with_its_attempts(sse_agent: Shell) -> None:
    told = sse_agent.says("uploads", "show", "f")
    assert told[:6] == [
        "name        f.bin",
        "file ID     f",
        "state       failed (retryable: sse-agent uploads retry f)",
        "confirmed   0 B of 2.00 KiB",
        "error       SERVER_REFUSED: the tus server refused the file",
        "tus server  https://tus.example.com/files/",
    ]
    assert told[-2].split() == ["ATTEMPT", "ENDED", "TOOK", "CONFIRMED", "THEN", "WHY"]
    assert told[-1].split()[2:7] == ["2.0", "s", "0", "B", "failed"]
    assert sse_agent.says("uploads", "show", "evil")[0] == "name        ev\\x1b[31mil\\u202e\\n.txt\\xff"
    assert sse_agent.says("uploads", "show", "nobody") == []
    assert (sse_agent.code, sse_agent.err) == (78, f"sse-agent: {UNKNOWN}\n")


@pytest.mark.usefixtures("far_east")
def test_people_read_local_time_and_programs_utc(tmp_path: Path, shell: Callable[[Path], Shell]) -> None:
    place = shell(fill(tmp_path / "one", upload("c"), complete("c")))
    told = {line.split("  ")[0]: line.split("  ")[-1] for line in place.says("uploads", "show", "c")}
    assert told["SHA-256"].strip() == "0" * 64
    assert told["received"].strip() == told["ended"].strip() == "2026-11-22 19:30:00"
    assert place.says("uploads", "show", "c")[-1].startswith("2026-11-22 19:30:00  ")
    shown = place.json("uploads", "show", "c")
    assert (shown["fileId"], shown["sha256"]) == ("c", "0" * 64)
    assert shown["createdAt"] == shown["finishedAt"] == shown["tries"][0]["endedAt"] == "2026-11-22T10:30:00.000Z"


def test_a_failed_upload_is_retryable_or_given_up_and_a_pause_is_from_here_or_from_afar(
    tmp_path: Path, shell: Callable[[Path], Shell]
) -> None:
    hopeless = GiveUp(ErrorCode.FILE_SHRUNK, "the file became shorter")
    from_afar = [upload("p"), lambda tx: wishes.pause(tx, "p", "start-p")]
    place = shell(fill(tmp_path / "some", upload("f"), tried("f", hopeless), *from_afar))
    listed = place.says("uploads", "list")
    assert listed[1].endswith("a.bin  (FILE_SHRUNK: the file became shorter; given up)")
    assert listed[2].endswith("a.bin  (paused from afar)")
    assert place.says("uploads", "show", "f")[2] == "state       failed (given up)"
    assert place.says("uploads", "show", "p")[2] == "state       paused from afar"


def test_a_state_that_is_none_is_answered_with_the_words_there_are(sse_agent: Shell) -> None:
    assert sse_agent.says("uploads", "list", "--state", "finished") == []
    words = "queued, uploading, waiting, paused, complete, failed, cancelled"
    first = f"sse-agent: argument --state: invalid choice (choose from {words})"
    assert (sse_agent.code, sse_agent.err.splitlines()[0]) == (78, first)
    assert sse_agent.err.splitlines()[1:] == ["`sse-agent uploads list --help` says more"]


@pytest.mark.parametrize("deed", ["pause", "resume", "retry", "cancel"])
def test_an_id_of_no_upload_is_named_with_what_to_do_and_exit_code_1(sse_agent: Shell, deed: str) -> None:
    more = ["--yes"] if deed == "cancel" else []
    assert sse_agent.says("uploads", deed, "nobody", *more) == []
    assert (sse_agent.code, sse_agent.err) == (1, f"{UNKNOWN}\n")


def test_what_is_printed_as_json_is_what_the_reference_says(sse_agent: Shell) -> None:
    assert set(members(sse_agent.json("uploads", "list"))) == documented("uploads list")
    shown = {*members(sse_agent.json("uploads", "show", "f")), *members(sse_agent.json("uploads", "show", "evil"))}
    assert shown - {"tries[]"} == documented("uploads show")
    for deed in ("pause", "resume", "retry"):
        assert set(members(sse_agent.json("uploads", deed, "nobody"))) == documented(f"uploads {deed}")
    assert set(members(sse_agent.json("uploads", "cancel", "nobody", "--yes"))) == documented("uploads cancel")


def test_wishes_are_kept_and_what_is_refused_is_told_with_exit_code_1(sse_agent: Shell) -> None:
    assert sse_agent.says("uploads", "pause", "q", "c", "nobody") == ["1 paused"]
    assert sse_agent.code == 1
    assert sse_agent.err.splitlines() == [
        "c: the upload is complete (WRONG_STATE)",
        UNKNOWN,
    ]
    assert sse_agent.says("uploads", "resume", "p") == ["1 resumed"]
    assert (sse_agent.code, sse_agent.err) == (0, "")
    assert sse_agent.says("uploads", "retry", "f") == ["1 retried"]
    assert states(sse_agent) == {
        "q": "paused",
        "p": "queued",
        "f": "queued",
        "w": "waiting",
        "c": "complete",
        "evil": "queued",
    }


def test_what_is_done_to_all_is_done_to_those_that_it_is_meant_for(sse_agent: Shell) -> None:
    assert sse_agent.says("uploads", "retry", "--all") == ["2 retried"]
    assert sse_agent.says("uploads", "pause", "--all") == ["4 paused"]
    assert sse_agent.says("uploads", "resume", "--all") == ["5 resumed"]
    assert set(states(sse_agent).values()) == {"queued", "complete"}


@pytest.mark.parametrize("arguments", [["pause"], ["pause", "q", "--all"], ["cancel", "--yes"]])
def test_it_must_be_said_which_ones(sse_agent: Shell, arguments: list[str]) -> None:
    assert sse_agent.says("uploads", *arguments) == []
    assert sse_agent.code == 78
    assert "name the uploads by their file IDs" in sse_agent.err
    assert states(sse_agent)["q"] == "queued"


def test_cancelling_is_never_done_to_all_and_without_a_person_only_with_yes(
    sse_agent: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sse_agent.says("uploads", "cancel", "--all", "--yes") == []
    assert sse_agent.code == 78
    monkeypatch.setattr("sys.stdin", None)
    assert sse_agent.says("uploads", "cancel", "q") == []
    assert (sse_agent.code, sse_agent.err) == (78, "sse-agent: cancelling is final: --yes says that you mean it\n")
    assert states(sse_agent)["q"] == "queued"
    assert sse_agent.says("uploads", "cancel", "q", "--yes") == ["1 cancelled"]
    assert states(sse_agent)["q"] == "cancelled"


class Terminal:
    """Somebody who answers so; None: who leaves (Ctrl-D); an exception is raised."""

    def __init__(self, answer: str | BaseException | None) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return "" if self.answer is None else f"{self.answer}\n"


def test_nobody_is_asked_about_what_can_not_be_cancelled(sse_agent: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    assert sse_agent.says("uploads", "cancel", "c", "nobody") == []
    assert (sse_agent.code, sse_agent.err.splitlines()) == (1, ["c: the upload is complete (WRONG_STATE)", UNKNOWN])
    assert sse_agent.json("uploads", "cancel", "c")["refused"][0]["code"] == "WRONG_STATE"
    monkeypatch.setattr("sys.stdin", Terminal("y"))
    assert sse_agent.says("uploads", "cancel", "q", "--json") == [], "a question would stand in the object"
    assert sse_agent.code == 78
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert sse_agent.says("uploads", "cancel", "c", "q") == ["queued: q.bin", "1 cancelled"]
    assert (sse_agent.code, states(sse_agent)["q"]) == (1, "cancelled")
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    assert sse_agent.says("uploads", "cancel", "q") == ["1 cancelled"], "as it is with --yes"
    assert sse_agent.code == 0


@pytest.mark.parametrize(
    ("answer", "is_meant"),
    [
        ("y", True),
        ("YES ", True),
        ("", False),
        ("n", False),
        ("yeah", False),
        (None, False),
        (KeyboardInterrupt(), False),
    ],
)
def test_a_person_at_a_terminal_is_shown_what_it_is_about_and_asked(
    sse_agent: Shell, monkeypatch: pytest.MonkeyPatch, answer: str | BaseException | None, is_meant: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    told = sse_agent.says("uploads", "cancel", "q", "evil")
    assert told[:2] == ["queued: q.bin", "queued: ev\\x1b[31mil\\u202e\\n.txt\\xff"]
    assert told[2].endswith("2 cancelled" if is_meant else "nothing was cancelled")
    assert sse_agent.code == (0 if is_meant else 1)
    assert states(sse_agent)["q"] == ("cancelled" if is_meant else "queued")
