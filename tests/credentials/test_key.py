"""The machine's key: made once, kept for its owner alone, never shown."""

import json
import os
import stat
from pathlib import Path

import pytest

from sse_agent.credentials import MachineKey, key
from sse_agent.credentials.key import KEY, NEXT
from sse_agent.errors import CannotStart, ExitCode
from tests.doubles.assertions import verified


def enrolled(folder: Path) -> MachineKey:
    """The key of a machine that is enrolled."""
    made = key.to_enrol_with(folder)
    key.settle(folder)
    return made


def private_half(path: Path) -> str:
    found: str = json.loads(path.read_text())["d"]
    return found


def test_it_is_made_for_its_owner_alone_and_on_the_disk_before_it_is_used(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = key.to_enrol_with(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / NEXT).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NEXT]
    assert key.to_enrol_with(tmp_path).key_id == made.key_id, "an enrolment that is repeated shows the same key"
    key.settle(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    assert key.load(tmp_path, made.key_id).key_id == made.key_id


def test_two_machines_have_different_keys(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert key.to_enrol_with(tmp_path / "one").key_id != key.to_enrol_with(tmp_path / "two").key_id


def test_what_it_signs_is_verified_by_its_public_half_alone(tmp_path: Path) -> None:
    made = key.to_enrol_with(tmp_path)
    assert set(made.public) == {"kty", "crv", "x"}
    token = made.signed({"iss": "agent-1"})
    read = verified(token, made.public)
    assert read.claims == {"iss": "agent-1"}
    assert read.header["alg"] == "EdDSA"


def test_its_fingerprint_is_the_beginning_of_its_thumbprint(tmp_path: Path) -> None:
    # RFC 8037, appendix A.3: the thumbprint of that key, from the RFC.
    path = tmp_path / NEXT
    members = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    members["d"] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
    path.touch(mode=0o600)
    path.write_text(json.dumps(members))
    found = key.to_enrol_with(tmp_path)
    assert found.key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert found.fingerprint == "90FA-CAFE-A9B1-5566-9854"


def test_neither_text_nor_error_shows_its_private_half(tmp_path: Path) -> None:
    made = key.to_enrol_with(tmp_path)
    secret = private_half(tmp_path / NEXT)
    assert secret not in f"{made!r} {made} {made.public} {made.fingerprint} {made.signed({})}"
    for x in ("!", "", "AA", 5, None, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"):
        (tmp_path / NEXT).write_text(json.dumps({"kty": "OKP", "crv": "Ed25519", "x": x, "d": secret}))
        with pytest.raises(CannotStart, match="is damaged") as damaged:
            key.to_enrol_with(tmp_path)
        assert secret not in str(damaged.value)


@pytest.mark.parametrize("name", [KEY, NEXT])
def test_a_key_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    made = key.to_enrol_with(tmp_path)
    (tmp_path / NEXT).rename(tmp_path / name)
    (tmp_path / name).chmod(0o644)
    with pytest.raises(CannotStart, match=r"open to others \(mode 0644\), who may have copied it.*--again") as refused:
        key.load(tmp_path, made.key_id)
    assert refused.value.exit_code is ExitCode.NOT_PERMITTED


def test_a_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = enrolled(tmp_path)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(CannotStart, match=f"belongs to user {me}"):
        key.load(tmp_path, made.key_id)


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "{}", '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
     '{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}', '{"kty":"OKP","crv":"X25519","x":"AA","d":"AA"}'],
)  # fmt: skip
def test_what_is_no_key_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    made = enrolled(tmp_path)
    (tmp_path / KEY).write_text(content)
    with pytest.raises(CannotStart, match=r"is damaged; restore it.*--again") as refused:
        key.load(tmp_path, made.key_id)
    assert refused.value.exit_code is ExitCode.WRONG_CONFIGURATION


def test_one_that_is_not_there_or_is_another_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="is not there"):
        key.load(tmp_path, "some")
    enrolled(tmp_path)
    with pytest.raises(CannotStart, match="another one than this machine was enrolled with"):
        key.load(tmp_path, "some")


def test_a_process_that_ended_between_identity_and_key_left_nothing_that_the_next_one_cant_finish(
    tmp_path: Path,
) -> None:
    old = enrolled(tmp_path)
    new = key.to_enrol_with(tmp_path)
    assert new.key_id != old.key_id
    assert key.load(tmp_path, new.key_id).key_id == new.key_id, "the identity names the new one already"
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    assert key.load(tmp_path, new.key_id).key_id == new.key_id


def test_only_enrolling_anew_replaces_a_key_that_cant_be_used(tmp_path: Path) -> None:
    made = key.to_enrol_with(tmp_path)
    (tmp_path / NEXT).chmod(0o644)
    with pytest.raises(CannotStart):
        key.to_enrol_with(tmp_path)
    new = key.to_enrol_with(tmp_path, is_anew=True)
    assert new.key_id != made.key_id
    assert stat.S_IMODE((tmp_path / NEXT).stat().st_mode) == 0o600
