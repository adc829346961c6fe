"""The tokens of a control plane of the tests."""

SERVICE = "service-token-of-the-tests"


def agent_token(client_id: str) -> str:
    """An agent's."""
    return f"token-of-{client_id}"
