"""What the answers for a site get beside what its origin says: the configured header set, and Strict-Transport-Security.

What is taken away from origins' answers is so by the meaning of its name (`headers.ResponseLines`), and costs nothing here.
An exchange whose route has a dressing becomes one of another class (`take`), as those do whose answers are compressed: all
others have no step more.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import TYPE_CHECKING

from edgeproxy.config.visitors import Http, Tls
from edgeproxy.edge.encoded import Encoded1, Encoded2
from edgeproxy.edge.exchange import Exchange
from edgeproxy.edge.exchange1 import Exchange1
from edgeproxy.edge.exchange2 import Exchange2
from edgeproxy.policies import Policies, parse_hsts

if TYPE_CHECKING:
    from edgeproxy.edge.headers import Field, ResponseHead

HSTS = b"strict-transport-security"


class Dressing:
    """For the answers of one route. Its methods take Unix time."""

    __slots__ = ("_added", "_hsts", "_hsts_from", "_lines")

    def __init__(self, added: Sequence[tuple[str, str]], hsts: bytes, hsts_from: float) -> None:
        """`added`: fields that answers get which have none of that name. `hsts`: what Strict-Transport-Security says from
        `hsts_from` on, instead of what the origin says; empty: nothing."""
        self._added = tuple((name.encode("ascii"), value.encode("ascii")) for name, value in added)
        self._lines = {name: name + b": " + value for name, value in self._added}
        self._hsts = hsts
        self._hsts_from = hsts_from

    def take(self, exchange: Exchange) -> None:
        """Makes the exchange one that dresses its answer. To be called before its origin is asked."""
        exchange.__class__ = _DRESSED.get(type(exchange), type(exchange))

    def dress(self, head: ResponseHead, now: float) -> None:
        """Changes the head of an origin's answer, which is nobody else's."""
        # Without what is dropped, which a line that is added may be like to the letter.
        fields, raw = head.fields, head.lines.copy()
        head.raw, head.dropped, head.whole = raw, [], b""
        names = {field[0] for field in fields}
        if self._hsts and now >= self._hsts_from:
            if HSTS in names:  # a browser takes the first (RFC 6797 section 8.1), and there is to be one
                fields = head.fields = [field for field in fields if field[0] != HSTS]
                raw[:] = [line for line in raw if line.partition(b":")[0].lower() != HSTS]
            fields.append((HSTS, self._hsts))
            raw.append(HSTS + b": " + self._hsts)
        for field in self._added:
            if field[0] not in names:
                fields.append(field)
                raw.append(self._lines[field[0]])

    def dressed(self, fields: list[Field], now: float) -> list[Field]:
        """The fields of an answer of the edge's own, with what it has not."""
        names = {field[0] for field in fields}
        more = [field for field in self._added if field[0] not in names]
        if self._hsts and now >= self._hsts_from:
            more.append((HSTS, self._hsts))
        return fields + more


class Dressed(Exchange, eq=False):
    """See Exchange, whose method this is. What is dressed is compressed after it, where it is."""

    def response(self, head: ResponseHead, body: bytes, done: bool) -> None:
        destination = self.destination
        if destination is not None and destination.route.dressing is not None:
            destination.route.dressing.dress(head, time())
        super().response(head, body, done)


class Dressed1(Dressed, Exchange1, eq=False):
    """Of a client that speaks HTTP/1.1."""


class Dressed2(Dressed, Exchange2, eq=False):
    """Of a client that speaks HTTP/2."""


class DressedEncoded1(Dressed, Encoded1, eq=False):
    """Of a client that speaks HTTP/1.1, whose answer may be compressed."""


class DressedEncoded2(Dressed, Encoded2, eq=False):
    """Of a client that speaks HTTP/2, whose answer may be compressed."""


_DRESSED: dict[type[Exchange], type[Exchange]] = {
    Exchange1: Dressed1,
    Exchange2: Dressed2,
    Encoded1: DressedEncoded1,
    Encoded2: DressedEncoded2,
}


def dressing(http: Http, tls: Tls, own: Policies | None, stable_since: float) -> Dressing | None:
    """By the configuration and a site's own policies; None where answers are left as they are.

    `stable_since`: since when, in Unix time, the name has been served under a certificate in good order; 0: it is not.
    """
    added = dict(_split(line) for line in http.headers)
    if own is not None and own.headers:
        added |= own.headers
    hsts, since = _hsts(tls, own, stable_since)
    kept = [(name, value) for name, value in added.items() if value]
    return Dressing(kept, hsts, since) if kept or hsts else None


def _hsts(tls: Tls, own: Policies | None, stable_since: float) -> tuple[bytes, float]:
    """What is said, and from when on."""
    text = (own.hsts if own is not None else "") or tls.hsts
    said = parse_hsts(text) if text else None
    if said is None:
        return b"", 0.0
    if not said.max_age:  # to have browsers forget cannot be too early
        return said.value, 0.0
    return (said.value, stable_since + tls.hsts_after) if stable_since else (b"", 0.0)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()
