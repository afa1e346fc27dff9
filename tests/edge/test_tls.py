"""The TLS layer in memory: handshakes, records, closing, and peers that make it answer without end."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.tls import STEP, TlsLayer
from edgeproxy.limits import RELAY_BUFFER
from tests.edge.harness import self_signed


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    chain, key = self_signed("a.test")
    pem = tmp_path_factory.mktemp("tls") / "a.pem"
    pem.write_bytes(chain + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return server, client


@pytest.fixture
def layers(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> tuple[TlsLayer, TlsLayer]:
    return TlsLayer(contexts[0]), TlsLayer(contexts[1], server_side=False)


def shake(server: TlsLayer, client: TlsLayer, step: int = 100_000) -> None:
    """A whole handshake, in pieces of at most `step` bytes."""
    client.feed(memoryview(b""))
    while not (server.established and client.established):
        for source, sink in ((client, server), (server, client)):
            output = source.pending()
            for start in range(0, len(output), step):
                sink.feed(memoryview(output[start : start + step]))


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_handshake_in_any_pieces(layers: tuple[TlsLayer, TlsLayer], step: int):
    server, client = layers
    shake(server, client, step)
    assert server.version == "TLSv1.3"
    assert not server.resumed


@pytest.mark.parametrize("size", [1, STEP, STEP + 1, 300_000])
def test_plaintext_arrives_whole_however_many_records_it_takes(layers: tuple[TlsLayer, TlsLayer], size: int):
    server, client = layers
    shake(server, client)
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    sealed = memoryview(b"".join(client.seal_all(data)))
    pieces = [bytes(server.feed(sealed[at : at + RELAY_BUFFER])) for at in range(0, len(sealed), RELAY_BUFFER)]
    assert b"".join(pieces) == data


@given(
    sizes=st.lists(st.sampled_from((1, 2, 100, 5_000, STEP)), min_size=1, max_size=8),
    cuts=st.lists(st.one_of(st.integers(1, 40), st.integers(1, RELAY_BUFFER)), max_size=12),
    last=st.booleans(),
)
def test_records_cut_anywhere_say_the_same(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], sizes: list[int], cuts: list[int], last: bool
):
    server, client = TlsLayer(contexts[0]), TlsLayer(contexts[1], server_side=False)
    shake(server, client)
    data = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    sealed = memoryview(b"".join(client.seal(each) for each in data) + (client.close() if last else b""))
    came, at = b"", 0
    for cut in (*cuts, *[RELAY_BUFFER] * (len(sealed) // RELAY_BUFFER + 1)):
        if at < len(sealed):
            came += server.feed(sealed[at : at + cut])
            at += cut
    assert came == b"".join(data)
    assert server.peer_closed == last
    if not last:
        assert server.feed(memoryview(client.seal(b"and on"))) == b"and on"


@pytest.mark.parametrize("before", [b"", b"x", b"\x17\x03\x03"])
def test_a_record_that_is_too_long_is_no_reason_to_wait_for_it(layers: tuple[TlsLayer, TlsLayer], before: bytes):
    server, client = layers
    shake(server, client)
    if before:  # the rest of a record's header comes with what is too long
        part = client.seal(before)
        assert server.feed(memoryview(part[:3])) == b""
        assert server.feed(memoryview(part[3:])) == before
        assert server.feed(memoryview(b"\x17\x03\x03")) == b""
        claimed = b"\xff\xff" + bytes(STEP)
    else:
        claimed = b"\x17\x03\x03\xff\xff" + bytes(STEP)
    with pytest.raises(ssl.SSLError):
        server.feed(memoryview(claimed))


def test_many_small_records_in_one_read_leave_nothing_behind(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    shake(server, client)
    assert server.feed(memoryview(b"".join(client.seal(b"x") for _ in range(500)))) == b"x" * 500


def test_who_has_closed_still_reads_what_the_peer_says_and_its_close(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    shake(server, client)
    assert server.feed(memoryview(client.seal(b"last") + client.close())) == b"last"
    assert server.peer_closed
    assert client.feed(memoryview(server.seal(b"answer") + server.seal(b", all") + server.close())) == b"answer, all"
    assert client.peer_closed


@pytest.mark.parametrize("room", [1, 1000, 100_000])
def test_plaintext_may_be_read_into_a_place_of_any_size(layers: tuple[TlsLayer, TlsLayer], room: int):
    server, client = layers
    shake(server, client)
    place, got = memoryview(bytearray(room)), b""
    sealed = b"".join(client.seal_all(b"x" * 20_000)) + client.close()
    assert server.read_into(place) == 0
    for start in range(0, len(sealed), STEP):
        server.put(memoryview(sealed[start : start + STEP]))
        while size := server.read_into(place):
            got += place[:size]
    assert got == b"x" * 20_000
    assert server.peer_closed
    assert server.read_into(place) == 0


def test_a_record_in_two_reads_comes_with_the_second(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    shake(server, client)
    sealed = client.seal(b"hello")
    assert server.feed(memoryview(sealed[:10])) == b""
    assert server.feed(memoryview(sealed[10:])) == b"hello"


def test_closing_is_one_sided(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    shake(server, client)
    assert server.feed(memoryview(client.seal(b"last words") + client.close())) == b"last words"
    assert server.peer_closed
    client.feed(memoryview(server.seal(b"an answer all the same")))


def test_what_breaks_the_protocol_raises_and_leaves_an_alert(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    client.feed(memoryview(b""))
    output = bytearray(client.pending())
    output[60] ^= 0xFF
    output[5] = 2  # a ServerHello from a client
    with pytest.raises(ssl.SSLError):
        server.feed(memoryview(output))
    assert server.last_words()[:1] == b"\x15"


def test_nothing_is_held_of_what_was_sent(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    shake(server, client)
    for piece in server.seal_all(bytes(1_000_000)):
        assert len(piece) <= STEP + 512
        client.feed(memoryview(piece))
    assert server.pending() == b""


def test_the_last_plaintext_and_the_end_come_together(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    shake(server, client)
    assert client.feed(memoryview(server.seal_last(b"all"))) == b"all"
    assert client.peer_closed


def test_a_request_may_come_with_the_end_of_the_handshake(layers: tuple[TlsLayer, TlsLayer]):
    server, client = layers
    client.feed(memoryview(b""))
    server.feed(memoryview(client.pending()))
    client.feed(memoryview(server.pending()))
    assert server.feed(memoryview(client.pending() + client.seal(b"request"))) == b"request"
    assert server.established
    assert 0 < server.output < 1024  # the ticket
