"""Since when a child has given no sign of life."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

from edgeproxy.supervision import signs
from edgeproxy.supervision.children import Child


@dataclasses.dataclass
class Beats:
    """The table's part that counts."""

    at: int

    def beat(self, _column: int) -> int:
        return self.at


def child(role: str, heard: float | None = None) -> Child:
    made = Child(cast("Any", role), cast("Any", None), 1, cast("Any", None), 0.0, 0.0)
    made.heard = heard
    return made


@pytest.mark.parametrize(
    ("who", "beat", "silent"),
    [
        (child("worker"), 0, 0.0),
        (child("worker"), 88_000, 12.0),
        (child("worker"), 100_001, 0.0),  # 2³² ms ahead is no silence
        (child("controller"), 1, 0.0),
        (child("controller", 88.0), 0, 12.0),
    ],
)
def test_who_starts_is_not_silent(who: Child, beat: int, silent: float) -> None:
    assert signs.silence(who, cast("Any", Beats(beat)), 100.0) == pytest.approx(silent)


def test_a_controller_may_be_silent_longer_but_not_as_long_as_a_command_waits() -> None:
    from edgeproxy.cli.client import SECONDS

    assert signs.longest(child("worker")) < signs.longest(child("controller")) < SECONDS
