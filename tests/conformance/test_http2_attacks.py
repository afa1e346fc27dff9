"""Attacks by HTTP/2: each ends its own connection within its bound and with the right code, and harms nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import h2.settings
import pytest
from h2.errors import ErrorCodes

from edgeproxy.edge import connection, http2
from edgeproxy.edge.http2 import Http2Error, Http2Server
from edgeproxy.limits import HTTP2_CHATTER, HTTP2_GLITCHES, HTTP2_RESETS, Limits
from tests.conformance.http2_attacks import ATTACKS, Attack
from tests.conformance.http2_frames import ACK, GOAWAY, SETTINGS, frame, headers, reset, settings
from tests.conformance.http2_judge import Answering, whole_frames
from tests.edge.client2 import Client2, connected, get
from tests.edge.harness import Edge, until
from tests.http2_peer import PREFACE, fields_for, parse_frames

AT_ONCE = 10
"""Pieces of an attack that are sent together."""
IMPATIENT = "PROTOCOL_ERROR"
ENDLESS = 2_000
"""Pieces that are sent of an attack that ends nothing."""
GROWTH = 64 * 1024 * 1024
"""Bytes by which all attacks together may let the process grow, the attacker's side and what the allocators keep included."""


PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def beginning(attack: Attack) -> bytes:
    return PREFACE + settings(*attack.first) + frame(SETTINGS, ACK, 0) + attack.once


def pieces(attack: Attack) -> list[bytes]:
    """Everything that the attacker sends behind the beginning, half as much again as it may."""
    count = int(1.5 * attack.most) + 2 * AT_ONCE if attack.code else ENDLESS
    return [b"".join(map(attack.again, range(start, start + AT_ONCE))) for start in range(0, count, AT_ONCE)]


@pytest.fixture
def bursts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that hardly fill again, or a slow machine would let more through."""
    monkeypatch.setattr(http2, "HTTP2_CHATTER", (HTTP2_CHATTER[0], 0))
    monkeypatch.setattr(http2, "HTTP2_GLITCHES", (HTTP2_GLITCHES[0], 1))
    monkeypatch.setattr(http2, "HTTP2_RESETS", (HTTP2_RESETS[0], 1))


@pytest.mark.usefixtures("bursts_alone")
@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_an_attack_ends_its_connection_within_its_bound(attack: Attack) -> None:
    sink = Answering()
    server = sink.server = Http2Server(sink, fields_for(), Limits())
    server.receive(beginning(attack), 0.0)
    server.data_to_send()
    taken = 0
    goaway: list[Any] = []
    began = time.monotonic()
    try:
        for sent in pieces(attack):
            server.receive(sent, 0.0)
            taken += AT_ONCE
            goaway = [one for one in parse_frames(server.data_to_send()) if one.type == GOAWAY]
            if server.ended:
                break
    except Http2Error as error:
        goaway = parse_frames(error.last_words)
    assert server.ended == bool(attack.code)
    if attack.code:
        assert [one.error_code for one in goaway] == [ErrorCodes[attack.code]]
        assert goaway[0].additional_data, "the client is not told why"
        assert taken <= attack.most + AT_ONCE + 1 + (time.monotonic() - began)


def assail(attack: Attack, port: int, context: ssl.SSLContext) -> list[Any]:
    """Does it to a worker, without reading, and then reads to the end; what came."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), 120) as plain,
        context.wrap_socket(plain, server_hostname="gallery.test") as sock,
    ):
        with contextlib.suppress(OSError):
            sock.sendall(beginning(attack))
            for sent in pieces(attack):
                sock.sendall(sent)
        while attack.code and (piece := sock.recv(65536)):
            answer += piece
    return whole_frames(answer)


async def served_meanwhile(client: Client2, attack: asyncio.Task[list[Any]]) -> int:
    """Requests one after the other on a connection of their own, until the attack is over and once more."""
    served = 0
    while True:
        over = attack.done()
        answer = await client.get(get())
        assert (answer.status, answer.body) == (200, b"hello")
        served += 1
        if over:
            return served


def resident() -> int:
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.usefixtures("bursts_alone")
async def test_a_worker_under_each_attack_serves_others_and_does_not_grow(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 120.0)
    context = edge.client_context("h2")
    ends: dict[str, str] = {}
    async with connected(edge) as client:
        await client.get(get())
        before = resident()
        for attack in ATTACKS:
            task = asyncio.ensure_future(asyncio.to_thread(assail, attack, edge.port, context))
            assert await served_meanwhile(client, task) >= 1
            goaways = [ErrorCodes(one.error_code).name for one in await task if one.type == GOAWAY]
            ends[attack.name] = goaways[-1] if goaways else ""
        assert resident() - before < GROWTH
        await until(lambda: len(edge.worker.connections) == 1)
        assert not client.goaways
    # Who does not wait for our resets has more streams open than it may before one of them is out.
    strange = {attack.name: ends[attack.name] for attack in ATTACKS if ends[attack.name] not in (attack.code, IMPATIENT)}
    assert strange == {}
    assert [name for name, code in ends.items() if not code] == [attack.name for attack in ATTACKS if not attack.code]


def test_a_browser_that_leaves_pages_with_a_hundred_open_streams_is_no_attack() -> None:
    """A reload with 100 cancelled streams, four times in one moment."""
    sink = Answering()
    server = sink.server = Http2Server(sink, fields_for(), Limits())
    server.receive(PREFACE + settings() + frame(SETTINGS, ACK, 0), 0.0)
    for page in range(4):
        streams = [1 + 2 * (100 * page + number) for number in range(100)]
        server.receive(b"".join(map(headers, streams)), 0.0)
        server.receive(b"".join(map(reset, streams)), 0.0)
        server.data_to_send()
    assert not server.ended
    assert len(sink.requests) == 400


async def test_streams_with_tiny_windows_hold_no_more_than_their_share(edge: Edge) -> None:
    """Whole answers trickle out byte by byte, and nobody else waits."""
    slow_settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1}
    async with connected(edge, settings=slow_settings, auto=False) as slow, connected(edge) as client:
        streams = [slow.request(get(f"/{number}"), b"") for number in range(50)]
        for size in range(1, 6):
            await slow.until(lambda size=size: all(len(slow.answers[stream].content) == size for stream in streams))
            assert (await client.get(get())).body == b"hello"
            for stream in streams:
                slow.state.increment_flow_control_window(1, stream) if size < 5 else None
            slow.flush()
        assert {slow.answers[stream].body for stream in streams} == {b"hello"}


def test_the_page_tells_of_every_attack() -> None:
    text = PAGE.read_text()
    assert f"{len(ATTACKS)} attacks" in text
    missing = [row for row in map(documented, ATTACKS) if row not in text]
    assert missing == []


def documented(attack: Attack) -> str:
    """An attack's row on the page."""
    end = f"{attack.most:,} | {attack.code}" if attack.code else "all | nothing: it costs what an upload costs"
    return f"| {attack.name} | {end} |"
