"""Answers that are compressed on their way, over both protocols, read by real decoders; and those that are not."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from edgeproxy.config.compression import Compression
from edgeproxy.edge import compressor
from edgeproxy.edge.encoded import PIECE, Encoded1, Encoded2, Encodings, RouteEncodings
from edgeproxy.edge.exchange1 import Exchange1
from edgeproxy.edge.exchange2 import Exchange2
from edgeproxy.edge.headers import Field
from edgeproxy.limits import Limits
from edgeproxy.policies import Policies
from edgeproxy.published.records import Site
from tests.edge import client1, client2
from tests.edge.flow import settled
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, edge_with, until
from tests.edge.test_compressor import TEXT, Decoder

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.headers import RequestHead
    from edgeproxy.edge.upstream.connection import OriginConnection

CODINGS = ("zstd", "br", "gzip")
PAGE = b"<p>" + b"all work and no play makes a dull page " * 100
KIND = b"Content-Type: text/html; charset=utf-8\r\n"
ON = Compression(enabled=True, never=("/account",))
Answer = client1.Answer | client2.Answer


@pytest.fixture
async def edge(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess) -> AsyncIterator[Edge]:
    """A worker with one site, whose answers are compressed."""
    async with edge_with(tmp_path, maps, origin[1], compression=ON).running() as edge:
        yield edge


def rules_of(edge: Edge) -> Encodings:
    """How the only site's answers are compressed."""
    found = edge.worker.find_route("gallery.test")
    assert found is not None
    assert found.encodings is not None
    return found.encodings


@contextlib.asynccontextmanager
async def visitor(edge: Edge, protocol: str) -> AsyncIterator[client1.Client1 | client2.Client2]:
    """A client of either protocol."""
    async with (client2 if protocol == "h2" else client1).connected(edge) as client:
        yield client


async def ask(client: client1.Client1 | client2.Client2, *fields: Field, path: str = "/", method: str = "GET") -> Answer:
    """One request and its answer."""
    if isinstance(client, client2.Client2):
        return await client.get(client2.get(path, *fields, method=method))
    start = f"{method} {path}".encode()
    client.send(client1.request(start, *(name + b": " + value for name, value in fields)))
    return await client.answer(method.encode())


async def asked(edge: Edge, protocol: str, *fields: Field, path: str = "/", method: str = "GET") -> Answer:
    """The same over a connection of its own."""
    async with visitor(edge, protocol) as client:
        return await ask(client, *fields, path=path, method=method)


def takes(coding: str) -> Field:
    return b"accept-encoding", coding.encode()


def field(answer: Answer, name: bytes) -> bytes | None:
    values = [value for each, value in answer.fields if each == name]
    assert len(values) < 2
    return values[0] if values else None


def compressed(edge: Edge, coding: str) -> tuple[float, float, float]:
    """Answers that were counted with this coding, and their bytes before and after."""
    told = edge.worker.access.snapshot({})
    before, after = (told[f"compressed_bytes_total|{coding}|{side}"] for side in ("in", "out"))
    return told[f"compressed_answers_total|{coding}"], before, after


def read(answer: Answer, coding: str) -> bytes:
    """The content of a whole answer that has this coding."""
    assert answer.complete
    assert field(answer, b"content-encoding") == coding.encode()
    decoder = Decoder(coding)
    content = decoder.read(answer.body)
    assert decoder.ended
    return content


# What is compressed


