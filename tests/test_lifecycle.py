"""The transition tables: what they allow is what the contract draws, and nothing leaves an end."""

import pytest

from sse_agent.lifecycle import (
    COMMAND,
    DELIVERY,
    UNFINISHED,
    UPLOAD,
    CommandState,
    DeliveryState,
    UploadSignal,
    UploadState,
    after,
)

# queued → uploading ⇄ waiting; uploading → queued (displaced); queued | uploading | waiting → paused → queued;
# any of these → cancelled; uploading → complete | failed; failed (retryable) → queued, and it can be cancelled.
DRAWN = {
    ("queued", "uploading"),
    ("uploading", "waiting"),
    ("waiting", "uploading"),
    ("uploading", "queued"),
    ("queued", "paused"),
    ("uploading", "paused"),
    ("waiting", "paused"),
    ("paused", "queued"),
    ("queued", "cancelled"),
    ("uploading", "cancelled"),
    ("waiting", "cancelled"),
    ("paused", "cancelled"),
    ("uploading", "complete"),
    ("uploading", "failed"),
    ("failed", "queued"),
    ("failed", "cancelled"),
}


def test_an_uploads_states_change_as_the_contract_draws_them() -> None:
    assert {(source, target) for source, row in UPLOAD.items() for target in row.values()} == DRAWN


def test_anything_else_raises() -> None:
    for state in UploadState:
        for signal in UploadSignal:
            if signal in UPLOAD[state]:
                assert after(state, signal) is UPLOAD[state][signal]
            else:
                with pytest.raises(ValueError, match=f"{state} can't take the signal {signal}"):
                    after(state, signal)


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert set(UPLOAD) == set(UploadState)
    assert set(COMMAND) == set(CommandState)
    assert set(DELIVERY) == set(DeliveryState)
    assert {target for row in UPLOAD.values() for target in row.values()} == set(UploadState)


def test_complete_and_cancelled_are_for_ever_and_a_finished_command_is() -> None:
    assert UPLOAD[UploadState.COMPLETE] == UPLOAD[UploadState.CANCELLED] == {}
    assert COMMAND[CommandState.FINISHED] == frozenset()
    assert frozenset(UploadState) - {"complete", "failed", "cancelled"} == UNFINISHED
