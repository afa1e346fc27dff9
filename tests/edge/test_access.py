"""Access log and counters of a worker: what is counted under which name, and that nothing waits for the log."""

import asyncio
import json
import os
import select
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeproxy.config.monitoring import Alerts, Log, Metrics
from edgeproxy.config.structs import Config
from edgeproxy.edge import access
from edgeproxy.edge.access import Access, Histogram
from edgeproxy.edge.exchange import Exchange
from edgeproxy.edge.forwarding import Destination
from edgeproxy.edge.headers import RequestHead
from edgeproxy.edge.route import Route
from edgeproxy.edge.upstream.target import parse_target
from edgeproxy.limits import Limits
from edgeproxy.link import counters
from edgeproxy.link.sketch import Sketch, bucket
from edgeproxy.units import Duration

QUIET = Config(log=Log(access="off"))


PLAIN: dict[str, Any] = {
    "host": "gallery.example.com",
    "method": b"GET",
    "target": b"/",
    "status": 200,
    "bytes_out": 10,
    "seconds": 0.0,
    "request_id": b"1",
    "tls": "TLSv1.3",
    "protocol": "h1",
    "client": "203.0.113.17",
    "error": "",
    "bytes_in": 0,
    "origin_seconds": 0.0,
    "workspace": "acme-store",
}


ALERTS = Alerts(notify=("json://127.0.0.1",), latency=Duration(2.0))


def record(holder: Access, **changes: Any) -> None:
    """An exchange that is over, or with protocol "http" an answer of port 80."""
    given = {**PLAIN, **changes}
    if given["protocol"] == "http":
        for name in ("bytes_in", "origin_seconds", "workspace"):
            del given[name]
        holder.record(**given)
        return
    holder.answered(exchange_of(given))


