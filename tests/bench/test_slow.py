"""What is looked at while slow clients are there."""

import os
import resource

import pytest

from bench.errors import BenchError
from bench.load.control import KEPT, NEW, Asked
from bench.slow import FULL, Look, clients_of, kernel_bytes, look_at, open_files, phase, proportional_bytes


def test_a_phase_has_what_was_due_in_it_and_the_time_between_the_looks_around_it():
    looks = [Look(at, cpu, 0.1 * cpu, 1) for at, cpu in ((9.0, 0.0), (10.0, 1.0), (11.0, 1.2), (12.0, 2.0), (13.0, 9.0))]
    kept = [Asked(9.9, 0.0, 0.5), Asked(10.0, 0.0, 0.001), Asked(11.9, 0.01, 0.002), Asked(12.0, 0.0, 0.5)]
    found = phase((10.0, 12.0), {KEPT: kept, NEW: [Asked(11.0, 0.02, 0.003)]}, looks)
    assert (found.kept, found.new, found.late) == ([0.001, 0.002], [0.003], [0.0, 0.01, 0.02])
    assert found.cpu == pytest.approx(0.5)
    assert found.waited == pytest.approx(0.05)


def test_a_phase_without_requests_voids_the_run():
    with pytest.raises(BenchError, match="too busy"):
        phase((10.0, 12.0), {KEPT: [Asked(11.0, 0.0, 0.1)], NEW: []}, [Look(10.0, 0.0, 0.0, 1)])


def test_where_too_few_files_may_be_opened_there_are_fewer_clients_or_it_is_said():
    assert clients_of("head", FULL, 20_000) == 10_000
    assert clients_of("body", FULL, 20_000) == 9_800
    with pytest.raises(BenchError, match=r"10,000 slow clients \(read\) need 20,400 open files"):
        clients_of("read", FULL, 15_000)


def test_the_limit_of_open_files_is_put_back():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_files(100) as files:
        assert files == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_a_process_is_looked_at():
    look = look_at(os.getpid())
    assert look.cpu > 0
    assert look.resident > 1_000_000
    assert proportional_bytes(os.getpid()) > 1_000_000
    assert kernel_bytes() >= 0
