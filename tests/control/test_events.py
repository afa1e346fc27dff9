"""Events: everybody is told, whatever becomes of one of them."""

import pytest
from structlog.testing import capture_logs

from edgeproxy.control import events
from edgeproxy.control.events import Event, publish, subscribe


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch):
    monkeypatch.setattr(events, "_subscribers", [])


def test_subscribers_and_the_log_are_told():
    told: list[Event] = []
    subscribe(told.append)
    with capture_logs() as logged:
        publish("certificate.issued", hostname="a.example", seconds=0.5)
    assert told == [Event("certificate.issued", {"hostname": "a.example", "seconds": 0.5})]
    assert logged == [{"event": "certificate.issued", "hostname": "a.example", "seconds": 0.5, "log_level": "info"}]


def test_whoever_has_enough_is_told_no_more():
    told: list[Event] = []
    end = subscribe(told.append)
    subscribe(lambda _event: end())
    publish("one")
    publish("two")
    end()
    assert [event.name for event in told] == ["one"]


def test_one_that_fails_keeps_nobody_from_hearing():
    told: list[Event] = []

    def fails(_event):
        raise ZeroDivisionError

    subscribe(fails)
    subscribe(told.append)
    with capture_logs() as logged:
        publish("one")
    assert [event.name for event in told] == ["one"]
    assert [line["event"] for line in logged] == ["one", "a subscriber failed at an event"]


def test_there_is_a_bound_on_subscribers():
    for _ in range(events.SUBSCRIBERS):
        subscribe(print)
    with pytest.raises(RuntimeError, match="already"):
        subscribe(print)
