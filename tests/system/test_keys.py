"""A person at a real agent's console presses keys: what the screen shows is what the control plane learns."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.processes import World, world
from tests.doubles.relay import Relay
from tests.doubles.seat import Person, seated
from tests.doubles.services import until

MIB = 1024 * 1024
SIZE = 24 * MIB
RATE = 0.5 * MIB
# Each makes one kind of key do nothing, or too much.
DEAF = "from sse_agent.console.acting import Session; Session._wish = lambda *_: None"
RASH = """
from sse_agent.console import keys
keys._deed = lambda state, name, sight: (state, keys.Do(name, state.selected, sight.listed.find(state.selected).name))
"""


@contextmanager
def under_way(folder: Path, *names: str, breaking: str = "") -> Iterator[tuple[World, Person, Relay]]:
    """These files are being uploaded, slowly, by an agent with a person at its console."""
    with Relay(RATE) as relay, world(folder, relay=relay, connected=False) as there:
        for name in names:
            (there.files / name).write_bytes(os.urandom(SIZE))
        with seated(there.agent.settings, folder, breaking=breaking) as person:
            person.sees("● connected")
            for name in names:
                there.services.command("UPLOAD_START", fileId=name, fileName=name)
            for name in names:
                person.sees(f"{name} .* [1-9][0-9]? %")
            yield there, person, relay


def select(person: Person, name: str) -> None:
    """With the arrows, from the first on."""
    person.types("\x1b[H")
    for _ in range(9):
        line = person.sees("^›")
        if name in line:
            return
        person.types("\x1b[B")
        person.sees_no_more(f"^{line[:24]}")
    raise AssertionError(f"{name} can't be selected:\n" + "\n".join(person.lines))


def state_of(there: World, file_id: str) -> str:
    return str(there.services.upload(file_id)["state"])


def pause_resume_and_cancel(there: World, person: Person, within_s: float = 30.0) -> None:
    """Of the first one, with the keys."""
    select(person, "first.bin")
    person.types("p")
    person.sees("^›first.bin .*paused here", within_s)
    there.services.until_upload("first.bin", "paused", within_s)
    person.types("r")
    person.sees_no_more("paused here")
    until(lambda: state_of(there, "first.bin") in ("queued", "uploading"), "it is resumed")
    person.types("c")
    person.sees(r"\? first.bin +Cancel for good", within_s)
    person.types("n")
    person.sees("nothing was changed")
    assert state_of(there, "first.bin") != "cancelled"
    person.types("cy")
    person.sees("– first.bin +cancelled here")
    there.services.until_upload("first.bin", "cancelled")
    until(lambda: len(there.tusd.ids()) == 1, "the tus server has nothing of it any more")
    assert state_of(there, "second.bin") == "uploading"


def test_keys_pause_resume_and_cancel_the_selected_upload_and_no_other(tmp_path: Path) -> None:
    with under_way(tmp_path, "first.bin", "second.bin") as (there, person, _):
        pause_resume_and_cancel(there, person)


@pytest.mark.parametrize(
    ("breaking", "complaint"),
    [(DEAF, "paused here was never seen"), (RASH, "Cancel for good was never seen")],
    ids=["keys do nothing", "cancels without a question"],
)
def test_keys_that_do_nothing_or_too_much_are_noticed(breaking: str, complaint: str, tmp_path: Path) -> None:
    with (
        under_way(tmp_path, "first.bin", "second.bin", breaking=breaking) as (there, person, _),
        pytest.raises((AssertionError, TimeoutError), match=complaint),
    ):
        pause_resume_and_cancel(there, person, within_s=6.0)


def test_all_are_paused_at_once_and_who_resumes_one_from_afar_is_named(tmp_path: Path) -> None:
    with under_way(tmp_path, "first.bin", "second.bin") as (there, person, _):
        person.types("P")
        person.sees("Pause all 2 uploads")
        person.types("y")
        for name in ("first.bin", "second.bin"):
            person.sees(f"{name} .*paused here")
            there.services.until_upload(name, "paused")
        there.services.command("UPLOAD_RESUME", fileId="second.bin")
        person.sees("▲ .* resumed what was paused here: second.bin")
        there.services.until_upload("second.bin", "uploading")
        there.services.command("UPLOAD_PAUSE", fileId="second.bin")
        person.sees("second.bin .*paused from afar")
        person.types("R")
        person.sees("resumed: 2 uploads")
        for name in ("first.bin", "second.bin"):
            there.services.until_upload(name, "uploading")


def test_details_log_and_help_stand_in_front_of_the_list_for_a_while(tmp_path: Path) -> None:
    with under_way(tmp_path, "first.bin") as (there, person, relay):
        there.tusd.kill()
        person.sees("first.bin +waiting")
        select(person, "first.bin")
        person.types("\r")
        person.sees("^ file ID +first.bin")
        person.sees(f"^ tus server +{relay.in_front_of(there.tusd.endpoint).removesuffix('/files/')}$")
        person.sees(r"^ (\S+ )?\d\d:\d\d:\d\d .*24.0 MiB +waiting")
        there.tusd.start()
        person.types("t\x1b")
        person.sees("first.bin .*[KM]iB/s")
        person.types("l")
        person.sees("first.bin: waiting at")
        person.types("\x1b[H")
        person.sees("connected to the control plane")
        person.types("\x1b[Fq")
        person.sees("── Uploads")
        person.types("?")
        person.sees("^ The selected upload")
        person.types("q")
        person.sees("── Uploads")
        person.types("l\x1b")
        person.sees("── Uploads")
        assert person.child.poll() is None


def test_a_filter_finds_uploads_from_before_the_start(tmp_path: Path) -> None:
    with Relay(RATE / 10) as relay, world(tmp_path, relay=relay) as there:
        for number in range(40):
            (there.files / f"scan-{number:03}.tiff").write_bytes(b"x" * MIB)
            there.services.command("UPLOAD_START", fileId=f"f{number}", fileName=f"scan-{number:03}.tiff")
        there.agent.wait_for("upload.queued", file_id="f39")
        there.agent.stop()
        with seated(there.agent.settings, tmp_path) as person:
            person.sees(r"scan-0\d\d.tiff +queued")
            person.types("/scan-03")
            person.sees("/scan-03 · 10 found")
            person.types("7\r")
            person.sees("/scan-037 · 1 found")
            select(person, "scan-037")
            person.types("p")
            there.services.until_upload("f37", "paused")
            person.sees("^›scan-037.tiff .*paused here")
            person.types("\x1b")
            person.sees(r"scan-0[0-2]\d.tiff +queued")


def test_the_chat_has_a_history_and_letters_in_it_are_no_keys(tmp_path: Path) -> None:
    with under_way(tmp_path, "first.bin") as (there, person, _):
        there.services.command("MESSAGE", **{"text": "Are you there?", "from": "Ann"})
        person.sees("Ann: Are you there.* m to answer")
        person.types("m")
        person.sees("type to answer in the chat")
        person.types("quit? Pause? no.\r")
        person.sees("you  quit. Pause. no.")
        person.types("second line\r")
        person.sees("you  second line")
        person.types("\x1b[A\x1b[A")
        person.sees("^ › quit. Pause. no.")
        person.types("\x1b[B and more\r")
        person.sees("you  second line and more")
        said = ["quit? Pause? no.", "second line", "second line and more"]
        mine = lambda: [m["payload"]["text"] for m in there.services.messages("MESSAGE")]  # noqa: E731
        until(lambda: [text for text in mine() if text in said] == said, "all was said, in order")
        person.types("\t")
        person.sees("quit ")
        assert state_of(there, "first.bin") == "uploading"


def test_quitting_asks_says_what_goes_on_and_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    with under_way(tmp_path, "first.bin") as (_, person, __):
        person.types("q")
        person.sees("Stop the agent. 1 upload goes on at the next start. y/n")
        person.types("n")
        person.sees("nothing was changed")
        person.types("qy")
        person.leaves()
        person.sees("^  unfinished  1 queued: goes on at the next start")


# The old way: when the selected upload ends, the one that moves up is selected.
SELECTS_THE_NEXT = """
from sse_agent.console import acting, keys
settled = keys.settled
def onto_the_next(state, listed):
    after = settled(state, listed)
    if state.selected and not after.selected and len(listed):
        return keys.replace(after, selected=listed.window(0, 1)[0].file_id)
    return after
