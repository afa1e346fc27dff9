"""Looking up routes in a map of a million sites; here of a few."""

from pathlib import Path

import pytest

from bench.errors import BenchError, WrongAnswer
from bench.load.routing import BLOCK, Orders, look_up, parse, timed_once


def test_all_are_found_and_timed(tmp_path: Path):
    timed = look_up(Orders(folder=tmp_path / "map", sites=1_500, unseen=3 * BLOCK))
    assert len(timed.unseen) == 3
    assert min(timed.warm) > 0


def test_a_name_that_leads_nowhere_voids_the_run():
    with pytest.raises(WrongAnswer, match=r"cust0000000.bench.test led to None"):
        timed_once(lambda _hostname: None, range(BLOCK))


def test_what_is_no_report_is_told():
    assert parse('x\ntimed {"warm": [1.0], "unseen": [2.0]}\n').unseen == [2.0]
    with pytest.raises(BenchError, match="out of memory"):
        parse("out of memory")
