"""Port 80: tokens, redirects, health; never an open redirect, never the origin."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edgeproxy.config.platform import Api
from edgeproxy.config.visitors import Timeouts
from edgeproxy.published.records import Challenge
from edgeproxy.units import Duration
from tests.edge.harness import Edge, MapProcess, Script, config_for, edge_with, fields, until


async def ask(edge: Edge, raw: bytes) -> bytes:
    """What port 80 says to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
    writer.write(raw)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


def get(target: bytes, host: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"GET " + target + b" HTTP/1.1", b"Host: " + host, *lines, b"Connection: close", b"", b""))


@pytest.mark.parametrize("host", [b"gallery.test", b"GALLERY.test", b"gallery.test:80"])
async def test_a_served_name_is_sent_to_https_with_host_and_path_kept(edge: Edge, script: Script, host: bytes):
    status, found, _ = fields(await ask(edge, get(b"/a/b?c=d", host)))
    assert (status, found[b"location"]) == (308, b"https://gallery.test:8443/a/b?c=d")
    assert not script.heads


@pytest.mark.parametrize(
    ("target", "host"),
    [(b"/", b"stranger.test"), (b"/", b"127.0.0.1"), (b"//evil.test/", b"stranger.test"), (b"/", b"")],
)
async def test_nobody_else_is_sent_anywhere(edge: Edge, target: bytes, host: bytes):
    status, found, _ = fields(await ask(edge, get(target, host)))
    assert status in (400, 404)
    assert b"location" not in found


@pytest.mark.parametrize("target", [b"//evil.test/", b"/\\evil.test", b"/%2f%2fevil.test", b"/@evil.test"])
async def test_the_host_of_a_redirect_is_never_the_paths(edge: Edge, target: bytes):
    _, found, _ = fields(await ask(edge, get(target, b"gallery.test")))
    assert found[b"location"].startswith(b"https://gallery.test:8443/")


async def test_a_token_is_answered_for_its_host_only(edge: Edge):
    record = Challenge(hostname="new.test", token="abc", key_authorization="abc.thumb")
    edge.publish(("challenges", "http:new.test/abc", record))
    token = b"/.well-known/acme-challenge/abc"
    assert fields(await ask(edge, get(token, b"new.test")))[::2] == (200, b"abc.thumb")
    assert fields(await ask(edge, get(token, b"other.test")))[0] == 404
    edge.publish(deletes=(("challenges", "http:new.test/abc"),))
    assert fields(await ask(edge, get(token, b"new.test")))[0] == 404


async def test_the_api_sends_nobody_on_who_sends_a_token_in_clear(tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]):
    edge = Edge(tmp_path, config_for(origin[1], api=Api(hostname="api.test")), maps)
    async with edge.running():
        status, found, body = fields(await ask(edge, get(b"/api/v1/tokens", b"api.test", b"Authorization: Bearer x")))
        assert (status, json.loads(body)["code"], b"location" in found) == (403, "https_needed", False)
        status, _, body = fields(await ask(edge, get(b"/api/domains/register", b"api.test")))
        assert (status, json.loads(body)["status"]) == (403, "error")


async def test_health_is_told_to_who_asks_by_address(edge: Edge):
    for path in (b"/healthz", b"/readyz"):
        assert fields(await ask(edge, get(path, b"127.0.0.1:80")))[::2] == (200, b"ok\n")
    assert fields(await ask(edge, get(b"/readyz", b"gallery.test")))[0] == 308


async def test_requests_may_follow_one_another(edge: Edge):
    raw = b"GET /1 HTTP/1.1\r\nHost: gallery.test\r\n\r\n\r\n" + get(b"/2", b"gallery.test")
    answer = await ask(edge, raw)
    assert b"https://gallery.test:8443/1\r\n" in answer
    assert b"https://gallery.test:8443/2\r\n" in answer


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\nHost: gallery.test\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\nX: " + b"a" * 40_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 5\r\n\r\nhello", 308),
        (b"HEAD / HTTP/1.0\r\nHost: gallery.test\r\n\r\n", 308),
    ],
)
async def test_every_input_has_its_answer_and_its_end(edge: Edge, raw: bytes, status: int):
    answer = await ask(edge, raw)
    assert fields(answer)[0] == status
    if raw.startswith(b"HEAD"):
        assert answer.endswith(b"\r\n\r\n")


async def test_the_request_id_on_a_page_is_the_one_in_the_log(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    records: list[tuple[object, ...]] = []
    monkeypatch.setattr(edge.worker.access, "record", lambda *record: records.append(record))
    page = await ask(edge, get(b"/a", b"stranger.test", b"Accept: application/json"))
    told = json.loads(fields(page)[2])
    assert (records[0][0], records[0][3], records[0][9]) == ("stranger.test", 404, "127.0.0.1")
    assert records[0][6] == told["request_id"].encode()
    await ask(edge, get(b"/b", b"gallery.test"))
    assert records[1][6] not in (b"", records[0][6])


async def test_what_is_no_request_is_logged_too(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    records: list[tuple[object, ...]] = []
    monkeypatch.setattr(edge.worker.access, "record", lambda *record: records.append(record))
    page = await ask(edge, b"GET / HTTP/1.1\r\n\r\n")
    await ask(edge, b"GET /\nHost: gallery.test\n\n")
    assert [(record[3], record[8], bool(record[10])) for record in records] == [(400, "http", True)] * 2
    assert records[0][6] in page  # type: ignore[operator]


async def test_who_never_reads_is_dropped(edge: Edge):
    _, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
    transport = writer.transport
    transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n" * 1000
    for _ in range(200):
        if transport.is_closing():
            break
        writer.write(request)
        await asyncio.sleep(0.01)
    while edge.worker.connections:
        await asyncio.sleep(0.02)
    writer.close()


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"])
async def test_a_head_that_comes_byte_by_byte_is_told_so_in_time(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], before: bytes
):
    timeouts = Timeouts(client_header=Duration(0.5), idle=Duration(60), drain=Duration(1))
    edge = edge_with(tmp_path, maps, origin[1], timeouts=timeouts)
    async with edge.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
        writer.write(before)
        answer = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(60):
            while not answer.done():
                writer.write(b"G")
                await asyncio.sleep(0.05)
        assert answer.result().count(b"HTTP/1.1 408 ") == 1
        assert edge.worker.access.snapshot({})["timeouts_total|client_header"] == 1
        writer.close()


async def test_who_has_asked_may_stay_as_long_as_elsewhere(edge: Edge):
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.http_port)
    writer.write(get(b"/", b"gallery.test").replace(b"Connection: close\r\n", b""))
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = edge.worker.connections
    assert min(connection.deadline, connection.write_deadline) > edge.worker.now + edge.worker.timeouts.client_header
    writer.close()
    await until(lambda: not edge.worker.connections)
