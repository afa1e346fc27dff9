"""The times of rate limits that workers share: right for each key, for nobody else, and of one size."""

from __future__ import annotations

import contextlib
import os
import resource
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.errors import LinkError
from edgeproxy.gcra import LONGEST, SECOND, admit, parse_rate
from edgeproxy.link.arrivals import REGIONS, SWEPT, WAYS, Arrivals, Key

NOW = 7 * 86_400 * SECOND
TURN = 1 << 40
"""Microseconds after which times come around."""
SLOW = parse_rate("1/h burst 5")
"""So slow that nothing flows in while a test runs."""


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals.create()[0]


def admitted(arrivals: Arrivals, keys: list[Key], count: int, now: int = NOW) -> int:
    return sum(arrivals.admit(keys, now) is None for _ in range(count))


def used(arrivals: Arrivals) -> int:
    return sum(1 for word in arrivals._cells[8:].tolist() if word)


def neighbours(arrivals: Arrivals, count: int) -> list[Key]:
    """Keys of one set, which nobody could find who did not know its secret."""
    one = arrivals.key("network", b"", SLOW)
    return [Key("network", one.rate, one.first, tag, one.interval, one.full, one.most) for tag in range(1, count + 1)]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(b"abcdefgh"), st.integers(0, 400_000)), min_size=1, max_size=60),
    st.integers(0, 3 * TURN),
    st.sampled_from(("10/s burst 3", "1/s", "100/m burst 2")),
)
def test_each_key_is_admitted_as_the_rule_says_whatever_others_do(asked: list[tuple[int, int]], now: int, written: str) -> None:
    arrivals, rate = Arrivals.create()[0], parse_rate(written)
    times: defaultdict[int, int] = defaultdict(int)
    for name, pause in asked:
        now += pause
        key = arrivals.key("network", bytes((name,)), rate)
        after = admit(max(0, times[name] - now), rate.interval, rate.interval * rate.burst)
        over = arrivals.admit([key], now)
        assert (over.wait if over is not None else 0) == max(0, -after)
        if over is None:
            times[name] = now + after


def test_a_request_counts_for_all_of_its_keys_or_for_none(arrivals: Arrivals) -> None:
    network, other = (arrivals.key("network", name, SLOW) for name in (b"a", b"b"))
    hostname = arrivals.key("hostname", b"a.test", parse_rate("1/h burst 8"))
    assert admitted(arrivals, [network, hostname], 100) == 5
    over = arrivals.admit([network, hostname], NOW)
    assert over is not None
    assert over.key is network
    assert admitted(arrivals, [other, hostname], 100) == 3, "who was refused took nothing from the hostname"
    over = arrivals.admit([other, hostname], NOW)
    assert over is not None
    assert over.key is hostname
    assert admitted(arrivals, [other], 100) == 2, "nor the hostname's refusal from the network"


def test_the_same_name_of_another_kind_is_another_key(arrivals: Arrivals) -> None:
    for kind in REGIONS:
        assert admitted(arrivals, [arrivals.key(kind, b"a", SLOW)], 100) == 5


def test_a_time_that_is_of_a_faster_or_slower_rate_from_before_a_reload_holds_nobody_back(arrivals: Arrivals) -> None:
    assert admitted(arrivals, [arrivals.key("network", b"a", SLOW)], 100) == 5
    fast = arrivals.key("network", b"a", parse_rate("10/s"))
    assert admitted(arrivals, [fast], 100) == 10


def test_a_full_set_forgets_who_asked_for_least_and_refuses_nobody_else(arrivals: Arrivals) -> None:
    keys = neighbours(arrivals, WAYS + 5)
    busy = keys[:WAYS]
    for count, key in enumerate(busy, 1):
        assert admitted(arrivals, [key], min(count, 5)) == min(count, 5)
    assert [arrivals.admit([key], NOW) for key in keys[WAYS:]] == [None] * 5, "each newcomer takes the place of the last"
    assert [admitted(arrivals, [key], 9) for key in busy[4:]] == [0] * 4, "who had too many is remembered"


