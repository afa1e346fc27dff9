"""Processes are ended whatever happens."""

import asyncio
import os
from pathlib import Path

import pytest

from bench.children import Child, free_ports
from bench.errors import BenchError

CORE = str(min(os.sched_getaffinity(0)))


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_and_what_it_started_end_with_the_context_even_on_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.children.END_SECONDS", 0.2)
    script = "trap '' TERM; sleep 600 & echo $!; while :; do wait; done"
    pids: list[int] = []

    async def use_it_and_fail():
        async with Child("stubborn", ["sh", "-c", script], cores=CORE, log=tmp_path / "log") as child:
            while not (tmp_path / "log").read_text().strip():
                await asyncio.sleep(0.01)
            pids.extend([child.pid, int((tmp_path / "log").read_text())])
            assert all(alive(pid) for pid in pids)
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        await use_it_and_fail()
    for _ in range(1000):  # a kill takes a moment to arrive
        if not any(alive(pid) for pid in pids):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"still alive: {pids}")


async def test_a_child_is_pinned_to_its_core(tmp_path):
    async with Child("pinned", ["sleep", "600"], cores=CORE, log=tmp_path / "log") as child:
        while b"sleep" not in (Path("/proc") / str(child.pid) / "cmdline").read_bytes().split(b"\0")[0]:
            await asyncio.sleep(0.01)
        assert os.sched_getaffinity(child.pid) == {int(CORE)}


async def test_a_child_that_ends_by_itself_is_reported_with_its_last_words(tmp_path):
    async with Child("brief", ["sh", "-c", "echo cannot bind; exit 3"], cores=CORE, log=tmp_path / "log") as child:
        assert await child.wait(20) == 3
        with pytest.raises(BenchError, match="cannot bind"):
            child.check_alive()
        with pytest.raises(BenchError, match="brief ended by itself"):
            await child.wait_listening(free_ports(1)[0])


def test_free_ports_are_distinct():
    assert len(set(free_ports(20))) == 20
