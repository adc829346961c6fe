"""Every misbehaviour of a tus server, against the whole upload side of an agent: each ends as its table says."""

import dataclasses
import http.client
import io
import json
import random
import ssl
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urljoin

import anyio
import pytest
import trustme

from sse_agent.events import Event, UploadCompleted, UploadEnded, UploadQueued, UploadStarted, UploadWaiting
from sse_agent.journal import Transaction
from sse_agent.lines import Lines
from sse_agent.tus import TusSession
from sse_agent.tus.session import Answer, Body
from tests.doubles.clock import FakeClock
from tests.doubles.hostile_tus_server import (
    MISBEHAVIOURS,
    SECRET_ID,
    Completes,
    Fails,
    HostileTusServer,
    Misbehaviour,
    Waits,
    hostile_tus_server,
    tables,
)
from tests.doubles.journals import outgoing
from tests.doubles.peak import peak
from tests.doubles.station import Station, station

MIB = 1024 * 1024
WITHIN_S = 20.0
LOOK_EVERY_S = 0.005
STEP_S, WAITING_STEP_S = 5.0, 30.0
MEMORY = 64 * MIB
OF_AN_ENDLESS_ANSWER = 16 * MIB
SMALL = random.Random(1).randbytes(100_000)
LARGE = random.Random(2).randbytes(MIB) * 9
UPLOAD_TOKEN, FRESH_TOKEN, SETTINGS_TOKEN = "upl0ad-t0ken", "fr3sh-t0ken", "s3ttings-t0ken"
SECRETS = (UPLOAD_TOKEN, FRESH_TOKEN, SETTINGS_TOKEN, SECRET_ID)
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "hostile-peers.md"

Ending = UploadCompleted | UploadEnded


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def _fresh(_: str) -> str | None:
    return FRESH_TOKEN


# --- one row, played to its end ---


async def settled(there: Station, server: HostileTusServer, seen: int) -> Ending:
    """The end of the upload: waits pass at once, and so does time while the server keeps silent."""
    assert isinstance(there.clock, FakeClock)
    is_waiting = False
    with anyio.fail_after(WITHIN_S):
        while True:
            for event in there.events[seen:]:
                if isinstance(event, UploadCompleted | UploadEnded):
                    return event
                if isinstance(event, UploadWaiting | UploadQueued):
                    server.silent.clear()
                    is_waiting = True
                elif isinstance(event, UploadStarted):
                    is_waiting = False
            seen = len(there.events)
            if is_waiting:
                # The endpoint may be left alone for longer than the upload has to wait.
                there.advance(WAITING_STEP_S)
            elif server.silent.is_set():
                there.clock.advance(STEP_S)
            # Not as soon as something happened: time that passes makes things happen, and a loop that never rests keeps
            # every other thread from the interpreter for most of its life.
            await anyio.sleep(LOOK_EVERY_S)


def unlike(row: Misbehaviour, ending: Ending, waits: list[UploadWaiting]) -> Iterator[str]:
    """What of the outcome is not as the row says."""
    wanted = row.outcome
    match wanted, ending:
        case Completes(), UploadCompleted():
            if ending.confirmation != wanted.confirmation:
                yield f"outcome: complete by {ending.confirmation}"
        case Fails(), UploadEnded():
            if (ending.code, ending.retryable) != (
                wanted.code,
                wanted.is_retryable,
            ) or wanted.words not in ending.message:
                yield f"outcome: {ending}"
        case Waits(), UploadEnded():
            if (ending.code, ending.retryable) != (wanted.code, True):
                yield f"outcome: {ending}"
            if not any(wanted.reason in wait.reason for wait in waits):
                yield f"outcome: it waited for {[wait.reason for wait in waits]}"
        case _:
            yield f"outcome: {ending} after {[wait.reason for wait in waits]}"


def leaks(there: Station, server: HostileTusServer, told: list[tuple[str, Mapping[str, object]]]) -> Iterator[str]:
    """Secrets and control characters where none may be, and whoever else was spoken to."""
    if server.thief.connections:
        yield f"thief: {[(found.method, found.headers) for found in server.thief.seen]}"
    own = {f"Bearer {UPLOAD_TOKEN}", f"Bearer {FRESH_TOKEN}"}
    if not {head.get("authorization") for head in server.heads} <= own:
        yield "token: not the upload's own"
    if any("cookie" in head for head in server.heads):
        yield "cookie: came back"
    written = io.StringIO()
    for style in ("json", "text"):
        lines = Lines(written, there.clock, style=style, level="debug")
        for event in there.events:
            lines(event)
    words = [text for event in there.events for text in _texts(event)]
    words += [json.dumps({**payload, "uploadId": ""}, ensure_ascii=False) for _, payload in told]
    words += written.getvalue().split("\n")
    for text in [*words, *map(repr, there.events)]:
        yield from (f"secret: {secret} in {text}" for secret in SECRETS if secret in text)
        if any(unicodedata.category(c) == "Cc" or c in BIDI for c in text):
            yield f"control character: in {text!r}"
    for _, payload in told:
        if any(unicodedata.category(c) == "Cc" for c in str(payload.get("uploadId", ""))):
            yield f"control character: in {payload['uploadId']!r}"


def _texts(event: Event) -> Iterator[str]:
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, str):
            yield value