def test_cells_whose_time_is_past_are_free(arrivals: Arrivals) -> None:
    keys = neighbours(arrivals, 3 * WAYS)
    for round_, key in enumerate(keys):
        now = NOW + (round_ // WAYS) * (LONGEST + 100) * SECOND
        assert admitted(arrivals, [key], 9, now) == 5
    assert used(arrivals) == WAYS


def test_nobody_meets_his_own_past_when_times_come_around(arrivals: Arrivals) -> None:
    key = arrivals.key("network", b"a", SLOW)
    assert admitted(arrivals, [key], 9, NOW) == 5
    sizes = sum(REGIONS.values())
    for sweep in range(sizes // SWEPT + 1):
        arrivals.sweep(NOW + SECOND * (LONGEST + 100 + sweep))
    assert used(arrivals) == 0
    assert admitted(arrivals, [key], 9, NOW + TURN) == 5


def test_a_sweep_leaves_what_lies_ahead(arrivals: Arrivals) -> None:
    key = arrivals.key("workspace", b"a", SLOW)
    assert admitted(arrivals, [key], 9) == 5
    for sweep in range(sum(REGIONS.values()) // SWEPT + 1):
        arrivals.sweep(NOW + SECOND * sweep)
    assert admitted(arrivals, [key], 9) == 0


def test_any_number_of_invented_networks_takes_no_more_memory_and_nobody_elses_place(
    arrivals: Arrivals,
) -> None:
    """A million with `make fuzz`; here more than there are cells."""
    number = 1_000_000 if settings().max_examples > 1_000 else REGIONS["network"] + 20_000
    hostname, flood = arrivals.key("hostname", b"a.test", SLOW), arrivals.key("network", b"flooding", SLOW)
    assert admitted(arrivals, [hostname], 9) == admitted(arrivals, [flood], 9) == 5
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate, begin, sets = flood.rate, 8, REGIONS["network"] // WAYS
    interval, full, most = flood.interval, flood.full, flood.most
    refused = 0
    for network in range(number):  # made by hand: their hashes would take longer than all else
        invented = Key("network", rate, begin + network % sets * WAYS, 1 + network // sets, interval, full, most)
        refused += arrivals.admit((invented,), NOW) is not None
    assert refused == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024, "KiB"
    assert used(arrivals) <= REGIONS["network"] + 1
    assert admitted(arrivals, [hostname], 9) == 0, "hostnames have a region of their own"
    assert admitted(arrivals, [flood], 9) == 0, "who had too many keeps his place before those who asked once"


@contextlib.contextmanager
def children(number: int, work: Callable[[], int]) -> Iterator[list[int]]:
    """What the work of so many processes came to, that begin at once."""
    reading, writing = os.pipe()
    gate, opening = os.pipe()
    pids = []
    for _ in range(number):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.close(opening)
                os.read(gate, 1)
                os.write(writing, work().to_bytes(8, "big"))
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    os.close(opening)
    os.close(gate)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    os.close(writing)
    with open(reading, "rb") as results:
        told = results.read()
    assert statuses == [0] * number
    yield [int.from_bytes(told[at : at + 8], "big") for at in range(0, len(told), 8)]


def test_processes_that_ask_at_once_get_together_what_one_would(arrivals: Arrivals) -> None:
    """They race for one cell, with a clock that stands: what is admitted beyond the limit was lost in races, a request at a
    time. Between two of them each does something else, if far less than a worker does for a request."""
    limit = 5_000
    keys: list[Key] = []

    def work() -> int:
        return sum(arrivals.admit(keys, NOW) is None for _ in range(limit) if sum(range(500)))

    # One that is stopped just before it writes takes back what the other counted meanwhile: on a busy machine that is much.
    tries: list[int] = []
    while not tries or (tries[-1] > limit * 1.5 and len(tries) < 10):
        keys = [arrivals.key("hostname", b"a%d.test" % len(tries), parse_rate(f"{limit}/h"))]
        with children(2, work) as found:
            tries.append(sum(found))
    assert limit <= tries[-1] <= limit * 1.5, f"each alone would be admitted twice as many: {tries}"
    assert admitted(arrivals, keys, 100) == 0, "what children counted counts here, and outlives them"


def test_a_process_that_dies_in_the_middle_leaves_a_table_that_works(arrivals: Arrivals) -> None:
    pid = os.fork()
    if not pid:
        keys = [arrivals.key("network", b"%d" % number, SLOW) for number in range(1000)]
        while True:
            for key in keys:
                arrivals.admit([key], NOW)
    while used(arrivals) < 100:
        pass
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert 0 <= admitted(arrivals, [arrivals.key("network", b"1", SLOW)], 9) <= 5
    assert admitted(arrivals, [arrivals.key("network", b"fresh", SLOW)], 9) == 5


def test_where_a_key_is_counted_is_another_place_in_each_table() -> None:
    places = {(key.first, key.tag) for key in (Arrivals.create()[0].key("network", b"a", SLOW) for _ in range(20))}
    assert len(places) == 20


def test_another_layout_is_refused() -> None:
    for view in (memoryview(bytes(64)), memoryview(bytes(8 * (8 + sum(REGIONS.values()))))):
        with pytest.raises(LinkError, match="another layout"):
            Arrivals(view)
