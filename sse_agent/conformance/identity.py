"""Enrolment and access tokens, where the control plane offers them (docs/reference/identity.md).

Each check enrols a machine of its own, with a token or code that the service makes, and deletes it.
"""

import base64
import hashlib
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import OKPKey

from sse_agent.conformance.check import Broken, Group, NotRun, expect
from sse_agent.conformance.kit import Kit, refused
from sse_agent.conformance.peer import Answer, Token
from sse_agent.conformance.speakers import Agent, Message, Service

IDENTITY = Group("identity")
METADATA = "/.well-known/oauth-authorization-server"
ENROLMENTS = "/api/v1/enrollments"
TOKEN = "/api/v1/token"  # noqa: S105 - a path
ASSERTION_LIFE_S = 50
ACCESS_LIFE_S = 600
CODE_TRIES = 5
PATIENCE_S = 120
BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with a key that never was anywhere else."""

    kit: Kit
    issuer: str
    key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("Ed25519"), repr=False)

    def signed(self, **claims: Any) -> str:
        """A JWT (RFC 7519) by its key; what `claims` names is set."""
        now = int(self.kit.clock.now().timestamp())
        members = {"aud": self.issuer, "jti": uuid.uuid4().hex, "iat": now, "exp": now + ASSERTION_LIFE_S, **claims}
        return jwt.encode({"alg": "Ed25519"}, members, self.key, algorithms=["Ed25519"])

    async def enrol(self, credential: Mapping[str, str], proof_key: OKPKey | None = None) -> Answer:
        """With `{"token": …}` or `{"code": …}`; `proof_key` signs the proof instead of its own.

        Whoever guesses codes has to wait, and so has whoever comes from the same address: a run before this one did.
        """
        answer = await self.try_once(credential, proof_key)
        wait = answer.headers.get("retry-after", "")
        if answer.status != 429 or not wait.isdigit() or int(wait) > PATIENCE_S:
            return answer
        await self.kit.clock.sleep(int(wait) + 1)
        return await self.try_once(credential, proof_key)

    async def try_once(self, credential: Mapping[str, str], proof_key: OKPKey | None = None) -> Answer:
        """As `enrol`, but a 429 is an answer, too."""
        signer = self if proof_key is None else Machine(self.kit, self.issuer, proof_key)
        (secret,) = credential.values()
        meant = secret.replace("-", "") if "code" in credential else secret
        digest = base64.urlsafe_b64encode(hashlib.sha256(meant.encode()).digest()).decode().rstrip("=")
        public = {name: value for name, value in self.key.as_dict(private=False).items() if name in ("kty", "crv", "x")}
        about = {"name": "conformance", "host": "conformance", "platform": "conformance", "version": "0"}
        body = {**credential, **about, "publicKey": public, "proof": signer.signed(credential_sha256=digest)}
        return await self.kit.peer.ask("POST", ENROLMENTS, None, body=body, secrets=[secret])

    async def ask_token(self, client_id: str, assertion: str | None = None, **claims: Any) -> Answer:
        """Of the token endpoint."""
        assertion = assertion or self.signed(**{"iss": client_id, "sub": client_id, **claims})
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": BEARER,
            "client_assertion": assertion,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.kit.peer.ask("POST", TOKEN, None, headers=headers, body=urlencode(form).encode())

    async def agent(self, client_id: str) -> Agent:
        """Speaking with an access token. Raises Broken."""
        answer = await self.ask_token(client_id)
        expect(answer.status == 200, f"a good assertion was answered {answer.status}, not 200")
        token = answer.json().get("access_token")
        if not isinstance(token, str) or not token:
            raise Broken("the 200 has no access_token")
        return Agent(self.kit.peer, self.kit.clock, client_id, Token("the enrolled agent", token))


async def _machine(kit: Kit) -> Machine:
    """Raises NotRun where nothing of this is offered."""
    answer = await kit.peer.ask("GET", METADATA, None)
    if answer.status != 200:
        raise NotRun(f"the control plane offers no enrolment ({METADATA} is answered {answer.status})")
    issuer = answer.json().get("issuer")
    if not isinstance(issuer, str):
        raise Broken(f"{METADATA} names no issuer")
    return Machine(kit, issuer)


async def _made(kit: Kit, path: str, name: str) -> dict[str, str]:
    """A fresh code or token. Raises Broken."""
    answer = await kit.service.post(path, {"name": "conformance"}, uuid.uuid4().hex)
    expect(answer.status == 201, f"{path} was answered {answer.status}, not 201")
    found = answer.json().get(name)
    if not isinstance(found, str):
        raise Broken(f"the 201 has no {name}")
    return {name: found}


async def _token(kit: Kit) -> dict[str, str]:
    return await _made(kit, "/api/v1/enrollment-tokens", "token")


async def _code(kit: Kit) -> dict[str, str]:
    return await _made(kit, "/api/v1/pairing-codes", "code")


def _client_id(answer: Answer) -> str:
    expect(answer.status == 201, f"the enrolment was answered {answer.status}, not 201")
    found = answer.json().get("clientId")
    if not isinstance(found, str) or not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", found):
        raise Broken("the 201 has no clientId that could be one")
    return found


@asynccontextmanager
async def _enrolled(kit: Kit) -> AsyncIterator[tuple[Machine, str]]:
    """A machine that is an agent within the block."""
    machine = await _machine(kit)
    client_id = _client_id(await machine.enrol(await _token(kit)))
    try:
        yield machine, client_id
    finally:
        await _delete(kit.service, client_id)


async def _delete(service: Service, client_id: str) -> Answer:
    return await service.delete(f"/api/v1/agents/{client_id}")


@IDENTITY.check("enrol", "An enrolment is answered 201 `{clientId, issuer, …}`; with the same key the same again.")
async def enrol(kit: Kit) -> None:
    machine, token = await _machine(kit), await _token(kit)
    first, again = await machine.enrol(token), await machine.enrol(token)
    client_id = _client_id(first)
    try:
        expect(first.json().get("issuer") == machine.issuer, "the 201 names another issuer than the metadata")
        expect(_client_id(again) == client_id, "the second time it is another agent")
    finally:
        await _delete(kit.service, client_id)


@IDENTITY.check("one-use", "An enrolment token is for one use: another key can't use it again.")
async def one_use(kit: Kit) -> None:
    machine, token = await _machine(kit), await _token(kit)
    client_id = _client_id(await machine.enrol(token))
    try:
        refused(await Machine(kit, machine.issuer).enrol(token), 403, 409, 410)
    finally:
        await _delete(kit.service, client_id)


@IDENTITY.check("proof", "With its public key the agent sends a JWS by that key as proof; one by another is refused.")
async def proof(kit: Kit) -> None:
    machine, token = await _machine(kit), await _token(kit)
    refused(await machine.enrol(token, OKPKey.generate_key("Ed25519")), 400, 401, 403, 422)


@IDENTITY.check("unknown-code", "A code or token that was never made lets nobody in.")
async def unknown_code(kit: Kit) -> None:
    machine = await _machine(kit)
    refused(
        await machine.enrol({"token": base64.urlsafe_b64encode(uuid.uuid4().bytes * 2).decode()}), 403, 404, 422, 429
    )


@IDENTITY.check("token", "`POST /token` with a `private_key_jwt` → an access token of 10 min, for this agent alone.")
async def token(kit: Kit) -> None:
    async with _enrolled(kit) as (machine, client_id):
        answer = await machine.ask_token(client_id)
        expect(answer.status == 200, f"a good assertion was answered {answer.status}, not 200")
        found = answer.json()
        expect(str(found.get("token_type")).lower() == "bearer", "token_type is not Bearer")
        life = found.get("expires_in")
        expect(
            isinstance(life, int) and 0 < life <= ACCESS_LIFE_S, f"expires_in is {life!a}, not up to {ACCESS_LIFE_S}"
        )
        expect("refresh_token" not in found, "there is a refresh token: the key is the credential")
        agent = await machine.agent(client_id)
        polled = await agent.poll(None)
        expect(polled.status == 200, f"with it the agent's long poll was answered {polled.status}, not 200")
        for path in ("/api/v1/agents", agent.path):
            refused(await kit.peer.ask("GET", path, agent.token), 401, 403)
        headers = {**agent.headers, "Accept": "application/json"}
        other = await kit.peer.ask("GET", f"{kit.agent.path}/stream?wait=0", agent.token, headers=headers)
        refused(other, 401, 403)


@IDENTITY.check("replayed", "An assertion is good once (`jti`).")
async def replayed(kit: Kit) -> None:
    async with _enrolled(kit) as (machine, client_id):
        assertion = machine.signed(iss=client_id, sub=client_id)
        first, second = [await machine.ask_token(client_id, assertion) for _ in range(2)]
        expect(first.status == 200, f"a good assertion was answered {first.status}, not 200")
        _oauth_error(second, "invalid_client")


@IDENTITY.check("audience", "`aud` is the issuer: an assertion for another one is refused.")
async def audience(kit: Kit) -> None:
    async with _enrolled(kit) as (machine, client_id):
        _oauth_error(await machine.ask_token(client_id, aud="https://other.example"), "invalid_client")


@IDENTITY.check("life", "An assertion lives 60 s at most, and not beyond its `exp`.")
async def life(kit: Kit) -> None:
    async with _enrolled(kit) as (machine, client_id):
        now = int(kit.clock.now().timestamp())
        _oauth_error(await machine.ask_token(client_id, exp=now + 3600), "invalid_client")
        _oauth_error(await machine.ask_token(client_id, iat=now - 900, exp=now - 840), "invalid_client")


@IDENTITY.check("signature", "An assertion is signed by the agent's own key, with no other algorithm.")
async def signature(kit: Kit) -> None:
    async with _enrolled(kit) as (machine, client_id):
        _oauth_error(await Machine(kit, machine.issuer).ask_token(client_id), "invalid_client")
        head, payload, _ = machine.signed(iss=client_id, sub=client_id).split(".")
        none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
        for assertion in (f"{none}.{payload}.", f"{head}.{payload}."):
            _oauth_error(await machine.ask_token(client_id, assertion), "invalid_client")


def _oauth_error(answer: Answer, *names: str) -> Message:
    """Errors there are RFC 6749's (section 5.2), with `now` added for a wrong clock."""
    expect(answer.status in (400, 401), f"it was answered {answer.status}, not 400 or 401")
    found: Message = answer.json()
    expect(found.get("error") in names, f"error is {found.get('error')!a}, not {' or '.join(names)}")
    expect(isinstance(found.get("now"), str), "the error has no now, by which a wrong clock could be told")
    return found


