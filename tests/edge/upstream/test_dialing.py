"""Making connections to origins: what goes first, and who shows whom what."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.dialing import Dialer
from edgeproxy.edge.upstream.pins import pin_of
from edgeproxy.edge.upstream.target import Target
from tests.certificates import self_signed
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with, fields, until

GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


async def test_what_goes_before_everything_does(edge: Edge, origin: tuple[Script, int]) -> None:
    target = Target("127.0.0.1", origin[1], False)
    connection = OriginConnection(edge.worker, edge.worker.pool(target))
    await Dialer(edge.worker, target).dial(connection, b"GET /first HTTP/1.1\r\n")
    assert connection.alive
    connection.send(b"\r\n")
    await until(lambda: origin[0].heads)
    assert origin[0].heads == [b"GET /first HTTP/1.1\r\n\r\n"]
    connection.abandon()


# TLS with the platform's origin


class Demanding:
    """A TLS origin on a real socket that demands a certificate of its clients; knows who came."""

    def __init__(self, folder: Path) -> None:
        self.chain, key = self_signed("localhost")
        self.client, self.client_key = (pem.decode() for pem in self_signed("edge.example.com"))
        self.root = folder / "origin-root.pem"
        self.root.write_bytes(self.chain)
        (folder / "origin.pem").write_bytes(self.chain + key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "origin.pem")
        self.context.load_verify_locations(cadata=self.client)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.pin = pin_of(ssl.PEM_cert_to_DER_cert(self.chain.decode()))

    def origin(self, port: int, **changes: object) -> Origin:
        """The configuration of an edge that may come."""
        whole = Origin(
            url=f"https://localhost:{port}",
            ca_bundle=str(self.root),
            client_certificate=self.client,
            client_key=self.client_key,
            pins=(self.pin,),
        )
        return msgspec.structs.replace(whole, **changes)


OTHER_PIN = "A" * 43 + "="


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"pins": ()}, 200),
        ({"pins": (OTHER_PIN,)}, 502),
        ({"client_certificate": "", "client_key": ""}, 502),
        ({"proxy_protocol": "v2"}, 502),  # which that origin takes for a broken hello
    ],
    ids=["pinned", "unpinned", "other pin", "no certificate", "a header before TLS"],
)
async def test_an_origin_knows_the_edge_and_the_edge_its_origin(
    tmp_path: Path, maps: MapProcess, capfd: pytest.CaptureFixture[str], changes: dict[str, object], status: int
) -> None:
    demanding, script = Demanding(tmp_path), Script()
    async with script.listening(tls=demanding.context) as port:
        edge = edge_with(tmp_path, maps, port, origin=demanding.origin(port, **changes))
        async with edge.running():
            assert fields(await edge.exchange("gallery.test", GET))[0] == status
    assert len(script.heads) == (status == 200)
    if changes.get("pins"):
        told = capfd.readouterr().err
        assert told.count("is none of origin.pins; it has " + demanding.pin) == 1


async def test_domains_own_origins_see_no_certificate_and_need_not_have_the_pinned_key(
    tmp_path: Path, maps: MapProcess
) -> None:
    demanding, script = Demanding(tmp_path), Script()
    demanding.context.verify_mode = ssl.CERT_OPTIONAL
    seen: list[object] = []

    async def handler(reader: Reader, writer: Writer) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert())
        await script.answer(reader, writer)

    script.handler = handler
    async with script.listening(tls=demanding.context) as port:
        edge = edge_with(tmp_path, maps, port, origin=demanding.origin(port, pins=(OTHER_PIN,)))
        edge.add_site("own.test", "w", origin=f"https://localhost:{port}")
        async with edge.running():
            assert fields(await edge.exchange("own.test", GET.replace(b"gallery", b"own")))[0] == 200
            assert fields(await edge.exchange("gallery.test", GET))[0] == 502
    assert not seen[0]
