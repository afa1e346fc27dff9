"""[log], [metrics] and [alerts]."""

import msgspec
import pytest

from edgeproxy.config.monitoring import Alerts, Log, Metrics


def test_whom_to_tell_is_not_in_a_repr_but_how_many_are() -> None:
    shown = repr(Alerts(notify=("slack://c2VjcmV0/", "mailtos://me:c2VjcmV0@example.com")))
    assert "c2VjcmV0" not in shown
    assert "2" in shown


def test_nobody_is_told_and_nothing_more_is_open_unless_asked_for() -> None:
    assert (Alerts().notify, Metrics().listen, Log().access) == ((), "", "stdout")


@pytest.mark.parametrize(("key", "value"), [("format", "xml"), ("level", "trace")])
def test_a_format_or_level_that_is_none_is_refused(key: str, value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=value):
        msgspec.convert({key: value}, Log)
