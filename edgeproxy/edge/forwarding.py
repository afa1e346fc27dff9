"""What the edge tells the origin about the client: the forwarding headers. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z").match
_MAX_CHAIN = 2048


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
            b" edgeproxy\r\n",
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
        said.setdefault(name, []).append(value)
    quoted = authority if b":" not in authority else b'"' + authority + b'"'
    chain = b", ".join([*said.pop(b"x-forwarded-for", []), address.encode("ascii")])[-_MAX_CHAIN:]
    element = b"for=" + node(address) + b";host=" + quoted + b";proto=https"
    forwarded = b", ".join([*said.pop(b"forwarded", []), element])[-_MAX_CHAIN:]
    ids = said.pop(b"x-request-id", [])
    out = [b"x-forwarded-for: " + chain, b"forwarded: " + forwarded, b"via: " + protocol + b" edgeproxy"]
    said.setdefault(b"x-forwarded-proto", [b"https"])
    said.setdefault(b"x-forwarded-host", [authority])
    out += [name + b": " + value for name, values in said.items() for value in values[:1]]
    request_id = ids[0] if len(ids) == 1 and _REQUEST_ID(ids[0]) else None
    return b"\r\n".join(out) + b"\r\n", request_id
