"""Keys: each does what the bottom line says, on the upload that is selected, and asks before it can't be undone."""

import signal

import pytest

from sse_agent import events
from sse_agent.board import Board, Upload
from sse_agent.chat import NAMES, PASTE, Splitter
from sse_agent.console import editing
from sse_agent.console.editing import EDITS, edited
from sse_agent.console.keyline import keys_of
from sse_agent.console.keys import HISTORY, pressed, settled, unsaid
from sse_agent.console.listing import Found, Listed
from sse_agent.console.state import Ask, Do, DoToAll, Mode, Note, Say, Sight, State, Stop, Wish
from sse_agent.lifecycle import UploadState
from sse_agent.messages import MESSAGE_LIMIT
from tests.test_board import AT, cancelled, completed, queued, started, waiting


def board_with(queued_count: int = 3) -> Board:
    """One under way, one that waits, one paused, and some queued: up, wait, rest, q0, q1, ..."""
    board = Board()
    for event in (
        started("up"),
        started("wait"),
        waiting("wait"),
        started("rest"),
        events.UploadPaused("rest", 0, here=True),
        *(queued(f"q{number}") for number in range(queued_count)),
    ):
        board.apply(event, 100.0, AT)
    return board


def failed(file_id: str, *, retryable: bool) -> events.Event:
    return events.UploadEnded(file_id, UploadState.FAILED, "FILE_CHANGED", "it grew", "", retryable)


class Person:
    """Presses keys in front of a board."""

    def __init__(self, board: Board, found: Found | None = None) -> None:
        self.board = board
        self.found = found
        self.state = State()
        self.wishes: list[Wish] = []
        self.page, self.most_scroll, self.log_first, self.log_total, self.unsent = 4, 0, 0, 0, 0

    def press(self, *keys: str) -> "Person":
        for key in keys:
            listed = Listed(self.board, self.found if self.state.pattern else None)
            sight = Sight(listed, self.page, self.most_scroll, self.log_first, self.log_total, None, self.unsent)
            self.state, wish = pressed(self.state, key, sight)
            self.wishes += [wish] if wish else []
        return self

    def type(self, text: str) -> "Person":
        return self.press(*text)


def selected(*keys: str) -> str:
    return Person(board_with()).press(*keys).state.selected


@pytest.mark.parametrize(
    ("keys", "file_id"),
    [
        ("down", "up"),
        ("down down", "wait"),
        ("j j k", "up"),
        ("down up", "up"),
        ("up", "q2"),
        ("end", "q2"),
        ("end home", "up"),
        ("home pgdn", "q1"),
        ("home pgdn pgdn", "q2"),
        ("end pgup", "wait"),
        ("end down down", "q2"),
    ],
)
def test_arrows_and_letters_select(keys: str, file_id: str) -> None:
    assert selected(*keys.split()) == file_id


def test_the_selection_stays_with_its_upload_and_goes_with_it() -> None:
    person = Person(board_with()).press("down", "down", "down")
    person.board.apply(waiting("up"), 101, AT)
    person.board.apply(queued("urgent", priority=9), 101, AT)
    assert settled(person.state, Listed(person.board)).selected == "rest"
    person.board.apply(cancelled("rest"), 102, AT)
    state = settled(person.state, Listed(person.board))
    assert state.selected == ""
    assert state.note is not None
    assert "nothing is selected" in state.note.text


@pytest.mark.parametrize("key", ["c", "p", "r", "t", "enter"])
def test_a_key_for_an_upload_that_has_just_ended_is_for_no_other_one(key: str) -> None:
    person = Person(board_with()).press("down")
    person.board.apply(completed("up"), 101, AT)
    person.press(key)
    assert (person.wishes, person.state.ask, person.state.mode) == ([], None, Mode.LIST)
    assert person.state.note is not None
    assert "nothing is selected" in person.state.note.text


def test_after_its_upload_has_gone_the_selection_begins_where_it_was() -> None:
    person = Person(board_with()).press("down", "down", "down")
    person.board.apply(cancelled("rest"), 102, AT)
    assert person.press("down").state.selected == "q0"


