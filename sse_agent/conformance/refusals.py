"""How errors are told, and who is let in."""

import uuid
from collections.abc import AsyncIterator

from sse_agent.conformance.check import Group, NotRun, expect
from sse_agent.conformance.kit import Kit, refused
from sse_agent.conformance.peer import PROBLEM_PREFIX, Answer, Token

PROBLEMS = Group("problems")
AUTH = Group("auth")
NOBODY = Token("nobody", f"conformance-{uuid.uuid4().hex}")


async def _refusals(kit: Kit) -> AsyncIterator[tuple[str, Answer]]:
    """One of each kind that needs no preparation."""
    agent = kit.agent
    yield "a message without a token", await kit.peer.ask("POST", f"{agent.path}/messages", None, body={})
    yield "a message with a wrong token", await kit.peer.ask("POST", f"{agent.path}/messages", NOBODY, body={})
    yield "a stream without a token", await kit.peer.ask("GET", f"{agent.path}/stream", None)
    yield "a message that is no JSON", await agent.post(b"{", "key")
    yield "a message that is no envelope", await agent.post({"type": "MESSAGE"}, "key")
    yield "the list of agents with an agent's token", await kit.peer.ask("GET", "/api/v1/agents", agent.token)
    yield (
        "a command for nobody",
        await kit.peer.ask("POST", f"/api/v1/agents/nobody-{uuid.uuid4().hex}/commands", agent.token, body={}),
    )
    if kit.options.service_token is not None:
        yield "a command that there is not", await kit.service.get(f"/api/v1/commands/{uuid.uuid4().hex}")
        yield "an agent that there is not", await kit.service.get(f"/api/v1/agents/nobody-{uuid.uuid4().hex}")
        yield "a command without a key", await kit.service.post(f"{kit.service.path}/commands", {"type": "HEARTBEAT"})


@PROBLEMS.check("media-type", "Errors are problem documents (RFC 9457), `application/problem+json`.")
async def media_type(kit: Kit) -> None:
    async for what, answer in _refusals(kit):
        expect(400 <= answer.status < 500, f"{what} was answered {answer.status}")
        expect(answer.media_type == "application/problem+json", f"{what}: its media type is {answer.media_type!a}")


@PROBLEMS.check("type", "Their `type` is `urn:sse-agent:problem:<slug>`.")
async def kind(kit: Kit) -> None:
    async for what, answer in _refusals(kit):
        name = answer.json().get("type")
        is_ours = isinstance(name, str) and name.startswith(PROBLEM_PREFIX) and len(name) > len(PROBLEM_PREFIX)
        expect(is_ours, f"{what}: its type is {name!a}")


@PROBLEMS.check("members", "They have a `title`, and a `status` that is that of the answer (RFC 9457, section 3.1).")
async def members(kit: Kit) -> None:
    async for what, answer in _refusals(kit):
        found = answer.json()
        expect(found.get("status") == answer.status, f"{what}: status is {found.get('status')!a}, not {answer.status}")
        expect(isinstance(found.get("title"), str) and found["title"], f"{what}: there is no title")


@PROBLEMS.check("unknown-path", "404 with a problem document for a path that there is not; no redirect, no page.")
async def unknown_path(kit: Kit) -> None:
    answer = await kit.peer.ask("GET", f"/api/v1/{uuid.uuid4().hex}", kit.agent.token)
    refused(answer, 401, 403, 404)
    expect(answer.slug is not None, "the answer is no problem document")


# --- who is let in ----------------------------------------------------------------------------------


async def _agents_endpoints(kit: Kit, token: Token | None, client_id: str) -> AsyncIterator[tuple[str, Answer]]:
    agent, path = kit.agent, f"/api/v1/agents/{client_id}"
    message = {**agent.message(), "clientId": client_id}
    headers = {**agent.headers, "Idempotency-Key": message["id"]}
    polling = {**agent.headers, "Accept": "application/json"}
    yield "the stream", await kit.peer.ask("GET", f"{path}/stream?wait=0", token, headers=polling)
    yield "messages", await kit.peer.ask("POST", f"{path}/messages", token, headers=headers, body=message)


async def _services_endpoints(kit: Kit, token: Token | None) -> AsyncIterator[tuple[str, Answer]]:
    path = kit.agent.path
    order, headers = {"type": "HEARTBEAT", "payload": {}}, {"Idempotency-Key": uuid.uuid4().hex}
    yield "commands", await kit.peer.ask("POST", f"{path}/commands", token, headers=headers, body=order)
    for of in ("/api/v1/agents", path, f"{path}/uploads", f"{path}/messages", "/api/v1/commands/x"):
        yield of, await kit.peer.ask("GET", of, token)


