"""The parsers that read what strangers send, each as a function of bytes that raises only where something is wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from edgeproxy.control.dns import wire
from edgeproxy.control.dns.zone import Zone, respond
from edgeproxy.edge import hello, http1, proxy_protocol
from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.headers import RequestLines, ResponseLines
from edgeproxy.limits import Limits

_LIMITS = Limits()
_REQUEST_LINES, _RESPONSE_LINES = RequestLines("workspace-id"), ResponseLines()
_ZONE = Zone("acme.example", ["ns.acme.example"], ["192.0.2.1"])
_TEXTS = {b"x": (b"%043d" % 1,)}


def client_hello(data: bytes) -> None:
    with contextlib.suppress(hello.HelloError):
        hello.parse(data, 4096)


def proxy_header(data: bytes) -> None:
    with contextlib.suppress(proxy_protocol.ProxyError):
        proxy_protocol.parse(data)


def request_head(data: bytes) -> None:
    with contextlib.suppress(http1.Refusal):
        http1.parse_request(data, _REQUEST_LINES, _LIMITS)


def response_head(data: bytes) -> None:
    with contextlib.suppress(http1.ResponseError):
        http1.parse_response(data, _RESPONSE_LINES, _LIMITS, b"GET", Beginning())


def chunks(data: bytes) -> None:
    """The first byte says where the rest is cut in two."""
    decoder, cut = http1.ChunkedDecoder(), 1 + data[0] if data else 0
    try:
        decoder.feed(data[1:cut])
        if not decoder.done:
            decoder.feed(data[cut:])
    except http1.ChunkError:
        pass


def dns_query(data: bytes) -> None:
    wire.parse(data)
    for udp in (True, False):
        respond(_ZONE, data, _TEXTS, 1, udp=udp, limited=False)


PARSERS: Final[dict[str, tuple[Callable[[bytes], None], str]]] = {
    "hello": (client_hello, "hello"),
    "dns": (dns_query, "dns"),
    "request": (request_head, "http1/requests"),
    "response": (response_head, "http1/responses"),
    "chunks": (chunks, "http1/requests"),
    "proxy": (proxy_header, ""),
}
"""By name: the parser, and the folder of the corpus that it begins with; "" where there is none."""