def test_one_that_failed_and_can_be_retried_is_listed_before_the_queue_and_stays_selected() -> None:
    person = Person(board_with()).press("down")
    for file_id, retryable in (("up", True), ("wait", False)):
        person.board.apply(failed(file_id, retryable=retryable), 101, AT)
    listed = Listed(person.board)
    assert [one.file_id for one in listed] == ["rest", "up", "q0", "q1", "q2"]
    assert [listed.position(one.file_id) for one in listed] == list(range(len(listed)))
    assert person.press("t").wishes == [Do("retry", "up", "up.bin")]


@pytest.mark.parametrize(
    ("key", "name"), [("p", "pause"), ("r", "resume"), ("t", "retry")], ids=["pause", "resume", "retry"]
)
def test_a_letter_is_done_to_the_selected_upload(key: str, name: str) -> None:
    person = Person(board_with()).press("down", "down", key)
    assert person.wishes == [Do(name, "wait", "wait.bin")]


@pytest.mark.parametrize("key", ["enter", "p", "r", "t", "c"])
def test_without_a_selection_nothing_is_done_and_it_is_said_why(key: str) -> None:
    person = Person(board_with()).press(key)
    assert (person.wishes, person.state.ask, person.state.mode) == ([], None, Mode.LIST)
    assert person.state.note is not None
    assert "select" in person.state.note.text


def test_a_cancel_names_the_file_and_only_y_confirms_it() -> None:
    person = Person(board_with()).press("down", "c")
    assert person.state.ask is not None
    assert person.state.ask.name == "up.bin"
    person.press("enter", "x", "c", "q", "down", PASTE + "yyy")
    assert (person.wishes, person.state.ask is None) == ([], False)
    person.press("n")
    assert (person.wishes, person.state.ask) == ([], None)
    assert person.press("c", "esc").wishes == []
    assert person.press("c", "y").wishes == [Do("cancel", "up", "up.bin")]


def test_the_answer_is_about_the_upload_that_was_asked_about_wherever_it_stands_by_then() -> None:
    person = Person(board_with()).press("down", "c")
    person.board.apply(waiting("up"), 101, AT)
    person.board.apply(queued("urgent", priority=9), 101, AT)
    assert person.press("y").wishes == [Do("cancel", "up", "up.bin")]


@pytest.mark.parametrize("panel", [[], ["enter"]], ids=["list", "details"])
def test_a_question_about_an_upload_that_has_ended_is_withdrawn_with_a_word(panel: list[str]) -> None:
    person = Person(board_with()).press("down", *panel, "c")
    assert person.state.ask is not None
    person.board.apply(completed("up"), 101, AT)
    assert settled(person.state, Listed(person.board)).ask is None
    state = settled(person.state, Listed(person.board))
    assert state.note is not None
    assert state.note.text == "the question is withdrawn, the upload is complete: up.bin"
    assert person.press("y").wishes == []


@pytest.mark.parametrize(
    ("state", "retryable", "why"),
    [
        (UploadState.COMPLETE, False, "not cancelled: the upload is complete: old.bin"),
        (UploadState.CANCELLED, False, "not cancelled: the upload is cancelled already: old.bin"),
        (UploadState.FAILED, False, "not cancelled: the upload is given up (FILE_CHANGED: it grew): old.bin"),
    ],
)
def test_a_cancel_of_what_is_over_is_refused_at_once(state: UploadState, retryable: bool, why: str) -> None:
    old = Upload("old", "old.bin", 5, 0, state, reason="FILE_CHANGED: it grew", is_retryable=retryable)
    person = Person(board_with(), Found("old", (old,))).press("/", *"old", "enter", "down", "c")
    assert (person.state.ask, person.wishes) == (None, [])
    assert person.state.note == Note(why, is_bad=True)
    assert "c" not in {key.name for key in keys_of(person.state, old, Listed(person.board, person.found))}


def test_a_failed_upload_that_can_be_retried_can_be_cancelled() -> None:
    old = Upload("old", "old.bin", 5, 0, UploadState.FAILED, is_retryable=True)
    person = Person(board_with(), Found("old", (old,))).press("/", *"old", "enter", "down", "c", "y")
    assert person.wishes == [Do("cancel", "old", "old.bin")]


