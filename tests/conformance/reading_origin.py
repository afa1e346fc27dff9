"""An origin with an opinion of its own: h11 tells where each message from the edge begins and ends, and what it says."""

from __future__ import annotations

import h11
import msgspec

from tests.edge.client1 import answers_in, request
from tests.edge.harness import Edge, Reader, Script, Writer

AFTER = request(b"GET /after", close=True)
"""Sent behind each case: it is served where the case was, and never where the case was refused."""


HOST = b"Host: gallery.test\r\n"


class Understood(msgspec.Struct):
    """A request as h11 understood it."""

    method: bytes
    target: bytes
    body: bytes = b""
    fields: list[tuple[bytes, bytes]] = []
    trailers: list[tuple[bytes, bytes]] = []

    @property
    def short(self) -> tuple[bytes, bytes, bytes]:
        """What most cases ask for."""
        return self.method, self.target, self.body

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field, lower-case name."""
        return [value for each, value in self.fields if each == name]


class Opinion:
    """What an origin made of all that it was sent."""

    def __init__(self, script: Script) -> None:
        self.begun = 0
        """Heads."""
        self.understood: list[Understood] = []
        """Whole requests."""
        self.faults: list[str] = []
        self.response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        script.handler = self._connected

    async def _connected(self, reader: Reader, writer: Writer) -> None:
        peer = h11.Connection(h11.SERVER, max_incomplete_event_size=200_000)
        now = Understood(b"", b"")
        while True:
            try:
                event = peer.next_event()
            except h11.RemoteProtocolError as error:
                if peer.trailing_data != (b"", True):
                    self.faults.append(str(error))
                return
            if event is h11.NEED_DATA:
                peer.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                self.begun += 1
                now = Understood(event.method, event.target, fields=list(event.headers))
            elif isinstance(event, h11.Data):
                now.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                now.trailers = list(event.headers)
                self.understood.append(now)
                peer.send(h11.Response(status_code=200, headers=[("content-length", "2")]))
                peer.send(h11.Data(data=b"ok"))
                peer.send(h11.EndOfMessage())
                writer.write(self.response)
                if peer.our_state is h11.MUST_CLOSE:
                    return
                peer.start_next_cycle()
            else:
                return


Outcome = tuple[list[int], list[tuple[bytes, bytes, bytes]], int]
"""Statuses that the client got, requests that the origin understood (method, target, body), and heads that it saw begin."""

SERVED_AFTER = (b"GET", b"/after", b"")


async def outcome(edge: Edge, opinion: Opinion, raw: bytes) -> Outcome:
    """What came of these bytes and AFTER on one connection."""
    begun, known = opinion.begun, len(opinion.understood)
    answers = await answers_in(await edge.exchange("gallery.test", raw + AFTER))
    assert all(answer.complete for answer in answers)
    return (
        [answer.status for answer in answers],
        [each.short for each in opinion.understood[known:]],
        opinion.begun - begun,
    )


async def outcomes(edge: Edge, opinion: Opinion, cases: dict[str, bytes]) -> dict[str, Outcome]:
    """The same for each of these."""
    return {name: await outcome(edge, opinion, raw) for name, raw in cases.items()}


def refused(status: int) -> Outcome:
    """One answer, the end of the connection, and nothing for the origin."""
    return [status], [], 0


def served(method: bytes, target: bytes, body: bytes = b"") -> Outcome:
    """Exactly this one request for the origin, and then what was sent behind it."""
    return [200, 200], [(method, target, body), SERVED_AFTER], 2


def line(first: bytes) -> bytes:
    """A request with this request line."""
    return first + b"\r\n" + HOST + b"\r\n"


def field(*lines: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """A request with these field lines."""
    return b"\r\n".join((method + b" / HTTP/1.1\r\nHost: gallery.test", *lines, b"", body))


async def all_refused(edge: Edge, opinion: Opinion, status: int, cases: dict[str, bytes]) -> None:
    """Each has this status, and nothing of it reaches the origin."""
    assert await outcomes(edge, opinion, cases) == dict.fromkeys(cases, refused(status))
