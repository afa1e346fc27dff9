"""Visitors spread over very many hostnames."""

from collections import Counter
from pathlib import Path

from bench.load.spread import HandshakesPlan, RequestsPlan, Spread, drawn


def test_names_are_drawn_by_zipfs_law():
    counts = Counter(drawn(1_000, 20_000, 1))
    assert max(counts) < 1_000
    assert counts[0] > 1.5 * counts[1] > 0
    assert sum(counts[number] for number in range(10)) > 5_000
    assert set(drawn(1, 5, 1)) == {0}


def test_requests_go_to_all_of_the_names_with_fields_that_vary():
    script = RequestsPlan(100_000).script(3)
    assert "math.random(0, 99999)" in script
    assert "math.randomseed(3)" in script
    assert "host: cust%02d.bench.test\\r\\n" in script
    assert script.count("sec-fetch-dest") == 20


def test_each_process_draws_names_of_its_own():
    orders = Spread(port=1, root_file=Path("root.pem"), names=9, seconds=2.5, seed=3)
    assert orders.command()[3:] == ["--port=1", "--root-file=root.pem", "--names=9", "--seconds=2.5", "--seed=3"]
    assert HandshakesPlan(9).names == 9
