"""A real nginx that wants the PROXY protocol, as the origin: it knows each visitor, by both versions, in clear and over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.config.platform import Origin
from tests.certificates import self_signed
from tests.edge.harness import MapProcess, edge_with
from tests.integration.running import wait_for
from tests.integration.servers import require
from tests.ports import free_port

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    listen 127.0.0.1:{tls_port} ssl proxy_protocol;
    ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
    return 200 '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port';
  }}
}}
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The data plane runs on uvloop."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def wanting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, int]]:
    """Its folder, and its ports without and with TLS."""
    require("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    chain, key = self_signed("localhost")
    (folder / "certificate.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    port, tls_port = free_port(), free_port()
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, tls_port=tls_port))
    log = folder / "start.log"
    process = subprocess.Popen(["nginx", "-e", str(log), "-c", str(folder / "nginx.conf"), "-p", str(folder)])

    def there() -> bool:
        assert process.poll() is None, log.read_text()
        return (folder / "nginx.pid").exists()

    try:
        wait_for(there, "nginx")
        yield folder, port, tls_port
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def maps() -> Iterator[MapProcess]:
    """Who writes the maps."""
    process = MapProcess()
    yield process
    process.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nginx_knows_each_visitor(
    tmp_path: Path, wanting: tuple[Path, int, int], maps: MapProcess, version: str, scheme: str
) -> None:
    folder, port, tls_port = wanting
    url = f"http://127.0.0.1:{port}" if scheme == "http" else f"https://localhost:{tls_port}"
    origin = Origin(url=url, proxy_protocol=version, ca_bundle=str(folder / "certificate.pem"))  # type: ignore[arg-type]
    edge = edge_with(tmp_path, maps, port, origin=origin)
    async with edge.running(), contextlib.AsyncExitStack() as stack:
        visitors = [
            await asyncio.open_connection(
                "127.0.0.1", edge.port, ssl=context, server_hostname="gallery.test", local_addr=(f"127.0.0.{number}", 0)
            )
            for number, context in enumerate([edge.client_context("http/1.1")] * 3, 1)
        ]
        for _ in range(2):
            for number, (reader, writer) in enumerate(visitors, 1):
                stack.callback(writer.transport.abort)
                writer.write(REQUEST)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                said = (await asyncio.wait_for(reader.readexactly(length), 60)).decode()
                mine = writer.get_extra_info("sockname")[1]
                assert said == f"127.0.0.{number} {mine} 127.0.0.1 {edge.port}"


async def test_nginx_takes_nothing_without_it(tmp_path: Path, wanting: tuple[Path, int, int], maps: MapProcess) -> None:
    edge = edge_with(tmp_path, maps, wanting[1])
    async with edge.running():
        reader, writer = await edge.connect("gallery.test")
        writer.write(REQUEST)
        assert b" 502 " in await asyncio.wait_for(reader.readline(), 60)
        writer.transport.abort()
