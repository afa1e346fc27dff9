"""How fast a CA is asked."""

import math

from edgeproxy.control.issuance.acme.pace import BELIEVED, IDLE, MEMORY, PAUSE_MAX, RECOVERED, SPACING, WIDEST, Pace


def well(now=0.0):
    pace = Pace()
    for _ in range(5):
        pace.answered(now)
    return pace


def test_a_ca_that_answers_is_asked_by_several_at_once_and_not_by_more():
    pace = well()
    assert [pace.waiting(0.0, under_way) for under_way in range(WIDEST)] == [0.0] * WIDEST
    assert pace.waiting(0.0, WIDEST) == math.inf


def test_a_crowd_meets_a_ca_that_it_does_not_know_with_one_request_and_then_two():
    pace = Pace()
    assert pace.waiting(0.0, 0) == 0.0
    pace.sent(0.0)
    assert pace.waiting(0.2, 1) == SPACING - 0.2
    pace.answered(0.3)
    assert [pace.waiting(0.3, 0), pace.waiting(0.3, 1)] == [0.0, 0.0]
    assert pace.waiting(0.3, 2) > 0


def test_a_ca_that_was_not_asked_for_a_while_is_not_known_any_more():
    pace = well()
    pace.sent(IDLE + 1)
    assert pace.waiting(IDLE + 1, 1) == SPACING


def test_where_answers_take_their_time_another_request_goes_each_second():
    pace, now = Pace(), 0.0
    for under_way in range(WIDEST):
        now += pace.waiting(now, under_way)
        assert now == SPACING * under_way
        pace.sent(now)


def test_twenty_who_wait_make_one_request_a_second():
    pace, now, times = well(), 0.0, []
    pace.trouble(now, 0.0)
    for _ in range(20):
        now += pace.waiting(now, 0)
        times.append(now)
        pace.sent(now)
    assert times == [1.0 + SPACING * place for place in range(20)]


def test_a_retry_after_is_kept_but_not_for_years():
    pace = Pace()
    pace.trouble(0.0, 30.0)
    assert pace.waiting(10.0, 0) == 20.0
    pace.trouble(30.0, 1e9)
    assert pace.waiting(30.0, 0) == BELIEVED


def test_repeated_trouble_lengthens_the_pause_up_to_a_bound():
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(12):
        pace.trouble(now, 0.0)
        pauses.append(pace.waiting(now, 0))
        now += pauses[-1]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == PAUSE_MAX


def test_what_was_under_way_together_is_one_trouble():
    pace = well()
    for _ in range(20):
        pace.trouble(0.0, 0.0)
    assert pace.waiting(0.0, 0) == 1.0


def test_a_proper_answer_ends_it_and_the_next_go_out_one_after_the_other():
    pace = well()
    pace.trouble(0.0, 300.0)
    assert pace.troubled
    pace.answered(300.0)
    pace.sent(300.0)
    assert not pace.troubled
    assert pace.waiting(300.0, 0) == 0.0
    assert pace.waiting(300.0, 2) > 0.0


def test_trouble_that_comes_back_is_the_same_and_takes_more_proper_answers_to_end():
    pace, now, pauses = well(), 0.0, []
    for _ in range(6):
        pace.trouble(now, 0.0)
        pauses.append(pace.waiting(now, 0))
        now += pauses[-1]
        pace.sent(now)
        pace.answered(now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert pace.waiting(now, 0) == SPACING
    for _ in range(RECOVERED - 1):
        assert pace.troubled
        pace.answered(now)
    assert not pace.troubled


def test_trouble_of_long_ago_is_forgotten():
    pace = well()
    for now in (0.0, 1.0, MEMORY + 10.0):
        pace.trouble(now, 0.0)
    assert pace.waiting(MEMORY + 10.0, 0) == 1.0
