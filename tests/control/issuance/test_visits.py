"""How much names are visited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.visits import GATHERED, HALF_LIFE, PRUNE_SECONDS, Visits, heated
from tests.control.store.making import NOW, certificate


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.floats(1e9, 3e9))
def test_more_visits_are_more_and_each_adds_something(one, two, now):
    both = heated(heated(0.0, one, now), two, now)
    assert both >= heated(0.0, max(one, two), now)
    assert both == pytest.approx(heated(0.0, one + two, now), abs=1e-6)


def test_a_visit_counts_for_half_after_a_while():
    assert heated(0.0, 100, NOW) == pytest.approx(heated(0.0, 50, NOW + HALF_LIFE))
    assert heated(0.0, 1_000, NOW) < heated(0.0, 1, NOW + 10 * HALF_LIFE)
    assert heated(heated(0.0, 10**6, 1.0), 1, NOW) == pytest.approx(heated(0.0, 1, NOW))


async def test_what_workers_tell_is_summed_up_and_noted_for_names_that_have_a_certificate(world):
    store, now = world.store, [NOW]
    await store.add_certificate(certificate("c1", "a.example.com"), NOW)
    await store.add_certificate(certificate("c2", "*.example.com"), NOW)
    visits = Visits(store, lambda: now[0])
    visits.add({"a.example.com": 3, "b.example.com": 1, "stranger.example": 9})
    visits.add({"a.example.com": 4, "c.example.com": 1})
    await visits.note()
    found = await store.visits(["a.example.com", "*.example.com", "stranger.example"])
    assert found == {
        "a.example.com": (pytest.approx(heated(0.0, 7, NOW)), NOW),
        "*.example.com": (pytest.approx(heated(0.0, 2, NOW)), NOW),
    }
    now[0] = NOW + PRUNE_SECONDS + 1
    visits.add({"a.example.com": 1})
    await store.remove_certificate("c2", NOW)
    await visits.note()
    later = await store.visits(["a.example.com", "*.example.com"])
    assert list(later) == ["a.example.com"]
    assert later["a.example.com"][0] > found["a.example.com"][0]


async def test_made_up_names_do_not_make_it_grow(world):
    visits = Visits(world.store, lambda: NOW)
    for number in range(0, GATHERED + 5_000, 1_000):
        visits.add({f"n{each}.example": 1 for each in range(number, number + 1_000)})
    assert len(visits._gathered) == GATHERED
    await visits.note()
    assert visits._gathered == {}
