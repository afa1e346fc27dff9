"""Fixtures that every test may use."""

import gc

import pytest
from hypothesis import settings

# Ten thousand tests are collected and all stay: to look through them for garbage again and again, while they come and while
# they run, would be a tenth of the whole suite's time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


# A deadline per example would make a slow machine a failure.
settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=50_000)
settings.load_profile("default")


@pytest.fixture
def anyio_backend() -> str:
    """The program runs on asyncio; so do its tests."""
    return "asyncio"