def test_all_are_paused_after_a_question_when_there_are_more_than_one() -> None:
    person = Person(board_with()).press("P")
    assert person.wishes == []
    assert person.state.ask == Ask("Pause all 5 uploads?", "", DoToAll("pause"))
    assert person.press("y", "R").wishes == [DoToAll("pause"), DoToAll("resume")]
    alone = Board()
    alone.apply(started("a"), 100, AT)
    assert Person(alone).press("P").wishes == [DoToAll("pause")]


def test_all_are_more_than_those_that_a_filter_found_and_the_question_says_so() -> None:
    board = board_with()
    found = Found("q", tuple(board.first(UploadState.QUEUED, 2)))
    person = Person(board, found).press("/", "q", "enter", "P")
    assert person.state.ask == Ask("Pause all 5 uploads, not only the 2 found?", "", DoToAll("pause"))
    person.press("n", "R")
    assert person.state.ask == Ask("Resume all that are paused (1), not only the 2 found?", "", DoToAll("resume"))
    assert person.press("y").wishes == [DoToAll("resume")]
    person.found = None
    assert person.press("P").state.ask == Ask("Pause all 5 uploads, not only those found?", "", DoToAll("pause"))
    assert Person(Board(), found).press("/", "q", "enter", "R").wishes == [DoToAll("resume")], "there is nothing to ask"


def test_what_became_of_an_upload_is_not_taken_for_what_became_of_a_command_about_it() -> None:
    person = Person(board_with()).press("down", "c")
    refused = events.CommandFinished("c", "UPLOAD_RESUME", "rejected", "WRONG_STATE", "", file_name="up.bin")
    for event in (completed("up"), refused):
        person.board.apply(event, 101, AT)
    state = settled(person.state, Listed(person.board))
    assert state.note == Note("the question is withdrawn, the upload is complete: up.bin")


@pytest.mark.parametrize(
    ("happened", "unsent", "question"),
    [
        ([started("a")], 0, "Stop the agent? 1 upload goes on at the next start."),
        ([queued("a")], 0, "Stop the agent? 1 upload goes on at the next start."),
        ([started("a"), waiting("a")], 0, "Stop the agent? 1 upload goes on at the next start."),
        ([started("a"), queued("b"), queued("c")], 0, "Stop the agent? 3 uploads go on at the next start."),
        ([], 1, "Stop the agent? 1 message goes out at the next start."),
        ([queued("a"), queued("b")], 2, "Stop the agent? 2 uploads go on and 2 messages go out at the next start."),
    ],
)
def test_quitting_asks_when_anything_is_unfinished(happened: list[events.Event], unsent: int, question: str) -> None:
    board = Board()
    for event in happened:
        board.apply(event, 100, AT)
    person = Person(board)
    person.unsent = unsent
    assert person.press("q").wishes == []
    assert person.state.ask == Ask(question, "", Stop(is_sure=True))
    assert person.press("n", "q", "y").wishes == [Stop(is_sure=True)]


def test_quitting_asks_nothing_when_nothing_is_unfinished() -> None:
    board = Board()
    for event in (started("a"), completed("a"), started("b"), events.UploadPaused("b", 0, here=True)):
        board.apply(event, 100, AT)
    assert Person(board).press("q").wishes == [Stop()]


@pytest.mark.parametrize("panel", ["enter", "l", "?"], ids=["details", "log", "help"])
def test_q_in_a_panel_leads_back_to_the_list_and_stops_nothing(panel: str) -> None:
    for key in ("q", "esc"):
        person = Person(board_with()).press("down", panel)
        assert person.state.mode is not Mode.LIST
        assert any(key in bottom.name.lower().split() for bottom in keys_of(person.state, None, Listed(person.board)))
        person.press(key)
        assert (person.state.mode, person.state.ask, person.wishes) == (Mode.LIST, None, [])


