"""The supervisor, as the controller sees it: questions with deadlines, links to workers, and the order to drain."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable

import structlog

from edgeproxy.errors import LinkError
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Alive, Drain, LinkEnd, Ready, Request, Result

log = structlog.get_logger("supervisor")

ALIVE_SECONDS = 2.0
"""Between two signs of life."""

QUESTIONS = 256
"""Questions that may wait for the supervisor at once."""


class Parent:
    """The controller's end of the channel.

    `on_link(worker, socket)` takes a fresh link over, `on_drain()` is called when the supervisor says so, `on_gone()` when
    it is gone: then nothing will ever answer here again.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_link: Callable[[int, socket.socket], Awaitable[None]],
        on_drain: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._channel = Channel(sock)
        self._on_link = on_link
        self._on_drain = on_drain
        self._on_gone = on_gone
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Result]] = {}

    async def run(self) -> None:
        """Reads what the supervisor says, until it is gone."""
        while True:
            try:
                received = await self._channel.receive()
            except LinkError as error:
                log.error("the supervisor sent something that is no message", error=error.detail)
                continue
            if received is None:
                self._on_gone()
                return
            message, sockets = received.message, list(received.sockets)
            if isinstance(message, LinkEnd) and sockets:
                await self._on_link(message.worker, sockets.pop(0))
            elif isinstance(message, Drain):
                self._on_drain()
            elif isinstance(message, Result):
                future = self._waiting.get(message.id)
                if future is not None and not future.done():
                    future.set_result(message)
            for unwanted in sockets:
                unwanted.close()

    def ready(self) -> None:
        """Tells the supervisor that this controller serves. One that is gone is `run`'s to notice."""
        with contextlib.suppress(LinkError):
            self._channel.send(Ready())

    async def live(self) -> None:
        """Gives the supervisor a sign of life now and again, until cancelled: from then on it replaces this process where there
        is none, because the loop hangs or the process is stopped. One that does not read for now is not sent more."""
        while True:
            if not self._channel.waiting:
                with contextlib.suppress(LinkError):
                    self._channel.send(Alive())
            await asyncio.sleep(ALIVE_SECONDS)

    async def ask(self, action: str, within: float) -> Result:
        """Has the supervisor "reload", "stop" or tell its "status"; raises LinkError when it does not answer in time."""
        if len(self._waiting) >= QUESTIONS:
            raise LinkError("Too many questions wait for the supervisor already.", code="busy")
        number = next(self._ids)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._channel.send(Request(id=number, action=action))
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise LinkError(f"The supervisor did not answer to {action} within {within:g} s.") from None
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Closes this end."""
        self._channel.close()
