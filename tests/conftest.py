"""Fixtures that every test may use."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The journal's writer thread hands its results to asyncio; trio is not supported."""
    return "asyncio"
