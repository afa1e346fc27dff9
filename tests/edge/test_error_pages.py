"""The edge's own errors as visitors see them: the same over each protocol, by Accept, and without a word of what is inside."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.pages import Page, Pages
from edgeproxy.edge.error_pages import ErrorPages, by_status
from edgeproxy.edge.instead import TEXTS
from edgeproxy.edge.respond import page, text_for
from edgeproxy.published.records import Site
from tests.edge import client1, client2
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, edge_with

OWN = Pages(
    error=Page("/any", "<h1>{{status}} {{title}}</h1>{{request_id}}"),
    error_502=Page("/502", "<h1>Away</h1>{{host}} {{request_id}}"),
)
BROWSER = b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
KINDS = {BROWSER: b"text/html; charset=utf-8", b"application/json": b"application/problem+json"}


@pytest.fixture
async def own(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess) -> AsyncIterator[Edge]:
    """A worker with pages of its operator's."""
    async with edge_with(tmp_path, maps, origin[1], pages=OWN).running() as edge:
        yield edge


async def asked(edge: Edge, protocol: str, accept: bytes, host: str = "gallery.test") -> client1.Answer | client2.Answer:
    if protocol == "h2":
        async with client2.connected(edge) as two:
            return await two.get(client2.get("/", (b"accept", accept), host=host))
    async with client1.connected(edge) as one:
        return await one.get(b"/", b"Accept: " + accept, host=host.encode())


def field(answer: client1.Answer | client2.Answer, name: bytes) -> bytes:
    return dict(answer.fields)[name]


@pytest.mark.parametrize("status", [400, 404, 429, 502, 503, 504])
def test_each_status_has_its_page_else_that_of_all_else_the_edges(status: int) -> None:
    every = msgspec.structs.replace(Pages(), **{f"error_{each}": Page("/p", f"<b>{each}") for each in by_status(Pages())})
    built_in = page(status, BROWSER, "id-1", "a.test")
    assert ErrorPages(Pages()).answer(status, BROWSER, "id-1", "a.test") == built_in
    expected = b"<b>%d" % status if status in by_status(Pages()) else built_in[1]
    assert ErrorPages(every).answer(status, BROWSER, "id-1", "a.test")[1] == expected
    said = ErrorPages(OWN).answer(status, BROWSER, "id-1", "a.test")[1].decode()
    assert said == ("<h1>Away</h1>a.test id-1" if status == 502 else f"<h1>{status} {text_for(status).title}</h1>id-1")


def test_programs_and_what_cannot_be_read_get_no_html() -> None:
    pages = ErrorPages(OWN)
    assert json.loads(pages.answer(502, b"application/json", "id-1", "a.test")[1])["request_id"] == "id-1"
    fields, body = pages.answer(400, None, "id-1", "")
    assert dict(fields)[b"content-type"] == b"text/plain; charset=utf-8"
    assert b"<" not in body
    assert b"id-1" in body


@pytest.mark.parametrize("accept", KINDS)
async def test_an_error_is_by_accept_and_has_the_id_of_its_line(
    own: Edge, script: Script, protocol: str, accept: bytes
) -> None:
    async def breaks(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 Traceback Secret\r\nBad Line\r\n\r\n")

    script.handler = breaks
    answer = await asked(own, protocol, accept)
    request_id = field(answer, b"x-request-id")
    assert (answer.status, field(answer, b"content-type")) == (502, KINDS[accept])
    assert re.fullmatch(rb"[0-9a-f-]{8,}", request_id)
    assert request_id in answer.body
    assert (b"<h1>Away</h1>gallery.test" in answer.body) is (accept == BROWSER)


@pytest.mark.parametrize("accept", KINDS)
@pytest.mark.parametrize("pages", [Pages(), OWN], ids=["built-in", "own"])
async def test_no_error_tells_what_is_inside(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, protocol: str, accept: bytes, pages: Pages
) -> None:
    script, _ = origin
    with socket.socket() as bound:  # bound, and nobody listens
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with edge_with(tmp_path, maps, port, pages=pages).running() as edge:
            reasons: list[str] = []
            record = edge.worker.record
            edge.worker.record = lambda exchange: (reasons.append(exchange.error), record(exchange))[1]  # type: ignore[func-returns-value]
            answer = await asked(edge, protocol, accept)
    assert (answer.status, len(reasons), script.connections) == (502, 1, 0)
    assert f"127.0.0.1:{port}" in reasons[0]  # the operator's log says it
    told = answer.body + repr(answer.fields).encode()
    for inside in (b"127.0.0.1", b"%d" % port, b"refused:", b"Errno", b"edgeproxy", b"spandantest", b"python"):
        assert inside not in told.lower().replace(field(answer, b"x-request-id"), b"")


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, b"text/plain; charset=utf-8"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nAccept: " + BROWSER + b"\r\n\r\n", 400, KINDS[BROWSER]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nAccept: application/json\r\n\r\n", 400, b"application/problem+json"),
        (b"nonsense\r\n\r\n", 400, b"text/plain; charset=utf-8"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, b"text/plain; charset=utf-8"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, b"text/plain; charset=utf-8"),
    ],
)
async def test_what_is_no_request_is_answered_in_text_unless_it_says_better(
    own: Edge, request_: bytes, status: int, kind: bytes
) -> None:
    async with client1.connected(own) as client:
        client.send(request_)
        answer = await client.answer()
    assert (answer.status, answer.field(b"content-type"), answer.field(b"connection")) == (status, kind, b"close")
    assert answer.field(b"x-request-id") is not None
    assert (answer.field(b"x-request-id") or b"") in answer.body
    assert (b"<h1>400 " in answer.body) is (kind == KINDS[BROWSER])


@pytest.mark.parametrize(
    ("fields", "kind"), [((), b"text/plain; charset=utf-8"), *(((("accept", each),), kind) for each, kind in KINDS.items())]
)
async def test_over_http2_too(own: Edge, fields: tuple[tuple[str, bytes], ...], kind: bytes) -> None:
    async with client2.connected(own) as client:
        more = [(name.encode(), value) for name, value in fields]
        answer = await client.get(client2.get("/", *more, method="TRACE"))
    assert (answer.status, field(answer, b"content-type")) == (405, kind)
    assert field(answer, b"x-request-id") in answer.body


@pytest.mark.parametrize("accept", KINDS)
async def test_port_80_has_them_too(own: Edge, accept: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", own.http_port)
    client = client1.Client1(reader, writer)
    answer = await client.get(b"*", b"Accept: " + accept, host=b"nobody.test")
    writer.close()
    assert (answer.status, answer.field(b"content-type")) == (400, KINDS[accept])
    assert (b"<h1>400 " in answer.body) is (accept == BROWSER)


async def test_what_is_no_error_keeps_its_page(own: Edge, protocol: str) -> None:
    own.publish(("sites", "gallery.test", Site(workspace="w", certificate="cert-gallery.test", maintenance=True)))
    answer = await asked(own, protocol, BROWSER)
    assert (answer.status, TEXTS["maintenance"].title.encode() in answer.body) == (503, True)
