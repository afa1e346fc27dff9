"""The parser of the PROXY protocol against arbitrary, mutated and arbitrarily split bytes."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.edge.proxy_protocol import SIGNATURE, V1_MAX, V2_MAX, Endpoints, Header, ProxyError, parse

Outcome = Header | str | None
ports = st.integers(0, 65535)
pairs = st.one_of(st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)))
tlvs = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=3).map(
    lambda listed: b"".join(bytes([kind]) + len(value).to_bytes(2) + value for kind, value in listed)
)


def outcome(data: bytes) -> Outcome:
    """What parse makes of the bytes; any exception but ProxyError fails the test."""
    try:
        return parse(data)
    except ProxyError as error:
        return str(error)


@st.composite
def version1(draw: st.DrawFn) -> tuple[bytes, Endpoints]:
    source, destination = draw(pairs)
    one, other = draw(ports), draw(ports)
    line = f"PROXY TCP{source.version} {source} {destination} {one} {other}\r\n".encode()
    return line, Endpoints(plain(source), one, plain(destination), other)


@st.composite
def version2(draw: st.DrawFn) -> tuple[bytes, Endpoints]:
    source, destination = draw(pairs)
    one, other = draw(ports), draw(ports)
    block = source.packed + destination.packed + struct.pack(">HH", one, other) + draw(tlvs)
    kind = 0x11 if source.version == 4 else 0x21
    return SIGNATURE + struct.pack(">BBH", 0x21, kind, len(block)) + block, Endpoints(
        plain(source), one, plain(destination), other
    )


def plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


headers = st.one_of(version1(), version2())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(headers)[0] + draw(st.binary(max_size=8)))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=3)):
        data[position % len(data)] = value
    return bytes(data)


@given(headers, st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_a_balancer_says_is_what_is_read(said: tuple[bytes, Endpoints], rest: bytes) -> None:
    data, endpoints = said
    assert outcome(data + rest) == Header(len(data), endpoints)


@given(st.one_of(mutated(), st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: SIGNATURE + b"\x21" + tail)))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_a_header_a_refusal_or_the_wish_for_more_and_the_first_outcome_stays(data: bytes) -> None:
    first: Outcome = None
    for end in range(len(data) + 1):
        now = outcome(data[:end])
        if first is None:
            first = now
        assert now == first
        if isinstance(now, Header):
            assert now.size <= end


@given(st.one_of(mutated(), st.binary(max_size=20)))
@settings(max_examples=50, deadline=None)
def test_nobody_is_waited_for_without_end(data: bytes) -> None:
    assert outcome(data + b"a" * (16 + V2_MAX)) is not None
    if data[:1] == b"P":
        assert outcome(data + b"a" * V1_MAX) is not None
