"""h2load's report."""

import pytest

from bench.errors import BenchError
from bench.load.h2load import parse

REPORT = """\
Application protocol: h2
finished in 1.00s, 100.00 req/s, 1.00MB/s
requests: 120 total, 130 started, 120 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, {failed} 5xx
traffic: 35.08KB (35920) total, 4.69KB (4800) headers (space savings 90.00%), 25.00KB (25600) data
"""


def test_counts_are_read():
    report = parse(REPORT.format(succeeded=120, failed=0))
    assert (report.succeeded, report.failures, report.bytes_read) == (120, {}, 35920)


def test_failures_and_their_statuses_are_told():
    assert parse(REPORT.format(succeeded=117, failed=3)).failures == {"failed": 3, "5xx": 3}


def test_another_protocol_is_an_error():
    with pytest.raises(BenchError, match="HTTP/2"):
        parse(REPORT.format(succeeded=1, failed=0).replace("protocol: h2", "protocol: http/1.1"))
