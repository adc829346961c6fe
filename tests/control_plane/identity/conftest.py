from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control_plane.identity.office import Office, office
from tests.doubles.clock import FakeClock


@pytest.fixture
async def open_office(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, FakeClock()) as found:
        yield found