def _of_f(tx: Transaction) -> list[tuple[str, Mapping[str, object]]]:
    return [(kind, payload) for kind, payload in outgoing(tx)]


async def faults(row: Misbehaviour, folder: Path, tls: ssl.SSLContext, trust: ssl.SSLContext) -> list[str]:
    """What is wrong with the agent against this row. None of it may take longer than `WITHIN_S`."""
    content = LARGE if row.is_large else SMALL
    (folder / "files").mkdir()
    (folder / "files" / "a.bin").write_bytes(content)
    found: list[str] = []
    with ExitStack() as stack:
        server = stack.enter_context(hostile_tus_server(row, tls))
        grown = stack.enter_context(peak())
        async with station(
            folder,
            server.server.endpoint,
            trust=trust,
            default_token=SETTINGS_TOKEN,
            renew_token=_fresh,
            no_progress=timedelta(seconds=5) if isinstance(row.outcome, Waits) else timedelta(hours=24),
        ) as there:
            try:
                await there.start("f", "a.bin", uploadToken=UPLOAD_TOKEN)
                ending = await settled(there, server, 0)
                waits = [event for event in there.events if isinstance(event, UploadWaiting)]
                found += unlike(row, ending, waits)
                if isinstance(ending, UploadEnded) and ending.retryable:
                    # And when it mends its ways, the same upload arrives whole.
                    server.is_hostile = False
                    server.silent.clear()
                    seen = len(there.events)
                    await there.tell("UPLOAD_RESUME", fileId="f")
                    ending = await settled(there, server, seen)
                    if not isinstance(ending, UploadCompleted):
                        found.append(f"resumed: {ending}")
                if isinstance(ending, UploadCompleted) and not any(
                    bytes(one.data) == content for one in server.shelf.uploads
                ):
                    found.append("bytes: not what the file has")
            except TimeoutError:
                found.append(f"outcome: none within {WITHIN_S:g} s; at last {there.events[-3:]}")
            found += leaks(there, server, await there.journal.read(_of_f))
    if grown.growth > MEMORY:
        found.append(f"memory: {grown.growth / MIB:.0f} MiB more")
    if server.sent > OF_AN_ENDLESS_ANSWER:
        found.append(f"memory: {server.sent / MIB:.0f} MiB of an endless answer were taken")
    return found


@pytest.mark.parametrize("row", MISBEHAVIOURS, ids=lambda row: row.name)
async def test_each_misbehaviour_of_a_tus_server_ends_as_its_table_says_and_betrays_nothing(
    row: Misbehaviour, tmp_path: Path, server_tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    assert await faults(row, tmp_path, server_tls, trust) == []


# --- the table catches what it should ---


def _followed(
    self: TusSession, method: str, url: str, headers: Mapping[str, str], _: float, body: Body | None
) -> Answer:
    """As requests does it by default."""
    response = self._session.request(method, url, headers=dict(headers), data=body, stream=True, timeout=5)  # type: ignore[arg-type]
    return Answer(response.status_code, response.headers, b"")


BROKEN: dict[str, tuple[str, object, str, str]] = {
    "any Location is believed": (
        "sse_agent.tus.uploader.resolve_location",
        urljoin,
        "`Location` at another origin",
        "thief",
    ),
    "redirects are followed": (
        "sse_agent.tus.session.TusSession._exchange",
        _followed,
        "307 of a POST to a thief",
        "thief",
    ),
    "an answer is read to its end": (
        "sse_agent.tus.session.ANSWER_LIMIT",
        2**40,
        "an error body in chunks without end",
        "memory",
    ),
    "words are passed on": (
        "sse_agent.tus.answers.clean",
        lambda text, _=(): text,
        "escape sequences in the reason and in the body",
        "control character",
    ),
    "secrets are repeated": (
        "sse_agent.tus.answers.clean",
        lambda text, _=(): text,
        "our token and the upload's URL in the body",
        "secret",
    ),
    "what was not sent counts": (
        "sse_agent.tus.session.Body.given",
        property(len, lambda _, __: None),
        "204 at once, the body unread",
        "outcome",
    ),
    "an upload's ID is unescaped": (
        "sse_agent.tus.uploader.upload_id",
        lambda _, url: unquote(url),
        "`Location` with escapes in percent form",
        "control character",
    ),
    "interim answers are answers": (
        "sse_agent.tus.connections._Watched.response_class",
        http.client.HTTPResponse,
        "100, 103 and 104 before the answer",
        "outcome",
    ),
}


@pytest.mark.parametrize("build", BROKEN)
async def test_a_broken_build_is_caught_by_the_row_that_is_meant_for_it(
    build: str, tmp_path: Path, server_tls: ssl.SSLContext, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, broken, name, fault = BROKEN[build]
    monkeypatch.setattr(place, broken, raising=False)
    monkeypatch.setattr(f"{__name__}.WITHIN_S", 6.0)
    row = next(row for row in MISBEHAVIOURS if row.name == name)
    found = await faults(row, tmp_path, server_tls, trust)
    assert any(one.startswith(fault) for one in found), found


def test_the_reference_has_every_row_and_no_other() -> None:
    wanted = tables(MISBEHAVIOURS)
    part = PAGE.read_text().partition("## A tus server\n")[2].partition("\n## ")[0]
    assert part[part.find("### ") :].strip() == wanted
    assert len({row.name for row in MISBEHAVIOURS}) == len(MISBEHAVIOURS)
