"""TLS towards an origin: a transport over the transport of the TCP connection.

uvloop's own would lose what an origin said last: where the origin closes without close_notify, as many do, what the reader has
not taken yet is thrown away, and so is what was not read when a write fails. Measured over HTTP/2 with a client that takes
its time: a megabyte of 5 was missing.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import Any, Protocol, cast

from edgeproxy.edge.tls import STEP, TlsLayer
from edgeproxy.edge.upstream.remains import Remains


class Reader(Protocol):
    """Who speaks over the connection (connection.OriginConnection): an asyncio.BufferedProtocol that says how much it takes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next plaintext goes, at most as much as this holds."""

    def buffer_updated(self, nbytes: int) -> None:
        """So much came."""

    def eof_received(self) -> bool | None:
        """close_notify came. A connection that ends without it was perhaps cut off (RFC 9112 section 9.8)."""

    def unwritable(self, exc: Exception) -> None:
        """Nothing can be written any more; what came before that is still brought."""

    def connection_lost(self, exc: Exception | None) -> None:
        """That was all."""

    def pause_writing(self) -> None:
        """Much is queued."""

    def resume_writing(self) -> None:
        """It has gone out."""


class TlsTransport(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of the TCP transport, and the reader's transport. `await ready` first: raises ssl.SSLError or OSError.

    `buffer` is where ciphertext lands, one for all; not the one of the plaintext. `preface` goes before TLS, in clear.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: Reader,
        context: ssl.SSLContext,
        hostname: str,
        buffer: memoryview,
        preface: bytes = b"",
    ) -> None:
        super().__init__()
        self._preface = preface
        self._loop = loop
        self._reader = reader
        self._tls = TlsLayer(context, server_side=False, server_hostname=hostname)
        self._buffer = buffer
        self._below: asyncio.Transport = cast(asyncio.Transport, None)
        self.ready: asyncio.Future[None] = loop.create_future()
        self._rest = memoryview(b"")
        """Ciphertext that was not decrypted yet, of one read at most: the reader takes no more."""
        self._error: ssl.SSLError | None = None
        self._over = False
        """Nothing more is decrypted: TLS is broken, or nobody wants it."""
        self._paused = False
        self._delivering = False
        self._said_end = False
        self._end: Callable[[], None] | None = None
        """What is left to say when everything is delivered. From then on there is nothing below."""

    # the TCP connection's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast(asyncio.Transport, transport)
        if self._preface:
            self._below.write(self._preface)
        self._shake_hands(memoryview(b""))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        came = self._buffer[:nbytes]
        if not self._tls.established:
            self._shake_hands(came)
            return
        self._rest = memoryview(bytes(self._rest) + came) if self._rest else came
        self._deliver()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._tls.established and not isinstance(self._below, Remains):
            try:
                remains = Remains(
                    self._loop, self._below, lambda: self._buffer, self.buffer_updated, lambda: self.connection_lost(exc)
                )
            except OSError:  # no descriptor is left for it
                pass
            else:
                self._below = remains
                if self._paused:
                    remains.pause_reading()
                self._reader.unwritable(exc)
                return
        if not self.ready.done():
            self.ready.set_exception(exc or ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "it closed the connection in the handshake"))
        elif self._end is None and self._tls.established:
            self._end = functools.partial(self._reader.connection_lost, exc)
            self._deliver()

    def pause_writing(self) -> None:
        self._reader.pause_writing()

    def resume_writing(self) -> None:
        self._reader.resume_writing()

    def _shake_hands(self, ciphertext: memoryview) -> None:
        tls, plain, output = self._tls, False, b""
        try:
            plain = bool(tls.feed(ciphertext))
            output = tls.pending()
        except ssl.SSLError as error:
            self._below.write(tls.last_words())
            self._below.close()
            if not self.ready.done():
                self.ready.set_exception(error)
            return
        if output:
            self._below.write(output)
        if tls.established and not self.ready.done():
            self._reader.connection_made(self)
            self.ready.set_result(None)
            if plain or tls.peer_closed:  # before it was asked anything
                self._below.abort()

    def _deliver(self) -> None:
        """Gives the reader what it takes, then the news of the end."""
        if self._delivering:
            return  # the reader went on within the call that brought it something
        self._delivering = True
        try:
            while not self._paused and (size := self._decrypt(self._reader.get_buffer(-1))):
                self._reader.buffer_updated(size)
        finally:
            self._delivering = False
        self._answer()
        if self._paused:
            if self._rest:
                self._rest = memoryview(bytes(self._rest))  # out of the buffer, which the next read is for
            return
        if self._tls.peer_closed and not self._said_end:
            self._said_end = True
            self._reader.eof_received()
            if self._end is None:
                self._below.close()
        if self._end is not None:
            end, self._end = self._end, _nothing
            self._loop.call_soon(end)

    def _decrypt(self, room: memoryview) -> int:
        """Bytes of plaintext that are there now, as many as fit."""
        tls, size = self._tls, 0
        try:
            while not self._over and size < len(room):
                came = tls.read_into(room[size:])
                size += came
                if not came:
                    if not self._rest:
                        break
                    tls.put(self._rest[:STEP])
                    self._rest = self._rest[STEP:]
        except ssl.SSLError as error:  # told when what came before is delivered
            self._error, self._over = error, True
        return size

    def _answer(self) -> None:
        """Sends what TLS itself has to say; ends the connection where the origin has broken TLS."""
        try:
            output = self._tls.pending() if self._error is None else b""
        except ssl.SSLError as error:
            self._error, output = error, b""
        if self._end is not None:
            return
        if self._error is not None:
            self._below.write(self._tls.last_words())
            self._below.close()
            self._end = functools.partial(self._reader.connection_lost, self._error)
        elif output:
            self._below.write(output)

    @property
    def certificate(self) -> bytes:
        """The origin's, DER, once `ready`."""
        return self._tls.certificate

    # the reader's side

    def write(self, data: Any) -> None:
        """Sends plaintext."""
        if self._end is None:
            if len(data) <= STEP:
                self._below.write(self._tls.seal(data))
            else:
                self._below.writelines(self._tls.seal_all(data))

    def pause_reading(self) -> None:
        """Brings nothing more."""
        self._paused = True
        if self._end is None:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Brings more, but not within this call."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._paused:
            self._deliver()
            if self._end is None and not self._paused:
                self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of ciphertext."""
        if self._end is None:
            self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes of ciphertext that are queued."""
        return self._below.get_write_buffer_size() if self._end is None else 0

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._end is not None or self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the TCP connection."""
        return self._below.get_extra_info(name, default)

    def abort(self) -> None:
        """Ends the connection at once; what was not read or sent yet is lost."""
        self._over = True
        self._paused = False
        if self._end is None:
            self._below.abort()
        else:
            self._deliver()

    close = abort


def _nothing() -> None:
    """The end was told."""
