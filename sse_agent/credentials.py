"""What the agent shows the control plane. One fixed bearer token for now; the machine's own key comes to live here."""


class FixedToken:
    """A token from the settings. There is nothing fresher to be had than what the operator put there."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "FixedToken(…)"

    async def current(self) -> str:
        """The token to show now."""
        return self._token

    async def refreshed(self) -> str:
        """The token to show after a 401."""
        return self._token
