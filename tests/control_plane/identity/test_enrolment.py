"""How a machine becomes an agent: codes, tokens, proofs, over the real application on a real database."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sse_agent.control_plane.documents import Conflict
from sse_agent.control_plane.identity import codes
from sse_agent.control_plane.sqlite import SqliteEngine
from tests.control_plane.identity.machines import Machine, credential_sha256, new_key, sign
from tests.control_plane.identity.office import ISSUER, Office, office
from tests.doubles.clock import FakeClock
from tests.doubles.planes import slug


def wrong(code: str, number: int = 0) -> str:
    """The same ID with another secret."""
    secret = code[5:]
    other = codes.ALPHABET[(codes.ALPHABET.index(secret[0]) + 1 + number) % len(codes.ALPHABET)]
    return f"{code[:5]}{other}{secret[1:]}"


async def test_a_machine_is_pending_until_a_person_says_yes_and_then_an_agent(open_office: Office) -> None:
    machine = Machine(ISSUER)
    code = await open_office.code(actor="ada@example")
    assert (await open_office.state_of(code))["status"] == "open"
    answer = await open_office.enrol(machine, code=code)
    assert answer.status_code == 201
    found = answer.json()
    assert set(found) == {"clientId", "issuer", "status", "fingerprint"}
    assert (found["issuer"], found["status"]) == (ISSUER, "pending")
    assert re.fullmatch(r"warehouse-7-[a-z0-9]{6}", found["clientId"])
    told = await open_office.state_of(code)
    assert (told["status"], told["clientId"]) == ("redeemed", found["clientId"])
    assert (told["fingerprint"], told["host"], told["platform"]) == (found["fingerprint"], "wh7.example", "Linux 6.1")
    (waiting,) = (await open_office.ask("GET", "/api/v1/enrollments")).json()["enrollments"]
    assert (waiting["clientId"], waiting["status"]) == (found["clientId"], "pending")
    assert waiting["waiting"]["fingerprint"] == found["fingerprint"]
    # Not an agent yet: it is on no list, and gets no token.
    ids = [agent["clientId"] for agent in (await open_office.ask("GET", "/api/v1/agents")).json()["agents"]]
    assert found["clientId"] not in ids
    refused = await open_office.grant(machine)
    assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")

    confirmed = await open_office.confirm(machine, found["fingerprint"].lower().replace("-", " "), actor="ada@example")
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "active")
    assert (await open_office.state_of(code))["status"] == "confirmed"
    assert (await open_office.ask("GET", "/api/v1/enrollments")).json() == {"enrollments": []}
    assert await open_office.access(machine)
    again = await open_office.enrol(machine, code=code)
    assert (again.status_code, again.json()) == (201, {**found, "status": "active"})
    assert [(line["deed"], line["actor"], line["outcome"]) for line in await open_office.audit()] == [
        ("code-made", "ada@example", "done"),
        ("enrolled", "ada@example", "pending"),
        ("confirmed", "ada@example", "done"),
    ]


async def test_the_list_of_agents_tells_of_their_keys(open_office: Office) -> None:
    machine = await open_office.enrolled()
    open_office.clock.advance(90)
    answer = (await open_office.ask("GET", "/api/v1/agents")).json()["agents"]
    told = {agent["clientId"]: agent["enrollment"] for agent in answer}
    assert told["fixed-agent"] is None
    assert (told[machine.client_id]["status"], told[machine.client_id]["keyAgeSeconds"]) == ("active", 90)
    one = (await open_office.ask("GET", f"/api/v1/agents/{machine.client_id}")).json()
    assert one["enrollment"] == told[machine.client_id]


async def test_a_token_needs_no_confirmation_and_is_good_once(open_office: Office) -> None:
    machine, other = Machine(ISSUER), Machine(ISSUER)
    token = await open_office.token(name="Lab")
    answers = [await open_office.enrol(machine, token=token) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["status"] == "active"
    assert machine.client_id.startswith("lab-")
    assert await open_office.access(machine)
    refused = await open_office.enrol(other, token=token)
    assert (refused.status_code, slug(refused)) == (409, "code-used")


async def test_the_same_code_with_the_same_key_gets_the_same_answer_and_another_key_none(open_office: Office) -> None:
    machine, other = Machine(ISSUER), Machine(ISSUER)
    code = await open_office.code()
    first = await open_office.enrol(machine, code=code)
    # As whoever lost the answer would ask again: long after the code is over.
    open_office.clock.advance(3600)
    again = await open_office.enrol(machine, code=code.lower().replace("-", ""))
    assert (again.status_code, again.json()) == (201, first.json())
    refused = await open_office.enrol(other, code=code)
    assert (refused.status_code, slug(refused)) == (409, "code-used")
    assert (await open_office.state_of(code))["status"] == "redeemed"


async def test_of_many_machines_with_one_code_at_once_one_is_let_in(open_office: Office) -> None:
    for secret in ({"code": await open_office.code()}, {"token": await open_office.token()}):
        answers = await asyncio.gather(*(open_office.enrol(Machine(ISSUER), **secret) for _ in range(8)))
        taken = [answer for answer in answers if answer.status_code == 201]
        assert len(taken) == 1
        assert {slug(answer) for answer in answers if answer not in taken} <= {"code-used", "code-over"}


async def test_five_wrong_tries_burn_a_code_and_four_do_not(open_office: Office) -> None:
    survivor, burnt = await open_office.code(), await open_office.code()
    for number in range(4):
        for code in (survivor, burnt):
            answer = await open_office.enrol(Machine(ISSUER), address=f"198.51.100.{number}", code=wrong(code, number))
            assert (answer.status_code, slug(answer)) == (403, "code-not-valid")
    assert (await open_office.state_of(burnt))["status"] == "open"
    assert (await open_office.enrol(Machine(ISSUER), code=survivor)).status_code == 201
    await open_office.enrol(Machine(ISSUER), code=wrong(burnt, 4))
    assert (await open_office.state_of(burnt))["status"] == "burnt"
    right = await open_office.enrol(Machine(ISSUER), code=burnt)
    assert (right.status_code, slug(right)) == (410, "code-over")
    (line,) = [line for line in await open_office.audit() if line["deed"] == "code-burnt"]
    assert (line["code"], line["outcome"]) == (burnt[:4], "refused")
    assert burnt[5:] not in json.dumps(line)


async def test_guesses_that_come_all_at_once_are_counted_too(open_office: Office) -> None:
    code = await open_office.code()
    guesses = [
        open_office.enrol(Machine(ISSUER), address=f"203.0.113.{number}", code=wrong(code, number))
        for number in range(18)
    ]
    answers = await asyncio.gather(*guesses)
    assert sum(answer.status_code == 403 for answer in answers) == codes.TRIES
    assert {answer.status_code for answer in answers} == {403, 410}


async def test_codes_and_tokens_end(open_office: Office) -> None:
    code, token = await open_office.code(), await open_office.token()
    open_office.clock.advance(599)
    spare = Machine(ISSUER)
    assert (await open_office.enrol(spare, code=await open_office.code())).status_code == 201
    open_office.clock.advance(1)
    answer = await open_office.enrol(Machine(ISSUER), code=code)
    assert (answer.status_code, slug(answer)) == (410, "code-over")
    assert (await open_office.state_of(code))["status"] == "expired"
    open_office.clock.advance(1199)
    early = await open_office.token()
    assert (await open_office.enrol(Machine(ISSUER), token=early)).status_code == 201
    open_office.clock.advance(1)
    answer = await open_office.enrol(Machine(ISSUER), token=token)
    assert (answer.status_code, slug(answer)) == (410, "code-over")
    open_office.clock.advance(86_400)
    gone = await open_office.ask("GET", f"/api/v1/pairing-codes/{code[:4]}")
    assert (gone.status_code, slug(gone)) == (404, "unknown-code")


async def test_whoever_guesses_is_slowed_down_and_others_are_not(open_office: Office) -> None:
    for _ in range(10):
        answer = await open_office.enrol(Machine(ISSUER), code="BBBB-BBBB")
        assert slug(answer) == "code-not-valid"
    code = await open_office.code()
    answer = await open_office.enrol(Machine(ISSUER), code=code)
    assert (answer.status_code, slug(answer), answer.headers["retry-after"]) == (429, "too-many-tries", "60")
    assert (await open_office.enrol(Machine(ISSUER), address="198.51.100.8", code=code)).status_code == 201
    open_office.clock.advance(60)
    assert (await open_office.enrol(Machine(ISSUER), code=await open_office.code())).status_code == 201


@pytest.mark.parametrize("kind", ["code", "token"])
async def test_a_proof_is_for_this_key_this_control_plane_this_code_and_now(open_office: Office, kind: str) -> None:
    machine = Machine(ISSUER)
    secret = await (open_office.code() if kind == "code" else open_office.token())
    meant = {"credential_sha256": credential_sha256(secret.replace("-", "") if kind == "code" else secret)}
    now = open_office.clock.now()
    proofs = {
        "no proof": "x",
        "another key's": sign(new_key(), machine.claims(now, **meant)),
        "for another control plane": sign(machine.key, machine.claims(now, **meant, aud="https://other.example")),
        "for the token endpoint": sign(machine.key, machine.claims(now, **meant, aud=f"{ISSUER}/api/v1/token")),
        "for no code": sign(machine.key, machine.claims(now)),
        "for another code": sign(machine.key, machine.claims(now, credential_sha256=credential_sha256("BCDFGHJK"))),
        "of an hour ago": sign(machine.key, machine.claims(now, **meant, exp=int(now.timestamp()) - 3540)),
        "of an hour ahead": sign(machine.key, machine.claims(now, **meant, exp=int(now.timestamp()) + 3660)),
    }
    for proof in proofs.values():
        answer = await open_office.enrol(machine, **{kind: secret}, proof=proof)
        assert (answer.status_code, slug(answer)) == (422, "invalid-proof")
        assert answer.json()["now"] == "2026-11-22T10:30:00.000Z"
    if kind == "code":
        assert (await open_office.state_of(secret))["status"] == "open"
    whole = sign(machine.key, machine.claims(now, **meant, aud=f"{ISSUER}/api/v1/enrollments"))
    assert (await open_office.enrol(machine, **{kind: secret}, proof=whole)).status_code == 201


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "a\nb"},
        {"host": "x" * 256},
        {"host": 7},
        {"publicKey": {}},
        {"publicKey": "x"},
        {"token": "also"},
        {"code": None},
        {"proof": 7},
        {"proof": "x" * 5000},
    ],
)
async def test_what_is_missing_or_wrong_is_told_without_repeating_it(
    open_office: Office, change: dict[str, Any]
) -> None:
    code = await open_office.code()
    body = {**Machine(ISSUER).application(open_office.clock.now(), code=code), **change}
    answer = await open_office.client.post("/api/v1/enrollments", json=body)
    assert (answer.status_code, slug(answer)) == (422, "invalid-parameter")
    assert code not in answer.text
    assert (await open_office.state_of(code))["status"] == "open"


async def test_a_body_that_is_none_is_a_problem(open_office: Office) -> None:
    path, headers = "/api/v1/enrollments", {"Content-Type": "application/json"}
    for body, more, status in (
        (b"{", headers, 400),
        (b"[]", headers, 422),
        (b"{}", {}, 415),
        (b" " * 70_000, headers, 413),
    ):
        answer = await open_office.client.post(path, content=body, headers=more)
        assert answer.status_code == status
        slug(answer)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Größe 7/Süd", "gr-e-7-s-d"),
        ("../..", "agent"),
        ("日本", "agent"),
        ("A" * 128, "a" * 48),
        ("x<script>", "x-script"),
    ],
)
async def test_client_ids_are_made_from_any_name(open_office: Office, name: str, stem: str) -> None:
    machine = Machine(ISSUER)
    await open_office.enrol(machine, token=await open_office.token(), name=name)
    assert re.fullmatch(re.escape(stem) + r"-[a-z0-9]{6}", machine.client_id)
    assert (await open_office.ask("GET", f"/api/v1/agents/{machine.client_id}")).json()["enrollment"]["name"] == name


async def test_a_client_id_is_never_given_out_again(open_office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await open_office.enrolled(name="Lab")
    await open_office.ask("DELETE", f"/api/v1/agents/{first.client_id}")
    suffix = first.client_id.removeprefix("lab-")
    letters = iter(suffix + "bcdfgh")
    monkeypatch.setattr("sse_agent.control_plane.identity.enrolment.secrets.choice", lambda _: next(letters))
    second = Machine(ISSUER)
    token = await open_office.token(name="Lab")
    assert (await open_office.enrol(second, token=token)).status_code == 201
    assert second.client_id == "lab-bcdfgh"


async def test_a_code_is_nowhere_on_the_disk(open_office: Office, tmp_path: Path) -> None:
    code, token = await open_office.code(), await open_office.token()
    machine = Machine(ISSUER)
    await open_office.enrol(machine, token=token)
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert code[:4].encode() in whole
    for secret in (code, code.replace("-", ""), token):
        assert secret.encode() not in whole


async def test_a_lost_key_is_replaced_by_a_code_bound_to_the_agent(open_office: Office) -> None:
    lost = await open_office.enrolled()
    old_access = await open_office.access(lost)
    found = Machine(ISSUER)
    code = await open_office.code(clientId=lost.client_id)
    answer = await open_office.enrol(found, code=code)
    assert (answer.json()["clientId"], answer.json()["status"]) == (lost.client_id, "pending")
    # Until a person says yes, nothing has changed for the old key, and nothing is there for the new one.
    assert (await open_office.grant(lost)).status_code == 200
    assert (await open_office.grant(found)).json()["error"] == "unauthorized_client"
    assert (await open_office.confirm(found, answer.json()["fingerprint"])).status_code == 200
    assert (await open_office.grant(found)).status_code == 200
    refused = await open_office.grant(lost)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    path = f"/api/v1/agents/{lost.client_id}/uploads/f/token"
    headers = {"Authorization": f"Bearer {old_access}", "Agent-Epoch": "1"}
    answer = await open_office.client.post(path, headers=headers)
    assert (answer.status_code, slug(answer)) == (401, "unauthenticated")
    assert [line["deed"] for line in await open_office.audit()][-1] == "key-replaced"


async def test_a_refused_replacement_leaves_the_agent_as_it_was_and_is_not_asked_again(open_office: Office) -> None:
    machine, thief = await open_office.enrolled(), Machine(ISSUER)
    code = await open_office.code(clientId=machine.client_id)
    await open_office.enrol(thief, code=code)
    answer = await open_office.ask("DELETE", f"/api/v1/agents/{machine.client_id}/enrollment?actor=ada")
    assert answer.status_code == 204
    assert (await open_office.state_of(code))["status"] == "refused"
    again = await open_office.enrol(thief, code=code)
    assert (again.status_code, again.json()["status"]) == (201, "refused")
    assert (await open_office.ask("GET", "/api/v1/enrollments")).json() == {"enrollments": []}
    assert (await open_office.grant(thief)).status_code == 401
    assert (await open_office.grant(machine)).status_code == 200


async def test_an_agent_with_a_fixed_token_can_be_given_a_key(open_office: Office) -> None:
    machine = Machine(ISSUER)
    assert (await open_office.enrol(machine, token=await open_office.token(clientId="fixed-agent"))).status_code == 201
    assert machine.client_id == "fixed-agent"
    assert await open_office.access(machine)
    for client_id, status in (("nobody", 404), ("a b", 422)):
        answer = await open_office.ask("POST", "/api/v1/pairing-codes", json={"clientId": client_id})
        assert answer.status_code == status


async def test_an_enrolment_that_was_cut_short_anywhere_is_finished_by_the_same_request(tmp_path: Path) -> None:
    """The process dies before its n-th write, for every n; the machine asks again, with the same key and code."""
    for kind in ("code", "token"):
        cuts = 0
        while await finishes(tmp_path / f"{kind}-{cuts}", kind, cuts):
            cuts += 1
        assert cuts >= 4


class _PowerCut(Exception):
    pass


async def finishes(folder: Path, kind: str, cut: int) -> bool:
    """Whether there was an n-th write to be cut."""
    folder.mkdir()
    clock, machine = FakeClock(), Machine(ISSUER)
    was_cut = False
    async with office(folder, clock) as before:
        secret = await (before.code() if kind == "code" else before.token())
        writes = 0

        def falling(name: str) -> Any:
            async def write(*args: Any, **more: Any) -> Any:
                nonlocal writes
                writes += 1
                if writes > cut:
                    raise _PowerCut
                return await getattr(SqliteEngine, name)(before.engine, *args, **more)

            return write

        for name in ("put", "append", "enlist"):
            setattr(before.engine, name, falling(name))
        try:
            await before.enrol(machine, **{kind: secret})
        except _PowerCut:
            was_cut = True
    async with office(folder, clock) as after:
        answer = await after.enrol(machine, **{kind: secret})
        assert answer.status_code == 201, (cut, answer.text)
        if kind == "code":
            assert answer.json()["status"] == "pending"
            (waiting,) = (await after.ask("GET", "/api/v1/enrollments")).json()["enrollments"]
            assert waiting["clientId"] == machine.client_id
            assert (await after.confirm(machine, answer.json()["fingerprint"])).status_code == 200
        assert await after.access(machine)
        assert [line["deed"] for line in await after.audit()].count("enrolled") == 1
        ids = [document.key for document in await after.engine.documents("identities")]
        assert ids == [machine.client_id]
    return was_cut


async def test_two_control_planes_cannot_redeem_one_code_for_two_machines(open_office: Office) -> None:
    """What another instance has done meanwhile is found out when it is written."""
    code = await open_office.code()
    one, two = Machine(ISSUER), Machine(ISSUER)
    document = SqliteEngine.document
    held = asyncio.Event()

    async def slow(kind: str, key: str) -> Any:
        found = await document(open_office.engine, kind, key)
        if kind == "pairing-codes" and not held.is_set():
            held.set()
            assert (await open_office.enrol(two, code=code)).status_code == 201
        return found

    open_office.engine.document = slow  # type: ignore[method-assign]
    answer = await open_office.enrol(one, code=code)
    assert (answer.status_code, slug(answer)) == (409, "code-used")
    with pytest.raises(Conflict):
        await open_office.engine.put("pairing-codes", code[:4], b"{}", version=0)


@pytest.mark.parametrize("is_bound", [False, True])
async def test_an_enrolment_that_nobody_answers_is_refused_after_a_day(open_office: Office, is_bound: bool) -> None:
    old = await open_office.enrolled() if is_bound else None
    machine = Machine(ISSUER)
    code = await open_office.code(**({"clientId": old.client_id} if old else {}))
    fingerprint = (await open_office.enrol(machine, code=code)).json()["fingerprint"]
    open_office.clock.advance(86_399)
    assert (await open_office.grant(machine)).json()["error"] == "unauthorized_client"
    assert len((await open_office.ask("GET", "/api/v1/enrollments")).json()["enrollments"]) == 1
    open_office.clock.advance(1)
    refused = await open_office.grant(machine)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    late = await open_office.confirm(machine, fingerprint)
    assert (late.status_code, slug(late)) == (409, "wrong-fingerprint")
    for _ in range(2):
        assert (await open_office.ask("GET", "/api/v1/enrollments")).json() == {"enrollments": []}
    assert await open_office.engine.documents("identities-waiting") == []
    kept = await open_office.engine.document("identities", machine.client_id)
    assert kept is not None
    assert (b'"status":"active"' if old else b'"status":"refused"') in kept.body
    if old is not None:
        await open_office.access(old)
