"""Fixtures that every test may use."""

import pytest
from hypothesis import settings

# A deadline per example would make a slow machine a failure.
settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=50_000)
settings.load_profile("default")


@pytest.fixture
def anyio_backend() -> str:
    """The program runs on asyncio; so do its tests."""
    return "asyncio"
