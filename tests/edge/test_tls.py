"""The TLS layer in memory: handshakes, records, closing, and peers that make it answer without end."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from edgeproxy.edge.tls import STEP, TlsLayer
from tests.edge.harness import self_signed


@pytest.fixture
def layers(tmp_path: Path) -> tuple[TlsLayer, TlsLayer]:
    chain, key = self_signed("a.test")
    pem = tmp_path / "a.pem"
    pem.write_bytes(chain + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return TlsLayer(server), TlsLayer(client, server_side=False)


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
    data = bytes(range(256)) * (size // 256 + 1)
    assert server.feed(memoryview(b"".join(client.seal_all(data[:size])))) == data[:size]


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