async def test_a_page_that_comes_whole_goes_whole_and_smaller(edge: Edge, script: Script, protocol: str) -> None:
    script.response = (
        b"HTTP/1.1 200 OK\r\n" + KIND + b'ETag: "v1"\r\nVary: Origin\r\nContent-Length: %d\r\n\r\n' % len(PAGE) + PAGE
    )
    async with visitor(edge, protocol) as client:
        for coding in CODINGS:
            answer = await ask(client, takes(f"{coding}, deflate"))
            assert read(answer, coding) == PAGE
            assert field(answer, b"content-length") == b"%d" % len(answer.body)
            assert len(answer.body) < len(PAGE) / 5
            assert (field(answer, b"etag"), field(answer, b"vary")) == (b'W/"v1"', b"Origin, Accept-Encoding")
            assert compressed(edge, coding) == (1, len(PAGE), len(answer.body))
    assert script.connections == 1
    assert b"accept-encoding: zstd, deflate\r\n" in script.heads[0].lower()


@pytest.mark.parametrize(("framing", "coding"), [("length", "zstd"), ("chunked", "br"), ("close", "gzip"), ("chunked", "zstd")])
async def test_a_long_answer_is_compressed_as_it_comes(
    edge: Edge, script: Script, protocol: str, coding: str, framing: str
) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        while await script.read_head(reader):
            said = {"length": b"Content-Length: %d\r\n" % len(TEXT), "chunked": b"Transfer-Encoding: chunked\r\n", "close": b""}
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + said[framing] + b"\r\n")
            for at in range(0, len(TEXT), 50_000):
                piece = TEXT[at : at + 50_000]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece)
                await writer.drain()
            if framing == "close":
                return
            if framing == "chunked":
                writer.write(b"0\r\nX-Sum: 9\r\n\r\n")

    script.handler = handler
    async with visitor(edge, protocol) as client:
        went = 0
        for count in (1, 2):
            answer = await ask(client, takes(coding))
            assert read(answer, coding) == TEXT
            assert len(answer.body) < len(TEXT) / 4
            went += len(answer.body)
            assert compressed(edge, coding) == (count, count * len(TEXT), went)
            assert field(answer, b"content-length") is None
            if framing == "chunked":
                assert answer.trailers == ([(b"x-sum", b"9")] if protocol == "h2" else [b"X-Sum: 9"])
    await until(lambda: rules_of(edge).places.left == edge.worker.limits.compressed_answers)


async def test_http_1_0_reads_to_the_end_of_the_connection(edge: Edge, script: Script) -> None:
    script.response = (
        b"HTTP/1.1 200 OK\r\n" + KIND + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(PAGE), PAGE)
    )
    async with client1.connected(edge) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: gallery.test\r\nAccept-Encoding: gzip\r\n\r\n")
        answer = await client.answer()
        assert (field(answer, b"transfer-encoding"), field(answer, b"connection")) == (None, b"close")
        assert read(answer, "gzip") == PAGE


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_slow_stream_is_not_held_back(edge: Edge, script: Script, protocol: str, coding: str) -> None:
    go = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        await go.wait()
        writer.write(b"7\r\nsecond\n\r\n0\r\n\r\n")

    script.handler = handler
    decoder = Decoder(coding)
    if protocol == "h2":
        async with client2.connected(edge) as client:
            number = client.request(client2.get("/", takes(coding)), b"")
            answer = client.answers[number]
            await client.until(lambda: Decoder(coding).read(answer.body) == b"first\n")
            go.set()
            assert read(await client.answer(number), coding) == b"first\nsecond\n"
        return
    async with client1.connected(edge) as one:
        one.send(client1.request(b"GET /", b"Accept-Encoding: " + coding.encode()))
        await asyncio.wait_for(one.reader.readuntil(b"\r\n\r\n"), 60)
        content = b""
        while content != b"first\n":
            size = int(await asyncio.wait_for(one.reader.readuntil(b"\r\n"), 60), 16)
            content += decoder.read((await one.reader.readexactly(size + 2))[:-2])
        go.set()


