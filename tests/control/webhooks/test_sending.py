"""One try of one delivery, to real servers that are slow, broken, redirecting, or where they must not be."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from edgeproxy.control.store import Endpoint
from edgeproxy.control.webhooks import sending
from edgeproxy.control.webhooks.outcome import Sent
from edgeproxy.control.webhooks.sending import Sender, check_url
from edgeproxy.errors import InvalidName
from tests.authorities import Authority, key_text, new_key, pem
from tests.control.webhooks.receiver import Got, receiving, says
from tests.ports import free_port

HERE = ("127.0.0.0/8",)
ROOT = Authority("Root of receivers")


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pem(ROOT.certificate))


def tls(folder: Path, *names: str) -> ssl.SSLContext:
    key = new_key()
    (folder / "chain.pem").write_text(pem(ROOT.sign(*names, key=key)))
    (folder / "key.pem").write_text(key_text(key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context


async def send(url: str, allow: Sequence[str] = HERE, source: Any = "api", content: bytes = b"{}") -> Sent:
    endpoint = Endpoint(id="e", source=source, url=url, created_at=0, created_by="test", updated_at=0)
    sender = Sender(endpoint, allow, trust, anyio.CapacityLimiter(4))
    try:
        return await sender.send(content, {"content-type": "application/json", "webhook-id": "msg_1"})
    finally:
        await sender.close()


async def test_a_delivery_is_a_post_and_2xx_is_a_success() -> None:
    async with receiving() as receiver:
        sent = await send(receiver.url + "?a=1", content=b'{"type":"x"}')
        (got,) = receiver.got
    assert (sent.delivered, sent.status, sent.error) == (True, 204, "")
    assert (got.path, got.body) == ("/hooks?a=1", b'{"type":"x"}')
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "msg_1"


async def test_a_refusal_is_told_with_its_beginning_on_one_line() -> None:
    async with receiving() as receiver:
        receiver.usual = says(500, b"broken\n\x1b[31m " + b"x" * 3000, retry_after="7")
        sent = await send(receiver.url)
    assert (sent.delivered, sent.status, sent.retry_after) == (False, 500, 7.0)
    assert sent.error.startswith("It answered 500: broken [31m xxx")
    assert len(sent.error) < 250
    assert "\x1b" not in sent.error


async def test_redirects_are_not_followed() -> None:
    async with receiving() as inner, receiving() as receiver:
        receiver.usual = says(307, location=inner.url)
        sent = await send(receiver.url)
        assert inner.got == []
    assert "Redirects are not followed" in sent.error


async def test_who_wants_no_more_says_410() -> None:
    async with receiving() as receiver:
        receiver.usual = says(410)
        assert (await send(receiver.url)).status == 410


async def test_silence_ends_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SECONDS", 0.3)
    never = asyncio.Event()

    async def silent(_got: Got, _writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with receiving() as receiver:
        receiver.usual = silent
        sent = await send(receiver.url)
    assert (sent.status, sent.error) == (None, "It did not answer within 0 s.")


async def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ANSWER_SECONDS", 0.1)
    never = asyncio.Event()

    async def endless(_got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin")
        await never.wait()

    async with receiving() as receiver:
        receiver.usual = endless
        assert (await send(receiver.url)).delivered


async def test_of_a_large_answer_only_the_beginning_is_read() -> None:
    written = 0

    async def large(_got: Got, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 400 No\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    async with receiving() as receiver:
        receiver.usual = large
        sent = await send(receiver.url)
    assert sent.status == 400
    assert written < 100_000_000


async def test_a_server_that_breaks_off_or_does_not_speak_http_is_a_failure() -> None:
    async def breaks(_got: Got, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def gibberish(_got: Got, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n\r\n")

    async with receiving() as receiver:
        receiver.answers = [breaks, gibberish]
        for _ in range(2):
            sent = await send(receiver.url)
            assert (sent.delivered, sent.status) == (False, None)
            assert sent.error.startswith("It cannot be reached: ")


async def test_nobody_there_is_told_in_a_sentence() -> None:
    assert (await send(f"http://127.0.0.1:{free_port()}/")).error == "It cannot be reached: connection refused."


async def test_a_name_that_there_is_not_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    sent = await send("https://no.such.example/")
    assert sent.error == "It cannot be reached: its name cannot be looked up (name or service not known)."


def pointing_at(*addresses: str) -> Any:
    """A look-up in which every name points there, as a DNS server would say it."""
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if host.replace(".", "").isdigit():
            return real(host, port, *rest, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    return look_up


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"]
)
async def test_a_name_that_points_into_a_private_network_is_not_tried(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", pointing_at(address))
    sent = await send("https://hooks.example/", allow=())
    assert sent.status is None
    assert (
        sent.error == f"hooks.example points at {address}, which is not a public address, and webhooks.allow does not list it."
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[::127.0.0.1]", "[fec0::1]", "[fd00::1]"]
)
async def test_a_private_address_is_not_tried(host: str) -> None:
    sent = await send(f"https://{host}/", allow=())
    assert "not a public address" in sent.error


async def test_of_several_addresses_only_allowed_ones_are_tried_and_the_next_if_one_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", pointing_at("10.255.255.1", "127.0.0.2", "127.0.0.1"))
    async with receiving() as receiver:
        sent = await send(f"http://hooks.example:{receiver.port}/", allow=HERE)
        assert receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}"
    assert sent.delivered


async def test_a_name_that_is_listed_and_an_endpoint_of_the_configuration_may_be_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", pointing_at("127.0.0.1"))
    async with receiving() as receiver:
        url = f"http://hooks.internal.example:{receiver.port}/"
        assert not (await send(url, allow=())).delivered
        assert (await send(url, allow=("*.internal.example",))).delivered
        assert (await send(url, allow=(), source="config")).delivered


async def test_over_tls_the_certificate_must_be_for_the_name_though_an_address_is_dialled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", pointing_at("127.0.0.1"))
    async with receiving(tls(tmp_path, "hooks.example")) as receiver:
        assert (await send(f"https://hooks.example:{receiver.port}/")).delivered
        sent = await send(f"https://other.example:{receiver.port}/")
    assert "its TLS certificate is not trusted" in sent.error
    assert "other.example" in sent.error


async def test_a_connection_is_used_again(tmp_path: Path) -> None:
    async with receiving() as receiver:
        endpoint = Endpoint(id="e", source="config", url=receiver.url, created_at=0, created_by="test", updated_at=0)
        sender = Sender(endpoint, (), trust, anyio.CapacityLimiter(4))
        for _ in range(3):
            assert (await sender.send(b"{}", {})).delivered
        await sender.close()
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=1", "https://203.0.114.7/", "http://127.0.0.1:9000/", "http://in.example/"]
)
def test_a_url_that_may_be_is_taken(url: str) -> None:
    assert check_url(url, ("127.0.0.0/8", "in.example")) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a.example/", "is not https"),
        ("https://10.0.0.1/", "not a public address"),
        ("http://203.0.114.7/", "is not https"),
        ("https://u:p@a.example/", "user name or password"),
        ("https://a.example/#x", "fragment"),
        ("ftp://a.example/", "neither http nor https"),
        ("https://a.example/" + "x" * 3000, "more than 2048 characters"),
        ("nonsense", "is not a URL"),
        ("https://exämple.test/", "outside ASCII"),
    ],
)
def test_a_url_that_may_not_be_is_refused(url: str, why: str) -> None:
    with pytest.raises(InvalidName, match=why):
        check_url(url, ("127.0.0.0/8",))
