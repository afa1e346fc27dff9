"""Making connections to origins: what goes first."""

from __future__ import annotations

from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.dialing import Dialer
from edgeproxy.edge.upstream.target import Target
from tests.edge.harness import Edge, Script, until


async def test_what_goes_before_everything_does(edge: Edge, origin: tuple[Script, int]) -> None:
    target = Target("127.0.0.1", origin[1], False)
    connection = OriginConnection(edge.worker, edge.worker.pool(target))
    await Dialer(edge.worker, target).dial(connection, b"GET /first HTTP/1.1\r\n")
    assert connection.alive
    connection.send(b"\r\n")
    await until(lambda: origin[0].heads)
    assert origin[0].heads == [b"GET /first HTTP/1.1\r\n\r\n"]
    connection.abandon()