def exchange_of(given: dict[str, Any]) -> Exchange:
    """A request that was answered."""
    target = parse_target("http://127.0.0.1")
    route = Route(known=True, workspace=given["workspace"], target=target, header="workspace-id", name=given["host"])
    tunnel = given["protocol"] == "ws"
    connection: Any = SimpleNamespace(
        protocol="h1" if tunnel else given["protocol"], tls_version=given["tls"], peer=given["client"]
    )
    exchange = Exchange(
        connection,
        RequestHead(given["method"], given["target"], given["host"], b""),
        given["request_id"],
        time.perf_counter() - given["seconds"],
        True,
        Destination(b"", route, b""),
        tunnel=tunnel,
    )
    for name in ("status", "bytes_in", "bytes_out", "origin_seconds", "error"):
        setattr(exchange, name, given[name])
    return exchange


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk, and the thread that writes, may be slow."""
    monkeypatch.setattr(access, "CLOSE_SECONDS", 60.0)


def logging_to(path: Path) -> Config:
    return Config(log=Log(access=str(path)))


def test_requests_are_counted_by_class_and_protocol() -> None:
    holder = Access(QUIET)
    for status, protocol in ((200, "h1"), (204, "h1"), (200, "h2"), (404, "h2"), (502, "h1"), (101, "ws"), (499, "h2")):
        record(holder, status=status, protocol=protocol)
    found = holder.snapshot({})
    assert {name: count for name, count in found.items() if name.startswith("requests_total")} == {
        "requests_total|2xx|h1": 2,
        "requests_total|2xx|h2": 1,
        "requests_total|4xx|h2": 2,
        "requests_total|5xx|h1": 1,
        "requests_total|1xx|ws": 1,
    }


@pytest.mark.parametrize("log", ["off", "access.log"])
@pytest.mark.parametrize("together", [True, False])
def test_requests_that_waited_long_are_told_by_name(tmp_path: Path, log: str, together: bool) -> None:
    holder = Access(Config(log=Log(access="off" if log == "off" else str(tmp_path / log)), alerts=ALERTS))
    whole = [exchange_of({**PLAIN, "origin_seconds": seconds}) for seconds in (0.1, 1.9, 2.0, 7.0)]
    for exchange in whole:
        exchange.connection, exchange.seconds = whole[0].connection, exchange.origin_seconds

    async def run() -> None:
        if together:
            holder.answered_whole(whole)
        else:
            for exchange in whole:
                holder.answered(exchange)
        # Its answer came in pieces; another's began at once, and took long for its length.
        record(holder, seconds=9.0, origin_seconds=5.0)
        record(holder, seconds=9.0, origin_seconds=0.1)
        holder.close()

    asyncio.run(run())
    (told,) = holder.slow_names(lambda host: host, 1.0).items()
    waits = {bucket(seconds): 1 for seconds in (2.0, 5.0, 7.0)}
    assert told == (PLAIN["host"], Sketch(6, waits, "http://127.0.0.1"))


@pytest.mark.parametrize("together", [True, False])
def test_requests_without_an_answer_are_told_by_name(together: bool) -> None:
    holder = Access(Config(log=Log(access="off"), alerts=ALERTS))
    whole = [exchange_of({**PLAIN, "status": status, "origin_seconds": 0.1}) for status in (200, 502, 503, 504)]
    for exchange in whole:
        exchange.connection, exchange.seconds = whole[0].connection, exchange.origin_seconds
    if together:
        holder.answered_whole(whole)
    else:
        for exchange in whole:
            holder.answered(exchange)
    told = holder.slow_names(lambda host: host, 1.0)
    assert told == {PLAIN["host"]: Sketch(4, {}, "http://127.0.0.1", failed=2)}


@pytest.mark.parametrize("log", ["off", "access.log"])
def test_answers_in_one_read_are_counted_together_as_each_by_itself(tmp_path: Path, log: str) -> None:
    whole = []
    for number, status in enumerate((200, 200, 204, 404, 502, 504)):
        given = {"host": f"shop{number % 4}.test", "status": status, "origin_seconds": 0.002 * (number + 1)}
        whole.append(exchange_of({**PLAIN, "protocol": "h2", **given}))
        whole[-1].connection = whole[0].connection
        whole[-1].seconds = whole[-1].origin_seconds
    one, other = Access(QUIET), Access(QUIET if log == "off" else logging_to(tmp_path / log))
    for exchange in whole:
        one.answered(exchange)

    async def together() -> None:
        other.answered_whole(whole)
        other.close()

    asyncio.run(together())
    found = other.snapshot({})
    assert found == {**one.snapshot({}), **{name: count for name, count in found.items() if name.startswith("access_log")}}
    assert found["requests_total|2xx|h2"] == 3
    assert found["origin_errors_total|timeout"] == 1
    if log != "off":
        assert (tmp_path / log).read_text().count("\n") == len(whole)


def test_durations_fall_into_their_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Access(QUIET)
    now = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(access, "perf_counter", lambda: now)
    for seconds in (0.003, 0.004, 2.0, 100.0):
        record(holder, seconds=seconds, origin_seconds=seconds / 2)
    found = holder.snapshot({})
    assert found["request_seconds_bucket|0.005"] == 2
    assert found["request_seconds_bucket|2.5"] == 1
    assert found["request_seconds_bucket|+Inf"] == 1
    assert found["request_seconds_sum"] == pytest.approx(102.007)
    assert found["origin_seconds_bucket|0.0025"] == 2
    assert found["origin_seconds_sum"] == pytest.approx(51.0035)


def test_a_histogram_counts_as_recording_does() -> None:
    histogram = Histogram("request_seconds")
    for seconds in (0.001, 0.00100001, 60.0, 61.0):
        histogram.add(seconds)
    flat: dict[str, float] = {}
    histogram.put(flat)
    total = flat.pop("request_seconds_sum")
    assert total == pytest.approx(121.002, abs=0.001)
    assert flat == {
        "request_seconds_bucket|0.001": 1,
        "request_seconds_bucket|0.0025": 1,
        "request_seconds_bucket|60": 1,
        "request_seconds_bucket|+Inf": 1,
    }


def test_a_websocket_is_counted_but_its_hours_are_not_a_requests_duration() -> None:
    holder = Access(QUIET)
    record(holder, protocol="ws", status=101, seconds=3600.0, origin_seconds=0.01)
    found = holder.snapshot({})
    assert found["requests_total|1xx|ws"] == 1
    assert not [name for name in found if name.startswith("request_seconds")]
    assert found["origin_seconds_bucket|0.01"] == 1


def test_bytes_and_failures_of_the_origin_are_counted() -> None:
    holder = Access(QUIET)
    record(holder, bytes_in=5, bytes_out=7)
    record(holder, bytes_in=1, bytes_out=0, status=502)
    record(holder, status=504)
    found = holder.snapshot({})
    assert (found["received_bytes_total"], found["sent_bytes_total"]) == (6, 17)
    assert (found["origin_errors_total|failed"], found["origin_errors_total|timeout"]) == (1, 1)


def test_handshakes_lookups_timeouts_and_connections_are_counted() -> None:
    holder = Access(QUIET)
    for result in ("full", "full", "denied"):
        holder.handshake(result)
    holder.map_lookup("hit")
    holder.timeout("write")
    holder.retry("refused")
    holder.circuit("opened")
    holder.limit("request_head")
    found = holder.snapshot({"idle": 3, "active": 0})
    assert found["origin_retries_total|refused"] == found["origin_circuits_total|opened"] == 1
    assert found["handshakes_total|full"] == 2
    assert found["handshakes_total|denied"] == 1
    assert found["map_lookups_total|hit"] == 1
    assert found["timeouts_total|write"] == 1
    assert found["limits_reached_total|request_head"] == 1
    assert (found["connections|idle"], found["connections|active"]) == (3, 0)


def test_every_name_of_a_snapshot_is_one_that_the_controller_knows() -> None:
    holder = Access(QUIET)
    for status, protocol, seconds in ((200, "h1", 0.002), (502, "h2", 70.0), (504, "http", 0.5), (101, "ws", 1.0)):
        record(holder, status=status, protocol=protocol, seconds=seconds, origin_seconds=seconds)
    holder.handshake("no_certificate_in_time")
    holder.map_lookup("negative")
    holder.timeout("write")
    holder.retry("sent")
    holder.circuit("opened")
    holder.limit("request_head")
    holder.compressed("zstd", 9, 4)
    found = holder.snapshot({"handshake": 1})
    assert all(counters.parse(name) is not None for name in found)
    named = {counters.parse(name)[0].removesuffix("_bucket").removesuffix("_sum") for name in found}  # type: ignore[index]
    assert named | {"rate_limited_total"} == counters.SERIES.keys()  # which the worker adds


def test_the_busiest_hosts_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "HOSTS_TOLD", 1)
    holder = Access(Config(log=Log(access="off"), metrics=Metrics(top=2)))
    for host, count in (("a.example", 5), ("b.example", 1), ("c.example", 3)):
        for _ in range(count):
            record(holder, host=host)
    assert holder.top_hosts() == {"a.example": 5, "c.example": 3}
    assert holder.top_hosts() == {}


def test_hosts_that_a_client_makes_up_are_not_counted() -> None:
    holder = Access(QUIET)
    record(holder, host="made-up.example", status=421)
    record(holder, host="", status=400)
    assert holder.top_hosts() == {}


def test_counted_hosts_are_bounded_and_known_ones_still_count() -> None:
    holder = Access(QUIET)
    for number in range(access.HOSTS + 50):
        record(holder, host=f"n{number}.example")
    record(holder, host="n0.example")
    assert len(holder._hosts) == access.HOSTS
    assert len(found := holder.top_hosts()) == 100
    assert found["n0.example"] == 2


def test_without_a_log_there_is_neither_thread_nor_file() -> None:
    before = set(threading.enumerate())
    holder = Access(QUIET)
    record(holder)
    holder.reopen()
    holder.close()
    assert set(threading.enumerate()) <= before  # one of another test may have ended meanwhile


def test_nothing_is_opened_before_the_first_line(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    holder = Access(logging_to(tmp_path / "access.log"))
    holder.close()
    assert set(threading.enumerate()) <= before
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_the_path_is_told_before_the_first_line(tmp_path: Path) -> None:
    told = threading.Event()
    holder = Access(logging_to(tmp_path / "none" / "access.log"), lambda _sentence: told.set())
    holder.begin()
    assert told.wait(60)
    holder.close()


async def test_a_line_is_written_soon_and_all_are_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    holder = Access(logging_to(path))
    record(holder, target=b"/first")
    async with asyncio.timeout(60):
        while not path.exists() or not path.read_bytes():
            await asyncio.sleep(0.01)
    for number in range(1000):
        record(holder, target=b"/%d" % number)
    holder.close()
    found = [json.loads(line)["path"] for line in path.read_bytes().splitlines()]
    assert found == ["/first", *(f"/{number}" for number in range(1000))]
    assert holder.snapshot({})["access_log_dropped_total"] == 0


async def test_a_log_that_nobody_reads_costs_lines_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CLOSE_SECONDS", 0.1)
    reader, pipe = os.pipe()
    before = os.dup(1)
    os.dup2(pipe, 1)
    try:
        holder = Access(Config(limits=Limits(access_log_queue=2_000)))
        begun = time.monotonic()
        for _ in range(10_000):
            record(holder)
        found = holder.snapshot({})
        holder.close()
        assert time.monotonic() - begun < 30
        assert found["requests_total|2xx|h1"] == 10_000
        assert found["access_log_dropped_total"] >= 5_000
        kept = 10_000 - found["access_log_dropped_total"]
        got = b""
        while got.count(b"\n") < kept:
            got += os.read(reader, 65536)
        assert holder._thread is not None
        holder._thread.join(60)
        assert not holder._thread.is_alive()
    finally:
        os.dup2(before, 1)
        for descriptor in (before, reader, pipe):
            os.close(descriptor)
    assert all(json.loads(line) for line in got.splitlines())


def read_on(reader: int) -> None:
    """Takes what is in a pipe; where the last of it has been taken already, nothing."""
    if select.select([reader], [], [], 0.1)[0]:
        os.read(reader, 65536)


async def test_lines_can_be_logged_again_once_the_reader_goes_on() -> None:
    reader, pipe = os.pipe()
    before = os.dup(1)
    os.dup2(pipe, 1)
    try:
        holder = Access(Config(limits=Limits(access_log_queue=500)))
        for _ in range(2_000):
            record(holder)
        async with asyncio.timeout(60):
            while holder._writer is not None and holder._writer.done < holder._queued - len(holder._batch):
                await asyncio.to_thread(read_on, reader)
        lost = holder.snapshot({})["access_log_dropped_total"]
        record(holder, target=b"/again")
        holder.close()
        assert holder.snapshot({})["access_log_dropped_total"] == lost
    finally:
        os.dup2(before, 1)
        for descriptor in (before, reader, pipe):
            os.close(descriptor)


async def test_a_rotated_log_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    holder = Access(logging_to(path))
    record(holder, target=b"/old")
    holder._hand_over()
    async with asyncio.timeout(60):
        while not path.exists() or not path.read_bytes():
            await asyncio.sleep(0.01)
    path.rename(tmp_path / "access.log.1")
    record(holder, target=b"/last")
    holder.reopen()
    record(holder, target=b"/new")
    holder.close()
    assert b"/last" in (tmp_path / "access.log.1").read_bytes()
    assert [json.loads(line)["path"] for line in path.read_bytes().splitlines()] == ["/new"]


async def test_an_unusable_log_is_told_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    holder = Access(logging_to(tmp_path / "missing" / "access.log"), said.append)
    record(holder)
    holder.close()
    assert len(said) == 1
    assert holder.snapshot({})["access_log_dropped_total"] == 1
