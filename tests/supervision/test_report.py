import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import edgeproxy
from edgeproxy.supervision.children import Family, Place
from edgeproxy.supervision.report import status
from tests.supervision.families import PLAN, stop


@pytest.fixture
def workers(family: Family) -> Iterator[list[Place]]:
    places = [Place(family.bear_worker(PLAN, index)) for index in range(2)]
    yield places
    stop(family)


def test_the_report_has_every_process_as_plain_values(family: Family, workers: list[Place]) -> None:
    workers[1].restarts = 4
    second = workers[1].child
    assert second is not None
    second.ready = True
    second.draining = True
    found = status(
        family=family,
        listening=["https 127.0.0.1:443"],
        generation=7,
        state="serving",
        controller=Place(restarts=2),
        workers=workers,
        last_reload={},
    )
    assert (found["version"], found["pid"], found["generation"]) == (edgeproxy.__version__, os.getpid(), 7)
    assert found["restarts"] == {"workers": 4, "controller": 2}
    assert [(worker["index"], worker["state"], worker["connections"]) for worker in found["workers"]] == [
        (0, "starting", 0),
        (1, "draining", 0),
    ]
    assert found["controller"] == {}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found)) == found
    assert Path(f"/proc/{found['workers'][0]['pid']}").exists()
