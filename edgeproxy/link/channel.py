"""The channel between the supervisor and one child: packets (SEQPACKET) that may carry sockets (SCM_RIGHTS).

Its end is a message too: a child whose channel has ended has lost its supervisor. The controller then ends at once; a
worker closes its listeners and drains. The supervisor uses it without an event loop (`send`, `read`), a child with asyncio
(`send`, `receive` or `async for`).
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import dataclasses
import os
import socket
from collections import deque
from collections.abc import Sequence

from edgeproxy.errors import LinkError
from edgeproxy.limits import CHANNEL_MESSAGE, CHANNEL_QUEUE
from edgeproxy.link import frames
from edgeproxy.link.messages import ChannelMessage

_DESCRIPTOR = array.array("i").itemsize
_ANCILLARY = socket.CMSG_LEN(4 * _DESCRIPTOR)
"""Room for the descriptors of one message; no message has more than one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A message and the sockets that came with it. Who takes it owns them."""

    message: ChannelMessage
    sockets: tuple[socket.socket, ...] = ()


class Channel:
    """One end of a channel. The socket is made non-blocking and belongs to the channel."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = frames.channel_decoder()
        self._outgoing: deque[tuple[bytes, tuple[socket.socket, ...]]] = deque()
        self._received: deque[Received] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken = False
        self.ended = False
        """Whether the other end is gone. Messages that came before it may still be waiting to be taken."""

    @staticmethod
    def pair() -> tuple[Channel, socket.socket]:
        """The supervisor's end, and the socket for `ChildStart.channel`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(ours), theirs

    def fileno(self) -> int:
        """For select and poll; -1 once closed."""
        return self._sock.fileno()

    @property
    def waiting(self) -> bool:
        """Whether messages wait for the other end to read: call `flush` when the descriptor is writable."""
        return bool(self._outgoing)

    def send(self, message: ChannelMessage, sockets: Sequence[socket.socket] = ()) -> None:
        """Sends a message, with sockets if any; never waits.

        The sockets belong to the channel from here on, also when it raises: its copies are closed when they are sent.
        Raises LinkError when the other end is gone, when the message is longer than `limits.CHANNEL_MESSAGE`, or when
        `limits.CHANNEL_QUEUE` messages were left unread (the other process hangs).
        """
        owned = tuple(sockets)
        try:
            data = frames.packet(message, CHANNEL_MESSAGE)
            if self.ended or self._broken:
                raise LinkError("The other process is gone.")
            if len(self._outgoing) >= CHANNEL_QUEUE:
                raise LinkError("The other process does not read its messages.", code="link_overflow")
        except LinkError:
            _close(owned)
            raise
        self._outgoing.append((data, owned))
        self.flush()
        if self._outgoing and self._loop is not None:
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def flush(self) -> None:
        """Sends what waits, as far as the other end takes it. Raises LinkError when it is gone."""
        while self._outgoing:
            data, sockets = self._outgoing[0]
            try:
                self._sock.sendmsg([data], _rights(sockets), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                self._broken = True  # only for sending: its last words may still wait to be read
                self._drop_outgoing()
                raise LinkError(f"The other process is gone ({os.strerror(error.errno or 0)}).") from None
            self._outgoing.popleft()
            _close(sockets)

    def read(self) -> list[Received]:
        """All messages that are there now; sets `ended` when the other end is gone. Never waits.

        Raises LinkError for something that is not a message; the packet is consumed, reading may go on.
        """
        received: list[Received] = []
        while not self.ended and (packet := self._read_packet()) is not None:
            data, sockets = packet
            try:
                message = self._decoder.decode(data)
            except LinkError:
                _close(sockets)
                self._received.extendleft(reversed(received))
                raise
            if message is None:
                _close(sockets)
            else:
                received.append(Received(message, sockets))
        if self._received:
            received[:0] = self._received
            self._received.clear()
        return received

    async def receive(self) -> Received | None:
        """The next message; None when the supervisor is gone. Only one task may wait at a time.

        Raises LinkError for something that is not a message; receiving may go on.
        """
        while True:
            if not self._received:
                self._received.extend(self.read())
            if self._received:
                return self._received.popleft()
            if self.ended:
                return None
            await self._readable()

    def __aiter__(self) -> Channel:
        return self

    async def __anext__(self) -> Received:
        received = await self.receive()
        if received is None:
            raise StopAsyncIteration
        return received

    def close(self) -> None:
        """Closes this end, and every socket that was not sent or not taken."""
        self._end()
        for received in self._received:
            _close(received.sockets)
        self._received.clear()
        self._sock.close()

    def _read_packet(self) -> tuple[bytes, tuple[socket.socket, ...]] | None:
        """One packet; None when there is none now, or the other end is gone."""
        while True:
            try:
                # Not socket.recv_fds: it drops its flags, so that descriptors would come without close-on-exec.
                data, ancillary, flags, _ = self._sock.recvmsg(CHANNEL_MESSAGE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # The peer ended without reading what we sent. The kernel reports that before its last words: read on.
                continue
            except OSError:
                self._end()
                return None
            sockets = _sockets(ancillary)
            if not data:
                self._end()
                return None
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                _close(sockets)
                raise LinkError("A message over the bound came; it was cut off.", code="link_malformed", retryable=False)
            return data, sockets

    async def _readable(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._sock.fileno(), lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            if self._sock.fileno() >= 0:
                loop.remove_reader(self._sock.fileno())

    def _writable(self) -> None:
        """A child's queue goes on; that the supervisor is gone is seen by `receive`."""
        if self._loop is None:
            return
        with contextlib.suppress(LinkError):
            self.flush()
        if not self._outgoing:
            self._loop.remove_writer(self._sock.fileno())

    def _end(self) -> None:
        self.ended = True
        self._drop_outgoing()

    def _drop_outgoing(self) -> None:
        if self._loop is not None and self._outgoing and self._sock.fileno() >= 0:
            self._loop.remove_writer(self._sock.fileno())
        for _, sockets in self._outgoing:
            _close(sockets)
        self._outgoing.clear()


def _rights(sockets: Sequence[socket.socket]) -> list[tuple[int, int, array.array[int]]]:
    if not sockets:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [each.fileno() for each in sockets]))]


def _sockets(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[socket.socket, ...]:
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
    return tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()
