"""Access tokens: who gets one, for what assertion, and how keys are rotated."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.control_plane.identity.machines import Machine, grant_form, new_key, speaker_headers
from tests.control_plane.identity.office import ISSUER, Office
from tests.doubles.planes import slug


@pytest.mark.parametrize("alg", ["Ed25519", "EdDSA"])
async def test_an_assertion_is_worth_a_token_of_ten_minutes_that_others_can_check(
    open_office: Office, alg: str
) -> None:
    machine = await open_office.enrolled()
    form = grant_form(machine.assertion(open_office.clock.now(), alg=alg, aud=f"{ISSUER}/api/v1/token"))
    answer = await open_office.client.post("/api/v1/token", data={**form, "client_id": machine.client_id})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert set(found) == {"access_token", "token_type", "expires_in"}
    assert (found["token_type"], found["expires_in"]) == ("Bearer", 600)
    published = await open_office.client.get("/api/v1/jwks")
    keys = KeySet.import_key_set(published.json())
    assert not any("d" in key for key in published.json()["keys"])
    claims = jwt.decode(found["access_token"], keys, algorithms=["Ed25519"]).claims
    assert (claims["sub"], claims["iss"], claims["aud"]) == (machine.client_id, ISSUER, "agent")
    assert claims["exp"] - claims["iat"] == 600


async def test_an_assertion_is_good_once_even_for_another_instance(open_office: Office) -> None:
    machine = await open_office.enrolled()
    form = grant_form(machine.assertion(open_office.clock.now()))
    assert (await open_office.client.post("/api/v1/token", data=form)).status_code == 200
    for passed_s in (0, 30, 29):
        open_office.clock.advance(passed_s)
        again = await open_office.client.post("/api/v1/token", data=form)
        assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
        assert "before" in again.json()["error_description"]
    open_office.clock.advance(10)
    assert "over" in (await open_office.client.post("/api/v1/token", data=form)).json()["error_description"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"aud": "https://other.example"}, "aud"),
        ({"aud": [ISSUER]}, "aud"),
        ({"iss": "somebody-else"}, "iss"),
        ({"iss": None}, "iss"),
        ({"sub": "somebody-else"}, "called"),
        ({"sub": None}, "called"),
        ({"sub": "x" * 300}, "called"),
        ({"jti": None}, "jti"),
    ],
)
async def test_a_wrong_assertion_is_told_apart_for_people_and_never_repeated(
    open_office: Office, change: dict[str, Any], word: str
) -> None:
    machine = await open_office.enrolled()
    now = open_office.clock.now()
    answer = await open_office.grant(machine, **change)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error", "error_description", "now"}
    assert answer.json()["error"] == "invalid_client"
    assert word in answer.json()["error_description"]
    assert answer.headers["cache-control"] == "no-store"
    assert "x" * 300 not in answer.text
    # A refusal spends nothing.
    assert (await open_office.client.post("/api/v1/token", data=grant_form(machine.assertion(now)))).status_code == 200


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_clock_that_is_wrong_by_an_hour_is_told_what_time_it_is(
    open_office: Office, wrong_by: timedelta
) -> None:
    machine = await open_office.enrolled()
    there = open_office.clock.now() + wrong_by
    form = grant_form(machine.assertion(there))
    answer = await open_office.client.post("/api/v1/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert "clock" in answer.json()["error_description"]
    assert answer.json()["now"] == "2026-11-22T10:30:00.000Z"
    # With what it has learned it gets in.
    form = grant_form(machine.assertion(there - wrong_by))
    assert (await open_office.client.post("/api/v1/token", data=form)).status_code == 200


async def test_nobody_gets_a_token_with_another_key(open_office: Office) -> None:
    machine, other = await open_office.enrolled(), await open_office.enrolled()
    forged = Machine(ISSUER, client_id=machine.client_id)
    stolen = Machine(ISSUER, key=other.key, client_id=machine.client_id)
    nobody = await open_office.grant(Machine(ISSUER, client_id="never-there"))
    for one in (forged, stolen):
        answer = await open_office.grant(one)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.json() == nobody.json(), "a stranger does not find out which agents there are"
    mixed = grant_form(machine.assertion(open_office.clock.now()))
    answer = await open_office.client.post("/api/v1/token", data={**mixed, "client_id": other.client_id})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_what_is_no_token_request_is_told_as_the_rfc_says(open_office: Office) -> None:
    machine = await open_office.enrolled()
    good = grant_form(machine.assertion(open_office.clock.now()))
    forms: list[tuple[str, str]] = [
        (urlencode({**good, "grant_type": "password"}), "unsupported_grant_type"),
        (urlencode({**good, "client_assertion_type": "x"}), "invalid_request"),
        *(
            (urlencode({name: value for name, value in good.items() if name != gone}), "invalid_request")
            for gone in good
        ),
        (urlencode({**good, "client_assertion": ""}), "invalid_request"),
        (urlencode(good) + "&grant_type=client_credentials", "invalid_request"),
        ("", "invalid_request"),
        ("a", "invalid_request"),
        ("%ff=%ff", "invalid_request"),
        ("&".join(f"a{number}=1" for number in range(50)), "invalid_request"),
    ]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for form, error in forms:
        answer = await open_office.client.post("/api/v1/token", content=form, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, error), form
    answer = await open_office.client.post("/api/v1/token", json=good)
    assert (answer.status_code, slug(answer)) == (415, "unsupported-media-type")
    answer = await open_office.client.post("/api/v1/token", data={**good, "scope": "all"})
    assert answer.status_code == 200


async def test_the_issuer_and_its_endpoints_can_be_asked_for(open_office: Office) -> None:
    found = (await open_office.client.get("/.well-known/oauth-authorization-server")).json()
    assert (found["issuer"], found["token_endpoint"]) == (ISSUER, f"{ISSUER}/api/v1/token")
    assert found["jwks_uri"] == f"{ISSUER}/api/v1/jwks"


async def test_a_confirmation_that_was_cut_short_is_finished_by_the_agent_itself(
    open_office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        pass

    async def cut(_: object) -> None:
        raise PowerCut

    machine = Machine(ISSUER)
    answer = await open_office.enrol(machine, code=await open_office.code())
    with monkeypatch.context() as patched:
        # Between the identity and the queue.
        patched.setattr(open_office.engine, "enlist", cut)
        with pytest.raises(PowerCut):
            await open_office.confirm(machine, answer.json()["fingerprint"])
    assert slug(await open_office.ask("GET", f"/api/v1/agents/{machine.client_id}")) == "unknown-agent"
    assert await open_office.access(machine)
    found = await open_office.ask("GET", f"/api/v1/agents/{machine.client_id}")
    assert found.json()["enrollment"]["status"] == "active"


async def rotate(open_office: Office, machine: Machine, new: Any, **more: Any) -> Any:
    token = await open_office.access(machine)
    return await open_office.client.post(
        f"/api/v1/agents/{machine.client_id}/key",
        json={**machine.rotation(open_office.clock.now(), new), **more},
        headers=speaker_headers(token),
    )


async def test_a_rotated_key_takes_over_with_its_first_use(open_office: Office) -> None:
    machine, new = await open_office.enrolled(), new_key()
    before = await open_office.access(machine)
    answers = [await rotate(open_office, machine, new) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    # Until it is used, both are good: an answer that was lost locks nobody out.
    assert (await open_office.grant(machine)).status_code == 200
    path = f"/api/v1/agents/{machine.client_id}/uploads/f/token"
    old = await open_office.client.post(path, headers=speaker_headers(before))
    assert slug(old) == "no-upload-tokens"
    renewed = Machine(ISSUER, key=new, client_id=machine.client_id)
    after = await open_office.access(renewed)
    refused = await open_office.grant(machine)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert slug(await open_office.client.post(path, headers=speaker_headers(before))) == "unauthenticated"
    assert slug(await open_office.client.post(path, headers=speaker_headers(after))) == "no-upload-tokens"
    assert [line["deed"] for line in await open_office.audit()].count("key-rotated") == 1
    told = (await open_office.ask("GET", f"/api/v1/agents/{machine.client_id}")).json()["enrollment"]
    assert told["fingerprint"] == answers[0].json()["fingerprint"]


async def test_both_keys_must_have_signed_for_the_rotation(open_office: Office) -> None:
    machine, new, stranger = await open_office.enrolled(), new_key(), new_key()
    now = open_office.clock.now()
    good = machine.rotation(now, new)
    wrong = [
        {"proof": good["oldProof"]},
        {"oldProof": good["proof"]},
        {"oldProof": Machine(ISSUER, stranger, machine.client_id).rotation(now, new)["oldProof"]},
        {"proof": machine.rotation(now, stranger)["proof"]},
        {"oldProof": machine.rotation(now, new, jkt=stranger.thumbprint())["oldProof"]},
        {"oldProof": machine.rotation(now, new, sub="somebody-else")["oldProof"]},
        {"oldProof": machine.rotation(now, new, aud="https://other.example")["oldProof"]},
        {"oldProof": machine.rotation(now - timedelta(hours=1), new)["oldProof"]},
    ]
    for change in wrong:
        answer = await rotate(open_office, machine, new, **change)
        assert (answer.status_code, slug(answer)) == (422, "invalid-proof"), change
        assert answer.json()["now"]
    answer = await rotate(open_office, machine, new, publicKey={"kty": "oct"})
    assert (answer.status_code, slug(answer)) == (422, "invalid-parameter")
    renewed = Machine(ISSUER, key=new, client_id=machine.client_id)
    assert (await open_office.grant(renewed)).status_code == 401
    assert (await rotate(open_office, machine, new)).status_code == 200


async def test_a_copied_machine_cannot_take_the_key_over(open_office: Office) -> None:
    machine, new = await open_office.enrolled(), new_key()
    token = await open_office.access(machine)
    path = f"/api/v1/agents/{machine.client_id}"
    original = speaker_headers(token, **{"Agent-Epoch": "2"})
    assert slug(await open_office.client.post(f"{path}/uploads/f/token", headers=original)) == "no-upload-tokens"
    clone = speaker_headers(token, **{"Agent-Epoch": "2", "Agent-Instance": "00000000-0000-0000-0000-000000000001"})
    answer = await open_office.client.post(
        f"{path}/key", json=machine.rotation(open_office.clock.now(), new), headers=clone
    )
    assert (answer.status_code, slug(answer)) == (409, "newer-epoch")
    assert (await open_office.grant(Machine(ISSUER, new, machine.client_id))).status_code == 401


async def test_an_agent_that_asks_without_end_waits_and_nobody_else_can_make_it_wait(open_office: Office) -> None:
    machine, other = await open_office.enrolled(), await open_office.enrolled()
    forged = Machine(ISSUER, client_id=machine.client_id)
    for _ in range(61):
        assert (await open_office.grant(forged)).status_code == 401
    for _ in range(60):
        assert (await open_office.grant(machine)).status_code == 200
    answer = await open_office.grant(machine)
    assert (answer.status_code, slug(answer), answer.headers["retry-after"]) == (429, "too-many-requests", "1")
    assert (await open_office.grant(other)).status_code == 200
    open_office.clock.advance(1)
    assert (await open_office.grant(machine)).status_code == 200


async def test_a_flood_from_one_address_is_told_to_wait_before_anything_of_it_is_read(open_office: Office) -> None:
    requests = open_office.parts.endpoints._granting._requests
    for _ in range(10_000):
        requests.from_address("127.0.0.1")
    answer = await open_office.client.post("/api/v1/token", data={"grant_type": "anything"})
    assert (answer.status_code, slug(answer), answer.headers["retry-after"]) == (429, "too-many-requests", "1")
