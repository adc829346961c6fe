"""What the tus server has of cancelled uploads is given back to it, as far as it can be."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from sse_agent import terminator
from sse_agent.journal import Transaction, attempts
from sse_agent.terminator import REFUSED_S, TRIED_FOR
from tests.doubles.clock import FakeClock
from tests.doubles.journals import journal_in
from tests.doubles.shelf import Kept, Shelf
from tests.doubles.station import Station, station
from tests.doubles.tus_server import Exchange, TusServer

WITHIN_S = 20.0


def leave(tx: Transaction, url: str, endpoint: str, token: str | None = None) -> None:
    """As a cancelled upload does."""
    tx.run("INSERT INTO terminations VALUES (?, ?, ?, ?)", url, endpoint, token, tx.at)


async def left_behind(tmp_path: Path, *rows: tuple[str, str, str | None]) -> None:
    """The agent ended before it could delete these."""
    (tmp_path / "state").mkdir()
    async with journal_in(tmp_path / "state") as journal:
        for row in rows:
            await journal.write(leave, *row)


async def until(holds: Callable[[], bool]) -> None:
    """For what another thread does, and no event tells of."""
    with anyio.fail_after(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - another thread is looked at
            await anyio.sleep(0.01)


async def until_left(there: Station, count: int) -> None:
    """Until so many are left to delete."""
    with anyio.fail_after(WITHIN_S):
        while await left(there) != count:  # noqa: ASYNC110 - no event tells of it
            await anyio.sleep(0.01)


async def left(there: Station) -> int:
    return len(await there.journal.read(attempts.terminations, 100))


def answering(*statuses: int) -> Shelf:
    """A server that answers its DELETEs so, then as it should."""
    left = list(statuses)

    def meddle(exchange: Exchange, _: Kept | None) -> bool:
        if not left:
            return False
        exchange.answer(left.pop(0))
        return True

    return Shelf(meddle, uploads=[Kept(1, {}), Kept(1, {})])


@pytest.mark.parametrize("status", [204, 404, 410, 405, 501, 400])
async def test_what_is_deleted_gone_or_cannot_be_deleted_is_forgotten(tmp_path: Path, status: int) -> None:
    one = answering(status)
    with TusServer(script=one) as server:
        await left_behind(tmp_path, (f"{server.endpoint}5ecre7-0", server.endpoint, "t0k3n"))
        async with station(tmp_path, server.endpoint) as there:
            await until_left(there, 0)
    assert one.log == ["DELETE"]
    assert one.tokens == ["Bearer t0k3n"]


@pytest.mark.parametrize("status", [423, 500, 503])
async def test_trouble_is_tried_again(tmp_path: Path, status: int) -> None:
    one = answering(status)
    with TusServer(script=one) as server:
        await left_behind(tmp_path, (f"{server.endpoint}5ecre7-0", server.endpoint, None))
        async with station(tmp_path, server.endpoint) as there:
            assert isinstance(there.clock, FakeClock)
            await until(lambda: there.clock.sleeps != [])
            assert await left(there) == 1
            there.advance(61.0)
            await until_left(there, 0)
    assert one.log == ["DELETE", "DELETE"]


async def test_a_refused_token_is_tried_again_an_hour_later_for_there_may_be_thousands(tmp_path: Path) -> None:
    one = answering(401)
    with TusServer(script=one) as server:
        await left_behind(tmp_path, (f"{server.endpoint}5ecre7-0", server.endpoint, "expired"))
        async with station(tmp_path, server.endpoint) as there:
            assert isinstance(there.clock, FakeClock)
            await until(lambda: there.clock.sleeps != [])
            await there.journal.write(leave, f"{server.endpoint}5ecre7-1", server.endpoint, "t0k3n")
            there.advance(61.0)
            await until_left(there, 1)
            assert one.tokens == ["Bearer expired", "Bearer t0k3n"]
            with anyio.fail_after(WITHIN_S):
                while await left(there):
                    there.advance(REFUSED_S)
                    await anyio.sleep(0.01)
    assert one.tokens == ["Bearer expired", "Bearer t0k3n", "Bearer expired"]


async def test_nobody_tries_for_longer_than_a_day(tmp_path: Path) -> None:
    clock = FakeClock()
    with TusServer(script=answering(*[503] * 100)) as server:
        await left_behind(tmp_path, (f"{server.endpoint}5ecre7-0", server.endpoint, None))
        clock.advance(TRIED_FOR.total_seconds() + 1)
        async with station(tmp_path, server.endpoint, clock=clock) as there:
            await until_left(there, 0)


async def test_a_server_in_trouble_holds_up_no_other(tmp_path: Path) -> None:
    bad, good = answering(*[503] * 100), answering()
    with TusServer(script=bad) as troubled, TusServer(script=good) as fine:
        urls = [f"{troubled.endpoint}5ecre7-{n}" for n in range(2)]
        rows = [(url, troubled.endpoint, None) for url in urls]
        await left_behind(tmp_path, *rows, (f"{fine.endpoint}5ecre7-0", fine.endpoint, None))
        async with station(tmp_path, fine.endpoint) as there:
            assert isinstance(there.clock, FakeClock)
            await until_left(there, 2)
            await until(lambda: there.clock.sleeps != [])
            assert bad.log == ["DELETE"], "one is enough to know"


async def test_a_token_that_expired_holds_up_no_other_delete_at_its_server(tmp_path: Path) -> None:
    """Nobody renews the token of an upload that is over."""

    def refuse_the_expired(exchange: Exchange, _: Kept | None) -> bool:
        if exchange.headers["authorization"] == "Bearer expired":
            exchange.answer(401)
        return exchange.headers["authorization"] == "Bearer expired"

    shelf = Shelf(refuse_the_expired, uploads=[Kept(1, {}), Kept(1, {})])
    with TusServer(script=shelf) as server:
        rows = [(f"{server.endpoint}5ecre7-{n}", server.endpoint, token) for n, token in enumerate(("expired", "good"))]
        await left_behind(tmp_path, *rows)
        async with station(tmp_path, server.endpoint) as there:
            await until_left(there, 1)
    assert (shelf.uploads[0].is_gone, shelf.uploads[1].is_gone) == (False, True)


async def test_many_deletes_in_vain_hide_none_behind_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminator, "AT_ONCE", 2)
    shelf = Shelf(
        lambda exchange, _: exchange.headers["authorization"] == "Bearer expired" and exchange.answer(401) is None,
        uploads=[Kept(1, {}) for _ in range(6)],
    )
    with TusServer(script=shelf) as server:
        tokens = ["expired"] * 5 + ["good"]
        rows = [(f"{server.endpoint}5ecre7-{n}", server.endpoint, token) for n, token in enumerate(tokens)]
        await left_behind(tmp_path, *rows)
        async with station(tmp_path, server.endpoint) as there:
            await until_left(there, 5)
    assert [upload.is_gone for upload in shelf.uploads] == [False] * 5 + [True]


async def test_a_delete_that_hangs_does_not_keep_the_agent_from_stopping(tmp_path: Path) -> None:
    with TusServer() as server:
        await left_behind(tmp_path, (f"{server.endpoint}5ecre7-0", server.endpoint, None))
        async with station(tmp_path, server.endpoint):
            await until(lambda: bool(server.seen))
        connection = server.seen[0].connection
        connection.settimeout(5.0)
        assert connection.recv(1) == b"", "broken off: its thread can end, and the process with it"


async def test_a_parked_agent_deletes_nothing(tmp_path: Path) -> None:
    one = answering()
    with TusServer(script=one) as server:
        async with station(tmp_path, server.endpoint) as there:
            there.parking.park("deleted")
            await there.journal.write(leave, f"{server.endpoint}5ecre7-0", server.endpoint, None)
            for _ in range(20):
                there.advance(2.0)
                await anyio.wait_all_tasks_blocked()
            assert one.log == []
            there.parking.leave()
            await until_left(there, 0)
