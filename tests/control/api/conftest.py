"""Servers on Unix sockets of their own, and clients for them."""

import asyncio
import socket
from contextlib import asynccontextmanager

import httpx2
import pytest

from edgeproxy.control.api.server import AdminProtocol, Server


@asynccontextmanager
async def serving(app, sock: socket.socket, protocol=AdminProtocol):
    """Runs a server on a bound socket."""
    sock.setblocking(False)
    server = Server(app, protocol)
    task = asyncio.ensure_future(server.serve(sockets=[sock]))
    await asyncio.wait_for(server.up.wait(), 10)
    try:
        yield server
    finally:
        server.end()
        await asyncio.wait_for(task, 20)


@pytest.fixture
def bound(tmp_path):
    """A bound Unix socket and its path, as the supervisor would make them."""
    path = tmp_path / "admin.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(0o660)
    yield sock, path
    sock.close()


@asynccontextmanager
async def client_of(path):
    """An HTTP client for a Unix socket."""
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge", timeout=20) as client:
        yield client
