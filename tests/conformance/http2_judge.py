"""Runs a case of the HTTP/2 suite, against the adapter alone or over TLS, and says whether it came to what it should."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Any

import hpack
from h2.errors import ErrorCodes

from edgeproxy.edge.headers import Field, RequestHead
from edgeproxy.edge.http1 import Refusal
from edgeproxy.edge.http2 import Http2Error, Http2Server
from edgeproxy.limits import Limits
from tests.conformance.http2_frames import ACK, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Case, frame, settings
from tests.http2_peer import PREFACE, Recorder, fields_for, parse_frames

BODY = b"hello"


class Answering(Recorder):
    """Answers each request as soon as it is whole."""

    def _answer(self, stream: int, status: bytes = b"200") -> None:
        if self.server is not None:
            head = self.requests.get(stream)
            self.server.respond(stream, [(b":status", status)], b"" if head and head.method == b"HEAD" else BODY, True)

    def request(self, stream: int, head: RequestHead, end: bool) -> None:
        super().request(stream, head, end)
        if end:
            self._answer(stream)

    def refused(self, stream: int, fields: Sequence[Field], refusal: Refusal, end: bool) -> None:
        super().refused(stream, fields, refusal, end)
        self._answer(stream, b"%d" % refusal.status)

    def body(self, stream: int, data: bytes, end: bool) -> None:
        super().body(stream, data, end)
        if end:
            self._answer(stream)

    def trailers(self, stream: int, lines: list[bytes]) -> None:
        super().trailers(stream, lines)
        self._answer(stream)


def beginning(case: Case) -> bytes:
    """What a client begins with."""
    return PREFACE + settings(*case.first) + frame(SETTINGS, ACK, 0) if case.preface is None else case.preface


def run_alone(case: Case) -> tuple[list[list[Any]], bool]:
    """The frames that the adapter sends after the beginning and after each step, and whether it has ended the connection."""
    sink = Answering()
    server = sink.server = Http2Server(sink, fields_for(), Limits())
    came = [parse_frames(server.data_to_send())]
    try:
        for step in (beginning(case), *case.steps):
            server.receive(step, 0.0)
            came.append(parse_frames(server.data_to_send()))
    except Http2Error as error:
        came.append(parse_frames(error.last_words))
    first = came.pop(0)
    return [first + came[0], *came[1:]], server.ended


def tally(frames: list[Any]) -> tuple[int, int, int, int]:
    """Of frames: those that are heads, that end a stream, and that reset one; and the bytes of content in all of them."""
    heads = sum(one.type == HEADERS for one in frames)
    ends = sum(one.type in (HEADERS, DATA) and "END_STREAM" in one.flags for one in frames)
    size = sum(len(one.data) for one in frames if one.type == DATA)
    return heads, ends, sum(one.type == RST_STREAM for one in frames), size


def run_over_tls(case: Case, port: int, context: ssl.SSLContext) -> tuple[list[Any], bool]:
    """The same against a worker whose origin answers with BODY: it is asked for as much as the adapter alone has given."""
    expected, over = run_alone(case)
    output = b""
    due: list[Any] = []
    with (
        socket.create_connection(("127.0.0.1", port), 120) as plain,
        context.wrap_socket(plain, server_hostname="gallery.test") as sock,
    ):
        steps = (beginning(case), *case.steps)
        for number, step in enumerate(steps):
            due += expected[number]
            last = over and number == len(expected) - 1
            token = b"step%4d" % number
            sock.sendall(step if last else step + frame(PING, 0, 0, token))
            while last or not reached(output, due, token):
                piece = sock.recv(65536)
                if not piece:
                    return whole_frames(output), True
                output += piece
    return [one for one in whole_frames(output) if one.type != PING or not one.opaque_data.startswith(b"step")], False


def reached(output: bytes, due: list[Any], token: bytes) -> bool:
    """Whether the answers are there, and that to our PING too."""
    frames = whole_frames(output)
    enough = all(have >= want for have, want in zip(tally(frames), tally(due), strict=True))
    return enough and any(one.type == PING and one.opaque_data == token for one in frames)


def whole_frames(output: bytes) -> list[Any]:
    """The frames that have come whole."""
    at = 0
    while at + 9 <= len(output) and at + 9 + int.from_bytes(output[at : at + 3], "big") <= len(output):
        at += 9 + int.from_bytes(output[at : at + 3], "big")
    return parse_frames(output[:at])


def judge(case: Case, frames: list[Any], ended: bool) -> str:
    """What is wrong; "" for nothing."""
    decoder = hpack.Decoder()
    heads = {one.stream_id: decoder.decode(one.data, raw=True) for one in frames if one.type == HEADERS}
    statuses = {stream: dict(head)[b":status"].decode() for stream, head in heads.items()}
    complete = {one.stream_id for one in frames if one.type in (HEADERS, DATA) and "END_STREAM" in one.flags}
    resets = {one.stream_id: one.error_code for one in frames if one.type == RST_STREAM}
    goaways = [one.error_code for one in frames if one.type == GOAWAY]
    kind, _, what = case.outcome.rpartition(" ")
    alive = not ended and not goaways
    if kind == "connection error":
        right = ended and goaways == [ErrorCodes[what]]
    elif kind == "stream error":
        right = alive and list(resets.values()) == [ErrorCodes[what]]
    elif case.outcome == "ended in order":
        right = ended and not any(goaways) and not resets
    elif kind == "status":
        right = alive and statuses == {1: what}
    elif what == "answered":
        right = alive and not resets and statuses[1] == "200" and set(statuses) == complete
    else:
        right = what == "ignored" and alive and not resets
    if case.check is not None:
        right = right and case.check(frames)
    if right:
        return ""
    return (
        f"{case.name} ({case.sent}): {case.outcome} was due; came {frames}, and the connection is {'over' if ended else 'open'}"
    )
