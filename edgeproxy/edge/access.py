"""What a worker tells of its requests: a line for each in the access log, and counters for the metrics.

Neither ever makes a request wait. Counters are plain numbers of this process that the controller collects each second.
Lines gather in memory and go in batches to one thread, the only one that writes; where the log does not keep up (a full
disk, a pipe that nobody reads) lines are dropped and counted. Recording costs 1 µs, with the log 2.5 µs.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from edgeproxy.config.structs import Config
from edgeproxy.edge import access_lines
from edgeproxy.edge.access_writer import Writer
from edgeproxy.edge.latency import Latency
from edgeproxy.link.counters import BOUNDS, BUCKETS, key
from edgeproxy.link.sketch import Sketch

if TYPE_CHECKING:
    from edgeproxy.edge.exchange import Exchange

BATCH_LINES: Final = 64
"""Lines that are handed to the writer together when there are many."""

BATCH_SECONDS: Final = 0.1
"""How long a line may wait for others when there are few."""

HOSTS: Final = 4_096
"""Different hostnames counted between two reports. The busiest are among the first that many in all but odd cases."""

HOSTS_TOLD: Final = 100
"""Hostnames of a report at least, though `metrics.top` be lower: renewals go by them too, the most visited first."""

CLOSE_SECONDS: Final = 2.0
"""How long the end of a worker waits for its last lines to be written."""


class Histogram:
    """How durations are distributed over `counters.BOUNDS`."""

    __slots__ = ("_keys", "_sum_key", "counts", "total")

    def __init__(self, name: str) -> None:
        self.counts = [0] * len(BUCKETS)
        self.total = 0.0
        self._keys = [key(f"{name}_bucket", bucket) for bucket in BUCKETS]
        self._sum_key = f"{name}_sum"

    def add(self, seconds: float) -> None:
        """Counts a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def put(self, flat: dict[str, float]) -> None:
        """Its numbers, into a snapshot; empty buckets are left out."""
        flat.update({name: count for name, count in zip(self._keys, self.counts, strict=True) if count})
        if self.total:
            flat[self._sum_key] = self.total


