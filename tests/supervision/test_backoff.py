from edgeproxy.supervision.backoff import LONGEST, Backoff


def test_the_first_death_is_followed_by_a_birth_at_once() -> None:
    assert Backoff().died(0.01) == 0.0


def test_deaths_in_a_row_are_answered_more_and_more_slowly_up_to_a_bound() -> None:
    backoff = Backoff()
    delays = [backoff.died(0.01) for _ in range(200)]
    assert delays == sorted(delays)
    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert delays[-1] == LONGEST


def test_a_child_that_lived_for_a_while_makes_up_for_those_before() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.died(0.01)
    assert backoff.died(60.0) == 0.0
    assert backoff.died(0.01) == 0.0
    assert backoff.died(0.01) == 0.1
