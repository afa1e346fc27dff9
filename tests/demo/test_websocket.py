"""As much of WebSocket as an echo needs."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.demo.message import BadRequest, parse_head
from edgeproxy.demo.websocket import CLOSE, PING, PONG, TEXT, Echo, accept_key, frame


def opening(*lines):
    given = ("GET /ws HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket")
    return parse_head("\r\n".join((*given, *lines)).encode())


def masked(opcode, payload, last=True):
    """A client's frame."""
    mask = os.urandom(4)
    head = frame(opcode, payload, last=last)[: -len(payload) or None]
    body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes((head[0], head[1] | 0x80)) + head[2:] + mask + body


def test_the_key_is_answered_as_the_rfc_shows():
    request = opening("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    assert accept_key(request) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Sec-WebSocket-Key: short", "Sec-WebSocket-Version: 13"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 8"),
    ],
)
def test_another_handshake_is_refused(lines):
    with pytest.raises(BadRequest) as caught:
        accept_key(opening(*lines))
    assert caught.value.status == 426


@given(st.binary(max_size=70_000), st.integers(1, 70_000))
def test_what_comes_goes_back_however_it_is_cut(payload, cut):
    echo = Echo()
    data = masked(TEXT, payload)
    assert b"".join(echo.receive(data[at : at + cut]) for at in range(0, len(data), cut)) == frame(TEXT, payload)


def test_fragments_keep_their_borders_and_pings_are_answered_between_them():
    data = masked(TEXT, b"a", last=False) + masked(PING, b"p") + masked(PONG, b"x") + masked(0, b"b")
    assert Echo().receive(data) == frame(TEXT, b"a", last=False) + frame(PONG, b"p") + frame(0, b"b")


def test_close_is_answered_and_ends_it():
    echo = Echo()
    assert echo.receive(masked(CLOSE, struct.pack("!H", 1000) + b"bye") + masked(TEXT, b"x")) == frame(CLOSE, b"\x03\xe8")
    assert echo.closed


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"unmasked"), 1002),
        (bytes((0xC1, 0x80)), 1002),
        (bytes((0x83, 0x80)), 1002),
        (masked(PING, b"x" * 126), 1002),
        (masked(PING, b"x", last=False), 1002),
        (bytes((0x82, 0xFF)) + (2**40).to_bytes(8), 1009),
    ],
    ids=["not masked", "reserved bit", "reserved opcode", "long ping", "ping in parts", "too large"],
)
def test_frames_that_are_not_right_end_it_with_their_code(data, code):
    echo = Echo()
    assert echo.receive(data) == frame(CLOSE, struct.pack("!H", code))
    assert echo.closed
