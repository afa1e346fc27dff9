"""The names that workers and the controller share."""

import math

import pytest

from edgeproxy.link import counters


def test_a_key_is_read_back_as_its_name_and_labels():
    assert counters.parse(counters.key("requests_total", "2xx", "h2")) == ("requests_total", ("2xx", "h2"))
    assert counters.parse(counters.key("access_log_dropped_total")) == ("access_log_dropped_total", ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|",
        "unheard_of",
        "requests_total",
        "requests_total|2xx",
        "requests_total|2xx|h2|more",
        'requests_total|2xx|h2"} 1\n',
        "requests_total||h2",
        "requests_total|2xx|" + "x" * 41,
        "request_seconds",
        "request_seconds_bucket",
        "request_seconds_bucket|0.3",
        "request_seconds_sum|1",
        "connections_bucket|0.005",
    ],
)
def test_a_key_that_is_not_in_the_table_is_ignored(text):
    assert counters.parse(text) is None


def test_the_parts_of_a_histogram_are_read_back():
    assert counters.parse("request_seconds_bucket|+Inf") == ("request_seconds_bucket", ("+Inf",))
    assert counters.parse("origin_seconds_sum") == ("origin_seconds_sum", ())


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0.001"), (0.001, "0.001"), (0.0011, "0.0025"), (1.0, "1"), (60.0, "60"), (60.1, "+Inf"), (math.inf, "+Inf")],
)
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds, expected):
    assert counters.bucket(seconds) == expected


def test_bucket_names_are_numbers_that_prometheus_reads_in_rising_order():
    values = [float(name) for name in counters.BUCKETS]
    assert values == sorted(values)
    assert values[:-1] == list(counters.BOUNDS)
