"""The PROXY protocol, versions 1 and 2: what a load balancer says about its client before the client's first byte. Pure.

After the specification in HAProxy's doc/proxy-protocol.txt (2020/03/05), and strictly: a header that is wrong anywhere is
nobody's, since what it says is believed.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final

import msgspec

V1_MAX: Final = 107
"""Bytes of a version 1 header with its CRLF: the longest that the specification allows for (section 2.1)."""

V2_MAX: Final = 4096
"""Bytes behind the fixed part of a version 2 header. The addresses have 36 at most; the rest are TLVs, of which balancers send
some hundred bytes, client certificates' names included. The format would allow 65,535."""

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1: Final = b"PROXY "
_FIXED: Final = struct.Struct(">12sBBH")
_IPV4: Final = struct.Struct(">4s4sHH")
_IPV6: Final = struct.Struct(">16s16sHH")
_TLV: Final = 3
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES: Final = {0x1: _IPV4.size, 0x2: _IPV6.size, 0x3: 216}
"""Bytes of the addresses by family; AF_UNIX has two paths of 108."""
_TRANSPORTS: Final = 2
"""The last transport there is: unspecified, stream, datagram."""

_PORT: Final = r"(0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(rf"PROXY (TCP[46]) ([0-9a-fA-F.:]{{2,39}}) ([0-9a-fA-F.:]{{2,39}}) {_PORT} {_PORT}\Z".encode())


class ProxyError(Exception):
    """No header of this protocol, or a broken one; the text says why."""


class Endpoints(msgspec.Struct, frozen=True):
    """Both ends of a TCP connection, addresses as literals. IPv4 that came as IPv6 is IPv4, as everywhere."""

    source: str
    source_port: int
    destination: str
    destination_port: int


class Header(msgspec.Struct, frozen=True):
    """What was said."""

    size: int
    """Bytes of the header; what follows is the client's."""
    endpoints: Endpoints | None
    """None where there is no client with an address: the balancer speaks for itself (LOCAL, a health check), or has one that
    came by a Unix socket, or that it does not know."""


def parse(data: bytes) -> Header | None:
    """The header at the beginning of a connection; None while it is incomplete. Raises ProxyError as soon as it cannot be one.

    Has all it wants to know after V1_MAX or V2_MAX + 16 bytes.
    """
    if data[:1] == b"P":
        return _version_1(data)
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ProxyError("it does not begin with a PROXY protocol header")
    if len(data) < _FIXED.size:
        return None
    return _version_2(data)


def _version_1(data: bytes) -> Header | None:
    if data[: len(_V1)] != _V1[: len(data)]:
        raise ProxyError("it does not begin with a PROXY protocol header")
    end = data.find(b"\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise ProxyError(f"its version 1 header has no end within {V1_MAX} bytes")
        return None
    line = data[: end - 1]
    if data[end - 1 : end] != b"\r" or b"\r" in line:
        raise ProxyError("its version 1 header does not end with CRLF alone")
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):  # what follows is to be ignored (section 2.1)
        return Header(end + 1, None)
    match = _LINE.match(line)
    if match is None:
        raise ProxyError("its version 1 header is malformed")
    family, source, destination, source_port, destination_port = (group.decode("ascii") for group in match.groups())
    kind = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        return Header(
            end + 1,
            Endpoints(_literal(kind(source)), _port(source_port), _literal(kind(destination)), _port(destination_port)),
        )
    except ValueError:
        raise ProxyError("its version 1 header has an address or port that is none") from None


def _version_2(data: bytes) -> Header | None:
    _, command, kind, length = _FIXED.unpack_from(data)
    if command not in (_LOCAL, _PROXY):
        raise ProxyError(f"its version 2 header has the version and command 0x{command:02x}")
    family, transport = kind >> 4, kind & 0x0F
    if command == _PROXY and (family > max(_ADDRESSES) or transport > _TRANSPORTS):
        raise ProxyError(f"its version 2 header has the family and transport 0x{kind:02x}")
    if length > V2_MAX:
        raise ProxyError(f"its version 2 header has {length} bytes; {V2_MAX} are read")
    addresses = _ADDRESSES.get(family, 0) if command == _PROXY else 0
    if length < addresses:
        raise ProxyError(f"its version 2 header has {length} bytes where the addresses alone have {addresses}")
    size = _FIXED.size + length
    if len(data) < size:
        return None
    if command == _LOCAL or not family:  # whatever follows is to be skipped (section 2.2)
        return Header(size, None)
    _skip(data[_FIXED.size + addresses : size])
    if kind == _TCP4:
        return Header(size, _endpoints(_IPV4, data))
    if kind == _TCP6:
        return Header(size, _endpoints(_IPV6, data))
    return Header(size, None)


def _skip(tlvs: bytes) -> None:
    """Nothing in them counts here, but that their lengths agree with the header's."""
    position = 0
    while position < len(tlvs):
        if position + _TLV > len(tlvs):
            break
        position += _TLV + int.from_bytes(tlvs[position + 1 : position + _TLV])
    if position != len(tlvs):
        raise ProxyError("its version 2 header has TLVs whose lengths are not the header's")


def _endpoints(layout: struct.Struct, data: bytes) -> Endpoints:
    source, destination, source_port, destination_port = layout.unpack_from(data, _FIXED.size)
    return Endpoints(
        _literal(ipaddress.ip_address(source)), source_port, _literal(ipaddress.ip_address(destination)), destination_port
    )


def _literal(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _port(text: str) -> int:
    port = int(text)
    if port > 0xFFFF:
        raise ValueError(text)
    return port


def build(version: str, endpoints: Endpoints) -> bytes:
    """The header with which a connection to an origin begins, of version "v1" or "v2": whose connection it is."""
    source, destination = ipaddress.ip_address(endpoints.source), ipaddress.ip_address(endpoints.destination)
    ports = endpoints.source_port, endpoints.destination_port
    if source.version != destination.version:  # both must be of one family
        source, destination = _wide(source), _wide(destination)
    if version == "v1":
        return b"PROXY TCP%d %b %b %d %d\r\n" % (source.version, str(source).encode(), str(destination).encode(), *ports)
    kind, layout = (_TCP4, _IPV4) if source.version == 4 else (_TCP6, _IPV6)
    return _FIXED.pack(SIGNATURE, _PROXY, kind, layout.size) + layout.pack(source.packed, destination.packed, *ports)


def _wide(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(f"::ffff:{address}") if isinstance(address, ipaddress.IPv4Address) else address
