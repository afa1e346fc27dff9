"""Visitors who ask once and stay."""

import socket
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import pytest

from bench.errors import WrongAnswer
from bench.load.idle import check_http1, check_http2, http2_request, is_ended
from bench.load.sink import ANSWER
from bench.traffic import Tenant

TENANT = Tenant("idle.test", "ws")


class Said:
    """The visitor's side of a connection whose server has said all that it says."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.sent = b""

    def recv(self, _size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def sendall(self, data: bytes) -> None:
        self.sent += data


def server(*, status: str = "200", body: bytes = ANSWER) -> tuple[h2.connection.H2Connection, bytes]:
    """What a server says to the request, and the server."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
    connection.initiate_connection()
    events = connection.receive_data(http2_request(TENANT, 0))
    request = next(event for event in events if isinstance(event, h2.events.RequestReceived))
    assert (":authority", "idle.test") in [(str(name), str(value)) for name, value in request.headers or ()]
    assert len(request.headers or ()) == 18
    connection.send_headers(1, [(":status", status), ("content-length", str(len(body)))])
    connection.send_data(1, body, end_stream=True)
    return connection, connection.data_to_send()


def test_an_answer_over_http2_is_checked_and_the_settings_are_agreed_to():
    connection, said = server()
    visitor: Any = Said(said[:5], said[5:300], said[300:])
    check_http2(visitor)
    assert any(isinstance(event, h2.events.SettingsAcknowledged) for event in connection.receive_data(visitor.sent))


@pytest.mark.parametrize("wrong", [server(status="502")[1], server(body=b"another's")[1], server()[1][:-9]])
def test_a_wrong_answer_over_http2_is_told(wrong: bytes):
    with pytest.raises(WrongAnswer):
        check_http2(cast(Any, Said(wrong)))


def test_an_answer_over_http1_is_checked():
    check_http1(cast(Any, Said(b"HTTP/1.1 200 OK\r\n\r\n", ANSWER)))
    for wrong in (b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + ANSWER, b"HTTP/1.1 200 OK\r\n\r\n"):
        with pytest.raises(WrongAnswer):
            check_http1(cast(Any, Said(wrong)))


def test_who_was_left_is_noticed_and_who_hears_nothing_is_not():
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.sendall(b"tickets")
        assert not is_ended(cast(Any, here))
        there.close()
        assert is_ended(cast(Any, here))
