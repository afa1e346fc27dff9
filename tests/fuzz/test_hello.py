"""The ClientHello parser against arbitrary, mutated and arbitrarily split bytes."""

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.hello import ClientHello, HelloError, parse
from edgeproxy.model import wire_hostname
from tests import hellos
from tests.fuzz.amount import cases

LIMIT = 4096
Outcome = ClientHello | tuple[int, str, bool] | None


def outcome(data: bytes | bytearray) -> Outcome:
    """What parse makes of the bytes; any exception but HelloError fails the test."""
    try:
        return parse(data, LIMIT)
    except HelloError as error:
        return error.alert, error.detail, error.plain_http


def real_hellos() -> list[bytes]:
    context = hellos.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return [hellos.from_python(context, name) for name in ("a.example.com", "localhost", None)]


REAL = real_hellos()
names = st.one_of(st.sampled_from([b"a.example.com", b"A.Example.Com.", b"127.0.0.1", b"a\0b"]), st.binary(max_size=40))
extensions = st.one_of(
    names.map(hellos.server_name),
    st.lists(st.binary(min_size=1, max_size=12), max_size=4).map(lambda listed: hellos.alpn(*listed)),
    st.lists(st.sampled_from([0x0301, 0x0302, 0x0303, 0x0304, 0x0A0A]), max_size=4).map(
        lambda listed: hellos.versions(*listed)
    ),
    st.lists(st.integers(0, 65535), max_size=4).map(lambda listed: hellos.signature_algorithms(*listed)),
    st.builds(hellos.extension, st.sampled_from([0, 10, 13, 16, 21, 35, 41, 43, 51]), st.binary(max_size=20)),
    st.binary(max_size=8),
)
bodies = st.one_of(
    st.lists(extensions, max_size=6).map(lambda listed: hellos.body(*listed)),
    st.sampled_from([data[9:] for data in REAL]),
    st.binary(max_size=100),
)
messages = st.one_of(
    bodies.map(hellos.message),
    st.builds(hellos.message, bodies, st.integers(0, 255)),
    st.builds(lambda content, size: b"\x01" + struct.pack(">I", size)[1:] + content, bodies, st.integers(0, 2**24 - 1)),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Messages cut into records, with other records between, and a few bytes changed."""
    whole = draw(messages)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    records = [hellos.record(piece) for piece in pieces if piece or draw(st.booleans())]
    if draw(st.integers(0, 4)) == 0:
        other = hellos.record(draw(st.binary(max_size=5)), draw(st.integers(0, 255)), draw(st.integers(0, 65535)))
        records.insert(draw(st.integers(0, len(records))), other)
    data = bytearray(b"".join(records) + draw(st.binary(max_size=8)))
    for position, value in draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=3)):
        if data:
            data[position % len(data)] = value
    return bytes(data)


@given(st.one_of(streams(), st.binary(max_size=200)))
@cases(500)
def test_any_bytes_give_a_hello_an_error_or_the_wish_for_more_and_the_first_outcome_stays(data: bytes) -> None:
    first: Outcome = None
    for end in range(len(data) + 1):
        now = outcome(data[:end])
        if first is None:
            first = now
        assert now == first


@given(streams(), st.integers(1, 4096))
@cases(300)
def test_bytes_and_bytearrays_are_read_alike(data: bytes, size: int) -> None:
    buffer = bytearray()
    for start in range(0, len(data), size):
        buffer += data[start : start + size]
    assert outcome(buffer) == outcome(data)


@given(st.sampled_from(REAL), st.lists(st.tuples(st.integers(5, 516), st.integers(0, 255)), max_size=6))
@cases(500)
def test_openssl_never_sees_another_name_in_a_changed_hello(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for position, value in changes:
        changed[position % len(changed)] = value
    found = outcome(changed)
    if isinstance(found, ClientHello):
        seen = hellos.name_seen_by_openssl(bytes(changed))
        if seen != "?":
            assert found.server_name == (None if seen is None else wire_hostname(seen))


@given(st.sampled_from(REAL), st.lists(st.integers(1, 516), max_size=6, unique=True))
@cases(200)
def test_records_cut_anywhere_are_read_like_one_and_openssl_agrees(data: bytes, cuts: list[int]) -> None:
    whole = data[5:]
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    cut = b"".join(hellos.record(whole[start:end]) for start, end in itertools.pairwise(edges))
    found = outcome(cut)
    assert found == outcome(data)
    assert isinstance(found, ClientHello)
    assert hellos.name_seen_by_openssl(cut) == found.server_name