# --- the chat ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["m", "tab"])
def test_in_the_chat_letters_are_letters_and_enter_says_them(key: str) -> None:
    person = Person(board_with()).press("down", key).type("pause q?").press("enter")
    assert person.wishes == [Say("pause q?")]
    assert person.state.draft == ("", "")
    assert person.press("esc").state.mode is Mode.LIST


def test_a_line_of_blanks_is_not_said_and_a_half_typed_one_is_still_there_after_a_look_at_the_list() -> None:
    person = Person(board_with()).press("m").type("   ").press("enter").type("half").press("esc", "tab").type(" way")
    assert (person.wishes, person.state.draft) == ([], ("half way", ""))


def test_what_was_said_comes_back_and_what_was_being_typed_too() -> None:
    person = Person(board_with()).press("m").type("one").press("enter").type("two").press("enter").type("thr")
    assert person.press("up").state.draft == ("two", "")
    assert person.press("up", "up").state.draft == ("one", "")
    assert person.press("down", "down", "down").state.draft == ("thr", "")
    person.press("up", "up").type("!").press("enter")
    assert person.wishes == [Say("one"), Say("two"), Say("one!")]


def test_only_the_last_lines_come_back_each_once() -> None:
    person = Person(board_with()).press("m")
    for number in range(HISTORY + 20):
        person.type(f"line {number}").press("enter")
    person.type("line 119").press("enter")
    assert len(person.state.history) == HISTORY
    assert person.state.history[-1] == "line 119"
    assert person.state.history.count("line 119") == 1


def test_what_could_not_be_said_is_back_in_front_of_what_was_typed_since() -> None:
    person = Person(board_with()).press("m").type("first").press("enter").type("second")
    assert unsaid(person.state, "first").draft == ("first second", "")


def test_what_is_pasted_on_the_list_is_a_draft_and_no_keys() -> None:
    person = Person(board_with()).press("down", PASTE + "q y P c")
    assert (person.wishes, person.state.mode, person.state.draft) == ([], Mode.CHAT, ("q y P c", ""))


def test_a_line_from_afar_is_unread_until_the_chat_was_open() -> None:
    person = Person(board_with())
    person.board.apply(events.MessageShown("Ann", "hi", mine=False), 101, AT)
    assert person.board.heard > person.state.heard
    person.press("m")
    assert settled(person.state, Listed(person.board)).heard == person.board.heard
    assert person.press("esc").state.heard == person.board.heard


# --- the filter, and the panels ---------------------------------------------------------------------


def test_a_filter_is_typed_kept_and_cleared() -> None:
    person = Person(board_with()).press("/").type("q1x").press("backspace")
    assert (person.state.mode, person.state.pattern) == (Mode.FILTER, "q1")
    assert person.press("enter").state.pattern == "q1"
    assert person.state.mode is Mode.LIST
    assert person.press("esc").state.pattern == ""
    assert person.press("/").type("zzz").press("esc").state == State(heard=0, selected="")


def test_in_a_filter_the_selection_is_among_what_was_found_also_of_what_the_board_does_not_know() -> None:
    old = Upload("old", "q-old.bin", 5, 0, UploadState.FAILED, is_retryable=True)
    copy = Upload("q1", "q1.bin", 10, 0, UploadState.UPLOADING)
    person = Person(board_with(), Found("q", (old, copy)))
    person.press("/", "q", "down", "down")
    assert person.state.selected == "q1"
    assert Listed(person.board, person.found).window(0, 9) == [old, person.board.find("q1")]
    assert person.press("up", "enter", "t").wishes == [Do("retry", "old", "q-old.bin")]


def test_details_are_of_the_selected_upload_also_when_it_has_left_the_list() -> None:
    person = Person(board_with()).press("down", "enter")
    assert person.state.mode is Mode.DETAILS
    person.board.apply(cancelled("up"), 101, AT)
    assert settled(person.state, Listed(person.board)).selected == "up"
    assert person.press("p").wishes == [Do("pause", "up", "up")]
    assert person.press("esc").state.mode is Mode.LIST


def test_a_panel_scrolls_as_far_as_it_goes() -> None:
    person = Person(board_with()).press("?")
    person.most_scroll = 5
    assert person.press("down", "pgdn", "pgdn").state.scroll == 5
    assert person.press("up").state.scroll == 4
    assert person.press("home").state.scroll == 0
    assert person.press("end", "?").state.mode is Mode.LIST


