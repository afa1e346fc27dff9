"""What clients were refused, told by the keys of the configuration that bound them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgeproxy.control.totals import Key

_CONNECTIONS: Final = {
    "shed": "limits.connections",
    "too_many_connections": "limits.connections",
    "too_many_from_address": "limits.connections_per_address",
    "too_many_from_network": "limits.connections_per_network",
    "overloaded": "limits.waiting_handshakes",
    "no_proxy_header": "listen.proxy_protocol",
}
"""Results of handshakes that are refusals, but for "limited": which of two bounds on new names that was it does not tell."""


def refused(sums: Mapping[Key, float]) -> dict[str, int]:
    """How many connections and requests each key refused, the most first. `sums` as `totals.Totals` has them."""
    found: dict[str, int] = {}
    for (name, labels), count in sums.items():
        key = _key(name, labels)
        if key and count:
            found[key] = found.get(key, 0) + int(count)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _key(name: str, labels: tuple[str, ...]) -> str:
    """The key of the configuration; empty where the series tells of no refusal."""
    match name, labels:
        case "rate_limited_total", (by,):
            return f"rates.per_{by}"
        case "limits_reached_total", (limit,):
            return f"limits.{limit}"
        case "origin_errors_total", ("left_alone",):
            return "limits.origin_failures"
        case "handshakes_total", (result,):
            return _CONNECTIONS.get(result, "")
    return ""
