"""One request and its response, through a real worker."""

from __future__ import annotations

from tests.edge.harness import Edge, Script, fields

GET = b"GET /path?q=1 HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


async def test_a_request_reaches_the_origin_with_its_workspace(edge: Edge, script: Script) -> None:
    status, _, body = fields(await edge.exchange("gallery.test", GET))
    assert (status, body) == (200, b"hello")
    head = script.heads[0]
    assert head.startswith(b"GET /path?q=1 HTTP/1.1\r\nHost: gallery.test\r\n")
    assert b"\r\nworkspace-id: spandantest\r\n" in head