@AUTH.check("no-token", "Every request carries `Authorization: Bearer …`: without it 401, with `WWW-Authenticate`.")
async def no_token(kit: Kit) -> None:
    for endpoints in (_agents_endpoints(kit, None, kit.agent.client_id), _services_endpoints(kit, None)):
        async for what, answer in endpoints:
            expect(answer.status == 401, f"{what} without a token was answered {answer.status}, not 401")
            expect("www-authenticate" in answer.headers, f"{what}: the 401 has no WWW-Authenticate (RFC 9110, 15.5.2)")


@AUTH.check("wrong-token", "401: token expired or unknown.")
async def wrong_token(kit: Kit) -> None:
    for endpoints in (_agents_endpoints(kit, NOBODY, kit.agent.client_id), _services_endpoints(kit, NOBODY)):
        async for what, answer in endpoints:
            expect(answer.status == 401, f"{what} with a token of nobody was answered {answer.status}, not 401")


@AUTH.check("in-the-url", "A token is sent as a header, never in a URL: there it lets nobody in.")
async def in_the_url(kit: Kit) -> None:
    for name in ("token", "access_token"):
        token = kit.agent.token.value
        answer = await kit.peer.ask("GET", f"{kit.agent.path}/stream?wait=0&{name}={token}", None, secrets=[token])
        expect(answer.status == 401, f"?{name}= was answered {answer.status}, not 401")


@AUTH.check("agent-as-service", "An agent can't act for a service: its token is refused by what the UI calls.")
async def agent_as_service(kit: Kit) -> None:
    async for what, answer in _services_endpoints(kit, kit.agent.token):
        expect(answer.status in (401, 403), f"{what} with an agent's token was answered {answer.status}, not 403")


@AUTH.check("service-as-agent", "A service can't act for an agent: its token is refused by what agents call.")
async def service_as_agent(kit: Kit) -> None:
    async for what, answer in _agents_endpoints(kit, kit.service.token, kit.agent.client_id):
        expect(answer.status in (401, 403), f"{what} with a service's token was answered {answer.status}, not 403")


@AUTH.check("another-agent", "An agent can't act for another one.")
async def another_agent(kit: Kit) -> None:
    other = kit.options.second_client_id or f"{kit.agent.client_id}-other"[-128:]
    async for what, answer in _agents_endpoints(kit, kit.agent.token, other):
        expect(answer.status in (401, 403, 404), f"{what} of another agent was answered {answer.status}, not 403")


@AUTH.check("viewer", "A viewer token (short, scoped to agents) opens the stream of news, and acts for nobody.")
async def viewer(kit: Kit) -> None:
    wanted = {"subject": "conformance", "agents": [kit.agent.client_id], "scopes": ["watch"], "seconds": 60}
    made = await kit.service.post("/api/v1/viewer-tokens", wanted, uuid.uuid4().hex)
    if made.status == 404:
        raise NotRun("the control plane makes no viewer tokens (/api/v1/viewer-tokens is answered 404)")
    expect(made.status == 201, f"/api/v1/viewer-tokens was answered {made.status}, not 201")
    token = Token("the viewer", str(made.json().get("token")))
    async with kit.peer.stream("/api/v1/stream", token, {}) as stream:
        head = await stream.head()
        expect(head.status == 200, f"with it the stream of news was answered {head.status}, not 200")
    async for what, answer in _agents_endpoints(kit, token, kit.agent.client_id):
        expect(answer.status in (401, 403), f"{what} with a viewer's token was answered {answer.status}, not 403")
    headers, order = {"Idempotency-Key": uuid.uuid4().hex}, {"type": "HEARTBEAT", "payload": {}}
    for path in (f"{kit.agent.path}/commands", "/api/v1/pairing-codes", "/api/v1/viewer-tokens"):
        answer = await kit.peer.ask("POST", path, token, headers=headers, body=order)
        expect(answer.status in (401, 403), f"POST {path} with a token to watch was answered {answer.status}, not 403")
    other = kit.options.second_client_id or f"{kit.agent.client_id}-other"[-128:]
    refused(await kit.peer.ask("GET", f"/api/v1/agents/{other}", token), 401, 403, 404)


@AUTH.check("hooks", "`POST /tus-hooks` needs the hook secret, and fails closed.")
async def hooks(kit: Kit) -> None:
    for token in (None, NOBODY, kit.agent.token):
        answer = await kit.peer.ask("POST", "/api/v1/tus-hooks", token, body={"Type": "pre-create", "Event": {}})
        refused(answer, 401, 403, 404)
