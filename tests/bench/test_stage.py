"""Which core belongs to whom."""

from bench.stage import Cores, choose_cores


def test_proxy_and_load_get_a_core_each():
    assert choose_cores([3, 1, 2]) == Cores("1", "2")
    assert choose_cores([0, 1]).apart


def test_a_single_core_is_shared_and_known_to_be():
    assert not choose_cores([0]).apart
