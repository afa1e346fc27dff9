"""The store that most of these tests work on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeproxy.control.store import Store
from tests.control.store.making import opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        yield store
