"""An origin that takes whatever slow clients bring, and has a large answer for those who read slowly. Run as a process:
`python -m bench.load.sink --port PORT`."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path
from typing import cast

import bench
from bench.children import free_ports
from bench.stage import Stage

LARGE_PATH = "/large"
ANSWER = b"an answer of the control's".ljust(256, b".")
LARGE = 256 * 1024
"""Bytes of the large answer: more than what the edge and, with segments of an ordinary size, the kernel hold for a client that
takes nothing, so that the edge must hold the origin back. Not much more: of ten thousand answers of 4 MB the kernel held 2.4
GB, all that it has for connections (tcp_mem)."""
_PIECE = bytes(16 * 1024)
_SEND_BUFFER = 16 * 1024
"""What the kernel may hold of it on this side, so that ten thousand answers that nobody takes do not fill its memory."""
_SEGMENT = 1460
"""As on a real network: on loopback a segment has 64 KB, and counts as so much of the receiver's buffer."""


class Taker(asyncio.Protocol):
    """One connection. A body is thrown away as it comes; who sends one gets no answer before it is there, which is never."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._full = False
        self._transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        if self._head.startswith(b"POST"):
            return
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        self._head = head
        if not end or head.startswith(b"POST"):
            return
        self._head = rest
        if head.startswith(b"GET " + LARGE_PATH.encode()):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            self._left = LARGE
            self._large()
        else:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)

    def _large(self) -> None:
        while self._left and not self._full:
            self._left -= len(_PIECE)
            self._transport.write(_PIECE)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._large()


async def start_sink(stage: Stage) -> int:
    """Starts one on the load generators' core: its port."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bench.load.sink", "--port", str(port)]
    child = await stage.start_other("sink", command, {"PYTHONPATH": str(Path(bench.__file__).parents[1])})
    await child.wait_listening(port)
    return port


async def serve(port: int) -> None:
    """Serves until it is ended."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # what is accepted has the same
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    server = await asyncio.get_running_loop().create_server(Taker, sock=listener, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
