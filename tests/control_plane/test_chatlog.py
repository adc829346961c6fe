"""The chat's newest lines, over real HTTP against the real process."""

from collections.abc import Iterator

import pytest

from tests.doubles.planes import Agent, Plane, plane, slug


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("plane")) as found:
        yield found


def ask(on: Plane, agent: Agent, **params: int) -> list[tuple[str, str, bool]]:
    lines = on.ask("GET", f"{agent.path}/chat", params=params).json()["lines"]
    return [(line["from"], line["text"], line["isFromService"]) for line in lines]


def test_lines_of_both_sides_are_there_in_order_and_commands_as_they_were_written(running: Plane) -> None:
    agent = running.fresh()
    for number in range(2):
        payload = {"text": f"question {number}", "from": "ada"}
        # The same again is the same line.
        for _ in range(2):
            running.order(agent, f"{agent.client_id}-{number}", type="MESSAGE", payload=payload)
        agent.report(agent.envelope("MESSAGE", {"text": f"answer {number}", "from": "bob"}))
    # The same again is the same line, and one that is no command is none.
    for text in ("/ls  '/srv/a b'", "/ls  '/srv/a b'", "/nonsense"):
        running.order(agent, f"{agent.client_id}-{text[1]}", type="MESSAGE", payload={"text": text, "from": "ada"})
    running.order(agent, type="GET_STATUS")
    assert ask(running, agent) == [
        ("ada", "question 0", True),
        ("bob", "answer 0", False),
        ("ada", "question 1", True),
        ("bob", "answer 1", False),
        ("ada", "/ls  '/srv/a b'", True),
    ]
    assert ask(running, agent, limit=1) == [("ada", "/ls  '/srv/a b'", True)]
    lines = running.ask("GET", f"{agent.path}/chat").json()["lines"]
    assert [line["type"] for line in lines] == ["MESSAGE"] * 4 + ["LIST_FILES"]
    assert running.ask("GET", f"/api/v1/commands/{lines[-1]['id']}").json()["type"] == "LIST_FILES"


def test_of_a_long_chat_the_newest_lines_are_told(running: Plane) -> None:
    agent = running.fresh()
    for start in range(0, 1200, 100):
        agent.report(
            *[agent.envelope("MESSAGE", {"text": str(number), "from": ""}) for number in range(start, start + 100)]
        )
    assert [text for _, text, _ in ask(running, agent, limit=3)] == ["1197", "1198", "1199"]


def test_it_is_for_those_who_may_watch_that_agent(running: Plane) -> None:
    agent = running.fresh()
    body = {"subject": "eve", "agents": ["another"], "scopes": ["watch"]}
    token = running.ask("POST", "/api/v1/viewer-tokens", key="k", json=body).json()["token"]
    answer = running.client.get(f"{agent.path}/chat", headers={"Authorization": f"Bearer {token}"})
    assert slug(answer) == "not-allowed"
    assert slug(running.ask("GET", "/api/v1/agents/nobody/chat")) == "unknown-agent"
