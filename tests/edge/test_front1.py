"""The HTTP/1.1 session: what a client may send before it is its turn, how slow it may be, and how the connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from edgeproxy.config.structs import Timeouts
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.limits import WRITE_HIGH_WATER
from edgeproxy.units import Duration
from tests.edge.harness import Edge, MapProcess, Script, config_for

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


def request(start: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    """A raw request for gallery.test."""
    return b"\r\n".join((start + b" HTTP/1.1", b"Host: gallery.test", *lines, b"", body))


def to_origin(edge: Edge) -> OriginConnection:
    """The worker's only connection to its origin."""
    ((found,),) = [pool.open for pool in edge.worker._pools.values()]
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_pipelined_behind_a_body_whose_end_has_to_wait_is_the_next_request(edge: Edge, script: Script) -> None:
    go = asyncio.Event()

    async def slow(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if head.startswith(b"PUT"):
                transport = cast(asyncio.Transport, writer.transport)
                transport.pause_reading()
                await go.wait()
                transport.resume_reading()
                while not (await reader.read(65536)).endswith(b"0\r\n\r\n"):
                    pass
            writer.write(script.response)

    script.handler = slow
    reader, writer = await edge.connect("gallery.test")
    writer.write(request(b"PUT /", b"Transfer-Encoding: chunked"))
    await until(lambda: script.heads)
    queued = to_origin(edge).transport.get_write_buffer_size
    while queued() < 4000:  # until the kernel takes no more
        writer.write(b"4e20\r\n" + bytes(20_000) + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
    assert queued() < WRITE_HIGH_WATER
    writer.write(b"fa00\r\n" + bytes(64_000) + b"\r\n0\r\n\r\n" + request(b"GET /next"))
    await until(lambda: queued() > WRITE_HIGH_WATER)
    await asyncio.sleep(0.1)
    go.set()
    for _ in range(2):
        assert await asyncio.wait_for(reader.readexactly(len(script.response)), 30) == script.response
    assert script.heads[1].startswith(b"GET /next")
    writer.close()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_others(
    tmp_path: Path, script: Script, maps: MapProcess
) -> None:
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port, timeouts=Timeouts(client_header=Duration(1), drain=Duration(1))), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            reader, writer = await edge.connect("gallery.test")
            writer.write(request(b"GET /"))  # the second head's time is its own too
            await asyncio.wait_for(reader.readexactly(len(script.response)), 30)
            answer = asyncio.ensure_future(reader.read())
            async with asyncio.timeout(30):
                while not answer.done():
                    writer.write(b"G")
                    await asyncio.sleep(0.1)
            assert answer.result().startswith(b"HTTP/1.1 408 ")
            writer.close()
