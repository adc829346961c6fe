"""A service that commands agents: the calls of the control plane that a web application makes, synchronous."""

import ssl
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx

WITHIN_S = 30.0


class Services:
    """Commands and what became of them, of one agent. `close` it."""

    def __init__(self, url: str, token: str, client_id: str, trust: ssl.SSLContext | None = None) -> None:
        self._client_id = client_id
        self._http = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
            trust_env=False,
            verify=trust or ssl.create_default_context(),
        )

    def close(self) -> None:
        """Its connections."""
        self._http.close()

    def command(self, kind: str, *, expires_at: str | None = None, **payload: Any) -> str:
        """Queue a command; its ID."""
        body = {"type": kind, "payload": payload} | ({"expiresAt": expires_at} if expires_at else {})
        path, headers = f"/agents/{self._client_id}/commands", {"Idempotency-Key": str(uuid.uuid4())}
        answer = self._http.post(path, json=body, headers=headers)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def record(self, command_id: str) -> dict[str, Any]:
        """The command as it is now."""
        return self._get(f"/commands/{command_id}")

    def outcome(self, command_id: str, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The command's record, as soon as it has an outcome."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            record = self._get(f"/commands/{command_id}", wait=5)
            if record["outcome"] is not None:
                return record
        raise TimeoutError(f"no outcome of {command_id} within {within_s:g} s")

    def carry_out(self, kind: str, **payload: Any) -> dict[str, Any]:
        """A command and its outcome."""
        return self.outcome(self.command(kind, **payload))

    def agent(self) -> dict[str, Any]:
        """As last reported."""
        return self._get(f"/agents/{self._client_id}")

    def upload(self, file_id: str) -> dict[str, Any]:
        """As last reported; state `unknown` when nothing was."""
        found = self._get(f"/agents/{self._client_id}/uploads", limit=1000)["uploads"]
        return next((one for one in found if one["fileId"] == file_id), {"state": "unknown"})

    def until_upload(self, file_id: str, state: str, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The upload as soon as it is reported in that state."""
        return until(lambda: (u := self.upload(file_id))["state"] == state and u, f"{file_id} {state}", within_s)

    def messages(self, kind: str) -> list[dict[str, Any]]:
        """Every durable report of that type, oldest first."""
        found = self._get(f"/agents/{self._client_id}/messages", type=kind, limit=1000)["messages"]
        return [record["message"] for record in found]

    def stored(self, file_id: str) -> list[dict[str, Any]]:
        """What the tus server's hooks told of that file."""
        found: list[dict[str, Any]] = self._get(f"/agents/{self._client_id}/uploads/{file_id}/stored")["uploads"]
        return found

    def readmit(self) -> None:
        """Let the agent's restored machine in again."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        self._http.post(f"/agents/{self._client_id}/readmit", headers=headers).raise_for_status()

    def delete(self) -> None:
        """Delete the agent for ever."""
        self._http.delete(f"/agents/{self._client_id}").raise_for_status()

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self._http.get(path, params=params)
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result


def until(condition: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """What `condition` returns, once it is true: for what another process's API tells only when asked."""
    end = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(0.05)
    return found
