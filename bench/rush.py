"""Visitors who come at the same moment to names that have no certificate yet: to one name, and to many.

Only this program, with one worker, beside a local ACME server that counts what it is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.children import Child, free_ports
from bench.errors import WrongAnswer
from bench.load.arguments import Orders, parse
from bench.load.base import LoadCommand
from bench.load.process import as_child, first_visits, report
from bench.origin import Origin
from bench.pebble import Pebble, start_pebble
from bench.peers import edgeproxy
from bench.stage import Stage
from bench.traffic import Tenant, tenants

CONNECTIONS = 100
"""To the one name."""

NAMES = 50

_BUDGET = "[issuance.budget]\ncertificates = 1000"
"""All names are of one registered domain, which by default may have no more certificates a week than there are names here."""

_SECONDS = 60.0
_NEW_ORDER = "POST /order-plz"
"""What pebble logs of a request for a new order."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rush:
    """What came of it."""

    one: Sequence[float]
    """Seconds until each of CONNECTIONS visitors of one new name had its answer."""
    orders: int
    """That the CA was asked for meanwhile."""
    many: Sequence[float]
    """Seconds until each of the visitors of NAMES new names had its answer."""


async def measure_rush(stage: Stage, origin: Origin) -> Rush:
    """Raises WrongAnswer where a visitor is not served."""
    warm, single, *rest = tenants(NAMES + 2)
    https, http = free_ports(2)
    ca = await start_pebble(stage, "rush", http, https)
    issuance = f'directory = "{ca.directory}"\nca_bundle = "{ca.api_root_file}"\nagree_terms = true\n{_BUDGET}'
    await edgeproxy.serve(stage, "edgeproxy-rush", (https, http, origin.port), issuance, (warm, single, *rest))
    await first_visits(stage, "rush", https, ca.issued_root_file, (warm,))  # makes the account
    before = orders_of(ca.child)
    one = await _rush(stage, "rush-one", https, ca, [single] * CONNECTIONS)
    orders = orders_of(ca.child) - before
    many = await _rush(stage, "rush-many", https, ca, rest)
    return Rush(one=one, orders=orders, many=many)


def orders_of(pebble: Child) -> int:
    """How many orders pebble was asked for since it started."""
    return pebble.log.read_text(errors="replace").count(_NEW_ORDER)


async def _rush(stage: Stage, name: str, port: int, ca: Pebble, visited: Sequence[Tenant]) -> Sequence[float]:
    orders = Orders(port=port, root_file=ca.issued_root_file, tenants=tuple(visited), seconds=_SECONDS, mode="rush")
    command = LoadCommand(name=name, command=orders.command("bench.load.rush"), parse=parse)
    async with as_child(stage, command) as child:
        done = await report(command, child, _SECONDS + 20.0)
    if done.failures:
        raise WrongAnswer(f"{name}: {'; '.join(f'{kind} ({count})' for kind, count in done.failures.items())}")
    return done.seconds
