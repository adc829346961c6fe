"""One bearer token from the settings, for simple deployments."""


class FixedToken:
    """There is nothing fresher to be had than what the operator put there."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "FixedToken(…)"

    async def current(self) -> str:
        """The token to show now."""
        return self._token

    async def refreshed(self, refused: str) -> str:
        """The token to show after a 401."""
        return self._token

    def renew_at(self, token: str) -> float | None:
        """Never."""
        return None
