"""What is wrong, from events and from what is measured."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.config.monitoring import Alerts
from edgeproxy.config.webhooks import EVENTS
from edgeproxy.control.alerts.conditions import KINDS, WORSE, Condition, Reading, begun_by, ended_by, measured
from edgeproxy.control.latency import Waiting
from edgeproxy.units import Duration

LIMITS = Alerts(origin_errors=20, shed=100, waiting=1_000, latency=Duration(2.0), latency_requests=50)


@pytest.mark.parametrize(
    ("type_", "data", "condition"),
    [
        ("certificate.failed", {"error": "The CA said no."}, Condition("issuance", "a.test", "The CA said no.")),
        ("certificate.expiring", {"seconds_left": 29 * 86_400}, Condition("expiry_30", "a.test")),
        ("certificate.expiring", {"days": 7, "seconds_left": 6.9 * 86_400}, Condition("expiry_7", "a.test")),
        ("certificate.expiring", {"days": 1}, Condition("expiry_1", "a.test")),
        ("certificate.expired", {}, Condition("expired", "a.test")),
        ("certificate.parked", {"detail": "It points to b."}, Condition("pointing", "a.test", "It points to b.")),
        ("certificate.expiring", {"seconds_left": -5}, Condition("expired", "a.test")),
        (
            "certificate.failed",
            {"error": "It is away.", "fault": "ca"},
            Condition("issuance", "a.test", "It is away. It is the CA's matter."),
        ),
        ("domain.attention", {"error": {"detail": "It is broken."}}, Condition("domain", "a.test", "It is broken.")),
        (
            "domain.attention",
            {"error": {"detail": "CNAME is gone.", "fault": "customer_dns"}},
            Condition("pointing", "a.test", "CNAME is gone. It is the matter of whoever has the domain's DNS."),
        ),
        ("domain.parked", {"error": None}, Condition("validation", "a.test")),
        ("domain.active", {}, None),
        ("certificate.issued", {}, None),
    ],
)
def test_an_event_begins_what_it_tells_of(type_: str, data: dict[str, Any], condition: Condition | None) -> None:
    assert begun_by(type_, "a.test", data) == condition


def test_what_an_event_begins_another_ends() -> None:
    ends = {kind for type_ in EVENTS for kind, _ in ended_by(type_, "a.test")}
    assert ends == {kind for kind, what in KINDS.items() if not what.measured}
    assert ("issuance", "a.test") in ended_by("certificate.renewed", "a.test")
    assert ended_by("certificate.failed", "a.test") == []


def test_every_kind_says_what_to_do() -> None:
    assert all(what.todo.endswith(".") for what in KINDS.values())
    assert {kind for kinds in WORSE.values() for kind in kinds} <= set(KINDS)


def kinds(first: Reading, last: Reading) -> list[str]:
    return [each.kind for each in measured([first, last], LIMITS)]


def test_an_origin_that_fails_much_is_told_and_one_that_fails_now_and_then_is_not() -> None:
    begin = Reading(at=0, requests=1_000, unanswered=50)
    assert kinds(begin, Reading(at=300, requests=1_100, unanswered=70)) == ["origin"]
    assert kinds(begin, Reading(at=300, requests=1_101, unanswered=70)) == []
    assert kinds(begin, Reading(at=300, requests=1_010, unanswered=60)) == []  # ten of ten: too few to say anything
    assert kinds(begin, begin) == []


def unanswered(*names: tuple[str, str, int, int], overall: float = 0) -> dict[str, str]:
    """By subject, what is said of origins: of names, their origins, requests and failures."""
    seen = [Waiting(name, requests, 0.0, origin, failed, 0.0) for name, origin, requests, failed in names]
    found = measured([Reading(at=0), Reading(at=300, requests=overall, unanswered=overall, names=seen)], LIMITS)
    assert {each.kind for each in found} <= {"origin"}
    return {each.subject: each.why for each in found}


def test_an_origin_is_told_by_its_address_once_for_all_its_domains() -> None:
    one, two = "http://10.0.0.1", "http://10.0.0.2"
    said = unanswered(("a.test", one, 60, 10), ("b.test", one, 40, 10), ("c.test", two, 100, 19), overall=39)
    assert said == {one: "Of 100 requests for 2 domains, a.test among them, 20 had no answer of it."}
    assert unanswered(("a.test", one, 20, 20)) == {one: "Of 20 requests for a.test 20 had no answer of it."}
    assert unanswered(("a.test", one, 101, 20)) == {}
    # Names that are not told of by themselves, such as the platform's own, are told in all.
    assert unanswered(("a.test", one, 20, 20), overall=41).keys() == {"", one}


def slow(**changes: Any) -> str:
    usual = {"name": "a.test", "requests": 50, "seconds": 4.2, "origin": "http://10.0.0.1", "failed": 0, "late": 0.1}
    waiting = Waiting(**{**usual, **changes})
    found = measured([Reading(at=0), Reading(at=300, names=(waiting,))], LIMITS)
    assert all((each.kind, each.subject) == ("latency", "a.test") for each in found)
    return "".join(each.why for each in found)


def test_a_domain_whose_visitors_wait_is_told_with_whose_time_it_is() -> None:
    assert slow() == (
        "Of 50 requests within 5m one in twenty waited 4.2 s or longer for the first byte of its answer (alerts.latency is 2s)."
        " It is the time of the origin http://10.0.0.1; this edge itself was not late."
    )
    assert slow(late=1.1).endswith("This edge itself was 1.1 s late on average: it is short of CPU.")
    assert slow(requests=49) == slow(seconds=1.9) == slow(seconds=0.0) == ""


def test_connections_that_are_not_let_in_are_told_by_the_minute() -> None:
    assert kinds(Reading(at=0), Reading(at=300, shed=500)) == ["shed"]
    assert kinds(Reading(at=0), Reading(at=300, shed=499)) == []
    assert kinds(Reading(at=0), Reading(at=15, shed=100)) == ["shed"]


def test_requests_that_a_rate_refuses_are_told_by_the_minute() -> None:
    assert kinds(Reading(at=0), Reading(at=300, limited=30_000)) == ["limited"]
    assert kinds(Reading(at=0), Reading(at=300, limited=29_000)) == []
    assert kinds(Reading(at=0, limited=10**6), Reading(at=300, limited=10**6)) == []


def test_a_gate_that_fails_for_half_of_the_questions_is_told() -> None:
    assert kinds(Reading(at=0), Reading(at=300, gate=10, gate_failed=5)) == ["gate"]
    assert kinds(Reading(at=0), Reading(at=300, gate=11, gate_failed=5)) == []
    assert kinds(Reading(at=0), Reading(at=300, gate=4, gate_failed=4)) == []


def test_a_long_queue_a_ca_left_alone_and_faults_are_told_at_once() -> None:
    now = Reading(at=0, waiting=1_000, left_alone={"ca.test": "It says no."}, faults={"store": "It is full."})
    assert measured([now], LIMITS) == [
        Condition("ca", "ca.test", "It says no."),
        Condition("fault", "store", "It is full."),
        Condition("queue", "", "1000 names wait for the CA's limit, or for the CA to be well again."),
    ]
    assert measured([], LIMITS) == []
