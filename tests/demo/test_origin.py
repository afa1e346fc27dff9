"""The sample origin, over real sockets."""

import asyncio
import json
import socket
import subprocess
import sys

import pytest

from edgeproxy.demo import origin
from edgeproxy.demo.websocket import TEXT, frame


@pytest.fixture
async def ask():
    """Sends bytes to a running origin; gives everything that comes back until it closes, or until `end` is seen."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = await origin.Origin().serve(listener)

    async def ask(data, end=None):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        try:
            return await (reader.read() if end is None else reader.readuntil(end))
        finally:
            writer.close()
            await writer.wait_closed()

    yield ask
    server.close()


def get(path, *lines, method="GET"):
    return "\r\n".join((f"{method} {path} HTTP/1.1", "host: a", "connection: close", *lines, "", "")).encode()


async def test_a_request_is_answered_with_what_it_was(ask):
    head, _, body = (await ask(get("/x?y=z", "workspace-id: w"))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in head
    told = json.loads(body)
    assert (told["workspace"], told["path"]) == ("w", "/x?y=z")


async def test_browsers_get_a_page(ask):
    answer = await ask(get("/", "accept: text/html"))
    assert b"content-type: text/html; charset=utf-8" in answer
    assert b"<!doctype html>" in answer


async def test_head_has_no_body(ask):
    answer = await ask(get("/", method="HEAD"))
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 0" not in answer


async def test_requests_follow_each_other_on_one_connection(ask):
    answer = await ask(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n" + get("/2"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        (("content-length: 5",), b"hello"),
        (("transfer-encoding: chunked",), b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nx-sum: 1\r\n\r\n"),
    ],
)
async def test_bodies_are_taken_either_way(ask, lines, sent):
    answer = await ask(get("/form", *lines, method="POST") + sent)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["body"] == {"bytes": 5, "text": "hello"}


async def test_a_client_that_asks_first_is_told_to_go_on(ask):
    await ask(get("/form", "content-length: 5", "expect: 100-continue", method="POST"), end=b"100 Continue\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (get("/form", "transfer-encoding: chunked", method="POST") + b"x\r\n", b"400"),
        (get("/form", "transfer-encoding: chunked", method="POST") + b"1\r\nabc", b"400"),
        (get("/form", "transfer-encoding: chunked", method="POST") + b"0\r\nbad trailer\r\n\r\n", b"400"),
        (get("/form", "content-length: 99999999", method="POST"), b"413"),
        (get("/" + "x" * 70_000), b"431"),
        (get("/ws"), b"426"),
        (get("/slow?seconds=x"), b"400"),
        (get("/favicon.ico"), b"404"),
    ],
)
async def test_what_cannot_be_answered_is_refused(ask, data, status):
    assert (await ask(data)).startswith(b"HTTP/1.1 " + status)


async def test_a_refusal_arrives_although_the_body_was_not_read(ask):
    """Closed at once, the connection would be reset by what lies unread, and the answer lost with it."""
    request = get("/ws", "content-length: 4000000", method="PATCH")
    assert (await ask(request + bytes(4_000_000))).startswith(b"HTTP/1.1 426 ")


async def test_slow_takes_its_time(ask):
    loop = asyncio.get_running_loop()
    before = loop.time()
    await ask(get("/slow?seconds=0.2"))
    assert loop.time() - before >= 0.2


async def test_a_websocket_echoes(ask):
    lines = ("upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13")
    opening = get("/ws", *lines).replace(b"connection: close", b"connection: upgrade")
    message = bytes((0x81, 0x82, 0, 0, 0, 0)) + b"hi"
    answer = await ask(opening + message + bytes((0x88, 0x80, 0, 0, 0, 0)))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    assert frame(TEXT, b"hi") in answer


def test_the_process_ends_when_its_starter_does():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeproxy.demo.origin", str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
        )
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            client.sendall(get("/"))
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
