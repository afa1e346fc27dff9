"""The WebSockets of the bench: what the origin says back, and how the client looks at it."""

import asyncio
import ssl
from pathlib import Path

import pytest

from bench.authority import Authority
from bench.errors import WrongAnswer
from bench.load.arguments import Orders
from bench.load.echo import Echo, accept_of, masked
from bench.load.websocket import CONNECTIONS, MESSAGE, message, run
from bench.traffic import Tenant

TENANT = Tenant("cust00.bench.test", "ws_00")


class Wrong(Echo):
    """Says every message back as if it were another."""

    def _message(self) -> None:
        self._data = self._data[6 + MESSAGE :]
        self._transport.write(bytes([0x81, MESSAGE]) + message(TENANT, 99_999))


def test_the_handshake_is_proven_as_in_the_standards_example():
    assert accept_of(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3


def test_masks_are_those_of_the_standard():
    assert masked(b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("7f9f4d5158")  # RFC 6455, 5.7
    assert masked(bytes.fromhex("7f9f4d5158"), bytes.fromhex("37fa213d")) == b"Hello"


async def visited(echo: type[Echo], tmp_path: Path) -> int:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.leaf(TENANT.hostname))
    server = await asyncio.get_running_loop().create_server(echo, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        orders = Orders(port=port, root_file=authority.root_file, tenants=(TENANT,), seconds=0.3, mode="websocket")
        return (await run(orders)).succeeded


async def test_messages_come_back_and_are_counted(tmp_path: Path):
    before = Echo.count
    came = await visited(Echo, tmp_path)
    assert came == Echo.count - before >= CONNECTIONS


async def test_another_message_than_the_one_that_was_sent_is_a_wrong_answer(tmp_path: Path):
    with pytest.raises(WrongAnswer, match="came back as"):
        await visited(Wrong, tmp_path)


async def test_who_asks_for_no_websocket_gets_none(tmp_path: Path):
    server = await asyncio.get_running_loop().create_unix_server(Echo, str(tmp_path / "s"))
    async with server:
        for request, answer in ((b"GET /x", b"HTTP/1.1 400"), (b"GET /count", b"HTTP/1.0 200")):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(request + b" HTTP/1.1\r\n\r\n")
            assert (await reader.read()).startswith(answer)
            writer.close()