def test_the_log_stays_where_it_was_scrolled_to_and_follows_again_at_its_end() -> None:
    person = Person(board_with()).press("l")
    person.log_first, person.log_total = 100, 200
    assert person.press("up", "up").state.log_end == 198
    person.log_total = 250
    assert person.press("up").state.log_end == 197
    assert person.press("home").state.log_end == 104
    assert person.press("end").state.log_end is None


@pytest.mark.parametrize("key", ["l", "?"])
def test_nothing_is_done_to_an_upload_that_nobody_sees_selected(key: str) -> None:
    person = Person(board_with()).press("down", key, "p", "r", "t", "c")
    assert (person.wishes, person.state.ask) == ([], None)


def test_no_key_at_all_breaks_anything_in_any_mode() -> None:
    keys = [*dict.fromkeys(NAMES.values()), *"ajlmpqtyPR/?報", PASTE + "x y"]
    for board in (board_with(), Board()):
        for first in ([], ["down"], ["m"], ["/", "x"], ["down", "enter"], ["l"], ["?"], ["down", "c"]):
            for key in keys:
                for then in ("enter", "esc", "up", "end", "y", "c"):
                    person = Person(board).press(*first, key, then)
                    assert keys_of(person.state, None, Listed(board))


def test_the_bottom_line_names_no_key_that_does_nothing() -> None:
    person = Person(board_with(), None).press("down")
    listed = Listed(person.board)
    while True:
        chosen = listed.find(person.state.selected)
        for key in keys_of(person.state, chosen, listed):
            if len(key.name) == 1:
                before = person.state
                after, wish = pressed(before, key.name, Sight(listed))
                assert wish is not None or after != before, key
        position = person.state.position
        if person.press("down").state.position == position:
            break


# --- editing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        (["backspace", "backspace", "a"], "a|"),
        ([*"abc", "backspace", "backspace"], "a|"),
        ([*"one two  ", "ctrl-w"], "one |"),
        ([*"one two", "left", "left", "ctrl-w"], "one |wo"),
        ([*"   ", "ctrl-w"], "|"),
        ([*"abc", "ctrl-u", "d"], "d|"),
        ([*"abc", "left", "left", "ctrl-u"], "|bc"),
        ([*"abc", "left", "ctrl-k"], "ab|"),
        ([*"bc", "home", "a", "end", "d", "home", "delete"], "|bcd"),
        (["a", "left", "left", "b", "right", "right", "right", "c"], "bac|"),
        ([*"é報", "backspace"], "é|"),
        ([PASTE + "a b", "x"], "a bx|"),
    ],
)
def test_keys_edit_a_line(keys: list[str], left: str) -> None:
    draft = ("", "")
    for key in keys:
        draft = edited(draft, key) or draft
    assert "|".join(draft) == left


def test_a_line_has_a_bound() -> None:
    draft = ("", "")
    for _ in range(3):
        draft = edited(draft, PASTE + "x" * 3000) or draft
    assert len("".join(draft)) == MESSAGE_LIMIT


def test_a_word_is_erased_behind_any_number_of_blanks_without_trying_each_of_them() -> None:
    def too_long(*_: object) -> None:
        raise TimeoutError("one key took minutes")

    # Looked at once each, half a million blanks are nothing; looked at once for each, they are an hour.
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    try:
        assert editing.without_word("a word" + " " * 500_000 + "b", "after") == ("a word" + " " * 500_000, "after")
        assert editing.without_word("a word" + " " * 500_000, "after") == ("a ", "after")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_keyboard_and_editor_mean_the_same_keys() -> None:
    assert editing.PASTE == PASTE
    assert set(EDITS) <= set(NAMES.values())


def test_esc_and_another_key_at_once_are_two_keys() -> None:
    assert list(Splitter().split("\x1b\x1b[B")) == ["esc", "down"]
    assert list(Splitter().split("\x1b[A\x1b\x1b[Bq")) == ["up", "esc", "down", "q"]
