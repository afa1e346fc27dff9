"""What fails just now: one fault per part, since its first failure in a row."""

from edgeproxy.control.faults import FaultNow, Faults
from edgeproxy.errors import LinkError, MapError, StateError


def test_a_part_that_goes_on_failing_fails_since_the_first_time_and_for_the_latest_reason() -> None:
    faults = Faults()
    assert faults.fails("store", StateError("The disk is full."), 10.0)
    assert not faults.fails("store", StateError("The disk is still full."), 20.0)
    assert list(faults) == [FaultNow("store", faults.of("store"), 10.0)]  # type: ignore[arg-type]
    error = faults.of("store")
    assert error is not None
    assert error.detail == "The disk is still full."


def test_another_kind_of_failure_is_worth_another_line_and_the_same_outage() -> None:
    faults = Faults()
    faults.fails("map", StateError("x"), 10.0)
    assert faults.fails("map", MapError("y"), 20.0)
    assert not faults.fails("map", MapError("z"), 30.0)
    assert [(fault.error.detail, fault.since) for fault in faults] == [("z", 10.0)]


def test_a_part_that_worked_in_between_fails_anew() -> None:
    faults = Faults()
    faults.fails("store", StateError("x"), 10.0)
    assert faults.works("store")
    assert faults.of("store") is None
    assert not faults.works("store")
    assert faults.fails("store", StateError("x"), 30.0)
    assert [fault.since for fault in faults] == [30.0]


def test_parts_fail_apart_from_each_other_and_are_told_by_name() -> None:
    faults = Faults()
    assert (len(faults), list(faults)) == (0, [])
    for number, part in enumerate(("store", "map", "supervisor")):
        faults.fails(part, LinkError(part), float(number))
    assert [(fault.part, fault.error.detail) for fault in faults] == [(part, part) for part in ("map", "store", "supervisor")]
    assert len(faults) == 3
    assert faults.works("map")
    assert [fault.part for fault in faults] == ["store", "supervisor"]


def test_parts_may_come_to_work_while_they_are_told() -> None:
    faults = Faults()
    faults.fails("map", MapError("x"), 1.0)
    faults.fails("store", StateError("x"), 1.0)
    for fault in faults:
        faults.works(fault.part)
    assert len(faults) == 0