@pytest.mark.parametrize(("protocol", "coding"), [("h1", "gzip"), ("h2", "br"), ("h2", "zstd")])
async def test_curl_reads_it(edge: Edge, script: Script, tmp_path: Path, protocol: str, coding: str) -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT
    (tmp_path / "roots.pem").write_text(edge.roots)
    process = await asyncio.create_subprocess_exec(
        *(curl, "-s", "--max-time", "60", "--http2" if protocol == "h2" else "--http1.1"),
        *("--compressed", "-H", f"Accept-Encoding: {coding}", "--cacert", str(tmp_path / "roots.pem")),
        *("--resolve", f"gallery.test:{edge.port}:127.0.0.1", f"https://gallery.test:{edge.port}/"),
        stdout=asyncio.subprocess.PIPE,
    )
    read_, _ = await process.communicate()
    assert (process.returncode, read_ == TEXT) == (0, True)


async def test_each_go_of_compression_is_small(
    edge: Edge, script: Script, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Watched(compressor.Gzip):
        def feed(self, data: bytes | memoryview) -> bytes:
            sizes.append(len(data))
            return super().feed(data)

    monkeypatch.setitem(compressor.COMPRESSORS, "gzip", Watched)
    script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT
    assert read(await asked(edge, protocol, takes("gzip")), "gzip") == TEXT
    assert max(sizes) <= PIECE
    assert sum(sizes) > len(TEXT) - PIECE - 1


def test_a_client_that_takes_more_again_has_no_larger_pieces_read() -> None:
    rooms: list[int] = []
    exchange = Encoded1(cast("Connection", None), cast("RequestHead", None), b"", 0.0, True)
    exchange.origin = cast("OriginConnection", types.SimpleNamespace(resume=rooms.append))
    exchange.client_ready()
    exchange.client_ready(100)
    assert rooms == [PIECE, 100]


# What is not


AS_THEY_COME: list[tuple[bytes, tuple[Field, ...], bytes | None]] = [
    (KIND, (), b"Accept-Encoding"),
    (KIND, (takes("deflate"),), b"Accept-Encoding"),
    (KIND, (takes("gzip;q=0.5, identity"),), b"Accept-Encoding"),
    (KIND, (takes("gzip"), (b"range", b"bytes=0-")), None),
    (KIND, (takes("gzip"), (b"cache-control", b"no-transform")), None),
    (KIND + b"Content-Encoding: br\r\n", (takes("gzip"),), None),
    (KIND + b"Cache-Control: no-transform\r\n", (takes("gzip"),), None),
    (KIND + b"Content-Digest: sha-256=:x:\r\n", (takes("gzip"),), None),
    (b"Content-Type: image/png\r\n", (takes("gzip"),), None),
    (b"Content-Type: text/event-stream\r\n", (takes("gzip"),), None),
    (b"", (takes("gzip"),), None),
]
"""What an answer says, what its request says, and the Vary of what the client gets."""


async def test_other_answers_go_as_they_come(edge: Edge, script: Script, protocol: str) -> None:
    async with visitor(edge, protocol) as client:
        for said, fields, vary in AS_THEY_COME:
            script.response = b"HTTP/1.1 200 OK\r\n" + said + b'ETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(PAGE) + PAGE
            answer = await ask(client, *fields)
            assert answer.complete
            assert (answer.body, field(answer, b"content-length")) == (PAGE, b"%d" % len(PAGE))
            assert (field(answer, b"etag"), field(answer, b"vary")) == (b'"v1"', vary), said
            assert field(answer, b"content-encoding") == (b"br" if b"-Encoding: br" in said else None)


async def test_neither_are_parts_small_answers_and_paths_with_secrets(edge: Edge, script: Script, protocol: str) -> None:
    async with visitor(edge, protocol) as client:
        script.response = b"HTTP/1.1 206 Partial Content\r\n" + KIND + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE
        answer = await ask(client, takes("gzip"))
        assert (answer.status, answer.body, field(answer, b"vary")) == (206, PAGE, None)
        script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: 1023\r\n\r\n" + b"x" * 1023
        answer = await ask(client, takes("gzip"))
        assert (answer.body, field(answer, b"vary")) == (b"x" * 1023, None)
        script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE
        answer = await ask(client, takes("gzip"), path="/x/../%41ccount?q=guess")
        assert (answer.body, field(answer, b"vary")) == (PAGE, None)
        assert read(await ask(client, takes("gzip"), path="/public?q=guess"), "gzip") == PAGE


async def test_what_would_not_get_smaller_stays_and_varies_all_the_same(edge: Edge, script: Script, protocol: str) -> None:
    noise = random.Random(7).randbytes(5000)
    script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: 5000\r\n\r\n" + noise
    answer = await asked(edge, protocol, takes("zstd"))
    assert (answer.body, field(answer, b"vary")) == (noise, b"Accept-Encoding")
    assert field(answer, b"content-encoding") is None


async def test_head_is_told_what_get_is(edge: Edge, script: Script, protocol: str) -> None:
    script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b'ETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(PAGE)
    answer = await asked(edge, protocol, takes("br"), method="HEAD")
    assert (answer.body, field(answer, b"content-length"), field(answer, b"transfer-encoding")) == (b"", None, None)
    assert (field(answer, b"content-encoding"), field(answer, b"etag")) == (b"br", b'W/"v1"')


async def test_a_304_names_the_tag_that_the_client_has(edge: Edge, script: Script, protocol: str) -> None:
    script.response = b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n'
    async with visitor(edge, protocol) as client:
        answer = await ask(client, takes("br"), (b"if-none-match", b'W/"v1"'))
        assert (answer.status, field(answer, b"etag"), field(answer, b"vary")) == (304, b'W/"v1"', b"Accept-Encoding")
        answer = await ask(client, takes("br"), (b"if-none-match", b'"v1"'))
        assert (answer.status, field(answer, b"etag"), field(answer, b"vary")) == (304, b'"v1"', None)


async def test_a_websocket_opens_as_ever(edge: Edge, script: Script) -> None:
    script.response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with client1.connected(edge) as client:
        answer = await client.get(b"/", b"Connection: upgrade", b"Upgrade: websocket", b"Accept-Encoding: gzip")
        assert answer.status == 101


async def test_a_site_that_is_not_compressed_keeps_its_plain_exchanges(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[type] = []
    async with edge_with(tmp_path, maps, origin[1]).running() as edge:
        monkeypatch.setattr(edge.worker, "record", lambda exchange: kinds.append(type(exchange)))
        monkeypatch.setattr(edge.worker, "record_whole", lambda exchanges: kinds.extend(map(type, exchanges)))
        await asked(edge, "h1", takes("gzip"))
        await asked(edge, "h2", takes("gzip"))
        await until(lambda: len(kinds) == 2)
    assert kinds == [Exchange1, Exchange2]
    assert RouteEncodings(edge.config).of_route(None) is None


def test_an_exchange_that_becomes_one_keeps_its_fields() -> None:
    assert Encoded1.__struct_fields__ == Exchange1.__struct_fields__
    assert Encoded2.__struct_fields__ == Exchange2.__struct_fields__


# When something breaks


@pytest.mark.parametrize(
    ("coding", "said"),
    [
        ("zstd", b"Content-Length: 100000\r\n\r\n" + TEXT[:60_000]),
        ("br", b"Transfer-Encoding: chunked\r\n\r\nea60\r\n" + TEXT[:60_000] + b"\r\n"),
        ("gzip", b"Transfer-Encoding: chunked\r\n\r\nea60\r\n" + TEXT[:60_000] + b"\r\nnonsense\r\n"),
        ("br", b"Transfer-Encoding: chunked\r\n\r\nea60\r\n" + TEXT[:60_000] + b"\r\n0\r\nbad trailer\r\n\r\n"),
    ],
    ids=["length", "chunks", "nonsense", "trailer"],
)
async def test_an_answer_that_breaks_off_is_seen_to(
    edge: Edge, script: Script, protocol: str, coding: str, said: bytes
) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + KIND + said)
        await writer.drain()

    script.handler = handler
    answer = await asked(edge, protocol, takes(coding))
    assert not answer.complete
    if isinstance(answer, client2.Answer):
        assert answer.reset == 2  # which may overtake what was queued
    else:
        assert answer.status == 200
    assert TEXT.startswith(Decoder(coding).read(answer.body))
    await until(lambda: rules_of(edge).places.left == edge.worker.limits.compressed_answers)


def endless(script: Script, produced: list[int]) -> None:
    """The origin sends noise, and says how many bytes of it were taken."""
    noise = random.Random(7).randbytes(400_000)  # more than any window

    async def handler(reader: Reader, writer: Writer) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000000\r\n\r\n")
        for at in range(0, 100_000_000, 10_000):
            writer.write(noise[at % 400_000 :][:10_000])
            await writer.drain()
            produced[0] += 10_000

    script.handler = handler


@contextlib.asynccontextmanager
async def deaf(edge: Edge, protocol: str) -> AsyncIterator[None]:
    """A client that asks for an answer and does not read it."""
    if protocol == "h2":
        async with client2.connected(edge, auto=False) as two:
            two.request(client2.get("/", takes("zstd")), b"")
            yield
            two.writer.transport.abort()
        return
    async with client1.connected(edge) as one:
        one.transport.pause_reading()
        one.send(client1.request(b"GET /", b"Accept-Encoding: zstd"))
        yield
        one.transport.abort()


async def test_a_client_that_does_not_read_stops_the_origin_and_gives_its_place_back_when_it_leaves(
    edge: Edge, script: Script, protocol: str
) -> None:
    endless(script, produced := [0])
    places = rules_of(edge).places
    async with deaf(edge, protocol):
        await until(lambda: produced[0] and places.left == edge.worker.limits.compressed_answers - 1)
        assert await settled(produced) < 40_000_000
    await until(lambda: places.left == edge.worker.limits.compressed_answers)


async def test_without_a_place_an_answer_goes_as_it_is(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, protocol: str
) -> None:
    script, port = origin
    script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT
    edge = edge_with(tmp_path, maps, port, compression=ON, limits=Limits(compressed_answers=1))
    async with edge.running():
        places = rules_of(edge).places
        places.left = 0  # another answer has it
        answer = await asked(edge, protocol, takes("gzip"))
        assert (answer.body, field(answer, b"vary")) == (TEXT, b"Accept-Encoding")
        assert field(answer, b"content-encoding") is None
        places.left = 1
        assert read(await asked(edge, protocol, takes("gzip")), "gzip") == TEXT


def test_all_routes_of_a_worker_share_its_places() -> None:
    made = RouteEncodings(config_for(1, compression=ON, limits=Limits(compressed_answers=3)))
    usual, own = made.of_route(None), made.of_route(Policies(compression_never=("/own",)))
    assert usual is not None
    assert usual is made.of_route(Policies(hsts="off"))
    assert own is not None
    assert usual.places is own.places
    assert own.places.left == 3


async def test_a_domain_may_have_it_otherwise(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, protocol: str
) -> None:
    script, port = origin
    script.response = b"HTTP/1.1 200 OK\r\n" + KIND + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE
    async with edge_with(tmp_path, maps, port).running() as edge:

        async def coding(path: str, policies: Policies | None) -> bytes | None:
            edge.publish(("sites", "gallery.test", Site(workspace="w", certificate="cert-gallery.test", policies=policies)))
            return field(await asked(edge, protocol, takes("gzip"), path=path), b"content-encoding")

        assert await coding("/", None) is None
        assert await coding("/", Policies(compression="on", compression_never=("/own",))) == b"gzip"
        assert await coding("/own/page", Policies(compression="on", compression_never=("/own",))) is None
        assert await coding("/", Policies(compression="off")) is None
