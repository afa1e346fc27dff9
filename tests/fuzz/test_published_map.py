"""Whatever is done to the store, in whatever order, the map says what the store says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.control.store import GateRoute, Store
from edgeproxy.errors import EdgeError
from edgeproxy.model import ANSWERED, DomainState, covers, wildcard_of
from edgeproxy.published.records import Challenge
from tests.control.publishing import EDGE, PATTERNS, add, content, publishing, up_to_date
from tests.control.store.making import DAY, NOW, certificate, opened

NAMES = (
    "a.example.com",
    "b.example.com",
    "*.example.com",
    "a.customers.example",
    "edge.example.net",
    "x.ve.example",
    "*.ve.example",
)


STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(NAMES), st.sampled_from(list(DomainState))),
    st.tuples(st.just("state"), st.sampled_from(NAMES), st.sampled_from(list(DomainState))),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("certificate"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2), st.sampled_from([-DAY, DAY])),
    st.tuples(st.just("uncertificate"), st.integers(0, 8), st.none()),
    st.tuples(st.just("gate"), st.sampled_from(NAMES), st.sampled_from(["", "g"])),
    st.tuples(st.just("ungate"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("challenge"), st.sampled_from("xy"), st.none()),
    st.tuples(st.just("unchallenge"), st.sampled_from("xy"), st.none()),
    st.tuples(st.just("restart"), st.booleans(), st.booleans()),
    st.tuples(st.just("wait"), st.none(), st.none()),
)


async def perform(store: Store, action: str, what: Any, how: Any, count: int) -> None:
    """One operation on the store; what it refuses it refuses."""
    with contextlib.suppress(EdgeError):
        match action:
            case "add":
                await add(store, what, f"w{count}", how)
            case "state":
                await store.set_domain_state(what, how, actor="t", now=NOW)
            case "remove":
                await store.remove_domain(what, actor="t", now=NOW)
            case "certificate":
                await store.add_certificate(certificate(f"c{count}", *what, until=NOW + how), NOW)
            case "uncertificate":
                await store.remove_certificate(f"c{what}", NOW)
            case "gate":
                await store.put_gate_route(GateRoute(hostname=what, workspace_id=how, fresh_until=float(count)), NOW)
            case "ungate":
                await store.delete_gate_route(what, NOW)
            case "challenge":
                await store.put_challenge(what, Challenge(hostname=str(count)), NOW)
            case "unchallenge":
                await store.delete_challenge(what, NOW)


async def expected(store: Store, names: tuple[str, ...], patterns: tuple[str, ...]) -> dict[str, tuple[str, str, str, float]]:
    """The sites that should be, worked out from the store's listings in the plainest way: (workspace, certificate, source,
    fresh_until)."""
    domains = {domain.hostname: domain for domain in await store.list_domains(1000)}
    routes = {route.hostname: route for route in await store.list_gate_routes(1000)}
    certificates = [one for one in await store.list_certificates(1000) if one.not_after > NOW]
    certificates.sort(key=lambda one: int(one.id[1:]))

    def best(hostname: str) -> str:
        own = [one.id for one in certificates if hostname in one.names]
        wild = [one.id for one in certificates if wildcard_of(hostname) in one.names]
        return (own or wild or [""])[-1]

    sites: dict[str, tuple[str, str, str, float]] = {}
    for hostname in {*NAMES, *names}:
        if hostname in names:
            sites[hostname] = ("", best(hostname), "edge", 0.0)
        elif hostname in domains:
            if domains[hostname].state in ANSWERED:
                sites[hostname] = (domains[hostname].workspace_id, best(hostname), "registered", 0.0)
        elif hostname in routes:
            route = routes[hostname]
            sites[hostname] = (route.workspace_id, best(hostname), "gate", route.fresh_until)
        elif any(covers(pattern, hostname) for pattern in patterns) and any(hostname in one.names for one in certificates):
            sites[hostname] = ("", best(hostname), "pattern", 0.0)
    return sites


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEP, max_size=25))
def test_whatever_is_done_to_the_store_the_map_says_what_the_store_says(
    steps: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("state")

    async def play() -> None:
        names: tuple[str, ...] = EDGE
        patterns: tuple[str, ...] = PATTERNS
        async with opened(directory) as store, contextlib.AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(publishing(store, directory, names, patterns))
            for count, (action, what, how) in enumerate(steps):
                if action == "restart":
                    await stack.aclose()
                    names, patterns = EDGE if what else ("b.example.com",), PATTERNS if how else ("*.example.com",)
                    publisher = await stack.enter_async_context(publishing(store, directory, names, patterns))
                elif action == "wait":
                    await up_to_date(publisher, store)
                else:
                    await perform(store, action, what, how, count)
            await up_to_date(publisher, store)
            await stack.aclose()
            found = content(directory)
            sites = {name: (site[0], site[2], site[3], site[4]) for name, site in found["sites"].items()}
            assert sites == await expected(store, names, patterns)
            assert set(found["certificates"]) == {one.id for one in await store.list_certificates(1000)}
            assert set(found["challenges"]) == set(await store.keys_of("challenges", "", 1000))

    asyncio.run(play())
