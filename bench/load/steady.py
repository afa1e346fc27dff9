"""Visitors at a fixed rate whose answers' times are noted, each from the moment at which its request was due. Run as a process:
`python -m bench.load.steady`.

Requests are sent when they are due and never later because of an answer that is late, but for those of the same connection,
whose waiting then counts too. Every answer is checked. Beside them h2load sends as many requests at a fixed rate as the
measurement wants: an interpreter could not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from concurrent.futures import ThreadPoolExecutor

from bench.errors import BenchError
from bench.load.arguments import Orders, parse, run_and_report
from bench.load.base import LoadCommand, LoadReport, write_once
from bench.load.client import check, client_context
from bench.load.h2load import parse_http1
from bench.load.verifier import HTTP1, Http1Visitor
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import Tenant, browser_fields, paths

CLIENTS = 4
"""Connections of those whose time is noted."""
RATE = 250.0
"""Their requests a second, all together."""
TENANTS, CONNECTIONS = 8, 32
"""Of the others: processes, with a hostname each, and connections of each. One of h2load's looks at most every 10 ms
whether a request is due, and then sends what became due meanwhile: with fewer, each asking more often than that, requests would
come in bursts."""
YIELDING = 10
"""By so much nicer are the others than what is noted and than the origin, with whom they share a core."""


def noted(stage: Stage, peer: Peer, seconds: float) -> LoadCommand:
    """The process whose answers are noted."""
    orders = Orders(
        port=peer.port, root_file=peer.root_file, tenants=stage.tenants[:CLIENTS], seconds=seconds, mode=HTTP1, rate=RATE
    )
    return LoadCommand(name="steady", command=orders.command("bench.load.steady"), parse=parse)


def others(stage: Stage, peer: Peer, seconds: float, rate: float) -> list[LoadCommand]:
    """Those beside it, which send `rate` requests a second together."""
    return [
        _h2load(stage, peer, tenant, number, seconds, rate / TENANTS) for number, tenant in enumerate(stage.tenants[:TENANTS])
    ]


def _h2load(stage: Stage, peer: Peer, tenant: Tenant, visitor: int, seconds: float, rate: float) -> LoadCommand:
    addresses = "".join(f"https://{tenant.hostname}{path}\n" for path in paths(tenant, "/"))
    listing = write_once(stage.folder("h2load") / f"steady-{tenant.workspace}.txt", addresses)
    fields = [option for name, value in browser_fields(tenant, visitor) for option in ("-H", f"{name}: {value}")]
    return LoadCommand(
        name=f"beside-{tenant.workspace}",
        command=[
            *("h2load", "--h1", "-D", f"{seconds:.0f}", "-t1", f"-c{CONNECTIONS}", "--rps", f"{rate / CONNECTIONS:.3f}"),
            *("--connect-to", f"127.0.0.1:{peer.port}", *fields, "-i", str(listing)),
        ],
        parse=parse_http1,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Turn:
    """One client's requests: when the first is due, and how far apart they are."""

    due: float
    every: float
    end: float


def run(orders: Orders) -> LoadReport:
    """Asks until the time is over: the answers' seconds, in the order in which they were due."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # its threads too
    context = client_context(orders.root_file, HTTP1)
    visitors = [Http1Visitor(orders, tenant, context) for tenant in orders.tenants]
    begun, every = time.monotonic() + 0.01, len(visitors) / orders.rate
    turns = [_Turn(begun + number / orders.rate, every, begun + orders.seconds) for number, _ in enumerate(visitors)]
    with ThreadPoolExecutor(len(visitors)) as pool:
        clients = [
            pool.submit(_ask, visitor, tenant, turn)
            for visitor, tenant, turn in zip(visitors, orders.tenants, turns, strict=True)
        ]
        asked = sorted(each for client in clients for each in client.result())
    if not asked:
        raise BenchError("No request was due.")
    return LoadReport(
        succeeded=len(asked),
        failures={},
        seconds=tuple(seconds for _, seconds, _ in asked),
        late=tuple(late for _, _, late in asked),
    )


def _ask(visitor: Http1Visitor, tenant: Tenant, turn: _Turn) -> list[tuple[float, float, float]]:
    """When each was due, seconds until its answer was there, and of those the ones until it was sent for which no earlier
    answer is to blame."""
    targets, due, free = paths(tenant, "/"), turn.due, 0.0
    asked: list[tuple[float, float, float]] = []
    while due < turn.end:
        time.sleep(max(0.0, due - time.monotonic()))  # noqa: TID251 - a process with nothing else to do
        path = targets[len(asked) % len(targets)]
        late = time.monotonic() - max(due, free)
        answer = visitor.get(path)
        free = time.monotonic()
        asked.append((due, free - due, late))
        check(answer, tenant, path)
        due += turn.every
    return asked


if __name__ == "__main__":
    run_and_report(run)
