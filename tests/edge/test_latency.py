"""Which names a worker tells of that keep their visitors waiting."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgeproxy.config.monitoring import Alerts
from edgeproxy.edge import latency
from edgeproxy.edge.exchange import Exchange
from edgeproxy.edge.forwarding import Destination
from edgeproxy.edge.headers import RequestHead
from edgeproxy.edge.latency import BODY, NAMES, Latency
from edgeproxy.edge.route import Route
from edgeproxy.edge.upstream.target import parse_target
from edgeproxy.link.sketch import Sketch, bucket
from edgeproxy.units import Duration

ALERTS = Alerts(notify=("json://127.0.0.1",), latency=Duration(2.0), latency_window=Duration(60.0))
ORIGIN = "http://10.0.0.1:3000"


def waited(name: str, seconds: float, **changes: Any) -> Exchange:
    """A request whose answer's first byte came after so long."""
    route = Route(known=True, workspace="w", target=parse_target(ORIGIN), header="workspace-id", name=name)
    exchange = Exchange(None, RequestHead(b"GET", b"/", name, b""), b"1", 0.0, True, Destination(b"", route, b""))  # type: ignore[arg-type]
    exchange.status, exchange.origin_seconds = 200, seconds
    for field, value in changes.items():
        setattr(exchange, field, value)
    return exchange


def exact(host: str) -> str:
    return host


def test_of_a_slow_name_all_requests_are_told_and_how_long_the_slow_ones_waited() -> None:
    holder = Latency(ALERTS)
    for seconds in (2.5, 2.5, 9.0):
        holder.add(waited("a.test", seconds), seconds)
    told = holder.tell({"a.test": 40, "b.test": 7}, exact, 1.0)
    assert told == {"a.test": Sketch(40, {bucket(2.5): 2, bucket(9.0): 1}, ORIGIN)}


def test_of_names_that_are_quick_nothing_is_told() -> None:
    holder = Latency(ALERTS)
    assert holder.tell({"a.test": 40}, exact, 1.0) == {}
    # Its answer began at once: what took long is a download, or a visitor's line.
    holder.add(waited("a.test", 0.1), 60.0)
    assert holder.tell({"a.test": 40}, exact, 2.0) == {}


def test_an_origin_that_does_not_answer_is_told_with_its_names() -> None:
    holder = Latency(ALERTS)
    for _ in range(3):
        holder.failed(waited("a.test", 0.0, status=502))
    assert holder.tell({"a.test": 40}, exact, 1.0) == {"a.test": Sketch(40, {}, ORIGIN, failed=3)}
    assert holder.tell({"a.test": 2}, exact, 2.0) == {"a.test": Sketch(2, {}, ORIGIN)}
    quiet = Latency(Alerts())
    quiet.failed(waited("a.test", 0.0, status=502))
    assert quiet.tell({"a.test": 1}, exact, 1.0) == {}


def test_once_slow_a_name_is_told_of_until_it_was_quick_for_the_window() -> None:
    holder = Latency(ALERTS)
    holder.add(waited("a.test", 3.0), 3.0)
    holder.tell({"a.test": 1}, exact, 10.0)
    assert holder.tell({"a.test": 5}, exact, 70.0) == {"a.test": Sketch(5, {}, ORIGIN)}
    assert holder.tell({}, exact, 70.0) == {}
    assert holder.tell({"a.test": 5}, exact, 70.1) == {}


def test_an_origin_that_never_answered_kept_its_visitors_waiting_too() -> None:
    holder = Latency(ALERTS)
    holder.add(waited("a.test", 0.0, status=504), 30.0)
    assert holder.tell({"a.test": 1}, exact, 1.0) == {"a.test": Sketch(1, {bucket(30.0): 1}, ORIGIN)}


@pytest.mark.parametrize("changes", [{"tunnel": True}, {"bytes_in": BODY + 1}, {"status": 408}])
def test_what_says_nothing_of_the_origin_is_not_counted_at_all(changes: dict[str, Any]) -> None:
    holder = Latency(ALERTS)
    holder.add(waited("a.test", 9.0, **changes), 9.0)
    assert holder.tell({"a.test": 1}, exact, 1.0) == {}
    holder.add(waited("a.test", 9.0), 9.0)
    holder.add(waited("a.test", 9.0, **changes), 9.0)
    assert holder.tell({"a.test": 10}, exact, 2.0)["a.test"].requests == 9


@pytest.mark.parametrize("destination", [None, waited("", 9.0).destination])
def test_names_that_the_map_does_not_have_are_not_told(destination: Destination | None) -> None:
    holder = Latency(ALERTS)
    holder.add(waited("a.test", 9.0, destination=destination), 9.0)
    assert holder.tell({"a.test": 1}, exact, 1.0) == {}


def test_names_beneath_a_wildcard_count_together_but_for_those_with_a_site_of_their_own() -> None:
    holder = Latency(ALERTS)
    holder.add(waited("*.shop.test", 3.0), 3.0)
    hosts = {"x1.shop.test": 3, "x2.shop.test": 4, "own.shop.test": 50, "shop.test": 60, "y.z.shop.test": 70}
    names = {"x1.shop.test": "*.shop.test", "x2.shop.test": "*.shop.test", "own.shop.test": "own.shop.test"}
    told = holder.tell(hosts, lambda host: names.get(host, ""), 1.0)
    assert told == {"*.shop.test": Sketch(7, {bucket(3.0): 1}, ORIGIN)}


def test_there_is_a_bound_and_the_quieter_names_make_room() -> None:
    holder = Latency(ALERTS)
    for number in range(NAMES + 50):
        holder.add(waited(f"{number}.test", 3.0), 3.0)
    hosts = {f"{number}.test": 1 + number for number in range(NAMES + 50)}
    assert holder.tell(hosts, exact, 1.0).keys() == {f"{number}.test" for number in range(NAMES)}
    holder.add(waited("new.test", 3.0), 3.0)
    told = holder.tell({**hosts, "new.test": 1}, exact, 2.0)
    assert "new.test" in told
    assert f"{NAMES - 1}.test" in told
    assert "0.test" not in told


def test_a_second_in_which_not_all_hostnames_were_counted_says_nothing() -> None:
    holder = Latency(ALERTS)
    holder.add(waited("a.test", 3.0), 3.0)
    assert holder.tell({"a.test": 1}, exact, 1.0, whole=False) == {}
    assert holder.tell({"a.test": 1}, exact, 2.0) == {"a.test": Sketch(1, {}, ORIGIN)}


def test_where_nobody_is_to_be_told_nobody_counts() -> None:
    assert Latency(Alerts()).floor == math.inf
    assert Latency(ALERTS).floor == 2.0


def test_what_is_told_fits_into_a_message_between_processes() -> None:
    # A name, an origin, and a count for each bucket, of every name.
    assert NAMES * (256 + latency.ORIGIN + 140 * 4) < 1024 * 1024 / 4
