"""Fixtures that every test may use."""

import gc
from asyncio import base_events
from typing import Any

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


_wakeup = base_events.Server._wakeup  # type: ignore[attr-defined]


def _attach(server: Any, *transport: Any) -> None:
    """Whoever was accepted is served. asyncio's own refuses those whom it accepted in the turn in which it is closed: it never
    tells them, and what is left of their sockets is a warning in another test."""
    if transport:  # Python 3.13 and later
        server._clients.add(*transport)
    else:
        server._active_count += 1


def _wake_up(server: Any) -> None:
    if server._waiters is not None:  # nobody was left once already
        _wakeup(server)


base_events.Server._attach = _attach  # type: ignore[attr-defined]
base_events.Server._wakeup = _wake_up  # type: ignore[attr-defined]


@pytest.fixture
def anyio_backend() -> str:
    """The program runs on asyncio; so do its tests."""
    return "asyncio"
