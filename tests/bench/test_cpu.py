"""CPU time from /proc."""

import os

import pytest

from bench.cpu import ProcessTimes, busiest_seconds, parse_core_busy, parse_stat, read_tree, total_seconds, tree

LINE = "4242 ({name}) S 17 4242 4242 0 -1 4194560 9000 70 3 0 {utime} {stime} {cutime} {cstime} 20 0 1 0 123456 1 2 3"


def line(name: str = "nginx", utime: int = 0, stime: int = 0, cutime: int = 0, cstime: int = 0) -> str:
    return LINE.format(name=name, utime=utime, stime=stime, cutime=cutime, cstime=cstime)


def test_times_and_parent_are_read_from_a_stat_line():
    times = parse_stat(line(utime=100, stime=20, cutime=3, cstime=4))
    assert times == ProcessTimes(pid=4242, parent=17, own=120, reaped=7)


@pytest.mark.parametrize("name", ["tmux: server", "a) S 1 2 (b", ")", "x y) z"])
def test_a_command_name_with_spaces_and_parentheses_does_not_confuse(name):
    assert parse_stat(line(name=name, utime=5)) == ProcessTimes(4242, 17, 5, 0)


@pytest.mark.parametrize("text", ["", "nonsense", "1 (init) S 0 1", "1 init S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="stat"):
        parse_stat(text)


def process(pid: int, parent: int, own: int = 0, reaped: int = 0) -> ProcessTimes:
    return ProcessTimes(pid, parent, own, reaped)


def test_a_tree_is_the_root_and_all_below_it_and_nothing_else():
    everything = [process(1, 0), process(10, 1), process(12, 11), process(11, 10), process(20, 1)]
    assert set(tree(everything, 10)) == {10, 11, 12}


def test_a_root_that_is_gone_has_no_tree_of_its_own():
    assert tree([process(1, 0)], 10) == {}


def test_a_reaped_worker_still_counts():
    hertz = os.sysconf("SC_CLK_TCK")
    assert total_seconds({1: process(1, 0, own=hertz, reaped=2 * hertz), 2: process(2, 1, own=hertz)}) == pytest.approx(4)


def test_the_busiest_is_the_one_that_used_most_between_the_looks():
    hertz = os.sysconf("SC_CLK_TCK")
    before = {1: process(1, 0, own=1000 * hertz), 2: process(2, 1, own=hertz)}
    after = {1: process(1, 0, own=1001 * hertz), 2: process(2, 1, own=4 * hertz), 3: process(3, 1, own=900 * hertz)}
    assert busiest_seconds(before, after) == pytest.approx(3)


def test_our_own_process_is_found_in_proc():
    assert os.getpid() in read_tree(os.getpid())


PROC_STAT = """cpu  9 9 9 9 9 9 9 9 0 0
cpu0 100 10 20 5000 400 1 2 3 0 0
cpu1 {t} 0 {t} 77 77 0 0 {t} 0 0
intr 5
"""


def test_a_core_is_busy_with_all_but_idling_and_waiting_and_steal_counts():
    text = PROC_STAT.replace("{t}", str(os.sysconf("SC_CLK_TCK")))
    assert parse_core_busy(text, 1) == pytest.approx(3)


def test_an_unknown_core_is_an_error():
    with pytest.raises(ValueError, match="core 7"):
        parse_core_busy(PROC_STAT, 7)
