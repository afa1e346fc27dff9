"""Accepting connections: from sockets that all workers share, fairly, and never more than there is room for."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

BATCH = 16
"""Connections accepted in one go. A worker that empties the whole queue leaves the others idle: with nothing done 400
connections fell 188, 107, 75 and 32 on four workers."""

YIELD_SECONDS = 0.002
"""A crowded worker lets the others go first for this long, then accepts all the same: they may be busy."""

EXHAUSTED_SECONDS = 0.2
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Accepted:
    """A connection that was accepted and has no transport yet: what the loop needs to know of a socket.

    Python's socket objects turn family and type into enumerations whenever somebody looks; that is a seventh of all calls
    for a connection that brings one request. The descriptor is the transport's to close once it has one.
    """

    __slots__ = ("_descriptor", "family")

    type = int(socket.SOCK_STREAM)

    def __init__(self, descriptor: int, family: int) -> None:
        self._descriptor = descriptor
        self.family = family

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def close(self) -> None:
        """The loop calls this when it has closed the descriptor itself."""

    def refuse(self) -> None:
        """Closes the connection, which gets no transport."""
        os.close(self._descriptor)


def packed(address: str) -> bytes:
    """What connections are counted under: an IPv4 address, or the /64 of an IPv6 address, which one customer has whole."""
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 4 else ip.packed[:8]


def peer_of(address: tuple[Any, ...]) -> str:
    """The client's address as a literal; IPv4 that came over an IPv6 socket as IPv4."""
    host = str(address[0]).partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host


class Acceptor:
    """Accepts from one listening socket.

    `admit(socket, peer)` takes a connection over. `crowded()` tells whether other workers should go first, `exhausted`
    is called when there are no descriptors or memory for another connection: it may make room.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        admit: Callable[[Accepted, str], None],
        crowded: Callable[[], bool],
        exhausted: Callable[[OSError], None],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._accept = listener._accept  # type: ignore[attr-defined]
        """As socket.accept calls it: a descriptor, closed on exec, and the address. The loop makes it non-blocking."""
        self._family = int(listener.family)
        self._admit = admit
        self._crowded = crowded
        self._exhausted = exhausted
        self._timer: asyncio.TimerHandle | None = None
        self._yielded = False
        self._closed = False
        listener.setblocking(False)
        loop.add_reader(listener.fileno(), self._ready)

    def close(self) -> None:
        """Closes this process's copy of the socket: what is queued or comes later is for the others."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _ready(self) -> None:
        if not self._yielded and self._crowded():
            self._yielded = True
            self._pause(YIELD_SECONDS)
            return
        self._yielded = False
        for _ in range(BATCH):
            try:
                descriptor, address = self._accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._exhausted(error)
                    self._pause(EXHAUSTED_SECONDS)
                    return
                continue  # this one connection is gone already (ECONNABORTED and its like, accept(2))
            self._admit(Accepted(descriptor, self._family), peer_of(address))

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._timer = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._timer = None
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._ready)
