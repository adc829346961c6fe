"""What services decide: confirm, refuse, delete, watch; and what is written down of it."""

import pytest

from sse_agent.control_plane.tokens import Audience
from tests.control_plane.identity.machines import Machine, speaker_headers
from tests.control_plane.identity.office import ISSUER, SERVICE, Office
from tests.doubles.planes import slug


async def test_a_wrong_fingerprint_confirms_nothing(open_office: Office) -> None:
    machine, other = Machine(ISSUER), Machine(ISSUER)
    answer = await open_office.enrol(machine, code=await open_office.code())
    elsewhere = (await open_office.enrol(other, code=await open_office.code())).json()["fingerprint"]
    for fingerprint in (elsewhere, "3F9A", "0" * 20):
        refused = await open_office.confirm(machine, fingerprint, actor="eve")
        assert (refused.status_code, slug(refused)) == (409, "wrong-fingerprint")
    assert (await open_office.grant(machine)).json()["error"] == "unauthorized_client"
    wrong = [line for line in await open_office.audit() if line["outcome"] == "wrong-fingerprint"]
    assert [(line["deed"], line["actor"]) for line in wrong] == [("confirmed", "eve")] * 3
    # Twice is once.
    for _ in range(2):
        assert (await open_office.confirm(machine, answer.json()["fingerprint"])).status_code == 200
    assert [line["outcome"] for line in await open_office.audit()].count("done") == 3
    nobody = await open_office.ask("POST", "/api/v1/agents/nobody/confirm", json={"fingerprint": "x"})
    assert (nobody.status_code, slug(nobody)) == (404, "unknown-agent")


@pytest.mark.parametrize("path", ["/enrollment", ""])
async def test_whoever_is_refused_stays_out(open_office: Office, path: str) -> None:
    machine = Machine(ISSUER)
    code = await open_office.code()
    fingerprint = (await open_office.enrol(machine, code=code)).json()["fingerprint"]
    for _ in range(2):
        answer = await open_office.ask("DELETE", f"/api/v1/agents/{machine.client_id}{path}?actor=ada")
        assert answer.status_code == 204
    assert (await open_office.enrol(machine, code=code)).json()["status"] == "refused"
    assert (await open_office.state_of(code))["status"] == "refused"
    assert (await open_office.grant(machine)).json()["error"] == "invalid_client"
    late = await open_office.confirm(machine, fingerprint)
    assert (late.status_code, slug(late)) == ((409, "wrong-fingerprint") if path else (410, "agent-deleted"))
    assert (await open_office.ask("GET", "/api/v1/enrollments")).json() == {"enrollments": []}
    told = [
        (line["deed"], line["actor"]) for line in await open_office.audit() if line["deed"] in ("refused", "deleted")
    ]
    assert told == [("refused" if path else "deleted", "ada")]


async def test_a_deleted_agent_is_out_at_once_with_tokens_and_keys(open_office: Office) -> None:
    machine = await open_office.enrolled()
    token = await open_office.access(machine)
    path = f"/api/v1/agents/{machine.client_id}"
    assert slug(await open_office.client.post(f"{path}/uploads/f/token", headers=speaker_headers(token))) == (
        "no-upload-tokens"
    )
    for _ in range(2):
        assert (await open_office.ask("DELETE", f"{path}?actor=ada")).status_code == 204
    answer = await open_office.client.post(f"{path}/uploads/f/token", headers=speaker_headers(token))
    assert (answer.status_code, slug(answer)) == (410, "agent-deleted")
    refused = await open_office.grant(machine)
    assert (refused.status_code, slug(refused), refused.json()["error"]) == (410, "agent-deleted", "invalid_client")
    # Whoever has not its key learns nothing of it, nor whether it ever was.
    strangers = [Machine(ISSUER, client_id=name) for name in (machine.client_id, "never-there")]
    answers = [await open_office.grant(stranger) for stranger in strangers]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    for method, rest, body in (("POST", "/confirm", {"fingerprint": "x"}), ("DELETE", "/enrollment", None)):
        answer = await open_office.ask(method, f"{path}{rest}", json=body)
        assert (answer.status_code, slug(answer)) == (410, "agent-deleted")
    answer = await open_office.ask("POST", "/api/v1/pairing-codes", json={"clientId": machine.client_id})
    assert (answer.status_code, slug(answer)) == (410, "agent-deleted")
    unknown = await open_office.ask("DELETE", "/api/v1/agents/nobody")
    assert (unknown.status_code, slug(unknown)) == (404, "unknown-agent")


async def test_a_code_that_was_made_before_the_deletion_brings_no_agent_back(open_office: Office) -> None:
    machine, late = await open_office.enrolled(), Machine(ISSUER)
    code, token = [await make(clientId=machine.client_id) for make in (open_office.code, open_office.token)]
    await open_office.ask("DELETE", f"/api/v1/agents/{machine.client_id}")
    for secret in ({"code": code}, {"token": token}):
        answer = await open_office.enrol(late, **secret)
        assert (answer.status_code, answer.json()["status"]) == (201, "refused")
        assert (await open_office.grant(late)).status_code == 401
        assert (await open_office.audit())[-1]["outcome"] == "refused"


async def test_what_waits_comes_in_pages(open_office: Office) -> None:
    machines = [Machine(ISSUER) for _ in range(5)]
    for machine in machines:
        await open_office.enrol(machine, code=await open_office.code())
    ids = sorted(machine.client_id for machine in machines)
    first = (await open_office.ask("GET", "/api/v1/enrollments?limit=3")).json()["enrollments"]
    rest = (await open_office.ask("GET", f"/api/v1/enrollments?after={first[-1]['clientId']}")).json()["enrollments"]
    assert [one["clientId"] for one in [*first, *rest]] == ids


