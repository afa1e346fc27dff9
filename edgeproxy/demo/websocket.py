"""As much of WebSocket (RFC 6455) as an echo needs. Pure: bytes in, bytes out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

from edgeproxy.demo.message import BadRequest, Request

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

FRAME_BYTES = 1024 * 1024
"""Bytes of one frame's payload. Above it the connection is closed with 1009."""


def accept_key(request: Request) -> str:
    """What `Sec-WebSocket-Accept` must say; raises BadRequest where the request opens no WebSocket."""
    if request.method != "GET" or "upgrade" not in request.tokens("connection") or "websocket" not in request.tokens("upgrade"):
        raise BadRequest("this path speaks WebSocket: connect to it with wss://", 426)
    key = request.get("sec-websocket-key")
    try:
        right = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        right = False
    if not right or request.get("sec-websocket-version") != "13":
        raise BadRequest("the WebSocket handshake is not RFC 6455's, version 13", 426)
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()


def frame(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    """A server's frame: unmasked."""
    first = (0x80 if last else 0) | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


class Echo:
    """Sends back what comes. After `closed` nothing more is to be read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.closed = False

    def receive(self, data: bytes) -> bytes:
        """Takes bytes from the client; gives those to send."""
        self._buffer += data
        answer = b""
        while not self.closed and (found := self._next()) is not None:
            answer += self._answer(*found)
        return answer

    def _next(self) -> tuple[int, bool, bytes] | None:
        """The next whole frame: opcode, whether it is a message's last, payload. None: more bytes are needed."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, last, masked, length, at = buffer[0] & 15, bool(buffer[0] & 0x80), buffer[1] & 0x80, buffer[1] & 127, 2
        if buffer[0] & 0x70 or not masked or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            return CLOSE, True, struct.pack("!H", 1002)
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(buffer) < at + size:
                return None
            length = int.from_bytes(buffer[at : at + size])
            at += size
        if length > FRAME_BYTES or (opcode >= CLOSE and (length > 125 or not last)):
            return CLOSE, True, struct.pack("!H", 1009 if length > FRAME_BYTES else 1002)
        if len(buffer) < at + 4 + length:
            return None
        mask, start = buffer[at : at + 4], at + 4
        payload = int.from_bytes(buffer[start : start + length]) ^ int.from_bytes((mask * (length // 4 + 1))[:length])
        del buffer[: start + length]
        return opcode, last, payload.to_bytes(length)

    def _answer(self, opcode: int, last: bool, payload: bytes) -> bytes:
        if opcode == CLOSE:
            self.closed = True
            return frame(CLOSE, payload[:2])
        if opcode == PING:
            return frame(PONG, payload)
        return b"" if opcode == PONG else frame(opcode, payload, last=last)