acting.settled = keys.settled = onto_the_next
"""


def cancels_what_has_ended(there: World, person: Person, within_s: float = 30.0) -> None:
    """Asked whether to cancel the first one, a person sees it end, and presses the keys for it all the same."""
    select(person, "first.bin")
    person.types("c")
    person.sees(r"\? first.bin +Cancel for good")
    there.services.command("UPLOAD_CANCEL", fileId="first.bin")
    person.sees("the question is withdrawn, the upload is cancelled: first.bin")
    person.types("c")
    person.sees("nothing is selected: select an upload", within_s)
    person.types("y")
    assert state_of(there, "second.bin") == "uploading"


def test_a_key_for_an_upload_that_has_ended_hits_no_other_one(tmp_path: Path) -> None:
    with under_way(tmp_path, "first.bin", "second.bin") as (there, person, _):
        cancels_what_has_ended(there, person)


def test_a_selection_that_jumps_to_the_next_upload_is_noticed(tmp_path: Path) -> None:
    with (
        under_way(tmp_path, "first.bin", "second.bin", breaking=SELECTS_THE_NEXT) as (there, person, _),
        pytest.raises(AssertionError, match="nothing is selected: select an upload was never seen"),
    ):
        cancels_what_has_ended(there, person, within_s=6.0)