class Access:
    """Access log and counters of one worker. All methods but the writer's are for the event loop's thread.

    Makes no thread and opens no file before `begin` or the first line. `on_fault` is told, in one sentence, when the log can
    not be opened or written; it is called in the writer's thread.
    """

    def __init__(self, config: Config, on_fault: Callable[[str], None] = lambda _sentence: None) -> None:
        self._top = max(config.metrics.top, HOSTS_TOLD)
        self._requests: dict[str, defaultdict[int, int]] = {label: defaultdict(int) for label in ("h1", "h2", "ws", "http")}
        """How often each status was given, by protocol."""
        self._handshakes: defaultdict[str, int] = defaultdict(int)
        self._lookups: defaultdict[str, int] = defaultdict(int)
        self._timeouts: defaultdict[str, int] = defaultdict(int)
        self._limits: defaultdict[str, int] = defaultdict(int)
        self._origin_errors: defaultdict[str, int] = defaultdict(int)
        self._retries: defaultdict[str, int] = defaultdict(int)
        self._circuits: defaultdict[str, int] = defaultdict(int)
        self._compressed: dict[str, tuple[int, int, int]] = {}
        self._hosts: dict[str, int] = {}
        self._request_seconds = Histogram("request_seconds")
        self._origin_seconds = Histogram("origin_seconds")
        self._latency = Latency(config.alerts)
        self._slow_from = self._latency.floor
        self._received = self._sent = 0
        self._batch: list[bytes] = []
        self._queue_max = config.limits.access_log_queue
        self._queued = self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writer: Writer | None = None
        self._thread: threading.Thread | None = None
        if config.log.access != "off":
            path = None if config.log.access == "stdout" else Path(config.log.access)
            self._writer = Writer(path, on_fault)
            self._format = access_lines.formatter(config.log.format, terminal=self._writer.terminal)

    # counting

    def answered(self, exchange: Exchange) -> None:
        """A request was answered, or given up."""
        seconds, origin_seconds = exchange.seconds, exchange.origin_seconds
        status = exchange.status
        connection = exchange.connection
        if seconds and seconds == origin_seconds:  # the whole answer in one read, as most are
            self._requests[connection.protocol][status] += 1
            bucket = bisect_left(BOUNDS, seconds)
            histogram = self._request_seconds
            histogram.counts[bucket] += 1
            histogram.total += seconds
            histogram = self._origin_seconds
            histogram.counts[bucket] += 1
            histogram.total += seconds
        else:
            seconds = perf_counter() - exchange.started
            if exchange.tunnel:  # its hours would bury the milliseconds of all others
                self._requests["ws"][status] += 1
            else:
                self._requests[connection.protocol][status] += 1
                self._request_seconds.add(seconds)
            if origin_seconds:
                self._origin_seconds.add(origin_seconds)
        if seconds >= self._slow_from:
            self._latency.add(exchange, seconds)
        self._received += exchange.bytes_in
        self._sent += exchange.bytes_out
        hosts = self._hosts
        host = exchange.request.host
        if host in hosts:
            hosts[host] += 1
        elif host and status != 421 and len(hosts) < HOSTS:  # with 421 the name is anything that a client made up
            hosts[host] = 1
        if status == 502 or status == 504:
            self._origin_errors["timeout" if status == 504 else "failed"] += 1
            self._latency.failed(exchange)
        if self._writer is not None:
            destination = exchange.destination
            self._log(
                host,
                destination.route.workspace if destination is not None else "",
                exchange.request.method,
                exchange.request.target,
                status,
                exchange.bytes_in,
                exchange.bytes_out,
                seconds,
                origin_seconds,
                exchange.request_id,
                connection.tls_version,
                "ws" if exchange.tunnel else connection.protocol,
                connection.peer,
                exchange.error,
            )

    def answered_whole(self, exchanges: Sequence[Exchange]) -> None:
        """As `answered` for several of one connection, the answer of each of which came in one read: costs half as much."""
        if self._writer is not None:
            for exchange in exchanges:
                self.answered(exchange)
            return
        by_status, slow_from = self._requests[exchanges[0].connection.protocol], self._slow_from
        counts, origin_counts, hosts = self._request_seconds.counts, self._origin_seconds.counts, self._hosts
        total, sent = 0.0, 0
        for exchange in exchanges:
            seconds = exchange.seconds
            status = exchange.status
            by_status[status] += 1
            bucket = bisect_left(BOUNDS, seconds)
            counts[bucket] += 1
            origin_counts[bucket] += 1
            total += seconds
            sent += exchange.bytes_out
            if seconds >= slow_from:
                self._latency.add(exchange, seconds)
            host = exchange.request.host
            if host in hosts:
                hosts[host] += 1
            elif host and len(hosts) < HOSTS:
                hosts[host] = 1
            if status == 502 or status == 504:
                self._origin_errors["timeout" if status == 504 else "failed"] += 1
                self._latency.failed(exchange)
        self._request_seconds.total += total
        self._origin_seconds.total += total
        self._sent += sent

    def record(
        self,
        host: str,
        method: bytes,
        target: bytes,
        status: int,
        bytes_out: int,
        seconds: float,
        request_id: bytes,
        tls: str,
        protocol: str,
        client: str,
        error: str,
    ) -> None:
        """The edge answered what became no exchange. `protocol` is a label of few values (h1, h2, http)."""
        self._requests[protocol][status] += 1
        self._request_seconds.add(seconds)
        self._sent += bytes_out
        if host and (host in self._hosts or len(self._hosts) < HOSTS):
            self._hosts[host] = self._hosts.get(host, 0) + 1
        if self._writer is not None:
            self._log(host, "", method, target, status, 0, bytes_out, seconds, 0.0, request_id, tls, protocol, client, error)

    def _log(self, *entry: Any) -> None:
        """Writes a line: the arguments of a formatter (access_lines) but for the time."""
        writer = self._writer
        if writer is None:
            return
        if self._queued - writer.done >= self._queue_max:
            self._dropped += 1
            return
        self._queued += 1
        self._batch.append(self._format(time.time(), *entry))
        if len(self._batch) >= BATCH_LINES:
            self._hand_over()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_SECONDS, self._hand_over)

    def handshake(self, result: str) -> None:
        """A handshake ended; `result` is one of few words (full, resumed, denied, failed, …)."""
        self._handshakes[result] += 1

    def map_lookup(self, result: str) -> None:
        """A hostname was looked up: hit, miss, negative or error."""
        self._lookups[result] += 1

    def timeout(self, what: str) -> None:
        """A client was too slow in the middle of something, said in one of few words."""
        self._timeouts[what] += 1

    def retry(self, result: str) -> None:
        """A request was sent to an origin once more ("sent"), or was not because too many were ("refused")."""
        self._retries[result] += 1

    def circuit(self, event: str) -> None:
        """An origin that fails is left alone ("opened"), or answers again ("closed")."""
        self._circuits[event] += 1

    def left_alone(self, exchange: Exchange) -> None:
        """A request was not sent to an origin that is left alone: for alerts it has failed like those before it."""
        self._origin_errors["left_alone"] += 1
        self._latency.failed(exchange)

    def limit(self, name: str) -> None:
        """A request was refused because of a bound; `name` is the bound's in `Limits`."""
        self._limits[name] += 1

    def compressed(self, coding: str, size: int, packed: int) -> None:
        """An answer of so many bytes was compressed to so many; or a part of one, which then ended."""
        answers, before, after = self._compressed.get(coding, (0, 0, 0))
        self._compressed[coding] = answers + 1, before + size, after + packed

    # telling

    def snapshot(self, connections: Mapping[str, int]) -> dict[str, float]:
        """All counters since the worker's start, as `Report.counters` wants them (`link.counters`), with the number of open
        connections by state."""
        flat: dict[str, float] = {f"connections|{state}": count for state, count in connections.items()}
        for protocol, statuses in self._requests.items():
            for status, count in statuses.items():
                name = f"requests_total|{status // 100}xx|{protocol}"
                flat[name] = flat.get(name, 0) + count
        for name, counts in (
            ("handshakes_total|", self._handshakes),
            ("map_lookups_total|", self._lookups),
            ("timeouts_total|", self._timeouts),
            ("limits_reached_total|", self._limits),
            ("origin_errors_total|", self._origin_errors),
            ("origin_retries_total|", self._retries),
            ("origin_circuits_total|", self._circuits),
        ):
            for label, count in counts.items():
                flat[name + label] = count
        self._request_seconds.put(flat)
        self._origin_seconds.put(flat)
        for coding, (answers, before, after) in self._compressed.items():
            flat["compressed_answers_total|" + coding] = answers
            flat[f"compressed_bytes_total|{coding}|in"] = before
            flat[f"compressed_bytes_total|{coding}|out"] = after
        flat["received_bytes_total"] = self._received
        flat["sent_bytes_total"] = self._sent
        flat["access_log_dropped_total"] = self._dropped + (self._writer.lost if self._writer is not None else 0)
        return flat

    def slow_names(self, name_of: Callable[[str], str], now: float) -> dict[str, Sketch]:
        """Which names keep their visitors waiting, as `Slow.names` wants them. Call it before `top_hosts`, which forgets how
        many requests there were."""
        return self._latency.tell(self._hosts, name_of, now, whole=len(self._hosts) < HOSTS)

    def top_hosts(self) -> dict[str, int]:
        """Requests since the last call for the busiest hostnames, as `Report.hosts` wants them: `metrics.top` or more."""
        hosts, self._hosts = self._hosts, {}
        if len(hosts) <= self._top:
            return hosts
        return dict(heapq.nlargest(self._top, hosts.items(), key=lambda item: item[1]))

    # the log

    def reopen(self) -> None:
        """Opens the log's file anew, after the lines that came before: it was moved away by a log rotation."""
        if self._writer is not None and self._thread is not None:
            self._hand_over()
            self._writer.reopen()

    def close(self) -> None:
        """Hands over what is left and waits a little for it to be written."""
        if self._writer is None:
            return
        self._hand_over()
        if self._thread is not None:
            self._writer.end()
            self._thread.join(CLOSE_SECONDS)

    def begin(self) -> None:
        """Opens the log, after the fork: what is wrong with its path is told at the start, not at the first request."""
        if self._writer is not None and self._thread is None:  # a daemon, since a blocked write must not keep the process
            self._thread = threading.Thread(target=self._writer.run, name="access-log", daemon=True)
            self._thread.start()

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        writer = self._writer
        if writer is None or not self._batch:
            return
        self.begin()
        batch, self._batch = self._batch, []
        writer.put(batch)
