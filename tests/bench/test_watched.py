"""The watch on a worker's loop."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.watched import ASK, NOTABLE, Watch


@pytest.fixture(autouse=True)
def callbacks() -> Iterator[None]:
    """The collector's, as they were."""
    before = list(gc.callbacks)
    yield
    gc.callbacks[:] = before


async def written(folder: Path, *, heap: bool = False) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            for file in folder.glob("worker-*.json"):
                found: dict[str, Any] = json.loads(file.read_text())
                if found["heap"] or not heap:
                    return found
            await asyncio.sleep(0.05)


async def test_a_loop_that_is_kept_is_seen_with_what_kept_it(tmp_path: Path):
    watch = Watch(tmp_path, asyncio.get_running_loop())
    watch.begin()
    await asyncio.sleep(0.02)
    watch.mark("something")
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    watch.mark("other")
    longest = max((each for each in watch.pauses if each.before == "something"), key=lambda each: each.cpu)
    assert longest.seconds > 0.04
    assert longest.cpu > 0.04
    assert longest.own > NOTABLE


async def test_the_collectors_runs_are_counted(tmp_path: Path):
    watch = Watch(tmp_path, asyncio.get_running_loop())
    gc.collect(0)
    gc.collect()
    assert [each.runs > 0 for each in watch.generations] == [True, False, True]


async def test_garbage_is_looked_for_when_it_is_asked_for(tmp_path: Path):
    class Cycle:
        itself: object

    watch = Watch(tmp_path, asyncio.get_running_loop())
    gc.collect()
    gc.disable()
    try:
        one = Cycle()
        one.itself = one
        del one
        (tmp_path / ASK).write_text("now")
        watch.begin()
        heap = (await written(tmp_path, heap=True))["heap"]
    finally:
        gc.enable()
    assert heap["asked"] == "now"
    assert heap["garbage"] >= 1
    assert any("Cycle" in kind for kind in heap["kinds"])
    assert heap["objects"] > 1000
