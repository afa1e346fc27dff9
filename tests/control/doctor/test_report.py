"""What is said."""

from edgeproxy.control.doctor.report import Change, Finding, Level, Report
from edgeproxy.errors import Fault


def test_a_name_is_well_where_nothing_is_wrong_and_nothing_to_change():
    fine = (
        Finding("dns", Level.OK, "Good."),
        Finding("dns", Level.UNKNOWN, "Who knows."),
        Finding("dns", Level.NOTE, "By the way."),
    )
    assert Report((), fine).well
    assert not Report((), (Finding("dns", Level.WRONG, "No."),)).well
    assert not Report((Change(who=Fault.OPERATOR, what="a", present="b", wanted="c", why="d"),), fine).well
