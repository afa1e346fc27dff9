"""How fast a CA in trouble is asked."""

from edgeproxy.control.issuance.acme.pace import PAUSE_MAX, SPACING, Pace


def test_without_trouble_nobody_waits():
    pace = Pace()
    assert [pace.reserve(0.0) for _ in range(100)] == [0.0] * 100


def test_twenty_who_wait_make_one_request_a_second():
    pace = Pace()
    pace.trouble(0.0, 0.0)
    times = [pace.reserve(0.5) for _ in range(20)]
    assert times == [0.5 + SPACING * place for place in range(20)]


def test_a_retry_after_is_kept():
    pace = Pace()
    pace.trouble(0.0, 30.0)
    assert pace.reserve(10.0) == 20.0


def test_repeated_trouble_lengthens_the_pause_up_to_a_bound():
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(12):
        pace.trouble(now, 0.0)
        pauses.append(pace.waiting(now))
        now += pauses[-1]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == PAUSE_MAX


def test_what_was_under_way_together_is_one_trouble():
    pace = Pace()
    for _ in range(20):
        pace.trouble(0.0, 0.0)
    assert pace.waiting(0.0) == 1.0


def test_a_proper_answer_ends_it():
    pace = Pace()
    pace.trouble(0.0, 300.0)
    assert pace.waiting(0.0) == 300.0
    pace.answered()
    assert pace.reserve(0.0) == 0.0