@IDENTITY.check("pending", "Enrolled by code it is *pending* until a person has compared the fingerprint and said yes.")
async def pending(kit: Kit) -> None:
    machine, code = await _machine(kit), await _code(kit)
    enrolled = await machine.enrol(code)
    client_id = _client_id(enrolled)
    confirm = f"/api/v1/agents/{client_id}/confirm"
    try:
        _oauth_error(await machine.ask_token(client_id), "unauthorized_client", "invalid_client")
        fingerprint = enrolled.json().get("fingerprint")
        wrong = await kit.service.post(confirm, {"fingerprint": "0000-0000-0000-0000-0000"}, uuid.uuid4().hex)
        refused(wrong, 403, 404, 409, 422)
        answer = await kit.service.post(confirm, {"fingerprint": fingerprint}, uuid.uuid4().hex)
        expect(200 <= answer.status < 300, f"confirm was answered {answer.status}")
        await machine.agent(client_id)
    finally:
        await _delete(kit.service, client_id)


@IDENTITY.check("deleted", "A deleted agent gets 410 `agent-deleted`, with a token from before, too, and no new one.")
async def deleted(kit: Kit) -> None:
    async with _enrolled(kit) as (machine, client_id):
        agent = await machine.agent(client_id)
        expect((await agent.poll(None)).status == 200, "its long poll is refused before it is deleted")
        answer = await _delete(kit.service, client_id)
        expect(200 <= answer.status < 300, f"DELETE was answered {answer.status}")
        refused(await agent.poll(None), 410, slug="agent-deleted")
        refused(await agent.report(agent.message()), 410, slug="agent-deleted")
        answer = await machine.ask_token(client_id)
        if answer.status == 410:
            refused(answer, 410, slug="agent-deleted")
        else:
            _oauth_error(answer, "invalid_client")


# The last: where wrong tries are counted by address, whoever enrols after it has to wait.
@IDENTITY.check("burnt", "Five wrong tries burn a pairing code.")
async def burnt(kit: Kit) -> None:
    machine, code = await _machine(kit), await _code(kit)
    text = code["code"]
    wrong = text[:-1] + ("B" if text[-1] != "B" else "C")
    for _ in range(CODE_TRIES):
        refused(await machine.try_once({"code": wrong}), 403, 404, 410, 422, 429)
    refused(await machine.try_once(code), 403, 404, 410, 422, 429)
