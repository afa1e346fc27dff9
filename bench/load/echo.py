"""An origin of WebSockets that says back each message, and counts them. Run as a process: `python -m bench.load.echo --socket
PATH`. Who asks for COUNT_PATH there is told how many messages it were.

Messages are as `bench.load.websocket` sends them: one text frame, masked, of at most 125 bytes. Else it closes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
from pathlib import Path
from typing import cast

import uvloop

COUNT_PATH = "/count"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def accept_of(key: bytes) -> bytes:
    """What proves that the handshake with this Sec-WebSocket-Key was understood (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def masked(payload: bytes, mask: bytes) -> bytes:
    """The payload under a mask of 4 bytes, or the other way around."""
    size = len(payload)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


class Echo(asyncio.Protocol):
    """One connection."""

    count = 0
    """Of messages, over all connections."""

    def __init__(self) -> None:
        self._data = b""
        self._open = False
        self._transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._open:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if end:
                self._data = rest
                self._begin(head)
        while self._open and len(self._data) >= 2 and len(self._data) >= 6 + self._data[1] - 128:
            self._message()

    def _begin(self, head: bytes) -> None:
        if head.startswith(f"GET {COUNT_PATH} ".encode()):
            self._transport.write(b"HTTP/1.0 200 OK\r\n\r\n%d" % Echo.count)
            self._transport.close()
            return
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
        }
        if fields.get(b"upgrade", b"").lower() != b"websocket" or b"sec-websocket-key" not in fields:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self._transport.close()
            return
        self._open = True
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
            + accept_of(fields[b"sec-websocket-key"])
            + b"\r\n\r\n"
        )

    def _message(self) -> None:
        data, size = self._data, self._data[1] - 128
        if data[0] != 0x81 or not 0 <= size <= 125:
            self._open = False
            self._transport.close()
            return
        self._data = data[6 + size :]
        Echo.count += 1
        self._transport.write(b"\x81" + bytes([size]) + masked(data[6 : 6 + size], data[2:6]))


async def serve(path: Path) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_unix_server(Echo, str(path), backlog=1024)
    path.chmod(0o666)  # nginx's worker may be somebody else
    async with server:
        await server.serve_forever()


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    uvloop.run(serve(parser.parse_args().socket))


if __name__ == "__main__":
    main()
