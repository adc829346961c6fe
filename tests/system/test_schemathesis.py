"""Requests made from the OpenAPI document, right and wrong ones: no 5xx, and no answer that it does not describe."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conformance.credentials import SERVICE, agent_token
from tests.conformance.serving import BROKEN, INTACT, serving

ROOT = Path(__file__).resolve().parents[2]
CLIENT = "agent-1"
HOOKS = "secret-of-the-hooks"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WITHIN_S = 30.0
# The same requests every time: what is found is found again.
ALIKE = settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

CONFIG = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}})
document = schemathesis.openapi.from_path(ROOT / "docs" / "reference" / "openapi.json", config=CONFIG)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("plane"), INTACT, [CLIENT], TUS_HOOK_SECRET=HOOKS) as found:
        yield found


def headers_for(case: schemathesis.Case) -> dict[str, str]:
    """Somebody whom the endpoint lets in, and of a stream only what ends by itself."""
    schemes = {name for entry in case.operation.definition.raw.get("security", []) for name in entry}
    found = {"Accept": "application/json"}
    if "agentToken" in schemes:
        return {**found, "Authorization": f"Bearer {agent_token(CLIENT)}"}
    if "hookSecretAsBearer" in schemes:
        return {**found, "Authorization": f"Bearer {HOOKS}"}
    return {**found, "Authorization": f"Bearer {SERVICE}"} if "serviceToken" in schemes else found


def send(case: schemathesis.Case, url: str) -> None:
    if "wait" in (case.query or {}):
        case.query["wait"] = 0
    response = case.call(base_url=url, headers=headers_for(case), timeout=WITHIN_S)
    case.validate_response(response, checks=CHECKS)


@document.parametrize()
@ALIKE
def test_whatever_is_asked_the_answer_is_one_that_is_described(case: schemathesis.Case, url: str) -> None:
    send(case, url)


@document.include(path_regex=r"clientId").exclude(method="DELETE").parametrize()
@ALIKE
def test_of_an_agent_that_there_is_too(case: schemathesis.Case, url: str) -> None:
    case.path_parameters["clientId"] = CLIENT
    for name in ("Agent-Journal", "Agent-Instance"):
        if name in (case.headers or {}):
            case.headers[name] = str(uuid.UUID(int=1))
    send(case, url)


@pytest.mark.parametrize("mistake", ["problems are JSON", "problems have another status", "agents are not objects"])
def test_answers_that_are_not_described_are_found_out(tmp_path: Path, mistake: str) -> None:
    case = document["/api/v1/agents"]["GET"].Case(query={"after": "", "limit": 0 if "problems" in mistake else 5})
    with serving(tmp_path, BROKEN, [CLIENT]) as url:
        send(case, url)
        httpx.put(f"{url}/mistake", content=mistake.encode(), timeout=WITHIN_S, trust_env=False).raise_for_status()
        with pytest.raises(FailureGroup):
            send(case, url)
