"""What clients were refused, by key."""

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control import refused as module
from edgeproxy.control.refused import refused
from edgeproxy.control.totals import Key


def test_refusals_are_told_by_key_the_most_first():
    assert refused(
        {
            ("rate_limited_total", ("network",)): 5.0,
            ("limits_reached_total", ("request_body",)): 2.0,
            ("handshakes_total", ("shed",)): 4.0,
            ("handshakes_total", ("too_many_connections",)): 3.0,
            ("handshakes_total", ("full",)): 1000.0,
            ("origin_errors_total", ("left_alone",)): 9.0,
            ("origin_errors_total", ("failed",)): 50.0,
            ("limits_reached_total", ("request_head",)): 0.0,
            ("requests_total", ("4xx", "h1")): 12.0,
        }
    ) == {"limits.origin_failures": 9, "limits.connections": 7, "rates.per_network": 5, "limits.request_body": 2}


def test_every_key_is_one_of_the_configuration():
    sums: dict[Key, float] = {("rate_limited_total", (by,)): 1.0 for by in ("network", "hostname", "workspace")}
    sums |= {("handshakes_total", (result,)): 1.0 for result in module._CONNECTIONS}
    sums |= {("limits_reached_total", (limit,)): 1.0 for limit in ("request_body", "request_head", "request_line")}
    sums |= {("origin_errors_total", ("left_alone",)): 1.0}
    for key in refused(sums):
        section, _, name = key.partition(".")
        assert name in msgspec.structs.asdict(getattr(Config(), section)), key
