"""Which custom domains keep their visitors waiting, or have origins that do not answer: for each a sketch, for the controller.

What counts is the time from a request's head to the first byte of its answer: a large download, an event stream or a slow
visitor say nothing of it. Only a request that took longer than `alerts.latency` in all is looked at here, so that others pay
one comparison (10 to 20 ns), and it 0.6 µs; how many there were in all is known, since requests are counted by hostname.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edgeproxy.config.monitoring import Alerts
from edgeproxy.link.sketch import Sketch, bucket
from edgeproxy.model import wildcard_of

if TYPE_CHECKING:
    from edgeproxy.edge.exchange import Exchange
    from edgeproxy.edge.upstream.target import Target

NAMES: Final = 256
"""Names that are told of. They are those of the map, so that nobody can make them up. When there is no more room the quieter
ones go, once a second."""

ORIGIN: Final = 100
"""Characters of an origin that are told: a message between processes has its bound."""

BODY: Final = 16 * 1024
"""Bytes of a request's content above which its duration is that of the visitor's line."""


@dataclasses.dataclass(slots=True)
class _Name:
    """A name that had slow requests, or some without an answer."""

    seen: float
    """When the last of these was told; monotonic."""
    waits: dict[int, int] = dataclasses.field(default_factory=dict)
    """Slow ones since they were told last, by bucket."""
    apart: int = 0
    """Requests since then that say nothing of latency: WebSockets, uploads."""
    failed: int = 0
    requests: int = 0
    """All that were told."""
    origin: Target | None = None


class Latency:
    """The slow requests of one worker, by name. `floor` is the duration, in seconds, from which `add` is to be told of one."""

    def __init__(self, alerts: Alerts) -> None:
        self.floor = alerts.latency if alerts.notify else math.inf
        self._window = alerts.latency_window
        self._names: dict[str, _Name] = {}

    def add(self, exchange: Exchange, seconds: float) -> None:
        """A request was over after so many seconds, `floor` or more."""
        if exchange.tunnel or exchange.bytes_in > BODY or exchange.status == 408:
            destination = exchange.destination
            if destination is not None and (known := self._names.get(destination.route.name)) is not None:
                known.apart += 1
            return
        waited = exchange.origin_seconds or seconds  # the edge's own answer, when it had waited long enough
        if waited < self.floor:
            return
        name = self._name(exchange)
        if name is not None:
            number = bucket(waited)
            name.waits[number] = name.waits.get(number, 0) + 1

    def failed(self, exchange: Exchange) -> None:
        """A request had no answer of its origin."""
        name = self._name(exchange)
        if name is not None:
            name.failed += 1

    def _name(self, exchange: Exchange) -> _Name | None:
        """The name that a request was for; None for one that is not told of."""
        destination = exchange.destination
        if destination is None or not destination.route.name or self.floor == math.inf:
            return None
        key = destination.route.name
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= NAMES:
                return None
            name = self._names[key] = _Name(0.0)
        name.origin = destination.route.target
        return name

    def tell(
        self, hosts: Mapping[str, int], name_of: Callable[[str], str], now: float, *, whole: bool = True
    ) -> dict[str, Sketch]:
        """What is new of each name that had such a request within the window. `hosts` are the requests since the last call by
        hostname, `whole` whether all were counted, and `name_of` gives a hostname's name in the map."""
        if not self._names:
            return {}
        counts = self._counts(hosts, name_of)
        told = {}
        for key, name in list(self._names.items()):
            requests = counts.get(key, 0) - name.apart
            slow = max(sum(name.waits.values()), name.failed)
            if slow:
                name.seen = now
            elif now - name.seen > self._window:
                del self._names[key]
                continue
            if whole and requests > 0:
                name.requests += requests
                told[key] = Sketch(max(requests, slow), name.waits, str(name.origin)[:ORIGIN], name.failed)
            name.waits, name.apart, name.failed = {}, 0, 0
        if len(self._names) >= NAMES:
            quiet = sorted(self._names, key=lambda key: self._names[key].requests)[: NAMES // 4]
            for key in quiet:
                del self._names[key]
        return told

    def _counts(self, hosts: Mapping[str, int], name_of: Callable[[str], str]) -> Mapping[str, int]:
        """Requests by name. Those beneath a wildcard's name are gathered, if that is told of."""
        wild = {key for key in self._names if key.startswith("*.")}
        if not wild:
            return hosts
        counts = dict(hosts)
        for host, count in hosts.items():
            above = wildcard_of(host)
            if above in wild and name_of(host) == above:
                counts[above] = counts.get(above, 0) + count
        return counts
