"""What Prometheus reads: workers' counters, and what the control plane counts itself.

The names are the program's contract. Labels are bounded: what workers send is checked against `link.counters`, hostnames
appear only for the `metrics.top` busiest, and everything else comes from short lists in this file.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from edgeproxy.control.issuance.budget import KINDS
from edgeproxy.control.issuance.scheduler import QueueState
from edgeproxy.control.latency import Latency
from edgeproxy.control.totals import Busiest, Key, Seen, Totals
from edgeproxy.link import counters
from edgeproxy.link.messages import Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SILENT_SECONDS = 5.0
"""A worker that was not heard of for so long does not count as serving; it reports each second."""

CAS = 16
"""Certificate authorities with series of their own; later ones are counted as "other"."""

ISSUANCE_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Values = dict[tuple[str, ...], float]
"""Numbers by label values."""

GateResult = Literal["allowed", "denied", "unavailable"]

TokenRefusal = Literal["missing", "unknown", "revoked", "expired"]


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scrape needs and only others know: the supervisor and the store."""

    worker_restarts: int | None = None
    """None: the supervisor did not say."""
    certificates: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many certificates are in each state."""
    served: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many names are served how well: grades of the daily probe."""
    uploaded: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many uploaded certificates are in use, by what is left of them."""
    soonest_expiry: float | None = None
    """Seconds until the first certificate in use expires; None without any."""
    domains: dict[str, int] = dataclasses.field(default_factory=dict)
    """How many domains are in each state."""
    faults: int = 0
    """Parts of the control plane that do not work just now."""
    map_behind: int = 0
    """Changes of the store that the published map does not have yet."""
    issuance: QueueState | None = None
    """Who waits for a certificate; None while the store cannot be opened."""
    authorities: dict[str, float] = dataclasses.field(default_factory=dict)
    """How each CA stands, by host: 0 it is used, 1 it is to be tried, 2 it is left alone. Empty where there is one alone."""
    webhooks: dict[str, int] = dataclasses.field(default_factory=dict)
    """Tries to deliver an event, by how they ended."""
    webhooks_pending: int | None = None
    """Deliveries that wait; None: not known."""
    events_dropped: int = 0
    """Events that were lost before they were stored for webhooks."""
    now: float = 0.0
    """Unix time."""


class Histogram:
    """Durations counted by bucket, in this process."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """The same for Prometheus."""
        names = [f"{bound:g}" for bound in self._bounds] + ["+Inf"]
        return _histogram(name, text, list(zip(names, map(float, self._counts), strict=True)), self._sum)


class Metrics:
    """Everything that is counted, and how it is shown."""

    def __init__(self, version: str, top: int, *, latency_window: float = 300.0) -> None:
        self.totals = Totals()
        self.latency = Latency(latency_window)
        self._version = version
        self._hosts = Busiest(top)
        self._acme_orders: dict[tuple[str, str], int] = {}
        self._cas: set[str] = set()
        self._issuance_seconds = Histogram(ISSUANCE_BOUNDS)
        self._gate: dict[str, int] = {}
        self._new_names_limited = 0
        self._tokens_refused: dict[str, int] = dict.fromkeys(get_args(TokenRefusal), 0)
        self._token_requests_limited = 0
        self._token_guesses_limited = 0
        self._errors: dict[str, int] = {}
        self._dns_queries: dict[tuple[str, str], int] = {}
        self._dns_limited: dict[str, int] = {}

    # What workers say

    def report(self, report: Report, now: float) -> None:
        """A worker's counters, each second."""
        self.totals.report(report, now)
        for host, count in report.hosts.items():
            self._hosts.add(host, count)

    def serving(self, now: float) -> int:
        """How many workers serve, by their reports."""
        return self.totals.serving(now, silent=SILENT_SECONDS)

    def workers(self) -> list[Seen]:
        """The living workers."""
        return self.totals.workers()

    # What the control plane does

    def acme_order(self, ca: str, result: str) -> None:
        """An order at a CA ended; `ca` is its directory's host, or "internal"; `result` is "ok" or "failed"."""
        if ca not in self._cas and len(self._cas) >= CAS:
            ca = "other"
        self._cas.add(ca)
        self._acme_orders[ca, result] = self._acme_orders.get((ca, result), 0) + 1

    def issued(self, seconds: float) -> None:
        """A certificate was obtained, in so many seconds."""
        self._issuance_seconds.observe(seconds)

    def gate(self, result: GateResult) -> None:
        """The gate was asked."""
        self._gate[result] = self._gate.get(result, 0) + 1

    @property
    def gate_results(self) -> dict[str, int]:
        """Answers of the gate so far, by result."""
        return dict(self._gate)

    def new_name_limited(self) -> None:
        """A client network wanted certificates for more new names than it may have (limits.new_names)."""
        self._new_names_limited += 1

    def token_refused(self, reason: TokenRefusal) -> None:
        """A request to the API had no token that is valid now."""
        self._tokens_refused[reason] += 1

    def token_request_limited(self) -> None:
        """A token asked more often than it may (limits.token_requests)."""
        self._token_requests_limited += 1

    def token_guess_limited(self) -> None:
        """A network was not listened to that had sent too many wrong tokens."""
        self._token_guesses_limited += 1

    def dns_query(self, rcode: str, transport: str) -> None:
        """Our zone was asked: `rcode` is what was answered ("none": nothing), `transport` "udp" or "tcp"."""
        self._dns_queries[rcode, transport] = self._dns_queries.get((rcode, transport), 0) + 1

    def dns_limited(self, action: str) -> None:
        """A question came from a network that asks too much, and was "dropped", or "truncated": answered by advice only."""
        self._dns_limited[action] = self._dns_limited.get(action, 0) + 1

    def unexpected(self, part: str) -> None:
        """An error that nobody foresaw; `part` is one of the control plane's own."""
        self._errors[part] = self._errors.get(part, 0) + 1

    # What Prometheus reads

    def render(self, snapshot: Snapshot) -> bytes:
        """The text exposition, format 0.0.4."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Scrape(list(self._families(snapshot))))
        return generate_latest(registry)

    def _families(self, snapshot: Snapshot) -> Iterator[Metric]:
        yield _gauge("info", "The program that answers.", ("version",), _named({self._version: 1}))
        yield from _worker_families(self.totals.sums())
        hosts = _named(dict(self._hosts.top()))
        yield _counter("host_requests_total", "Requests by hostname, only of the busiest.", ("host",), hosts)
        yield _gauge("workers", "Worker processes that are heard of.", (), _alone(len(self.totals.workers())))
        if snapshot.worker_restarts is not None:
            restarts = _alone(snapshot.worker_restarts)
            yield _counter("worker_restarts_total", "Workers that ended unasked and were replaced.", (), restarts)
        yield _gauge("certificates", "Certificates by state.", ("state",), _named(snapshot.certificates))
        graded = _named(snapshot.served)
        yield _gauge("certificates_served", "Names by how they are served: the daily probe.", ("grade",), graded)
        left = "Uploaded certificates in use, by what is left of them at most."
        yield _gauge("custom_certificates", left, ("left",), _named(snapshot.uploaded))
        if snapshot.soonest_expiry is not None:
            expiry = _alone(snapshot.soonest_expiry)
            yield _gauge("certificate_expiry_seconds", "Until the first certificate in use expires.", (), expiry)
        yield _gauge("domains", "Registered domains by state.", ("state",), _named(snapshot.domains))
        orders: Values = {labels: float(count) for labels, count in self._acme_orders.items()}
        yield _counter("acme_orders_total", "Orders ended, by CA and result.", ("ca", "result"), orders)
        standing: Values = {(host,): value for host, value in snapshot.authorities.items()}
        yield _gauge("ca_state", "CAs, where there are several: 0 used, 1 to be tried, 2 left alone.", ("ca",), standing)
        yield self._issuance_seconds.family("issuance_seconds", "From the wish for a certificate to having it.")
        if snapshot.issuance is not None:
            yield from _queue_families(snapshot.issuance, snapshot.now)
        yield from _webhook_families(snapshot)
        yield _counter("gate_total", "Answers of the gate.", ("result",), _named(self._gate))
        refused = _alone(self._new_names_limited)
        yield _counter("new_names_limited_total", "New names not begun, from networks above limits.new_names.", (), refused)
        tokens = _named(self._tokens_refused)
        yield _counter("tokens_refused_total", "Requests to the API without a valid token, by reason.", ("reason",), tokens)
        too_often = _alone(self._token_requests_limited)
        yield _counter("token_requests_limited_total", "Requests of tokens above limits.token_requests.", (), too_often)
        guesses = _alone(self._token_guesses_limited)
        yield _counter("token_guesses_limited_total", "Requests from networks that sent too many wrong tokens.", (), guesses)
        asked: Values = {labels: float(count) for labels, count in self._dns_queries.items()}
        yield _counter("dns_queries_total", "Questions to our DNS server by answer.", ("rcode", "transport"), asked)
        limited = _named(self._dns_limited)
        yield _counter("dns_limited_total", "Questions from networks above limits.dns_answers.", ("action",), limited)
        yield _counter("control_errors_total", "Unforeseen errors of the control plane.", ("part",), _named(self._errors))
        yield _gauge("control_faults", "Parts of the control plane that do not work.", (), _alone(snapshot.faults))
        behind = _alone(snapshot.map_behind)
        yield _gauge("map_behind_changes", "Changes that the published map does not have yet.", (), behind)


class _Scrape:
    """The families of one scrape, as prometheus_client wants them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _queue_families(queue: QueueState, now: float) -> Iterator[Metric]:
    waiting = {str(kind): queue.waiting[kind] for kind in KINDS}
    yield _gauge("issuance_waiting", "Names that wait for their turn, by kind.", ("kind",), _named(waiting))
    yield _gauge("issuance_working", "Names that a certificate is being obtained for.", (), _alone(queue.working))
    if queue.left.limit:
        spent = {str(kind): queue.left.by_kind[kind] for kind in KINDS}
        yield _gauge("issuance_budget_left", "Orders that the window has left.", (), _alone(queue.left.left))
        yield _gauge("issuance_budget_spent", "Orders of this window, by kind.", ("kind",), _named(spent))
        full = _alone(queue.left.domains_full)
        yield _gauge("issuance_domains_full", "Registered domains that had all their certificates.", (), full)
    if math.isfinite(queue.next_at):
        next_turn = _alone(max(0.0, queue.next_at - now))
        yield _gauge("issuance_next_turn_seconds", "Until the next name's turn.", (), next_turn)


