"""How long the first visitor of a name waits that nobody has asked for before: its certificate is obtained meanwhile.

nginx and HAProxy cannot do this. Caddy and this program get the same CA, with a name to warm up: it makes the account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bench.children import free_ports
from bench.load.process import first_visits
from bench.origin import Origin
from bench.pebble import Pebble, start_pebble
from bench.peers import caddy, edgeproxy
from bench.stage import Stage
from bench.traffic import NEWCOMERS, Tenant, tenants

_RATE = 5.0
"""Visits per second at most: what one name leaves to do in the background is not to slow the next."""

_START = Callable[[Stage, tuple[int, int, int], Pebble, tuple[Tenant, ...]], Awaitable[object]]


async def _start_edgeproxy(stage: Stage, ports: tuple[int, int, int], ca: Pebble, newcomers: tuple[Tenant, ...]) -> None:
    issuance = f'directory = "{ca.directory}"\nca_bundle = "{ca.api_root_file}"\nagree_terms = true'
    await edgeproxy.serve(stage, "edgeproxy-acme", ports, issuance, newcomers)


async def _start_caddy(stage: Stage, ports: tuple[int, int, int], ca: Pebble, newcomers: tuple[Tenant, ...]) -> None:
    await caddy.serve_on_demand(stage, ports, ca.directory, ca.api_root_file)


_STARTERS: dict[str, tuple[str, _START]] = {
    "caddy": (caddy.NAME, _start_caddy),
    "edgeproxy": (edgeproxy.NAME, _start_edgeproxy),
}
"""Name on the command line → name in the table, how to start it beside a CA."""


async def measure_never_seen(stage: Stage, origin: Origin, peers: Sequence[str], count: int) -> dict[str, list[float]]:
    """Seconds of `count` names on each of the peers that can do it."""
    results: dict[str, list[float]] = {}
    newcomers = tenants(count + 1, NEWCOMERS)
    for key, (name, start) in _STARTERS.items():
        if key in peers:
            https, http = free_ports(2)
            ca = await start_pebble(stage, key, http, https)
            await start(stage, (https, http, origin.port), ca, newcomers)
            times = await first_visits(stage, f"{key}-acme", https, ca.issued_root_file, newcomers, rate=_RATE)
            results[name] = list(times[1:])
    return results
