"""What a try's end means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.store import Delivery, Event
from edgeproxy.control.webhooks.outcome import JITTER, LATEST, RETRY_AFTER, SCHEDULE, Sent, due, tried

NOW = 1_800_000_000.0


def delivery(tries: int = 0) -> Delivery:
    event = Event(number=3, id="msg_3", type="domain.active", subject="a.test", workspace_id="", at=NOW, data=b"{}")
    return Delivery(
        endpoint_id="e", event=event, tries=tries, next_try=NOW, tried_at=None, delivered_at=None, status=None, error=""
    )


def test_what_the_receiver_has_is_not_tried_again() -> None:
    found = tried(delivery(), Sent(204), NOW, 0.5)
    assert (found.delivered, found.status, found.error, found.next_try) == (True, 204, "", None)
    assert (found.endpoint_id, found.number, found.at) == ("e", 3, NOW)


def test_pauses_grow_over_days_and_then_it_is_given_up() -> None:
    pauses = [tried(delivery(tries), Sent(500, "No."), NOW, 0.0).next_try for tries in range(len(SCHEDULE) + 1)]
    assert pauses[:-1] == [NOW + pause for pause in SCHEDULE]
    assert pauses[-1] is None
    assert 3 * 86_400 < sum(SCHEDULE) < 4 * 86_400


@given(st.integers(0, len(SCHEDULE) - 1), st.floats(0, 1))
def test_chance_only_adds_a_part_of_a_pause(tries: int, chance: float) -> None:
    found = tried(delivery(tries), Sent(None, "No."), NOW, chance).next_try
    assert found is not None
    assert SCHEDULE[tries] - 0.001 <= found - NOW <= SCHEDULE[tries] * (1 + JITTER) + 0.001


def test_a_receiver_may_ask_for_a_longer_pause_within_bounds() -> None:
    assert tried(delivery(), Sent(429, "No.", 60.0), NOW, 0.0).next_try == NOW + 60
    assert tried(delivery(), Sent(429, "No.", 1.0), NOW, 0.0).next_try == NOW + SCHEDULE[0]
    assert tried(delivery(), Sent(429, "No.", 1e9), NOW, 0.0).next_try == NOW + RETRY_AFTER


def test_410_ends_it() -> None:
    found = tried(delivery(), Sent(410, "Gone."), NOW, 0.0)
    assert (found.gone, found.next_try, found.delivered) == (True, None, False)


def test_a_time_that_a_clock_ahead_noted_is_due() -> None:
    assert due(NOW, NOW)
    assert not due(NOW + 1, NOW)
    assert not due(NOW + LATEST, NOW)
    assert due(NOW + LATEST + 1, NOW)
