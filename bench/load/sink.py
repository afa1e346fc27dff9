"""An origin that takes whatever slow clients bring, and has a large answer for those who read slowly. Run as a process:
`python -m bench.load.sink --port PORT`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import cast

import bench
from bench.children import free_ports
from bench.stage import Stage

LARGE_PATH = "/large"
ANSWER = b"an answer of the control's".ljust(256, b".")
LARGE = 256 * 1024
"""Bytes of the large answer: more than what the edge and the kernel hold for a client that takes nothing."""


class Taker(asyncio.Protocol):
    """One connection. A body is thrown away as it comes; who sends one gets no answer before it is there, which is never."""

    def __init__(self) -> None:
        self._head = b""
        self._transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._head.startswith(b"POST"):
            return
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        self._head = head
        if end and not head.startswith(b"POST"):
            self._head = rest
            body = bytes(LARGE) if head.startswith(b"GET " + LARGE_PATH.encode()) else ANSWER
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def start_sink(stage: Stage) -> int:
    """Starts one on the load generators' core: its port."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bench.load.sink", "--port", str(port)]
    child = await stage.start_other("sink", command, {"PYTHONPATH": str(Path(bench.__file__).parents[1])})
    await child.wait_listening(port)
    return port


async def serve(port: int) -> None:
    """Serves until it is ended."""
    server = await asyncio.get_running_loop().create_server(Taker, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