async def test_what_comes_while_another_is_confirmed_is_on_the_list_all_the_same(open_office: Office) -> None:
    machine, next_one = Machine(ISSUER), Machine(ISSUER)
    fingerprint = (await open_office.enrol(machine, code=await open_office.code())).json()["fingerprint"]
    remove = open_office.engine.remove

    async def late(kind: str, key: str, *, version: int) -> None:
        # Between the confirmation and the clearing up after it.
        assert (await open_office.enrol(next_one, code=await open_office.code(clientId=key))).status_code == 201
        await remove(kind, key, version=version)

    open_office.engine.remove = late  # type: ignore[method-assign]
    assert (await open_office.confirm(machine, fingerprint)).status_code == 200
    (waiting,) = (await open_office.ask("GET", "/api/v1/enrollments")).json()["enrollments"]
    assert (waiting["clientId"], waiting["status"]) == (machine.client_id, "active")
    assert waiting["waiting"]["fingerprint"] != fingerprint


async def test_a_viewer_token_says_whom_it_shows_to_whom_for_how_long(open_office: Office) -> None:
    wanted = {"subject": "ada", "agents": ["fixed-agent"], "scopes": ["watch"], "seconds": 60, "actor": "laravel"}
    answer = await open_office.ask("POST", "/api/v1/viewer-tokens", json=wanted)
    assert answer.status_code == 201
    assert answer.json()["expiresAt"] == "2026-11-22T10:31:00.000Z"
    viewer = await open_office.parts.access.require_viewer({"authorization": f"Bearer {answer.json()['token']}"})
    assert (viewer.subject, viewer.agents, viewer.scopes) == ("ada", {"fixed-agent"}, {"watch"})
    (line,) = await open_office.audit()
    assert (line["deed"], line["by"], line["actor"], line["subject"]) == (
        "viewer-token-minted",
        "service",
        "laravel",
        "ada",
    )
    assert answer.json()["token"] not in str(line)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 901},
        {"seconds": 0},
        {"seconds": "60"},
        {"subject": ""},
        {"agents": "fixed-agent"},
        {"agents": ["a b"]},
        {"agents": ["a"] * 101},
        {"agents": None},
        {"scopes": []},
        {"scopes": ["own"]},
        {"scopes": None},
    ],
)
async def test_a_viewer_token_is_never_wider_than_what_can_be_asked_for(
    open_office: Office, change: dict[str, object]
) -> None:
    wanted = {"subject": "ada", "agents": "*", "scopes": ["watch", "command"]}
    assert (await open_office.ask("POST", "/api/v1/viewer-tokens", json=wanted)).status_code == 201
    answer = await open_office.ask("POST", "/api/v1/viewer-tokens", json={**wanted, **change})
    assert (answer.status_code, slug(answer)) == (422, "invalid-parameter")


async def test_the_name_of_the_service_is_written_down(open_office: Office) -> None:
    headers = {"Authorization": "Bearer next-token"}
    assert (await open_office.ask("POST", "/api/v1/pairing-codes", json={}, headers=headers)).status_code == 201
    await open_office.code()
    assert [line["by"] for line in await open_office.audit()] == ["laravel", "service"]


async def test_a_person_at_the_page_is_who_the_token_says(open_office: Office) -> None:
    manager, _ = open_office.parts.tokens.mint(Audience.VIEWER, "ada", 60, agents="*", scopes=["manage"])
    headers = {"Authorization": f"Bearer {manager}"}
    body = {"actor": "somebody else"}
    made = await open_office.ask("POST", "/api/v1/pairing-codes", json=body, headers=headers)
    assert made.status_code == 201
    machine = Machine(ISSUER)
    enrolled = await open_office.enrol(machine, code=made.json()["code"])
    path = f"/api/v1/agents/{machine.client_id}"
    for method, rest, more in (
        ("POST", "/confirm", {"json": {"fingerprint": enrolled.json()["fingerprint"], **body}}),
        ("POST", "/readmit", {"headers": {**headers, "Idempotency-Key": "k"}}),
        ("POST", "/readmit", {"headers": {**headers, "Idempotency-Key": "k"}}),
        ("DELETE", "?actor=somebody", {}),
    ):
        answer = await open_office.ask(method, path + rest, **{"headers": headers, **more})
        assert answer.status_code in (200, 204), answer.text
    told = [(line["deed"], line["by"], line["actor"]) for line in await open_office.audit()]
    assert told == [(deed, None, "ada") for deed in ("code-made", "enrolled", "confirmed", "readmitted", "deleted")]
    # What it must not do: hand out tokens for others, or manage from within a few agents.
    wanted = {"subject": "ada", "agents": "*", "scopes": ["watch"]}
    assert (await open_office.ask("POST", "/api/v1/viewer-tokens", json=wanted, headers=headers)).status_code == 403
    few, _ = open_office.parts.tokens.mint(Audience.VIEWER, "ada", 60, agents=["a"], scopes=["manage"])
    headers = {"Authorization": f"Bearer {few}"}
    assert (await open_office.ask("POST", "/api/v1/pairing-codes", json={}, headers=headers)).status_code == 403


async def test_no_secret_is_in_the_audit_log(open_office: Office) -> None:
    machine = Machine(ISSUER)
    code, token = await open_office.code(), await open_office.token()
    await open_office.enrol(machine, code=code)
    await open_office.enrol(machine, token=token)
    text = str(await open_office.audit())
    assert code[:4] in text
    for secret in (code, code[5:], token, SERVICE):
        assert secret not in text
