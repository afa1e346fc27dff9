"""Whether anything grows or stands still: what is judged, and how it is told."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from bench.authority import Authority
from bench.origin import start_origin
from bench.soak import (
    GROWN_BYTES,
    GROWN_FILES,
    GROWN_OBJECTS,
    GROWN_THREADS,
    MEASUREMENT,
    Look,
    Soak,
    kinds,
    own_seconds,
    soak,
)
from bench.stage import Stage, available_cores, choose_cores
from bench.traffic import tenants

PROCESSES = "worker", "controller", "supervisor"


def look(
    requests: int,
    *,
    size: int = 50_000_000,
    files: int = 40,
    threads: int = 2,
    objects: int = 9000,
    garbage: int = 0,
    collected: int = 50,
) -> Look:
    return Look(
        requests=requests,
        private=dict.fromkeys(PROCESSES, size),
        files=dict.fromkeys(PROCESSES, files),
        threads=dict.fromkeys(PROCESSES, threads),
        objects=objects,
        garbage=garbage,
        collected=collected,
    )


def pause(*, seconds: float = 0.02, own: float = 0.02, cpu: float = 0.004, collector: float = 0.001) -> dict[str, Any]:
    return {
        "at": 1.0,
        "seconds": seconds,
        "own": own,
        "cpu": cpu,
        "collector": collector,
        "before": "tick",
        "slept": 0,
        "faults": 0,
    }


def found(last: Look, *pauses: dict[str, Any], longest: float = 0.002) -> Soak:
    return Soak(
        wanted=3000,
        seconds=12.0,
        did={"HTTP/2": 2000, "refused names": 1000},
        looks=[look(1000, size=1, garbage=6), look(2000), last],
        pauses=list(pauses),
        collections=[{"runs": 3, "seconds": 0.003, "longest": longest, "collected": 0}],
    )


def missed(soak: Soak) -> list[str]:
    return [outcome.text for outcome in soak.outcomes() if not outcome.reached]


def test_what_stays_as_it_was_after_the_second_round_is_well():
    assert missed(found(look(3000), pause())) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": 50_000_001 + GROWN_BYTES}, 3),
        ({"files": 41 + GROWN_FILES}, 1),
        ({"threads": 3 + GROWN_THREADS}, 1),
        ({"objects": 9001 + GROWN_OBJECTS}, 1),
        ({"garbage": 101}, 1),
        ({"collected": 151}, 1),
    ],
)
def test_what_grows_is_missed(change: dict[str, int], told: int):
    assert len(missed(found(look(3000, **change)))) == told


def test_a_pause_counts_as_far_as_the_worker_itself_used_the_core():
    assert own_seconds(pause(seconds=0.05, cpu=0.003)) == 0.003
    assert own_seconds(pause(seconds=0.011, cpu=0.02)) == 0.011
    assert missed(found(look(3000), pause(cpu=0.002), pause(cpu=0.012)))
    assert missed(found(look(3000), longest=0.0101))


def test_what_was_done_what_grew_and_what_paused_is_told():
    did, grown, pauses = found(look(3000), pause(), pause(cpu=0.009)).tables()
    assert did[1:] == [["HTTP/2", "2,000"], ["refused names", "1,000"], ["all, in 12 s", "3,000 requests at the origin"]]
    assert grown[-1] == ["3,000", "50.0 MB", "50.0 MB", "50.0 MB", "40/40/40", "2/2/2", "9,000"]
    assert [row[1] for row in pauses[1:]] == ["9.0 ms", "4.0 ms"]
    assert len(found(look(3000)).tables()) == 2


def test_it_is_kept_as_plain_data():
    soak = found(look(3000), pause())
    assert MEASUREMENT.read(json.loads(json.dumps(dataclasses.asdict(soak)))) == soak


def test_no_run_has_it_that_does_not_name_it():
    assert not MEASUREMENT.always
    assert MEASUREMENT.named


def test_a_round_has_every_kind_of_load():
    assert len({kind.name for kind in kinds(quick=True)}) == len(kinds(quick=False)) == 9


async def test_a_short_one_finds_nothing_left_behind(tmp_path: Path):
    short = [dataclasses.replace(kind, seconds=0.5) for kind in kinds(quick=True) if kind.name in SHORT]
    async with contextlib.AsyncExitStack() as exits:
        authority, cores = Authority(tmp_path / "certificates"), choose_cores(available_cores())
        stage = Stage(work=tmp_path, cores=cores, tenants=tenants(2), authority=authority, exits=exits)
        done = await soak(stage, await start_origin(stage), short, 1, hostnames=2, least=2)
    assert set(done.did) == SHORT
    assert done.looks[1].garbage == 0
    assert done.looks[1].collected - done.looks[0].collected < 10
    assert done.looks[-1].requests >= done.did["HTTP/2, 256 B"] > 0
    assert sum(each["runs"] for each in done.collections) > 0


SHORT = {"HTTP/2, 256 B", "clients that go away", "refused names"}
