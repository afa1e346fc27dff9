"""Rate limits as visitors meet them: who is refused, who never is, and what is said.

Limits of so many an hour: nothing flows in while a test runs, however slow the machine is.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from edgeproxy.config.pages import Pages
from edgeproxy.config.platform import Api, Origin
from edgeproxy.config.rates import Rates
from edgeproxy.config.visitors import Listen
from edgeproxy.edge.connection import NOWHERE, Connection
from edgeproxy.edge.error_pages import ErrorPages
from edgeproxy.edge.rates import REASONS, TEXTS, RateLimits
from edgeproxy.gcra import parse_rate
from edgeproxy.link.arrivals import REGIONS, Arrivals, Over
from edgeproxy.link.counters import parse
from edgeproxy.policies import Policies
from edgeproxy.published.records import Site
from tests.edge.harness import Edge, MapProcess, Script, edge_with
from tests.edge.visiting import Fields, Visitor, following, gallery, visiting

TOKEN = "0123456789abcdef"
BEHIND_PROXY = Listen(https=(), http=(), public_https_port=8443, trusted_proxies=("127.0.0.0/8",))

Limited = Callable[..., AbstractAsyncContextManager[Edge]]


@pytest.fixture
def limited(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess) -> Limited:
    """A worker with these limits."""

    @asynccontextmanager
    async def running(rates: Rates, **changes: object) -> AsyncIterator[Edge]:
        edge = edge_with(tmp_path, maps, origin[1], rates=rates, **changes)
        edge.add_site("shop.test", "acme")
        edge.add_site("other.test", "acme")
        async with edge.running():
            yield edge

    return running


def client(address: str) -> Fields:
    """What a proxy tells of its client."""
    return ((b"x-forwarded-for", address.encode()),)


async def statuses(ask: Visitor, count: int, *, fields: Fields = ()) -> list[int]:
    return [(await ask("/", fields=fields)).status for _ in range(count)]


def shortcuts(edge: Edge, hostname: str) -> list[bool]:
    """Of each connection for this name, whether its requests go where the last one went without further ado."""
    found = [each for each in edge.worker.connections if isinstance(each, Connection) and each.server_name == hostname]
    return [each.destination is not NOWHERE for each in found]


async def test_a_network_has_its_burst_and_no_more_and_is_told_until_when(
    limited: Limited, script: Script, protocol: str
) -> None:
    async with limited(Rates(per_network="60/h burst 3")) as edge:
        async with visiting(edge, protocol) as ask:
            assert await statuses(ask, 3) == [200] * 3
            refused = await ask("/")
        async with visiting(edge, protocol) as again:
            assert (await again("/")).status == 429
        assert refused.status == 429
        assert refused.field(b"ratelimit-policy") == b'"network";q=60;w=3600;edgeproxy-burst=3'
        seconds = refused.field(b"retry-after")
        assert seconds is not None
        assert 0 < int(seconds) <= 60
        assert refused.field(b"ratelimit") == b'"network";r=0;t=' + seconds
        assert (refused.field(b"content-type"), refused.field(b"cache-control")) == (b"text/html; charset=utf-8", b"no-store")
        assert TEXTS["network"].detail.encode() in refused.body
        assert len(script.heads) == 3, "the origin hears nothing of what is refused"
        assert edge.worker._counters({})["rate_limited_total|network"] == 2


async def test_programs_get_a_problem_document_and_head_no_content(limited: Limited, protocol: str) -> None:
    async with limited(Rates(per_hostname="1/h")) as edge, visiting(edge, protocol) as ask:
        await ask("/")
        problem = await ask("/", fields=((b"accept", b"application/json"),))
        told = json.loads(problem.body)
        assert problem.field(b"content-type") == b"application/problem+json"
        assert (told["status"], told["code"], told["retryable"]) == (429, "site_too_busy", True)
        assert told["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert told["violated-policies"] == ["hostname"]
        assert told["request_id"].encode() == problem.field(b"x-request-id")
        empty = await ask("/", method="HEAD")
        assert (empty.status, empty.body) == (429, b"")
        assert empty.field(b"ratelimit-policy") == b'"hostname";q=1;w=3600'


async def test_a_hostname_and_a_workspace_have_theirs_whoever_asks_and_others_have_their_own(
    limited: Limited, protocol: str
) -> None:
    async with limited(Rates(per_hostname="3/h", per_workspace="5/h"), listen=BEHIND_PROXY) as edge:
        async with visiting(edge, protocol, "shop.test") as ask:
            assert [(await ask("/", fields=client(f"{each}.1.1.1"))).status for each in (1, 2, 3, 4)] == [200] * 3 + [429]
        async with visiting(edge, protocol, "other.test") as ask:
            assert await statuses(ask, 3) == [200, 200, 429], "the workspace's five are used up"
        async with visiting(edge, protocol) as ask:
            assert await statuses(ask, 4) == [200] * 3 + [429], "another workspace, another hostname"
        told = edge.worker.rates.refused
        assert told == {"network": 0, "hostname": 2, "workspace": 1}


async def test_networks_behind_a_trusted_proxy_count_apart(limited: Limited) -> None:
    async with limited(Rates(per_network="2/h"), listen=BEHIND_PROXY) as edge, visiting(edge, "h2") as ask:
        assert await statuses(ask, 3, fields=client("192.0.2.1")) == [200, 200, 429]
        assert await statuses(ask, 1, fields=client("192.0.2.77")) == [429], "a neighbour in the same /24"
        assert await statuses(ask, 3, fields=client("192.0.3.1")) == [200, 200, 429]
        assert await statuses(ask, 3, fields=client("2001:db8:0:1::1, 127.0.0.9")) == [200, 200, 429]
        assert await statuses(ask, 1, fields=client("2001:db8:0:2::1")) == [429], "the same /56"
        assert await statuses(ask, 1, fields=client("2001:db8:0:100::1")) == [200]
        assert await statuses(ask, 5) == [200] * 5, "who the client is nobody knows"


async def test_a_stranger_chooses_no_network_by_a_header(limited: Limited) -> None:
    async with limited(Rates(per_network="2/h")) as edge, visiting(edge, "h2") as ask:
        assert [(await ask("/", fields=client(f"{each}.1.1.1"))).status for each in range(1, 4)] == [200, 200, 429]


async def test_clients_of_exempt_networks_are_neither_limited_nor_counted(limited: Limited, protocol: str) -> None:
    rates = Rates(per_network="1/h", per_hostname="2/h", exempt=("127.0.0.0/24",))
    async with limited(rates) as edge, visiting(edge, protocol) as ask:
        assert await statuses(ask, 5) == [200] * 5
        assert shortcuts(edge, "gallery.test") == [True]
    rates = Rates(per_network="1/h", per_hostname="2/h", exempt=("192.0.2.0/24",))
    async with limited(rates, listen=BEHIND_PROXY) as edge, visiting(edge, protocol) as ask:
        assert await statuses(ask, 5, fields=client("192.0.2.1")) == [200] * 5
        assert await statuses(ask, 2, fields=client("192.0.3.1")) == [200, 429]
        assert await statuses(ask, 2, fields=client("192.0.4.1")) == [200, 429]
        assert await statuses(ask, 1, fields=client("192.0.5.1")) == [429], "the hostname's two"


async def test_who_has_a_token_is_neither_limited_nor_counted_and_no_origin_learns_it(
    limited: Limited, script: Script, protocol: str
) -> None:
    token, wrong = ((b"edgeproxy-exempt", each.encode()) for each in (TOKEN, "fedcba9876543210"))
    async with limited(Rates(per_hostname="1/h", exempt_tokens=("x" * 16, TOKEN))) as edge:
        async with visiting(edge, protocol) as ask:
            assert await statuses(ask, 4, fields=(token,)) == [200] * 4
            assert await statuses(ask, 2, fields=(wrong,)) == [200, 429], "a guess is a request like any other"
            assert await statuses(ask, 1, fields=(wrong, token)) == [200]
            assert await statuses(ask, 1, fields=((b"edgeproxy_exempt", TOKEN.encode()),)) == [429]
        assert not any(re.search(rb"(?i)exempt|0123456789abcdef|fedcba", head) for head in script.heads)


async def test_without_tokens_the_header_is_one_like_any_other(limited: Limited, script: Script) -> None:
    async with limited(Rates(per_hostname="1/h")) as edge, visiting(edge, "h2") as ask:
        assert await statuses(ask, 2, fields=((b"edgeproxy-exempt", b""),)) == [200, 429]
        assert b"edgeproxy-exempt" in script.heads[0].lower()


async def test_a_token_behind_a_trusted_proxy_counts_and_goes_no_further(
    limited: Limited, script: Script, protocol: str
) -> None:
    rates = Rates(per_network="1/h", exempt_tokens=(TOKEN,))
    async with limited(rates, listen=BEHIND_PROXY) as edge, visiting(edge, protocol) as ask:
        fields = (*client("192.0.2.1"), (b"edgeproxy-exempt", TOKEN.encode()))
        assert await statuses(ask, 3, fields=fields) == [200] * 3
        assert not any(b"exempt" in head.lower() for head in script.heads)


async def test_a_domain_has_limits_of_its_own_beside_or_instead_of_the_configurations(limited: Limited, protocol: str) -> None:
    async with limited(Rates(per_network="4/h")) as edge:
        edge.publish(gallery(policies=Policies(rate_per_network="1/h", rate_per_hostname="9/h")))
        async with visiting(edge, protocol) as ask:
            assert await statuses(ask, 2) == [200, 429]
        edge.publish(gallery(policies=Policies(rate_per_network="off", rate_per_hostname="3/h")))
        async with visiting(edge, protocol) as ask:
            assert await statuses(ask, 3) == [200, 200, 429], "one was counted before"
        async with visiting(edge, protocol, "shop.test") as ask:
            assert await statuses(ask, 5) == [200] * 4 + [429], "what was asked of the other domain counted there"
        edge.publish(gallery(policies=Policies(rate_per_network="off", rate_per_hostname="off")))
        async with visiting(edge, protocol) as ask:
            assert await statuses(ask, 5) == [200] * 5


async def test_a_domain_alone_can_be_limited_and_others_take_the_short_way(limited: Limited) -> None:
    async with limited(Rates()) as edge:
        edge.publish(gallery(policies=Policies(rate_per_network="1/h")))
        async with visiting(edge, "h2") as ask:
            assert await statuses(ask, 2) == [200, 429]
        async with visiting(edge, "h2", "shop.test") as ask:
            assert await statuses(ask, 3) == [200] * 3
            assert shortcuts(edge, "shop.test") == [True]


def test_a_rate_of_a_later_version_counts_as_the_configuration_says() -> None:
    limits = RateLimits(Rates(per_network="1/s"), None, (), ())
    found = limits.of_route("a.test", "w", Policies(rate_per_network="1/fortnight", rate_per_hostname="many"))
    assert found is not None
    assert (found.network, found.keys) == (parse_rate("1/s"), ())


async def test_a_redirect_and_a_page_count_too(limited: Limited) -> None:
    async with limited(Rates(per_hostname="2/h")) as edge, visiting(edge, "h2") as ask:
        edge.publish(gallery(redirect_to="www.gallery.test"))
        assert await statuses(ask, 3) == [308, 308, 429]


async def test_the_api_has_limits_of_its_own(limited: Limited) -> None:
    async with limited(Rates(per_network="1/h", per_hostname="1/h"), api=Api(hostname="api.test")) as edge:
        edge.add_site("api.test", "")
        async with visiting(edge, "h2", "api.test") as ask:
            assert 429 not in await statuses(ask, 3)


async def test_names_that_are_nobodys_count_where_they_are_forwarded(limited: Limited, origin: tuple[Script, int]) -> None:
    forwarding = Origin(url=f"http://127.0.0.1:{origin[1]}", on_unknown="forward")
    async with limited(Rates(per_hostname="2/h"), origin=forwarding) as edge:
        edge.add_site("pattern.test", "")
        async with visiting(edge, "h2", "pattern.test") as ask:
            assert await statuses(ask, 3) == [200, 200, 429]


async def test_names_beneath_a_wildcard_count_together_and_a_platforms_names_apart(limited: Limited) -> None:
    async with limited(Rates(per_hostname="2/h")) as edge:
        edge.add_certificate("wild", "*.wild.test")
        edge.publish(("sites", "*.wild.test", Site(workspace="w", certificate="wild")))
        edge.add_certificate("platform", "*.ve.test")
        edge.publish(("sites", "*.ve.test", Site(source="edge", certificate="platform")))
        for zone, expected in (("wild.test", [200, 200, 429]), ("ve.test", [200, 200, 200])):
            got = []
            for label in ("a", "b", "c"):
                async with visiting(edge, "h2", f"{label}.{zone}") as ask:
                    got.append((await ask("/")).status)
            assert got == expected


async def test_a_body_that_comes_with_one_too_many_is_not_taken_for_the_next_request(limited: Limited) -> None:
    async with limited(Rates(per_hostname="1/h")) as edge:
        line = b"POST / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 27\r\n\r\n"
        answer = await edge.exchange("gallery.test", line * 2 + b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") <= 2


async def test_the_log_has_the_reason(limited: Limited) -> None:
    async with limited(Rates(per_workspace="1/h")) as edge, visiting(edge, "h2") as ask:
        told = following(edge)
        await statuses(ask, 2)
        assert [(each.status, each.error) for each in told] == [(200, ""), (429, REASONS["workspace"])]


async def test_a_route_without_limits_takes_the_short_way_and_one_with_some_never_does(limited: Limited, protocol: str) -> None:
    for rates, short in ((Rates(), True), (Rates(per_hostname="9/h"), False)):
        async with limited(rates) as edge, visiting(edge, protocol) as ask:
            assert await statuses(ask, 3) == [200] * 3
            assert shortcuts(edge, "gallery.test") == [short]


async def test_a_domain_that_changes_is_seen_though_its_destination_is_kept(
    limited: Limited, script: Script, protocol: str
) -> None:
    async with limited(Rates(per_hostname="9/h")) as edge, visiting(edge, protocol) as ask:
        await statuses(ask, 2)
        edge.publish(("sites", "gallery.test", Site(workspace="moved", certificate="cert-gallery.test")))
        await statuses(ask, 1)
        assert [b"workspace-id: moved" in head for head in script.heads] == [False, False, True]


def test_every_kind_of_key_has_its_words_and_its_counter() -> None:
    limits = RateLimits(Rates(), None, (), ())
    assert set(TEXTS) == set(REASONS) == set(REGIONS) == set(limits.refused)
    for kind in REGIONS:
        key = limits.arrivals.key(kind, b"a", parse_rate("1/s"))
        limits.answer(Over(key, 1), b"", "id", "a.test", ErrorPages(Pages()))
    assert all(parse(name) is not None for name in limits.counters())
    assert len(limits.counters()) == len(REGIONS)


def test_nothing_configured_limits_no_route() -> None:
    limits = RateLimits(Rates(), None, (), ())
    assert limits.of_route("a.test", "w", None) is None
    assert RateLimits(Rates(per_workspace="1/s"), None, (), ()).of_route("a.test", "", None) is None


def test_two_workers_share_their_times() -> None:
    _, view = Arrivals.create()
    one, other = (RateLimits(Rates(per_hostname="4/h"), view, (), ()) for _ in range(2))
    keys = [limits.of_route("a.test", "w", None) for limits in (one, other)]
    told = [limits.arrivals.admit(route.keys, 10**9) for limits, route in zip((one, other) * 3, keys * 3, strict=True) if route]
    assert [over is None for over in told] == [True] * 4 + [False] * 2
