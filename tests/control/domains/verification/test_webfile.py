"""The file, from a web server on loopback."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from edgeproxy.control.domains.verification import webfile as module
from edgeproxy.control.domains.verification.seen import FileSaid
from edgeproxy.control.domains.verification.webfile import WebFiles
from tests.ports import free_port

HOST, TOKEN = "shop.customer.test", "a-random-proof"
URL = f"http://{HOST}/.well-known/edgeproxy-verify/{TOKEN}"


class Web:
    """Answers everything with `status`, `headers` and `body`; where `silent`, never."""

    def __init__(self):
        self.port = free_port()
        self.status, self.headers, self.body = 200, "", TOKEN.encode()
        self.silent = False
        self.asked: list[str] = []

    async def serve(self, reader, writer):
        with contextlib.suppress(EOFError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            if self.silent:
                await reader.read()
            else:
                answer = f"HTTP/1.1 {self.status} X\r\n{self.headers}content-length: {len(self.body)}\r\n\r\n"
                writer.write(answer.encode() + self.body)
                await writer.drain()
        writer.close()


@pytest.fixture
async def web():
    made = Web()
    server = await asyncio.start_server(made.serve, "127.0.0.1", made.port)
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
async def files(web):
    made = WebFiles(lambda address: address.startswith("127."), ports=(web.port, web.port))
    yield made
    await made.close()


async def test_the_file_is_asked_of_the_names_own_address(web, files):
    assert (await files.fetch(URL, TOKEN, ["127.0.0.1"])).said is FileSaid.FOUND
    (head,) = web.asked
    assert head.startswith(f"GET /.well-known/edgeproxy-verify/{TOKEN} HTTP/1.1\r\n")
    assert f"host: {HOST}\r\n" in head.lower()
    web.body = b"\xef\xbb\xbf" + TOKEN.encode() + b"\r\n"
    assert (await files.fetch(URL, TOKEN, ["127.0.0.1"])).said is FileSaid.FOUND


@pytest.mark.parametrize(
    ("status", "body", "said", "told"),
    [
        (404, b"", FileSaid.MISSING, "answers 404"),
        (403, TOKEN.encode(), FileSaid.MISSING, "answers 403"),
        (500, b"", FileSaid.FAILED, "answers 500"),
        (429, b"", FileSaid.FAILED, "answers 429"),
        (200, b"something \x1b[31m else", FileSaid.DIFFERS, "holds “something ·[31m else”"),
        (200, b"", FileSaid.DIFFERS, "holds nothing"),
        (200, f"There is no /.well-known/{TOKEN} here".encode(), FileSaid.DIFFERS, "which is not the token"),
        (200, TOKEN.encode() + b" " * 1_000_000, FileSaid.DIFFERS, "larger than 4096 bytes"),
    ],
)
async def test_what_is_not_the_file_is_told(web, files, status, body, said, told):
    web.status, web.body = status, body
    found = await files.fetch(URL, TOKEN, ["127.0.0.1"])
    assert found.said is said
    assert told in found.detail


async def test_redirects_are_followed_within_the_host(web, files):
    serve = web.serve

    async def once(reader, writer):
        web.status, web.headers = (200, "") if web.asked else (301, f"location: http://{HOST}/other?a=b\r\n")
        await serve(reader, writer)

    server = await asyncio.start_server(once, "127.0.0.2", web.port)
    try:
        assert (await files.fetch(URL, TOKEN, ["127.0.0.2"])).said is FileSaid.FOUND
    finally:
        server.close()
        await server.wait_closed()
    assert web.asked[1].startswith("GET /other?a=b ")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://elsewhere.test/",
        f"http://{HOST}:22/",
        f"http://user@{HOST}/",
        f"ftp://{HOST}/",
        "http://[::1/",
    ],
)
async def test_redirects_to_anywhere_else_are_not(web, files, location):
    web.status, web.headers = 302, f"location: {location}\r\n"
    found = await files.fetch(URL, TOKEN, ["127.0.0.1"])
    assert found.said is FileSaid.REFUSED
    assert len(web.asked) == 1


async def test_redirects_end(web, files):
    web.status, web.headers = 302, "location: /again\r\n"
    found = await files.fetch(URL, TOKEN, ["127.0.0.1"])
    assert (found.said, len(web.asked)) == (FileSaid.REFUSED, 4)
    assert "more than 3 times" in found.detail


async def test_private_addresses_are_not_connected_to(web, files):
    found = await files.fetch(URL, TOKEN, ["10.0.0.1", "::1"])
    assert found.said is FileSaid.REFUSED
    assert "no public address (10.0.0.1, ::1)" in found.detail
    assert (await files.fetch(URL, TOKEN, ["10.0.0.1", "127.0.0.1"])).said is FileSaid.FOUND


async def test_silence_and_closed_ports_are_not_yet(web, files, monkeypatch):
    monkeypatch.setattr(module, "FILE_SECONDS", 0.3)
    web.silent = True
    found = await files.fetch(URL, TOKEN, ["127.0.0.1"])
    assert (found.said, "did not come within" in found.detail) == (FileSaid.FAILED, True)
    closed = WebFiles(lambda _address: True, ports=(free_port(), 443))
    found = await closed.fetch(URL, TOKEN, ["127.0.0.1"])
    await closed.close()
    assert (found.said, "cannot be fetched" in found.detail) == (FileSaid.FAILED, True)


@pytest.mark.parametrize(
    "location",
    [
        f"/{'a' * 5000}",
        "/\x1b[2J",
        "http://127.0.0.1/token",
        "//127.0.0.1/",
        "http://user@shop.customer.test/",
        "http://[::1]/",
    ],
)
async def test_redirects_that_mean_harm_are_not_followed_and_not_repeated(web, files, location):
    web.status, web.headers = 302, f"location: {location}\r\n"
    found = await files.fetch(URL, TOKEN, ["127.0.0.1"])
    assert found.said in (FileSaid.REFUSED, FileSaid.FAILED)
    assert len(web.asked) == 1
    assert found.detail.isprintable()
    assert len(found.detail) < 500
