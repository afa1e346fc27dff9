import contextlib
import os
import time
from pathlib import Path

import pytest

from edgeproxy.config.structs import Config
from edgeproxy.errors import StartError
from edgeproxy.link.messages import Drain, Result
from edgeproxy.supervision.birth import ending
from edgeproxy.supervision.children import Family, Plan
from tests.integration.running import PATIENCE, wait_for
from tests.supervision.families import PLAN, buried


def test_a_worker_and_a_controller_are_linked_whoever_comes_first(family: Family) -> None:
    first = family.bear_worker(PLAN, 0)
    controller = family.bear_controller(PLAN)
    second = family.bear_worker(PLAN, 1)
    controller.ready = True
    for child in (first, second, controller):
        family.drain(child, PATIENCE)
    statuses = {child.name: ending(status) for child, status in buried(family)}
    assert statuses == {"worker 0": "exit status 11", "worker 1": "exit status 11", "controller": "exit status 12"}


def test_a_second_controller_waits_until_the_first_has_ended(family: Family) -> None:
    worker = family.bear_worker(PLAN, 0)
    first = family.bear_controller(PLAN)
    second = family.bear_controller(PLAN)
    assert (first.gate, second.gate is not None) == (None, True)
    time.sleep(0.1)  # noqa: TID251
    assert family.hear(second) == []
    family.drain(first, PATIENCE)
    wait_for(lambda: family.reap(), "the first one's end")
    family.open_gate(second)
    wait_for(lambda: family.hear(second), "the second one's word")
    second.ready = True
    family.drain(second, PATIENCE)
    family.drain(worker, PATIENCE)
    assert {child.name: ending(status) for child, status in buried(family)} == {
        "controller": "exit status 11",
        "worker 0": "exit status 12",
    }


def test_a_controller_that_waits_can_be_told_to_end(family: Family) -> None:
    family.bear_controller(PLAN)
    waiting = family.bear_controller(PLAN)
    family.drain(waiting, PATIENCE)
    ended = wait_for(lambda: family.reap(), "its end")
    assert [(child, ending(status)) for child, status in ended] == [(waiting, "killed by SIGKILL")]


def test_each_worker_has_a_column_of_its_own_and_their_number_is_bounded(family: Family) -> None:
    workers = [family.bear_worker(PLAN, 0) for _ in range(3)]
    assert [worker.column for worker in workers] == [0, 1, 2]
    with pytest.raises(StartError, match="still drain"):
        family.bear_worker(PLAN, 0)
    family.drain(workers[1], PATIENCE)
    wait_for(lambda: family.reap(), "its end")
    assert family.bear_worker(PLAN, 0).column == 1


def test_a_child_that_reads_nothing_is_killed_in_the_end(family: Family) -> None:
    child = family.bear_worker(Plan(Config(), -1, ()), 0)
    while child.pid in family.children and child.channel.fileno() >= 0:
        family.tell(child, Result(id=1, ok=True, detail="x" * 4000))
        if family.reap():
            break
    assert not family.children


def test_a_birth_that_fails_leaves_nothing_behind(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            family.bear_worker(PLAN, 0)
        with pytest.raises(BlockingIOError):
            family.bear_controller(PLAN)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert family.table.free() == 0
    assert not family.children


def test_telling_a_child_that_is_gone_does_no_harm(family: Family) -> None:
    child = family.bear_worker(PLAN, 0)
    family.kill(child)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    family.tell(child, Drain())
    family.kill(child)
    assert [ended for ended, _ in buried(family)] == [child]


def test_process_1_buries_whoever_lost_its_parent_and_no_more(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    child = family.bear_worker(PLAN, 0)
    orphan = os.fork()
    if orphan == 0:
        os._exit(0)
    os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
    assert family.reap() == []
    assert Path(f"/proc/{orphan}").exists()
    with monkeypatch.context() as as_init:
        as_init.setattr(os, "getpid", lambda: 1)
        assert family.reap() == []
    with pytest.raises(ChildProcessError):
        os.waitpid(orphan, 0)
    family.drain(child, PATIENCE)
    assert [ended for ended, _ in buried(family)] == [child]
