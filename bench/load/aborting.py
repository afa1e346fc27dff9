"""Visitors who go away in the middle of something. Run as a process: `python -m bench.load.aborting`.

By turns: within the ClientHello, after the handshake, while they wait for a large answer, and within a body; with a reset, as a
browser that is closed has it.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import time

from bench.load.arguments import Orders, parse, run_and_report
from bench.load.base import LoadCommand, LoadReport
from bench.load.client import client_context
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import request_tail

_RESET = struct.pack("ii", 1, 0)


class AbortingPlan:
    """One process."""

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        orders = Orders(port=peer.port, root_file=peer.root_file, tenants=stage.tenants, seconds=seconds, mode="aborting")
        return [LoadCommand(name="aborting", command=orders.command("bench.load.aborting"), parse=parse)]


def run(orders: Orders) -> LoadReport:
    """One after the other until the time is over."""
    context = client_context(orders.root_file, "http/1.1")
    end, visits = time.monotonic() + orders.seconds, 0
    for tenant in itertools.cycle(orders.tenants):
        if time.monotonic() >= end:
            break
        plain = socket.create_connection(("127.0.0.1", orders.port), 10)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        turn = visits % 4
        if turn == 0:
            plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        else:
            client: ssl.SSLSocket = context.wrap_socket(plain, server_hostname=tenant.hostname)
            if turn == 2:
                client.sendall(f"GET /1m/{visits} HTTP/1.1\r\n{request_tail(tenant, 0, 'empty')}".encode())
                client.recv(1)
            elif turn == 3:
                tail = request_tail(tenant, 0, "empty", extra=[("content-length", "100000")])
                client.sendall(f"POST /upload/{visits} HTTP/1.1\r\n{tail}".encode() + bytes(1000))
            plain = client
        plain.close()
        visits += 1
    return LoadReport(succeeded=visits, failures={})


if __name__ == "__main__":
    run_and_report(run)
