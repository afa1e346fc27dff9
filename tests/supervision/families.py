"""A family of small children in this process, without a supervisor around it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.config.structs import Config
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Drain, LinkEnd, Ready
from edgeproxy.link.start import ChildStart, WorkerStart
from edgeproxy.log import Log, Sink
from edgeproxy.supervision.children import Child, Family, Plan, Programs
from edgeproxy.supervision.identity import Identities
from edgeproxy.supervision.listeners import Listeners
from tests.integration.running import PATIENCE

PLAN = Plan(Config(), 1, ())


def obedient(start: ChildStart) -> int:
    """Says that it is ready, counts links, ends when told; its exit status is 10 and one for each link."""
    channel = Channel(start.channel)
    channel.send(Ready())
    links = 0
    while not channel.ended:
        for received in channel.read():
            if isinstance(received.message, LinkEnd):
                links += len(received.sockets)
            elif isinstance(received.message, Drain):
                return 10 + links
        time.sleep(0.005)  # noqa: TID251
    return 1


def deaf(start: ChildStart) -> int:
    Channel(start.channel).send(Ready())
    time.sleep(600)  # noqa: TID251
    return 0


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = Log("supervisor", Sink(descriptor), style="json")
    family = Family(
        programs=Programs(worker=lambda start: worker_main(start), controller=lambda: obedient, map_key=lambda *_: b""),
        log=log,
        identities=Identities(None, None),
        listeners=Listeners(),
        state_directory=tmp_path,
        config_path=None,
        started_at=time.time(),
        map_key=b"k" * 32,
        columns=3,
        also_close=[],
    )
    yield family
    stop(family)
    family.close()
    log.sink.close()
    os.close(descriptor)


def worker_main(start: WorkerStart) -> int:
    """A generation below zero hears nothing."""
    return deaf(start) if start.generation < 0 else obedient(start)


def stop(family: Family) -> None:
    for child in list(family.children.values()):
        family.kill(child)
    buried(family)


def buried(family: Family) -> list[tuple[Child, int]]:
    """Waits until nobody is left."""
    found: list[tuple[Child, int]] = []
    deadline = time.monotonic() + PATIENCE
    while family.children:
        assert time.monotonic() < deadline
        found += family.reap()
        time.sleep(0.005)  # noqa: TID251
    return found
