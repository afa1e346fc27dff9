"""The header of the PROXY protocol: what is one, what is none, and when that is known."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from edgeproxy.edge.proxy_protocol import SIGNATURE, V1_MAX, V2_MAX, Endpoints, Header, ProxyError, build, parse

LONGEST = b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n"


def version2(kind: int, block: bytes, *, command: int = 0x21, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, kind, len(block) if length is None else length) + block


def addresses(source: str, destination: str, ports: tuple[int, int] = (5000, 443)) -> bytes:
    packed = b"".join(ipaddress.ip_address(each).packed for each in (source, destination))
    return packed + struct.pack(">HH", *ports)


IPV4 = addresses("203.0.113.7", "192.0.2.1")
IPV6 = addresses("2001:db8::7", "2001:db8::1")
CLIENT4 = Endpoints("203.0.113.7", 5000, "192.0.2.1", 443)
CLIENT6 = Endpoints("2001:db8::7", 5000, "2001:db8::1", 443)


@pytest.mark.parametrize(
    ("data", "endpoints"),
    [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\r\n", CLIENT4),
        (b"PROXY TCP6 2001:db8::7 2001:DB8::1 5000 443\r\n", CLIENT6),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.1 5000 443\r\n", CLIENT4),
        (LONGEST, Endpoints("ffff:" * 7 + "ffff", 65535, "ffff:" * 7 + "ffff", 65535)),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 0 0\r\n", Endpoints("203.0.113.7", 0, "192.0.2.1", 0)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
        (version2(0x11, IPV4), CLIENT4),
        (version2(0x21, IPV6), CLIENT6),
        (version2(0x21, addresses("::ffff:203.0.113.7", "::ffff:192.0.2.1")), CLIENT4),
        (version2(0x11, IPV4 + b"\x04\x00\x02no" + b"\x20\x00\x00"), CLIENT4),
        (version2(0x11, IPV4 + b"\x04\x0f\xf1" + bytes(0xFF1)), CLIENT4),
        (version2(0x00, b"", command=0x20), None),
        (version2(0x11, IPV4, command=0x20), None),
        (version2(0x11, b"?", command=0x20), None),
        (version2(0xFF, b"?", command=0x20), None),
        (version2(0x00, b"whatever"), None),
        (version2(0x01, b""), None),
        (version2(0x12, IPV4), None),
        (version2(0x22, IPV6), None),
        (version2(0x31, bytes(216)), None),
        (version2(0x32, bytes(216) + b"\x01\x00\x01h"), None),
    ],
)
def test_a_header_is_read_and_what_follows_is_left(data: bytes, endpoints: Endpoints | None):
    assert parse(data + b"GET /") == Header(len(data), endpoints)
    assert [parse(data[:end]) for end in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET / HTTP/1.1\r\n", "does not begin"),
        (b"\x16\x03\x01\x02\x00", "does not begin"),
        (b"POST", "does not begin"),
        (b"proxy tcp4", "does not begin"),
        (b"\r\n\r\n\x00\r\nQUIT\r", "does not begin"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\n", "CRLF"),
        (b"PROXY TCP4 203.0.113.7\r 192.0.2.1 5000 443\r\n", "CRLF"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\r\r\n", "CRLF"),
        (b"PROXY UNKNOWN a\nb\r\n", "CRLF"),
        (b"PROXY TCP4  203.0.113.7 192.0.2.1 5000 443\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 5000\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 443 \r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 05000 443\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 +500 443\r\n", "malformed"),
        (b"PROXY TCP6 fe80::1%eth0 ::1 5000 443\r\n", "malformed"),
        (b"PROXY tcp4 203.0.113.7 192.0.2.1 5000 443\r\n", "malformed"),
        (b"PROXY UDP4 203.0.113.7 192.0.2.1 5000 443\r\n", "malformed"),
        (b"PROXY UNKNOWNX\r\n", "malformed"),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n", "none"),
        (b"PROXY TCP4 203.0.113.07 192.0.2.1 5000 443\r\n", "none"),
        (b"PROXY TCP4 203.0.113.256 192.0.2.1 5000 443\r\n", "none"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 5000 443\r\n", "none"),
        (b"PROXY TCP6 203.0.113.7 192.0.2.1 5000 443\r\n", "none"),
        (LONGEST[:-2] + b"0\r\n", "malformed"),
        (b"PROXY UNKNOWN " + b"x" * (V1_MAX - 14), "no end"),
        (version2(0x11, IPV4, command=0x11), "command"),
        (version2(0x11, IPV4, command=0x22), "command"),
        (version2(0x41, bytes(216)), "family"),
        (version2(0x13, IPV4), "family"),
        (version2(0x11, IPV4[:-1]), "addresses"),
        (version2(0x21, IPV4), "addresses"),
        (version2(0x12, IPV4[:-1]), "addresses"),
        (version2(0x31, bytes(215)), "addresses"),
        (version2(0x11, IPV4, length=V2_MAX + 1), "bytes"),
        (version2(0x11, IPV4 + b"\x04"), "TLV"),
        (version2(0x11, IPV4 + b"\x04\x00\x03no"), "TLV"),
        (version2(0x11, IPV4 + b"\x04\x00\x01no"), "TLV"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, told: str):
    with pytest.raises(ProxyError, match=told):
        parse(data)


def test_a_stranger_is_known_by_his_first_byte():
    assert parse(b"") is None
    for byte in set(range(256)) - set(b"P\r"):
        with pytest.raises(ProxyError):
            parse(bytes([byte]))


def test_the_longest_header_of_version_1_is_as_long_as_it_may_be():
    assert len(LONGEST) < V1_MAX
    longest = b"PROXY UNKNOWN " + b"f" * (V1_MAX - 16) + b"\r\n"
    assert parse(longest) == Header(V1_MAX, None)
    with pytest.raises(ProxyError, match="no end"):
        parse(longest[:-2] + b"f\r\n")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("said", [CLIENT4, CLIENT6, Endpoints("203.0.113.7", 0, "2001:db8::1", 65535)])
def test_what_is_told_is_what_is_read(version: str, said: Endpoints):
    data = build(version, said)
    assert parse(data) == Header(len(data), said)
    assert (data[:6] == b"PROXY ") == (version == "v1")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_ends_are_told_in_one_family(version: str):
    mixed = Endpoints("203.0.113.7", 5000, "2001:db8::1", 443)
    data = build(version, mixed)
    assert data.startswith(b"PROXY TCP6 ::ffff:") if version == "v1" else data[13] == 0x21
    assert parse(data) == Header(len(data), mixed)
