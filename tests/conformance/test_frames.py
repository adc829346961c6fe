"""Bytes → frames: what programs throw away is kept."""

import pytest

from sse_agent.conformance.frames import FRAME_BYTES_LIMIT, Frame, Frames, TooMuch

STREAM = b'event: HELLO\ndata: {"a":\ndata: 1}\n\n:\n\nid: k1/1\r\nevent:X\r\ndata: y\r\n\r\n: alive\nretry: 500\n\n'
WANTED = [
    (("event", "HELLO"), ("data", '{"a":'), ("data", "1}")),
    (("", ""),),
    (("id", "k1/1"), ("event", "X"), ("data", "y")),
    (("", "alive"),),
    (("retry", "500"),),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    frames, found = Frames(), []
    for start in range(0, len(STREAM), size):
        found += frames.feed(STREAM[start : start + size])
    assert [frame.fields for frame in found] == WANTED


def test_a_frame_knows_its_order_its_data_and_whether_it_is_a_sign_of_life_alone() -> None:
    hello, comment, command, *_ = Frames().feed(STREAM)
    assert (hello.data, hello.get("event"), hello.get("id")) == ('{"a":\n1}', "HELLO", None)
    assert (comment.is_comment, command.is_comment) == (True, False)
    assert command.names == ("id", "event", "data")
    assert Frame((("data", "x"), ("id", "1"))).names == ("data", "id")


def test_half_a_frame_is_none_and_what_never_ends_is_too_much() -> None:
    frames = Frames()
    assert frames.feed(b"id: 1\ndata: x") == []
    with pytest.raises(TooMuch):
        for _ in range(3):
            frames.feed(b"x" * (FRAME_BYTES_LIMIT // 2))
    many = Frames()
    with pytest.raises(TooMuch):
        many.feed(b"data: x\n" * FRAME_BYTES_LIMIT)
