"""Visitors with a WebSocket each, who send a message as soon as the last one has come back. Run as a process:
`python -m bench.load.websocket`. Each message is another one, and each echo is compared with it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import os
import ssl
import time

import uvloop

from bench.errors import WrongAnswer
from bench.load.arguments import Orders, parse, run_and_report
from bench.load.base import LoadCommand, LoadReport
from bench.load.client import TIMEOUT, client_context
from bench.load.echo import accept_of, masked
from bench.origin import WEBSOCKET_ROOT
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import Tenant, browser_fields

CONNECTIONS = 4
"""Per tenant."""
MESSAGE = 120
"""Bytes of each message."""
PROCESSES = 2


@dataclasses.dataclass(frozen=True, slots=True)
class WebSocketPlan:
    """A few processes, each with its share of the tenants."""

    def __call__(self, stage: Stage, peer: Peer, seconds: float) -> list[LoadCommand]:
        return [
            LoadCommand(
                name=f"websocket-{number}",
                command=Orders(
                    port=peer.port,
                    root_file=peer.root_file,
                    tenants=stage.tenants[number::PROCESSES],
                    seconds=seconds,
                    mode="websocket",
                    path_root=WEBSOCKET_ROOT,
                ).command("bench.load.websocket"),
                parse=parse,
            )
            for number in range(PROCESSES)
        ]


def message(tenant: Tenant, number: int) -> bytes:
    """The text of one."""
    return f"{tenant.workspace} {number:08} ".encode().ljust(MESSAGE, b".")


async def run(orders: Orders) -> LoadReport:
    """All visitors until the time is over; how many messages have come back. Raises WrongAnswer."""
    context = client_context(orders.root_file, "http/1.1")
    end = time.monotonic() + orders.seconds
    numbers = itertools.count()
    visits = [_visit(orders, tenant, context, numbers, end) for tenant in orders.tenants for _ in range(CONNECTIONS)]
    async with asyncio.timeout(orders.seconds + TIMEOUT):
        return LoadReport(succeeded=sum(await asyncio.gather(*visits)), failures={})


async def _visit(orders: Orders, tenant: Tenant, context: ssl.SSLContext, numbers: itertools.count[int], end: float) -> int:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", orders.port, ssl=context, server_hostname=tenant.hostname, ssl_shutdown_timeout=1.0
    )
    try:
        await _upgrade(orders, tenant, reader, writer)
        came = 0
        while time.monotonic() < end:
            text, mask = message(tenant, next(numbers)), os.urandom(4)
            writer.write(bytes([0x81, 128 + MESSAGE]) + mask + masked(text, mask))
            echo = await reader.readexactly(2 + MESSAGE)
            if echo != bytes([0x81, MESSAGE]) + text:
                raise WrongAnswer(f"{tenant.hostname}: {text!r} came back as {echo!r}.")
            came += 1
        return came
    except asyncio.IncompleteReadError as error:
        raise WrongAnswer(f"{tenant.hostname}: a WebSocket ended after {error.partial[:100]!r}.") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await writer.wait_closed()


async def _upgrade(orders: Orders, tenant: Tenant, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    key = base64.b64encode(os.urandom(16))
    fields = [
        ("host", tenant.hostname),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", key.decode()),
        *browser_fields(tenant, 1, "empty"),
    ]
    head = f"GET {orders.path_root} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    proof = accept_of(key).lower()
    if not answer.startswith(b"HTTP/1.1 101 ") or b"sec-websocket-accept: " + proof + b"\r\n" not in answer.lower():
        raise WrongAnswer(f"{tenant.hostname}: a WebSocket was answered {answer[:300]!r}.")


def main(orders: Orders) -> LoadReport:
    """`run`, in a loop of its own."""
    return uvloop.run(run(orders))


if __name__ == "__main__":
    run_and_report(main)
