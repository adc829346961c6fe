"""Pairing codes, as they are made, shown and typed."""

import pytest

from sse_agent.control_plane.identity import codes


@pytest.mark.parametrize(
    "typed", ["BCDFGHJK", "bcdf-ghjk", " bcdf ghjk\n", "BC-DF–GH JK".replace("–", "-"), "b c d f g h j k"]
)
def test_case_spaces_and_dashes_do_not_matter(typed: str) -> None:
    assert codes.normalised(typed) == "BCDFGHJK"


@pytest.mark.parametrize(
    "typed", ["", "BCDF", "BCDFGHJKL", "ACDFGHJK", "BCDF_GHJK", "ＢCDFGHJK", "BCDF1HJK", "ßCDFGHJK"]
)
def test_what_can_be_no_code_is_none(typed: str) -> None:
    assert codes.normalised(typed) is None


def test_what_is_shown_can_be_typed_and_no_two_are_alike() -> None:
    made = {codes.shown(codes.new_half(), codes.new_half()) for _ in range(500)}
    assert len(made) == 500
    for code in made:
        assert len(code) == 9
        assert codes.normalised(code) == code.replace("-", "")
    assert set("".join(made)) - {"-"} == set(codes.ALPHABET)


def test_the_digest_needs_the_salt_and_says_nothing_of_the_secret() -> None:
    assert codes.digest("a", "GHJK") != codes.digest("b", "GHJK")
    assert "GHJK" not in codes.digest("a", "GHJK").upper()


def test_a_token_has_256_bits() -> None:
    made = {codes.new_token() for _ in range(100)}
    assert len(made) == 100
    assert {len(token) for token in made} == {43}
