"""What a child is handed at its birth: it cannot be changed, and shows no key."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.link.start import ChildStart, WorkerStart

KEY = b"the map's key that nobody sees.."


@pytest.fixture
def common() -> Iterator[dict[str, Any]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield {
            "config": Config(state=State(key="ab" * 32)),
            "config_path": None,
            "state_directory": Path("/var/lib/edgeproxy"),
            "channel": ours,
            "sockets": {},
            "started_at": 1.0,
        }


def worker_start(common: dict[str, Any], **more: Any) -> WorkerStart:
    return WorkerStart(**common, index=0, generation=1, map_key=KEY, table=memoryview(b"counts of strangers"), **more)


def test_no_key_is_in_what_a_start_shows_of_itself(common: dict[str, Any]) -> None:
    shown = repr(worker_start(common)) + repr(ChildStart(**common))
    assert "nobody sees" not in shown
    assert "ab" * 32 not in shown
    assert "index=0" in shown


def test_a_controller_is_not_handed_what_is_the_workers() -> None:
    assert not {field.name for field in dataclasses.fields(ChildStart)} & {"map_key", "table", "arrivals"}


def test_a_start_cannot_be_changed_after_it(common: dict[str, Any]) -> None:
    start = worker_start(common)
    for name in ("config", "index", "map_key"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(start, name, None)
    with pytest.raises((AttributeError, TypeError)):
        start.colour = "red"  # type: ignore[attr-defined]


def test_who_says_nothing_of_it_gets_a_start_that_may_be_refused_and_a_log(
    common: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    start = ChildStart(**common)
    assert not start.serving
    start.log.warning("a word")
    assert json.loads(capfd.readouterr().err)["message"] == "a word"
