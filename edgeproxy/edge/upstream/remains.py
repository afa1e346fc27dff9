"""What an origin said before its connection broke, which lies in the kernel still."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import cast


class Remains(asyncio.Transport):
    """Stands in for a transport that was given up because it could not write: an origin that answers a request early, and
    closes, resets the connection for whatever of the body comes after. Its answer is complete on this side all the same.

    `buffer` gives a place for the next bytes, `updated` is told how many have come, `ended` that there are no more; never from
    within a call to a method here. What is written is dropped. To be made in `connection_lost`, while the socket is there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        broken: asyncio.BaseTransport,
        buffer: Callable[[], memoryview],
        updated: Callable[[int], None],
        ended: Callable[[], None],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._buffer, self._updated, self._ended = buffer, updated, ended
        self._descriptor = os.dup(cast(socket.socket, broken.get_extra_info("socket")).fileno())
        self._paused = False
        self._next: asyncio.Handle | None = loop.call_soon(self._read)

    def _read(self) -> None:
        self._next = None
        try:
            size = os.readv(self._descriptor, [self._buffer()])
        except OSError:  # the reset that made the write fail, said once more
            size = 0
        if not size:
            self._close()
            return
        self._updated(size)
        self._go_on()

    def _go_on(self) -> None:
        # Nothing more comes by the network, so there is no event to wait for.
        if not self._paused and self._next is None and self._descriptor >= 0:
            self._next = self._loop.call_soon(self._read)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._next is not None:
                self._next.cancel()
            self._loop.call_soon(self._ended)

    # what the protocol calls

    def write(self, data: object) -> None:
        """Drops it: nobody takes it."""

    def pause_reading(self) -> None:
        """Reads no more."""
        self._paused = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resume_reading(self) -> None:
        """Reads on."""
        self._paused = False
        self._go_on()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no such buffer."""

    def get_write_buffer_size(self) -> int:
        """Nothing waits to be written."""
        return 0

    def is_closing(self) -> bool:
        """Whether all has been read."""
        return self._descriptor < 0

    def abort(self) -> None:
        """The rest is not wanted."""
        self._close()

    close = abort
