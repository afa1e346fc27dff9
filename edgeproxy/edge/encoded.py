"""Exchanges whose answers may be compressed on their way.

An exchange becomes such a one when its route is known (exchange.Exchange._route), by another class: those of sites that are
not compressed have no step more. Nothing else changes: what the origin's connection brings comes here, and goes on compressed
to the methods that send it.

One read of the origin is compressed at a time, PIECE at most, so that a long answer takes turns with everything else; whether
the next one is read is the client's doing, as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeproxy.edge.compressor import COMPRESSORS, Compressor
from edgeproxy.edge.encoding import Rules, Wishes, compressible, encoded_head, refreshed_head, rules, wishes, with_vary
from edgeproxy.edge.exchange import Exchange
from edgeproxy.edge.exchange1 import Exchange1
from edgeproxy.edge.exchange2 import Exchange2
from edgeproxy.limits import RELAY_BUFFER
from edgeproxy.policies import NONE, Policies

if TYPE_CHECKING:
    from edgeproxy.config.structs import Config
    from edgeproxy.edge.access import Access
    from edgeproxy.edge.headers import ResponseHead

PIECE: Final = 32 * 1024
"""Bytes of an answer that are compressed in one go: a millisecond."""


class Places:
    """How many compressors a worker has for answers that come in pieces. Those that come whole have one only for a moment."""

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        self.left = count


class Encodings:
    """The answers of a site are compressed by these rules."""

    __slots__ = ("places", "rules")

    def __init__(self, known: Rules, places: Places) -> None:
        self.rules = known
        self.places = places

    def take(self, exchange: Exchange) -> None:
        """Makes the exchange one whose answer may be compressed. To be called before its origin is asked."""
        asked = wishes(exchange.request, self.rules)
        if asked.open and not exchange.request.upgrade:
            exchange.encoding = Encoding(self, asked, exchange.connection.worker.access)
            exchange.__class__ = Encoded1 if isinstance(exchange, Exchange1) else Encoded2


class RouteEncodings:
    """How the answers of each route are compressed, of one worker."""

    __slots__ = ("_config", "_usual", "places")

    def __init__(self, config: Config) -> None:
        self._config = config.compression
        self.places = Places(config.limits.compressed_answers)
        self._usual = self._made(NONE)

    def of_route(self, own: Policies | None) -> Encodings | None:
        """For a domain with or without settings of its own; None where nothing is compressed."""
        if own is None or not (own.compression or own.compression_never):
            return self._usual
        return self._made(own)

    def _made(self, own: Policies) -> Encodings | None:
        known = rules(self._config, own)
        return Encodings(known, self.places) if known is not None else None


class Encoding:
    """What an exchange knows of it."""

    __slots__ = ("access", "compressor", "of", "packed", "size", "wishes")

    def __init__(self, of: Encodings, asked: Wishes, access: Access) -> None:
        self.of = of
        self.access = access
        self.wishes = asked
        self.compressor: Compressor | None = None
        """While an answer comes in pieces."""
        self.size = self.packed = 0
        """Bytes of those so far, and of what they became."""

    def begin(self) -> Compressor | None:
        """A compressor for an answer that comes in pieces, where there is a place for one."""
        if self.of.places.left > 0:
            self.of.places.left -= 1
            self.compressor = COMPRESSORS[self.wishes.coding]()
        return self.compressor

    def feed(self, compressor: Compressor, data: bytes | memoryview, *, last: bool = False) -> bytes:
        """A piece, compressed."""
        packed = compressor.finish(data) if last else compressor.feed(data)
        self.size += len(data)
        self.packed += len(packed)
        return packed

    def end(self) -> None:
        """It is not needed any more."""
        if self.compressor is not None:
            self.compressor = None
            self.of.places.left += 1
            self.access.compressed(self.wishes.coding, self.size, self.packed)


class Encoded(Exchange, eq=False):
    """See Exchange, whose methods these are."""

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        super().response(*self._encoded(head, body, done), done)

    def _encoded(self, head: ResponseHead, body: bytes, done: bool) -> tuple[ResponseHead, bytes]:
        """The answer's head and the first part of its content as they are sent."""
        encoding = self.encoding
        coding = encoding.wishes.coding
        if not compressible(head, encoding.of.rules):
            if head.status == 304 and encoding.wishes.none_match:
                head = refreshed_head(head, encoding.wishes.none_match)
            return head, body
        if coding and self.request.method == b"HEAD":  # is told what GET is (RFC 9110 section 9.3.2)
            head = encoded_head(head, coding, None)
            head.length = 0  # of what follows
            return head, body
        if coding and done:
            packed = COMPRESSORS[coding]().finish(body)
            if len(packed) < len(body):
                encoding.access.compressed(coding, len(body), len(packed))
                return encoded_head(head, coding, len(packed)), packed
        elif coding and (compressor := encoding.begin()) is not None:
            return encoded_head(head, coding, None), encoding.feed(compressor, body) if body else b""
        return with_vary(head), body

    def data(self, data: bytes | memoryview, done: bool) -> None:
        compressor = self.encoding.compressor
        if compressor is None:
            super().data(data, done)
        elif not done:
            super().data(self.encoding.feed(compressor, data), False)
        else:  # the length was known, and is another one now
            self._finish(compressor, data)
            super().end([])

    def end(self, trailers: list[bytes]) -> None:
        compressor = self.encoding.compressor
        if compressor is not None:
            self._finish(compressor, b"")
        super().end(trailers)

    def _finish(self, compressor: Compressor, data: bytes | memoryview) -> None:
        last = self.encoding.feed(compressor, data, last=True)
        self.encoding.end()
        super().data(last, False)

    def client_gone(self) -> None:
        self.encoding.end()
        super().client_gone()

    def truncate(self) -> None:
        self.encoding.end()
        super().truncate()

    def room(self) -> int:
        return min(super().room(), PIECE)

    def client_ready(self, room: int = RELAY_BUFFER) -> None:
        super().client_ready(min(room, PIECE))


class Encoded1(Encoded, Exchange1, eq=False):
    """Of a client that speaks HTTP/1.1."""


class Encoded2(Encoded, Exchange2, eq=False):
    """Of a client that speaks HTTP/2."""
