"""Where an origin's name points, asked so often that a change is followed; and the first of its addresses that answers."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name, most preferred first; raises OSError (socket.gaierror)."""

FRESH_SECONDS: Final = 5.0
"""How long an answer is taken for true without asking again. The system's resolver does not tell the record's TTL."""

STALE_SECONDS: Final = 3600.0
"""How long the last answer serves where the resolver has none to give: that it is down does not mean that the origin is."""

LOOK_SECONDS: Final = 30.0
"""How often the name is looked up for the sake of connections that are there already. By this an origin's new address is
followed, however busy the connections to the old one are."""

ATTEMPT_SECONDS: Final = 0.25
"""How long one address may take before the next is tried beside it (RFC 8305 section 5: 250 ms)."""


async def system(host: str, port: int) -> list[str]:
    """As the system's resolver says, in its order (RFC 6724)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Addresses:
    """The addresses of one origin. `now` is monotonic. One question at a time, whoever asks."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._asked_at = float("-inf")
        self._asking: asyncio.Future[list[str]] | None = None
        self.known: list[str] = []
        """The last answer."""
        self.fixed = True
        """There is nothing to look up."""
        if host == "localhost" or host.endswith(".localhost"):
            self.known = ["127.0.0.1"]  # RFC 6761 section 6.3; the system's resolver may not know
            return
        if not host:  # a Unix socket
            return
        try:
            self.known = [str(ipaddress.ip_address(host))]
        except ValueError:
            self.fixed = False

    async def get(self, resolve: Resolve, now: float) -> list[str]:
        """The addresses, of FRESH_SECONDS ago at most where the resolver answers. Raises OSError."""
        if self.fixed or now - self._asked_at < FRESH_SECONDS:
            return self.known
        if self._asking is None:
            self._asking = asyncio.ensure_future(resolve(self._host, self._port))
            self._asking.add_done_callback(self._asked)
        try:
            found = await asyncio.shield(self._asking)
        except OSError:
            if self.known and now - self._asked_at < STALE_SECONDS:
                return self.known
            raise
        self.known, self._asked_at = found, now
        return found

    def _asked(self, asking: asyncio.Future[list[str]]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # whoever waits is told; nobody may


def interleaved(addresses: Sequence[str]) -> list[str]:
    """The families by turns, each in its order, that of the first address first (RFC 8305 section 4)."""
    six = ":" in addresses[0] if addresses else False
    first = [each for each in addresses if (":" in each) == six]
    other = [each for each in addresses if (":" in each) != six]
    return [each for pair in itertools.zip_longest(first, other) for each in pair if each is not None]


async def connect_first(addresses: Sequence[str], port: int) -> socket.socket:
    """A connected socket: the first that there is, of attempts that begin one after the other (RFC 8305 section 5).

    Raises OSError, that of the last address that failed.
    """
    waiting, running = deque(interleaved(addresses)), set[asyncio.Task[socket.socket]]()
    error = OSError("it has no address")
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_connect(waiting.popleft(), port)))
            done, _ = await asyncio.wait(
                running, timeout=ATTEMPT_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                failed = task.exception()
                if failed is None:
                    running.discard(task)
                    return task.result()
                running.discard(task)
                if not isinstance(failed, OSError):
                    raise failed
                error = failed
        raise error
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close)


async def _connect(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, os.strerror(error.errno) if error.errno else str(error)) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _close(task: asyncio.Task[socket.socket]) -> None:
    """An attempt that is not needed any more, and has come through all the same."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
