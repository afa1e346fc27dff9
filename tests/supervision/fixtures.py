"""A program of stand-ins, not started yet, and conversations with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.running import Running
from tests.supervision.talk import COMMAND, Talk


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Running]:
    """Not started yet."""
    running = Running(tmp_path / "edge", command=COMMAND)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def talk(edge: Running) -> Iterator[Callable[..., Talk]]:
    """Opens conversations, and closes them in the end."""
    opened: list[Talk] = []

    def open_one(address: tuple[str, int] | Path | None = None) -> Talk:
        opened.append(Talk(address or (edge.host, edge.https_port)))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
