"""A gate that is hostile, broken or slow, over real connections: it says neither yes nor no, and costs what is bounded."""

import asyncio
import contextlib
import socket
import struct

import pytest

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.asking import ANSWER_BYTES
from edgeproxy.control.issuance import gate as module
from edgeproxy.control.issuance.gate import CONNECTIONS, OF_A_NETWORK, Gate, GateVerdict
from edgeproxy.units import Duration

TIMEOUT = 0.5
OK = b"HTTP/1.1 200 OK\r\n"


async def _send(writer, *pieces):
    for piece in pieces:
        writer.write(piece)
        await writer.drain()


async def _for_ever(writer, piece, pause):
    while True:
        await _send(writer, piece)
        await asyncio.sleep(pause)


async def silence(_writer):
    await asyncio.sleep(60)


async def drips_its_head(writer):
    await _send(writer, OK)
    await _for_ever(writer, b"x-more: 1\r\n", 0.05)


async def drips_its_body(writer):
    await _send(writer, OK + b"content-length: 1000\r\n\r\n")
    await _for_ever(writer, b"{", 0.05)


async def sends_interim_answers_without_end(writer):
    await _for_ever(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01)


async def sends_a_body_without_end(writer):
    await _send(writer, OK + b"transfer-encoding: chunked\r\n\r\n")
    await _for_ever(writer, b"1000\r\n" + b"x" * 4096 + b"\r\n", 0)


async def sends_a_head_without_end(writer):
    await _send(writer, OK)
    await _for_ever(writer, b"x-" + b"a" * 4096 + b": 1\r\n", 0)


async def promises_more_than_it_sends(writer):
    await _send(writer, OK + b"content-length: 100\r\n\r\n{}")
    writer.close()


async def resets(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def resets_in_the_middle(writer):
    await _send(writer, OK + b"content-length: 100\r\n\r\n{")
    await resets(writer)


async def closes(writer):
    writer.close()


async def speaks_something_else(writer):
    await _send(writer, b"220 mail.example ESMTP\r\n")


async def sends_broken_chunks(writer):
    await _send(writer, OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n")


def answers(status, *fields, body=b""):
    async def answer(writer):
        lines = [f"HTTP/1.1 {status} x".encode(), *fields, b"content-length: %d" % len(body)]
        await _send(writer, b"\r\n".join(lines) + b"\r\n\r\n" + body)

    answer.__name__ = f"answers-{status}-{len(fields)}-fields-{len(body)}-bytes"
    return answer


HOSTILE = [
    *(silence, drips_its_head, drips_its_body, sends_interim_answers_without_end, sends_a_body_without_end),
    *(sends_a_head_without_end, promises_more_than_it_sends, resets, resets_in_the_middle, closes),
    *(speaks_something_else, sends_broken_chunks),
    answers(302, b"location: /again"),
    answers(307, b"location: http://169.254.169.254/"),
    answers(304),
    answers(500),
    answers(503, b"retry-after: 3600", b"cache-control: max-age=86400"),
    answers(429, b"cache-control: max-age=86400"),
    answers(200, b"content-type: application/json", body=b"<html>a captive portal</html>"),
    answers(200, b"content-type: text/html", body=b'{"workspace_id": '),
    answers(200, b"content-type: application/json", b"content-encoding: gzip", body=b"\x1f\x8b\x08\x00nonsense"),
    answers(200, body=b"x" * (ANSWER_BYTES + 1)),
    answers(200, body=b'{"workspace_id": "' + b"a" * 10_000 + b'"}'),
]


class Server:
    """Reads each question and does what it is told; counts."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.questions = self.open = self.most_open = 0
        self.tasks = set()

    async def __call__(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.questions += 1
                await self.behaviour(writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def asking(behaviour, timeout=TIMEOUT):
    """A server that behaves so, and a gate that asks it."""
    server = Server(behaviour)
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    allow = Allow(gate=f"http://127.0.0.1:{port}/may", gate_timeout=Duration(timeout))
    gate = Gate(Config(issuance=Issuance(allow=allow)), asyncio.get_running_loop().time)
    try:
        yield gate, server
    finally:
        await gate.close()
        listening.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


@pytest.mark.parametrize("behaviour", HOSTILE, ids=lambda behaviour: behaviour.__name__)
async def test_it_is_neither_yes_nor_no_soon_and_is_not_asked_again_at_once(behaviour, monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_LIFETIME", 600.0)
    async with asking(behaviour) as (gate, server), asyncio.timeout(60):
        answer = await gate.ask("a.example", "192.0.2.1")
        assert answer.verdict is GateVerdict.NOT_NOW
        assert answer.detail.startswith("The gate")
        assert len(answer.detail) < 1000
        assert answer.lifetime == 600.0
        assert (await gate.ask("a.example", "198.51.100.1")).verdict is GateVerdict.NOT_NOW
        assert gate.asked == 1
        assert server.questions <= 1  # it may not have come to reading it


async def test_thousands_of_names_at_once_are_so_many_questions_at_once(monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS", 300.0)
    async with asking(answers(403), timeout=60.0) as (gate, server):
        names = [f"n{number}.example" for number in range(1500)]
        found = await asyncio.gather(*(gate.ask(name, f"10.{number % 100}.0.1") for number, name in enumerate(names)))
        assert {answer.verdict for answer in found} == {GateVerdict.DENY}
        assert server.questions == 1500
        assert server.most_open <= CONNECTIONS


async def test_more_questions_than_may_wait_are_turned_away_at_once(monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", 50)
    monkeypatch.setattr(module, "TURN_SECONDS", 300.0)
    async with asking(answers(403), timeout=60.0) as (gate, server):
        found = await asyncio.gather(*(gate.ask(f"n{number}.example", "") for number in range(200)))
        verdicts = [answer.verdict for answer in found]
        assert (verdicts.count(GateVerdict.DENY), verdicts.count(GateVerdict.NOT_NOW)) == (50, 150)
        assert server.questions == 50


async def test_a_network_that_keeps_a_slow_gate_busy_does_not_keep_it_from_others():
    async def slow(writer):
        await asyncio.sleep(0.2)
        await answers(200)(writer)

    async with asking(slow, timeout=60.0) as (gate, server):
        flood = [asyncio.ensure_future(gate.ask(f"n{number}.example", "192.0.2.1")) for number in range(500)]
        while server.questions < OF_A_NETWORK:
            await asyncio.sleep(0.01)
        answer = await gate.ask("honest.example", "198.51.100.1")
        assert answer.verdict is GateVerdict.ALLOW
        assert server.questions < 500
        assert server.most_open <= OF_A_NETWORK + 1
        for each in flood:
            each.cancel()


async def test_whose_turn_does_not_come_is_told_so_and_the_name_is_asked_for_again_soon(monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS", 0.05)
    async with asking(silence, timeout=30.0) as (gate, server):
        held = [asyncio.ensure_future(gate.ask(f"n{number}.example", "192.0.2.1")) for number in range(OF_A_NETWORK)]
        while server.questions < OF_A_NETWORK:
            await asyncio.sleep(0.01)
        answer = await gate.ask("honest.example", "192.0.2.2")
        assert (answer.verdict, answer.lifetime) == (GateVerdict.NOT_NOW, module.BUSY_LIFETIME)
        assert gate.asked == OF_A_NETWORK
        for each in held:
            each.cancel()
