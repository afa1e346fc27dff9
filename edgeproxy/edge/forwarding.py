"""What the origin gets of a request: its head, with what the edge tells about the client. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from edgeproxy.edge.headers import RequestHead

if TYPE_CHECKING:
    from edgeproxy.edge.route import Route

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z").match
_MAX_CHAIN = 2048
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?\Z").match
_LENGTH_WANTED = frozenset((b"POST", b"PUT", b"PATCH"))
"""Methods whose empty body is said to be empty (RFC 9110 section 8.6): some origins answer 411 otherwise."""


class Destination(msgspec.Struct, frozen=True, eq=False):
    """Where the requests of one client connection for one authority go. Kept by the connection: nearly all of its requests
    have the same."""

    authority: bytes
    """As clients sent it."""
    route: Route
    lines: bytes
    """What is added to each request: the workspace and the forwarding fields, up to and with the name x-request-id."""
    host: bytes = b""
    """The origin's own authority, where its Host is to be that."""


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether a peer's own forwarding headers are believed (`listen.trusted_proxies`)."""
    if not trusted:
        return False
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in trusted)


def without_port(text: str) -> str:
    """An element of X-Forwarded-For as an address: some balancers write the client's port behind it, and IPv6 in brackets."""
    text = text.strip()
    match = _WITH_PORT(text)
    return match[1] or match[2] if match is not None else text


def chain_of(sent: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """The addresses of X-Forwarded-For, the last first, up to one that cannot be read."""
    chain = b",".join(value for name, value in sent if name == b"x-forwarded-for")[-_MAX_CHAIN:]
    for part in reversed(chain.decode("latin-1").split(",")):
        address = without_port(part)
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return
        yield address


def client_of(sent: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """The client that a chain of trusted proxies tells of: the last address of X-Forwarded-For that is none of theirs. Empty
    where there is none, or what stands there is no address."""
    return next((address for address in chain_of(sent) if not is_trusted(address, trusted)), "")


def node(address: str) -> bytes:
    """An address as a node of Forwarded (RFC 7239 section 6): IPv6 in brackets and quotes."""
    return f'"[{address}]"'.encode("ascii") if ":" in address else address.encode("ascii")


def lines(address: str, authority: bytes, protocol: bytes, *, scheme: bytes = b"https") -> bytes:
    """The lines for a client that is believed nothing. Each ends with CRLF; the request id's line is left to the caller.

    `protocol` is the version by which the request came, for Via: b"1.1" or b"2".
    """
    quoted = authority if b":" not in authority else b'"' + authority + b'"'
    return b"".join(
        (
            b"x-forwarded-for: ",
            address.encode("ascii"),
            b"\r\nx-forwarded-proto: ",
            scheme,
            b"\r\nx-forwarded-host: ",
            authority,
            b"\r\nforwarded: for=",
            node(address),
            b";host=",
            quoted,
            b";proto=",
            scheme,
            b"\r\nvia: ",
            protocol,
            b" edgeproxy\r\ncdn-loop: edgeproxy\r\n",
        )
    )


def trusted_lines(
    address: str, authority: bytes, protocol: bytes, sent: Sequence[tuple[bytes, bytes]]
) -> tuple[bytes, bytes | None]:
    """As `lines`, for a trusted proxy: its chain is extended by its own address, and what else it says is passed on.

    Also the request id that it sent, if it is a sane one.
    """
    said: dict[bytes, list[bytes]] = {}
    for name, value in sent:
        if name.startswith(b"x-forwarded-") or name in (b"forwarded", b"x-request-id"):
            said.setdefault(name, []).append(value)
    quoted = authority if b":" not in authority else b'"' + authority + b'"'
    chain = b", ".join([*said.pop(b"x-forwarded-for", []), address.encode("ascii")])[-_MAX_CHAIN:]
    element = b"for=" + node(address) + b";host=" + quoted + b";proto=https"
    forwarded = b", ".join([*said.pop(b"forwarded", []), element])[-_MAX_CHAIN:]
    ids = said.pop(b"x-request-id", [])
    out = [
        b"x-forwarded-for: " + chain,
        b"forwarded: " + forwarded,
        b"via: " + protocol + b" edgeproxy",
        b"cdn-loop: edgeproxy",
    ]
    said.setdefault(b"x-forwarded-proto", [b"https"])
    said.setdefault(b"x-forwarded-host", [authority])
    out += [name + b": " + value for name, values in said.items() for value in values[:1]]
    request_id = ids[0] if len(ids) == 1 and _REQUEST_ID(ids[0]) else None
    return b"\r\n".join(out) + b"\r\n", request_id


def destination(
    peer: str, request: RequestHead, route: Route, *, trusted: bool, own_host: bool
) -> tuple[Destination, bytes | None]:
    """Where a request of a client with this address goes, and the request id that it came with, if that is to be kept.

    What a peer that is not `trusted` says about itself is not passed on. `own_host`: the origin gets its own Host.
    """
    protocol = b"2" if request.version == 2 else b"1.%d" % request.version
    request_id = None
    if trusted:
        added, request_id = trusted_lines(peer, request.authority, protocol, request.forwarded)
    else:
        added = lines(peer, request.authority, protocol)
    host = route.target.authority.encode("ascii") if own_host else b""
    return Destination(request.authority, route, route.workspace_line + added + b"x-request-id: ", host), request_id


def origin_head(request: RequestHead, destination: Destination, request_id: bytes) -> bytes:
    """The request's head as the origin gets it, empty line included."""
    head = request.head
    if destination.host:
        head = _with_host(head, destination.host)
    if request.length or request.upgrade or request.method in _LENGTH_WANTED:
        head += _framing(request)
    return b"".join((head, destination.lines, request_id, b"\r\n\r\n"))


def _framing(request: RequestHead) -> bytes:
    if request.upgrade:
        return b"connection: upgrade\r\nupgrade: websocket\r\n"
    expect = b"expect: 100-continue\r\n" if request.expect else b""
    if request.length < 0:
        return b"transfer-encoding: chunked\r\n" + expect
    return b"content-length: %d\r\n" % request.length + expect


def _with_host(head: bytes, authority: bytes) -> bytes:
    """The head with another Host."""
    lines = head.split(b"\r\n")
    kept = [line for line in lines[1:] if line[:5].lower() != b"host:"]
    return b"\r\n".join((lines[0], b"host: " + authority, *kept))
