"""Connections that carry one request each. Run as a process: `python -m bench.load.handshakes`.

wrk resumes its sessions even with `Connection: close`, so full handshakes need a client that looks: this one verifies
the certificate, checks `session_reused` of each connection and the whole answer, and reads on to the server's close.
"""

from __future__ import annotations

import dataclasses
import ssl
import time

from bench.errors import WrongAnswer
from bench.load.arguments import Orders, parse, run_and_report
from bench.load.base import LoadCommand, LoadReport
from bench.load.client import check, client_context, connect, read_http1
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import Tenant, browser_fields, paths

PROCESSES = 4
FULL, RESUMED = "full", "resumed"


@dataclasses.dataclass(frozen=True, slots=True)
class HandshakePlan:
    """A few processes, each with one connection at a time and its share of the tenants."""

    mode: str
    """FULL or RESUMED."""

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        return [
            LoadCommand(
                name=f"handshakes-{number}",
                command=Orders(
                    port=peer.port,
                    root_file=peer.root_file,
                    tenants=stage.tenants[number::PROCESSES],
                    seconds=seconds,
                    mode=self.mode,
                ).command("bench.load.handshakes"),
                parse=parse,
            )
            for number in range(PROCESSES)
        ]


class Visitor:
    """Visits one tenant again and again, each time over a new connection."""

    def __init__(self, orders: Orders, tenant: Tenant, context: ssl.SSLContext) -> None:
        self._port = orders.port
        self._resume = orders.mode == RESUMED
        self._tenant = tenant
        self._context = context
        self._session: ssl.SSLSession | None = None
        self._paths = paths(tenant, orders.path_root)
        fields = [("host", tenant.hostname), ("connection", "close"), *browser_fields(tenant, 0)]
        self._tail = "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        self._turn = 0

    def visit(self) -> None:
        """One connection and one request; raises WrongAnswer where anything is not as it must be."""
        path = self._paths[self._turn % len(self._paths)]
        self._turn += 1
        with connect(self._port, self._tenant, self._context, self._session) as connection:
            if connection.session_reused != (self._session is not None):
                raise WrongAnswer(
                    f"{self._tenant.hostname}: session_reused is {connection.session_reused}, "
                    f"with a session {'offered' if self._session else 'not offered'}."
                )
            connection.sendall(f"GET {path} HTTP/1.1\r\n{self._tail}".encode())
            check(read_http1(connection), self._tenant, path)
            if connection.recv(1):
                raise WrongAnswer(f"{self._tenant.hostname} sent something after its answer.")
            if self._resume:
                self._session = connection.session  # TLS 1.3 tickets come with the first read


def run(orders: Orders) -> LoadReport:
    """Visits the tenants in turn until the time is over."""
    context = client_context(orders.root_file, "http/1.1")
    visitors = [Visitor(orders, tenant, context) for tenant in orders.tenants]
    end, visits = time.monotonic() + orders.seconds, 0
    while time.monotonic() < end:
        visitors[visits % len(visitors)].visit()
        visits += 1
    return LoadReport(succeeded=visits, failures={})


if __name__ == "__main__":
    run_and_report(run)
