"""What is left in the kernel of a connection that broke: read to its end, at the reader's pace."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import cast

import pytest

from edgeproxy.edge.upstream.remains import Remains
from tests.edge.harness import listener


class Reader(asyncio.BufferedProtocol):
    """Reads 1000 bytes at once; goes over to the remains when its connection breaks, and pauses at `pause_at` bytes."""

    def __init__(self, pause_at: int = -1) -> None:
        self.buffer = bytearray(1000)
        self.pause_at = pause_at
        self.got = b""
        self.ended = 0
        self.within = False
        self.broken: Exception | None = None
        self.remains: Remains | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.buffer[:nbytes]
        self.pause()

    def pause(self) -> None:
        if len(self.got) == self.pause_at and self.remains is not None:
            self.remains.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = exc
        loop = asyncio.get_running_loop()
        self.remains = Remains(loop, self.transport, lambda: self.get_buffer(-1), self.buffer_updated, self.end)
        self.pause()

    def end(self) -> None:
        assert not self.within
        self.ended += 1


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def broken(said: bytes, pause_at: int = -1) -> Reader:
    """A reader whose peer said this and reset the connection, which the reader has learnt by writing."""
    loop = asyncio.get_running_loop()
    with listener() as ours:
        reader = Reader(pause_at)
        transport, _ = await loop.create_connection(lambda: reader, *ours.getsockname())
        transport.pause_reading()
        peer, _ = await asyncio.to_thread(ours.accept)
        with peer:
            transport.write(b"unread")
            await asyncio.to_thread(peer.recv, 1, socket.MSG_PEEK)
            peer.sendall(said)
        async with asyncio.timeout(30):
            while reader.remains is None:
                transport.write(b"more")
                await asyncio.sleep(0.01)
    return reader


async def test_everything_is_read_that_came_before_the_end() -> None:
    reader = await broken(b"x" * 20_500)
    await until(lambda: reader.ended)
    assert (reader.got, reader.ended) == (b"x" * 20_500, 1)
    assert isinstance(reader.broken, ConnectionError)
    assert reader.remains is not None
    assert reader.remains.is_closing()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader.remains._descriptor)


@pytest.mark.parametrize("pause_at", [0, 1000, 2500])
async def test_the_pace_is_the_readers(pause_at: int) -> None:
    reader = await broken(b"x" * 2500, pause_at)
    assert reader.remains is not None
    await until(lambda: len(reader.got) == pause_at)
    await asyncio.sleep(0.1)
    assert (len(reader.got), reader.ended) == (pause_at, 0)
    reader.remains.resume_reading()
    reader.remains.resume_reading()
    await until(lambda: reader.ended)
    assert (len(reader.got), reader.ended) == (2500, 1)


async def test_what_is_written_is_dropped() -> None:
    reader = await broken(b"x")
    remains = reader.remains
    assert remains is not None
    remains.write(b"y")
    remains.set_write_buffer_limits(high=1)
    assert remains.get_write_buffer_size() == 0
    await until(lambda: reader.ended)


async def test_the_rest_may_be_thrown_away() -> None:
    reader = await broken(b"x" * 2500, 1000)
    remains = reader.remains
    assert remains is not None
    await until(lambda: reader.got)
    remains.resume_reading()
    reader.within = True
    remains.abort()
    remains.close()
    reader.within = False
    await until(lambda: reader.ended)
    await asyncio.sleep(0.05)
    assert (reader.ended, len(reader.got)) == (1, 1000)


async def test_without_a_descriptor_there_are_none() -> None:
    class Gone:
        def get_extra_info(self, _name: str) -> socket.socket:
            sock = socket.socket()
            sock.close()
            return sock

    with pytest.raises(OSError, match="Bad file descriptor"):
        Remains(asyncio.get_running_loop(), cast(asyncio.BaseTransport, Gone()), memoryview, int, list)  # type: ignore[arg-type]
