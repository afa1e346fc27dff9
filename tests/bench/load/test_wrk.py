"""wrk's script and its report."""

import pytest

from bench.errors import BenchError
from bench.load.wrk import WrkPlan, parse
from bench.traffic import tenants

REPORT = 'Running\n\nreport {"requests": 10, "bytes": 99, "connect": 0, "read": 2, "write": 0, "timeout": 0, "status": 1}'


def test_every_error_counter_is_a_failure_and_wrong_statuses_do_not_succeed():
    report = parse(REPORT)
    assert (report.succeeded, report.failures, report.bytes_read) == (9, {"read": 2, "status": 1}, 99)


def test_a_run_without_a_report_is_an_error():
    with pytest.raises(BenchError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_the_script_posts_a_body_of_the_stated_length():
    script = WrkPlan("/upload/", 1000).script(tenants(1)[0])
    assert '"POST "' in script
    assert "content-length: 1000\\r\\n" in script
    assert 'string.rep("x", 1000)' in script
