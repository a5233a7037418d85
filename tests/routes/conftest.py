from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control_api import Api, control_api


@pytest.fixture
async def api(store: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The control API over a fresh database."""
    async with control_api(tmp_path) as made:
        yield made
