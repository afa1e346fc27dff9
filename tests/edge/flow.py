"""What flows through an edge with HTTP/2 clients, and what it holds of it."""

from __future__ import annotations

import asyncio

from edgeproxy.edge.front2 import Front2
from tests.edge.harness import Edge, Reader, Script, Writer


def flowing(script: Script, produced: list[int], total: int) -> None:
    """Has the origin say how many bytes of its answer were taken from it."""

    async def answer(reader: Reader, writer: Writer) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(0, total, 10_000):
            writer.write(b"x" * 10_000)
            await writer.drain()
            produced[0] += 10_000

    script.handler = answer


async def settled(value: list[int]) -> int:
    """Waits until a number stands still."""
    while True:
        before = value[0]
        await asyncio.sleep(0.3)
        if value[0] == before:
            return before


def held(edge: Edge) -> int:
    """Bytes that the edge holds for its clients and origins."""
    total = 0
    for connection in edge.worker.connections:
        front = getattr(connection, "front", None)
        total += connection.transport.get_write_buffer_size()
        if isinstance(front, Front2):
            total += front.http2.queued + sum(
                len(stream.incoming.buffer) for stream in front.streams.values() if stream is not None and stream.incoming
            )
    for pool in edge.worker._pools.values():
        total += sum(origin.transport.get_write_buffer_size() for origin in pool.open)
    return total
