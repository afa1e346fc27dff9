"""Messages as bytes: msgpack, and on streams a length before it. Pure.

A frame is a 4-byte big-endian length and that many bytes of msgpack. Packets (`link.channel`) carry the msgpack alone.
Unknown fields are ignored and unknown types skipped, since processes of two versions talk during an upgrade.
"""

from __future__ import annotations

import struct
from typing import Any, Generic, TypeVar, get_args

import msgspec

from edgeproxy.errors import LinkError
from edgeproxy.limits import LINK_MESSAGE
from edgeproxy.link.messages import ChannelMessage, LinkMessage, Message

M = TypeVar("M")

_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()


def packet(message: Message, limit: int = LINK_MESSAGE) -> bytes:
    """The message as msgpack; raises LinkError when it is longer than `limit` bytes."""
    data = _encoder.encode(message)
    if len(data) > limit:
        raise LinkError(
            f"A {type(message).__name__} message of {len(data)} bytes is over the bound of {limit}.",
            code="link_message_too_long",
            retryable=False,
        )
    return data


def frame(message: Message) -> bytes:
    """The message as a frame for a stream; raises LinkError when it is longer than `limits.LINK_MESSAGE`."""
    data = packet(message)
    return _LENGTH.pack(len(data)) + data


class PacketDecoder(Generic[M]):
    """Reads the msgpack of one family of messages, a union of tagged structs."""

    def __init__(self, family: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(family)
        self._tags = frozenset(kind.__struct_config__.tag for kind in get_args(family))

    def decode(self, data: bytes | bytearray | memoryview) -> M | None:
        """One message; None for a type that this version does not know.

        Raises LinkError for anything that is not a message: not msgpack, no type, a known type with wrong fields. The
        peer's state is then unknown; drop the link.
        """
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            if self._is_unknown(data):
                return None
            raise _malformed(error) from None
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise _malformed(error) from None

    def _is_unknown(self, data: bytes | bytearray | memoryview) -> bool:
        try:
            raw = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, RecursionError, ValueError, TypeError):
            return False
        return isinstance(raw, dict) and isinstance(raw.get("type"), str) and raw["type"] not in self._tags


class FrameDecoder(Generic[M]):
    """Cuts a stream into messages, however its bytes are split."""

    def __init__(self, family: Any) -> None:
        self._packets: PacketDecoder[M] = PacketDecoder(family)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """The messages that these bytes complete; unknown types are left out.

        Holds at most one unfinished frame of `limits.LINK_MESSAGE` bytes. Raises LinkError for a frame that is empty,
        over that bound or malformed; the decoder must not be used after that.
        """
        buffer = self._buffer
        buffer += data
        messages: list[M] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if not 0 < length <= LINK_MESSAGE:
                raise LinkError(
                    f"A frame of {length} bytes came; between 1 and {LINK_MESSAGE} are allowed.",
                    code="link_malformed",
                    retryable=False,
                )
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            message = self._packets.decode(bytes(buffer[start + _LENGTH.size : end]))
            if message is not None:
                messages.append(message)
            start = end
        del buffer[:start]
        return messages


def link_decoder() -> FrameDecoder[LinkMessage]:
    """For the stream between a worker and the controller."""
    return FrameDecoder(LinkMessage)


def channel_decoder() -> PacketDecoder[ChannelMessage]:
    """For the packets between the supervisor and a child."""
    return PacketDecoder(ChannelMessage)


def _malformed(error: Exception) -> LinkError:
    return LinkError(
        f"The other process sent something that is not a message: {error}.", code="link_malformed", retryable=False
    )
