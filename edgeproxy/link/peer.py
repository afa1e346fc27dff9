"""One end of the stream between a worker and the controller, on asyncio (or uvloop).

The supervisor makes the socket pair and passes the ends through the channels (`LinkEnd`), again whenever either side is
replaced. So a link is never reconnected: it ends, and another one comes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

from edgeproxy.errors import LinkError
from edgeproxy.limits import LINK_QUEUE, LINK_QUEUED_BYTES
from edgeproxy.link import frames
from edgeproxy.link.messages import LinkMessage


class Link(asyncio.Protocol):
    """Sends and receives messages without ever waiting; made by `Link.open`.

    `on_message(message)` is called for each message, in order. It must not raise: an exception ends the link.
    `on_lost(reason)` is called exactly once, when the link has ended by anything but the own `close()`: with None when the
    other side closed it or died, else with the LinkError that says why. Nothing is called after it.
    Either callback may call `send` and `close`.
    """

    def __init__(self, on_message: Callable[[LinkMessage], None], on_lost: Callable[[LinkError | None], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._decoder = frames.link_decoder()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._ended = False
        self._begun = False
        self._early: list[bytes] = []
        self._early_end: tuple[Exception | None] | None = None

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        on_message: Callable[[LinkMessage], None],
        on_lost: Callable[[LinkError | None], None],
    ) -> Link:
        """Takes over the stream socket that came with a LinkEnd; it is closed with the link.

        Neither callback is called before the caller, who awaits this, has the link in hand.
        """
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: cls(on_message, on_lost), sock=sock)
        loop.call_soon(link._begin)
        return link

    @property
    def alive(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None and not self._ended

    def send(self, message: LinkMessage) -> bool:
        """Sends a message, or queues it; False when the link has ended, and then nothing was sent.

        That it returns True does not say that the message arrives: what must be answered needs a deadline, and is sent
        again on the next link. A peer that leaves `limits.LINK_QUEUE` messages unread counts as gone: the link ends.
        Raises LinkError for a message over `limits.LINK_MESSAGE`; the link goes on.
        """
        transport = self._transport
        if transport is None or self._ended:
            return False
        data = frames.frame(message)
        if not self._paused:
            transport.write(data)
            return True
        if len(self._waiting) >= LINK_QUEUE or self._waiting_bytes + len(data) > LINK_QUEUED_BYTES:
            self._lose(LinkError("The other process takes no messages any more.", code="link_overflow"))
            return False
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return True

    def close(self) -> None:
        """Ends the link; what was queued is still sent where the peer takes it at once. `on_lost` is not called."""
        if not self._ended:
            self._ended = True
            if self._transport is not None:
                self._transport.writelines(self._waiting)
                self._transport.close()
            self._forget()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: the stream is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came."""
        if not self._begun:
            # Pausing in connection_made would do, but uvloop starts to read regardless.
            self._early.append(data)
            if self._transport is not None:
                self._transport.pause_reading()
            return
        try:
            messages = self._decoder.feed(data)
        except LinkError as error:
            self._lose(error)
            return
        for message in messages:
            if self._ended:
                return
            self._on_message(message)

    def pause_writing(self) -> None:
        """asyncio's: the peer reads too slowly."""
        self._paused = True

    def resume_writing(self) -> None:
        """asyncio's: the peer has caught up."""
        self._paused = False
        while self._waiting and not self._paused and self._transport is not None:
            data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's: the stream has ended."""
        if not self._begun:
            self._early_end = (error,)
        elif not self._ended:
            self._lose(None if error is None or isinstance(error, ConnectionError) else LinkError(f"The link broke: {error}."))

    def _begin(self) -> None:
        self._begun = True
        if self._transport is None or self._ended:
            return
        early, self._early = self._early, []
        if early and not self._early_end:
            self._transport.resume_reading()
        for data in early:
            if not self._ended:
                self.data_received(data)
        if self._early_end:
            self.connection_lost(self._early_end[0])

    def _lose(self, reason: LinkError | None) -> None:
        self._ended = True
        self._forget()
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(reason)

    def _forget(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
