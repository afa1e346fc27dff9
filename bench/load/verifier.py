"""Runs beside the load generators and looks at every answer it gets. A process: `python -m bench.load.verifier`.

wrk and h2load count statuses; that an answer is whole, and is the answer to the very request that was sent over that
connection or stream, is proven here, under the same load.
"""

from __future__ import annotations

import ssl
import time

import h2.config
import h2.connection
import h2.events

from bench.errors import WrongAnswer
from bench.load.arguments import Orders, parse, run_and_report
from bench.load.base import LoadCommand, LoadReport
from bench.load.client import Answer, check, client_context, connect, read_http1
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import Tenant, browser_fields, paths

HTTP1, HTTP2 = "http/1.1", "h2"
RATE = 20.0
TENANTS = 4
_WINDOW = 4 * 1024 * 1024


def verifier(stage: Stage, peer: Peer, seconds: float, protocol: str, path_root: str, turn: int) -> LoadCommand:
    """The process; `turn` moves it on to other tenants from round to round."""
    chosen = [stage.tenants[(turn * TENANTS + n) % len(stage.tenants)] for n in range(min(TENANTS, len(stage.tenants)))]
    orders = Orders(
        port=peer.port,
        root_file=peer.root_file,
        tenants=tuple(chosen),
        seconds=seconds,
        mode=protocol,
        path_root=path_root,
        rate=RATE,
    )
    return LoadCommand(name="verifier", command=orders.command("bench.load.verifier"), parse=parse)


class Http1Visitor:
    """A keep-alive connection of one tenant's visitor."""

    def __init__(self, orders: Orders, tenant: Tenant, context: ssl.SSLContext) -> None:
        self._connection = connect(orders.port, tenant, context)
        fields = [("host", tenant.hostname), ("connection", "keep-alive"), *browser_fields(tenant, 1)]
        self._tail = "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"

    def get(self, path: str) -> Answer:
        """One request and its answer."""
        self._connection.sendall(f"GET {path} HTTP/1.1\r\n{self._tail}".encode())
        return read_http1(self._connection)


class Http2Visitor:
    """The same over HTTP/2, by an implementation that no proxy here uses."""

    def __init__(self, orders: Orders, tenant: Tenant, context: ssl.SSLContext) -> None:
        self._connection = connect(orders.port, tenant, context)
        if self._connection.selected_alpn_protocol() != HTTP2:
            raise WrongAnswer(f"{tenant.hostname} does not take HTTP/2.")
        self._tenant = tenant
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self._http2.initiate_connection()
        self._http2.increment_flow_control_window(_WINDOW)
        self._connection.sendall(self._http2.data_to_send())

    def get(self, path: str) -> Answer:
        """One request on a stream of its own, and its answer."""
        stream = self._http2.get_next_available_stream_id()
        pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", self._tenant.hostname), (":path", path)]
        self._http2.send_headers(stream, [*pseudo, *browser_fields(self._tenant, 1)], end_stream=True)
        self._http2.increment_flow_control_window(_WINDOW, stream)
        self._connection.sendall(self._http2.data_to_send())
        fields: dict[str, str] = {}
        pieces: list[bytes] = []
        while True:
            data = self._connection.recv(262_144)
            if not data:
                raise WrongAnswer(f"{self._tenant.hostname} closed an HTTP/2 connection before its answer's end.")
            for event in self._http2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = {str(name): str(value) for name, value in event.headers or ()}
                elif isinstance(event, h2.events.DataReceived):
                    pieces.append(event.data or b"")
                    self._http2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    return Answer(int(fields[":status"]), fields, b"".join(pieces))
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise WrongAnswer(f"{self._tenant.hostname} broke off an HTTP/2 stream: {event}")
            self._connection.sendall(self._http2.data_to_send())


def run(orders: Orders) -> LoadReport:
    """Asks at an even rate until the time is over."""
    context = client_context(orders.root_file, orders.mode)
    kind = Http2Visitor if orders.mode == HTTP2 else Http1Visitor
    visitors = [(tenant, kind(orders, tenant, context), paths(tenant, orders.path_root)) for tenant in orders.tenants]
    begin, answers = time.monotonic(), 0
    while time.monotonic() < begin + orders.seconds:
        tenant, visitor, targets = visitors[answers % len(visitors)]
        path = targets[answers % len(targets)]
        check(visitor.get(path), tenant, path)
        answers += 1
        time.sleep(max(0.0, begin + answers / orders.rate - time.monotonic()))  # noqa: TID251 - a process with nothing else to do
    return LoadReport(succeeded=answers, failures={})


if __name__ == "__main__":
    run_and_report(run)