def _webhook_families(snapshot: Snapshot) -> Iterator[Metric]:
    tried = "Tries to deliver an event: delivered, failed (and tried again), given_up."
    yield _counter("webhook_deliveries_total", tried, ("result",), _named(snapshot.webhooks))
    if snapshot.webhooks_pending is not None:
        pending = _alone(snapshot.webhooks_pending)
        yield _gauge("webhook_deliveries_pending", "Deliveries of events that wait.", (), pending)
    dropped = _alone(snapshot.events_dropped)
    yield _counter("events_dropped_total", "Events that were lost before they were stored for webhooks.", (), dropped)


def _worker_families(sums: dict[Key, float]) -> Iterator[Metric]:
    by_name: dict[str, Values] = {}
    for (name, labels), value in sums.items():
        by_name.setdefault(name, {})[labels] = value
    for name, series in counters.SERIES.items():
        if series.kind == "counter":
            yield _counter(name, series.help, series.labels, by_name.get(name, {}))
        elif series.kind == "gauge":
            yield _gauge(name, series.help, series.labels, by_name.get(name, {}))
        else:
            found = by_name.get(f"{name}_bucket", {})
            buckets = [(bound, found.get((bound,), 0.0)) for bound in counters.BUCKETS]
            yield _histogram(name, series.help, buckets, by_name.get(f"{name}_sum", {}).get((), 0.0))


def _counter(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(f"edgeproxy_{name.removesuffix('_total')}", text, labels=labels)
    for label_values, value in sorted((values or _zero(labels)).items()):
        family.add_metric(label_values, value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(f"edgeproxy_{name}", text, labels=labels)
    for label_values, value in sorted((values or _zero(labels)).items()):
        family.add_metric(label_values, value)
    return family


def _zero(labels: tuple[str, ...]) -> Values:
    """A series without labels is there from the start, so that its first rise is seen."""
    return {} if labels else {(): 0.0}


def _histogram(name: str, text: str, buckets: list[tuple[str, float]], total: float) -> HistogramMetricFamily:
    below = 0.0
    cumulative = []
    for bound, count in buckets:
        below += count
        cumulative.append((bound, below))
    return HistogramMetricFamily(f"edgeproxy_{name}", text, buckets=cumulative, sum_value=total)


def _named(counts: dict[str, int]) -> Values:
    return {(name,): float(count) for name, count in counts.items()}


def _alone(value: float) -> Values:
    return {(): float(value)}
