from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.control_api import Api, control_api, endpoint_spec


@pytest.fixture
async def api(store: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The control API over a fresh database."""
    async with control_api(tmp_path) as made:
        yield made


@pytest.fixture
async def endpoint(api: Api) -> dict[str, Any]:
    """Endpoint `chat` of project `acme`, as the PUT answers it."""
    await api.project()
    return await api.must_put("/projects/acme/endpoints/chat", endpoint_spec())
