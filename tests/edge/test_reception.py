"""Who is let in: counts that come out even, bounds that hold in a rush, and room made by those who do nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeproxy.edge import reception
from edgeproxy.edge.accept import BATCH, Accepted
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.reception import AnyConnection, Reception
from edgeproxy.edge.upstream.pool import networks
from edgeproxy.edge.worker import Worker
from edgeproxy.limits import Limits
from edgeproxy.link.table import Table
from tests.edge.harness import Edge, MapProcess, Script, config_for

REQUEST = b"GET / HTTP/1.1\r\nHost: gallery.test\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door(Edge):
    """A worker, and all who came to it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.came: list[Streams] = []

    async def plain(self, *, port: int = 0, address: str = "127.0.0.1") -> Streams:
        """A TCP connection that says nothing; to the TLS port by default."""
        self.came.append(await asyncio.open_connection("127.0.0.1", port or self.port, local_addr=(address, 0)))
        return self.came[-1]

    async def visitor(self) -> Streams:
        """A TLS connection on which nothing was asked yet."""
        self.came.append(await self.connect("gallery.test"))
        await until(lambda: self.served(self.came[-1]) is not None)  # the worker has it for established too
        return self.came[-1]

    def keeps(self, streams: Streams) -> bool:
        """Whether a connection is there on the worker's side, and not about to be closed."""
        ours = self.ours(streams)
        return ours is not None and not ours.closing

    def ours(self, streams: Streams) -> AnyConnection | None:
        """The worker's end of a connection."""
        address = streams[1].get_extra_info("sockname")
        ends = (each for each in self.worker.connections if each.transport.get_extra_info("peername") == address)
        return next(ends, None)

    def served(self, streams: Streams) -> Connection | None:
        """The worker's end of a TLS connection, once its handshake is over."""
        ours = self.ours(streams)
        return ours if isinstance(ours, Connection) and ours.front is not None else None


@pytest.fixture
async def limited(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """Makes a running worker under given limits, which gives clients a minute to say something; everything that is opened
    through it is closed at the end."""
    monkeypatch.setattr(reception, "SILENT_SECONDS", 60.0)
    async with contextlib.AsyncExitStack() as stack:

        async def make(**limits: int) -> Door:
            config = config_for(origin[1], limits=Limits(**limits))  # type: ignore[arg-type]
            door = Door(tmp_path, config, maps)
            door.add_site("gallery.test", "w")
            await stack.enter_async_context(door.running())
            stack.callback(lambda: close(*door.came))
            return door

        yield make


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def closed(streams: Streams) -> None:
    """Returns when the worker has closed a connection, whatever it said before."""
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(streams[0].read(), 60)


def arrival() -> tuple[Accepted, socket.socket]:
    """A connection as it was accepted, and the client's end of it."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    return Accepted(ours.detach(), socket.AF_UNIX), theirs


def counted(edge: Edge) -> int:
    """Connections of this worker in the table that all workers share."""
    return edge.worker.reception._column.connections


def handshakes(edge: Edge, result: str) -> float:
    return edge.worker.access.snapshot({}).get(f"handshakes_total|{result}", 0)


def close(*streams: Streams) -> None:
    for _, writer in streams:
        writer.transport.abort()


async def test_a_rush_does_not_get_past_the_bound(limited: Any) -> None:
    edge = await limited(connections=5)
    rush = await asyncio.gather(*(edge.plain() for _ in range(40)))  # silent: there is nobody idle to make room
    await until(lambda: handshakes(edge, "too_many_connections") >= 35)
    kept = [streams for streams in rush if edge.keeps(streams)]
    assert counted(edge) == len(edge.worker.connections) == len(kept) == 5
    await asyncio.gather(*(closed(streams) for streams in rush if streams not in kept))
    close(*rush)
    await until(lambda: counted(edge) == 0)
    assert edge.worker.reception.empty
    await edge.visitor()


async def test_one_address_has_its_share_and_others_theirs(limited: Any) -> None:
    edge = await limited(connections_per_address=3)
    held = [await edge.plain() for _ in range(3)]
    await until(lambda: counted(edge) == 3)
    refused = [await edge.plain() for _ in range(10)]
    await until(lambda: handshakes(edge, "too_many_from_address") == 10)
    others = [await edge.plain(address="127.0.0.2") for _ in range(3)]
    await until(lambda: counted(edge) == 6)
    assert all(edge.keeps(streams) for streams in (*held, *others))
    await asyncio.gather(*(closed(streams) for streams in refused))
    close(held.pop())
    await until(lambda: counted(edge) == 5)
    held.append(await edge.plain())
    await until(lambda: counted(edge) == 6)


async def test_a_network_has_its_share_and_others_theirs(limited: Any) -> None:
    edge = await limited(connections_per_network=3, connections_per_address=1)
    for last in range(1, 4):
        await edge.plain(address=f"127.0.0.{last}")
    await until(lambda: counted(edge) == 3)
    await closed(await edge.plain(address="127.0.0.4"))
    assert handshakes(edge, "too_many_from_network") == 1
    await edge.plain(address="127.0.1.1")
    await until(lambda: counted(edge) == 4)
    edge.worker.trusted = networks(("127.0.0.0/24",))  # a balancer, whose addresses are many people's
    await edge.plain(address="127.0.0.5")
    await until(lambda: counted(edge) == 5)


async def test_a_network_may_have_what_one_address_may(limited: Any) -> None:
    edge = await limited(connections_per_network=1, connections_per_address=3)
    for _ in range(3):
        await edge.plain()
    await until(lambda: counted(edge) == 3)
    assert not handshakes(edge, "too_many_from_network")


@pytest.mark.parametrize(("files", "most"), [(40, 30), (-1, 1000), (10**6, 1000)])
async def test_clients_leave_some_of_the_files_that_a_process_may_open(
    limited: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], files: int, most: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _what: (files, files))
    edge = await limited(connections=1000)
    assert edge.worker.reception._most == most
    edge.worker.reception._most = min(most, 2)
    edge.came += [await edge.plain() for _ in range(2)]
    await until(lambda: counted(edge) == 2)
    await closed(await edge.plain())
    await closed(await edge.plain())
    assert capfd.readouterr().err.count("LimitNOFILE") == 1


async def test_visitors_of_both_ports_share_the_bound(limited: Any) -> None:
    edge = await limited(connections=4)
    for port in (edge.port, edge.http_port) * 2:
        await edge.plain(port=port)
    await until(lambda: counted(edge) == 4)
    for port in (edge.port, edge.http_port):
        await closed(await edge.plain(port=port))
    await until(lambda: handshakes(edge, "too_many_connections") == 2)


async def test_clients_that_are_gone_at_once_leave_no_trace(limited: Any) -> None:
    edge = await limited()
    for _ in range(50):
        client = socket.create_connection(("127.0.0.1", edge.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # a reset
    await edge.visitor()
    await until(lambda: counted(edge) == len(edge.worker.connections) == 1)


async def test_what_connections_do_is_told_by_state(limited: Any, script: Script) -> None:
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await go.wait()
        writer.write(script.response)

    script.handler = slow
    edge = await limited()
    handshaking = [await edge.plain() for _ in range(3)]
    idle = [await edge.visitor() for _ in range(2)]
    busy = await edge.visitor()
    busy[1].write(REQUEST)
    await becomes(edge, handshake=3, idle=2, active=1)
    go.set()
    await becomes(edge, handshake=3, idle=3, active=0)
    close(*handshaking, *idle, busy)
    await becomes(edge, handshake=0, idle=0, active=0)


async def becomes(edge: Any, **states: int) -> None:
    """Waits until so many connections are in each state."""
    async with asyncio.timeout(60):
        while await edge.worker.reception.states() != states:
            await asyncio.sleep(0.01)


async def test_many_connections_are_counted_bit_by_bit(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "STATES_BLOCK", 2)
    edge = await limited()
    idle = [await edge.visitor() for _ in range(5)]
    await becomes(edge, handshake=0, idle=5, active=0)
    counting = edge.worker.reception.states()
    for _ in range(2):
        counting.send(None)
    with pytest.raises(StopIteration) as end:
        counting.send(None)
    assert end.value.value == {"handshake": 0, "idle": 5, "active": 0}
    close(*idle)


async def test_many_connections_are_told_to_end_bit_by_bit(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "DRAIN_BLOCK", 2)
    edge = await limited()
    idle = [await edge.visitor() for _ in range(5)]
    edge.worker.drain()
    told = [each for each in edge.worker.connections if each.deadline < edge.worker.now + 30]
    assert len(told) == 2
    for reader, _ in idle:
        assert await asyncio.wait_for(reader.read(), 60) == b""
    close(*idle)


async def test_visitors_of_port_80_are_in_no_handshake(limited: Any) -> None:
    edge = await limited()
    reader, writer = await edge.plain(port=edge.http_port)
    await becomes(edge, handshake=0, idle=0, active=1)
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    await becomes(edge, handshake=0, idle=1, active=0)
    writer.write(b"GET / HT")
    await becomes(edge, handshake=0, idle=0, active=1)


async def test_the_oldest_that_is_idle_makes_room_and_those_at_work_stay(limited: Any, script: Script) -> None:
    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await script.read_head(reader)
        await asyncio.Event().wait()

    script.handler = never
    edge = await limited(connections=3)
    busy, older, newer = [await edge.visitor() for _ in range(3)]
    busy[1].write(REQUEST)
    await until(lambda: script.heads)
    fourth = await edge.visitor()
    await closed(older)
    await until(lambda: counted(edge) == 3)
    assert all(edge.keeps(streams) for streams in (busy, newer, fourth))


async def test_an_idle_visitor_of_port_80_makes_room_too(limited: Any) -> None:
    edge = await limited(connections=1)
    reader, writer = await edge.plain(port=edge.http_port)
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    await edge.visitor()
    await closed((reader, writer))


async def test_who_says_nothing_goes_before_who_is_idle_and_the_oldest_first(
    limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = await limited(connections=5)
    idle = await edge.visitor()
    silent: list[Streams] = []
    for port in (edge.port, edge.http_port) * 2:
        silent.append(await edge.plain(port=port))
        await until(lambda: edge.ours(silent[-1]) is not None)
    silent[2][1].write(b"\x16\x03\x01\x02")  # a ClientHello begins
    silent[3][1].write(b"GET / HT")
    await until(lambda: counted(edge) == 5)
    monkeypatch.setattr(reception, "SILENT_SECONDS", 0.0)
    came = []
    while silent:
        came.append(await edge.visitor())
        await closed(silent.pop(0))
        await until(lambda: counted(edge) == 5)
        assert all(edge.keeps(streams) for streams in (idle, *silent, *came))
    assert handshakes(edge, "shed") == 4
    await edge.visitor()
    await closed(idle)


async def test_a_client_has_a_moment_to_say_something(limited: Any) -> None:
    edge = await limited(connections=2)
    idle, new = await edge.visitor(), await edge.plain()
    await edge.visitor()
    await closed(idle)
    assert edge.keeps(new)


async def test_who_has_spoken_once_is_not_silent_any_more(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "SILENT_SECONDS", 0.0)
    edge = await limited(connections=3)
    reader, writer = await edge.plain(port=edge.http_port)
    writer.write(REQUEST + b"GET / HT")
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    refused = await edge.plain()
    refused[1].write(b"no TLS")  # and lingers
    assert await asyncio.wait_for(refused[0].readexactly(7), 60)
    assert edge.worker.reception._silent == {}


async def unread(edge: Door) -> tuple[Streams, Connection, int]:
    """A visitor who does not read: its connection is idle with bytes that are not sent yet; how many it was given."""
    streams = await edge.visitor()
    connection = edge.served(streams)
    assert connection is not None
    cast(asyncio.Transport, streams[1].transport).pause_reading()
    sent = 0
    while not connection.transport.get_write_buffer_size():
        connection.send(bytes(16 * 1024))
        sent += 16 * 1024
        await asyncio.sleep(0)
    return streams, connection, sent


async def test_a_visitor_who_still_reads_an_answer_is_not_sent_away_for_another(limited: Any) -> None:
    edge = await limited(connections=2)
    reading, connection, sent = await unread(edge)
    idle = await edge.visitor()
    await edge.visitor()
    await closed(idle)
    assert not connection.closing
    cast(asyncio.Transport, reading[1].transport).resume_reading()
    got = await asyncio.wait_for(reading[0].readexactly(sent), 60)
    assert got == bytes(sent)


async def test_one_that_is_closing_already_makes_no_room_for_more(limited: Any) -> None:
    edge = await limited(connections=2)
    _, connection, _ = await unread(edge)
    connection.close()  # and stays until its client has read
    for _ in range(10):
        await edge.plain()
    await until(lambda: handshakes(edge, "too_many_connections") == 9)
    assert counted(edge) == 2


async def test_who_is_closed_to_make_room_has_not_long_to_go(limited: Any) -> None:
    edge = await limited(connections=1)
    connection = edge.served(await edge.visitor())
    await edge.visitor()
    assert connection is not None
    assert connection.deadline <= edge.worker.now + 2 * reception.SHED_SECONDS


async def test_running_out_of_descriptors_makes_room_and_is_told_now_and_then(
    limited: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = await limited()
    idle = [await edge.visitor() for _ in range(3)]
    error = OSError(errno.EMFILE, "Too many open files")
    for _ in range(2):
        edge.worker.reception._no_room(error)
    await until(lambda: len(edge.worker.connections) == 1)
    await asyncio.gather(*(closed(streams) for streams in idle[:2]))
    assert edge.keeps(idle[2])
    said = capfd.readouterr().err
    assert said.count("Too many open files") == 1
    assert "LimitNOFILE" in said
    monkeypatch.setattr(reception, "SAY_AGAIN_SECONDS", -1.0)
    edge.worker.reception._no_room(error)
    assert "Too many open files" in capfd.readouterr().err


async def test_running_out_of_descriptors_by_silence_makes_room_for_as_many_as_are_accepted_at_once(
    limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = await limited()
    idle = await edge.visitor()
    silent = [await edge.plain() for _ in range(BATCH + 2)]
    await until(lambda: len(edge.worker.connections) == BATCH + 3)
    monkeypatch.setattr(reception, "SILENT_SECONDS", 0.0)
    edge.worker.reception._no_room(OSError(errno.EMFILE, "Too many open files"))
    await asyncio.gather(*(closed(streams) for streams in silent[:BATCH]))
    assert all(edge.keeps(streams) for streams in (idle, *silent[BATCH:]))


async def test_a_worker_with_many_more_than_the_others_lets_them_go_first() -> None:
    table, _, _ = Table.create(2)
    table.claim(0)
    table.claim(1)
    ours = Reception(cast(Worker, SimpleNamespace(draining=False, limits=Limits())), table, 0, lambda: None)
    mine, others = table.column(0), table.column(1)
    slot = table.slot(b"1234")
    assert not ours._crowded()
    few = 0
    while not ours._crowded():
        mine.enter(slot)
        few += 1
    assert few == 11  # alone with n connections among two workers: n > 1.25 × n / 2 + 4
    for _ in range(few):
        others.enter(slot)
    assert not ours._crowded()
    while not ours._crowded():
        mine.enter(slot)
    assert mine.connections == 30
    others.drain()  # who accepts no more takes nobody off
    assert not ours._crowded()


async def test_the_places_of_addresses_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "SLOTS", 4)
    refused: list[str] = []
    worker = SimpleNamespace(
        draining=False, limits=Limits(connections_per_address=2), count_handshake=refused.append, connections={}
    )
    table, _, _ = Table.create(1)
    table.claim(0)
    hall = Reception(cast(Worker, worker), table, 0, lambda: None)
    for turn in range(3):  # the count of an address outlives the memory of its place
        for number in range(20):
            ours, theirs = arrival()
            with theirs:
                assert (hall._enter(ours, f"192.0.2.{number}") >= 0) == (turn < 2)
                if turn < 2:
                    ours.refuse()
                assert theirs.recv(1) == b""
            assert len(hall._slots) <= 4
    assert refused == ["too_many_from_address"] * 20
    assert hall._column.connections == 40


class Lingering:
    """An idle connection that takes its time to be closed."""

    def __init__(self) -> None:
        self.front = SimpleNamespace(idle=True)
        self.transport = SimpleNamespace(get_write_buffer_size=lambda: 0)
        self.closing = False
        self.deadline = 1e9

    def close(self) -> None:
        self.closing = True


async def test_room_is_not_made_faster_than_it_gets_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "SHED_LOOK", 3)
    refused: list[str] = []
    worker = SimpleNamespace(draining=False, now=0.0, limits=Limits(connections=5), count_handshake=refused.append)
    table, _, _ = Table.create(1)
    table.claim(0)
    hall = Reception(cast(Worker, worker), table, 0, lambda: None)
    for _ in range(20):
        ours, theirs = arrival()
        with theirs:
            if hall._enter(ours, "192.0.2.1") >= 0:
                hall.connections[cast(Connection, Lingering())] = None
                ours.refuse()
    assert len(hall.connections) == 5 + 3
    assert [connection.closing for connection in hall.connections] == [True] * 3 + [False] * 5
    assert refused == ["too_many_connections"] * 12


async def test_slow_clients_that_came_first_do_not_hide_who_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "SHED_LOOK", 3)
    refused: list[str] = []
    worker = SimpleNamespace(draining=False, now=0.0, limits=Limits(connections=10), count_handshake=refused.append)
    table, _, _ = Table.create(1)
    table.claim(0)
    hall = Reception(cast(Worker, worker), table, 0, lambda: None)
    everybody = [Lingering() for _ in range(10)]
    for number, each in enumerate(everybody):
        each.front.idle = number >= 8
        hall._column.enter(hall._slot("192.0.2.1"))
        hall.connections[cast(Connection, each)] = None
    for _ in range(4):
        ours, theirs = arrival()
        with theirs:
            if hall._enter(ours, "192.0.2.2") >= 0:
                ours.refuse()
    assert refused == ["too_many_connections"] * 2  # then all who are busy have been looked at
    assert [each.closing for each in everybody] == [False] * 8 + [True] * 2
    assert len(hall.connections) == 10


async def test_the_last_one_to_leave_a_draining_worker_ends_it() -> None:
    ended: list[bool] = []
    worker = SimpleNamespace(draining=False, limits=Limits(), count_handshake=None)
    table, _, _ = Table.create(1)
    table.claim(0)
    hall = Reception(cast(Worker, worker), table, 0, lambda: ended.append(True))
    ours, theirs = arrival()
    with theirs:
        slots = [hall._enter(ours, f"192.0.2.{number}") for number in range(2)]
        ours.refuse()
    hall._leave(slots[0])
    worker.draining = True
    assert ended == []
    assert not hall.empty
    hall._leave(slots[1])
    assert ended == [True]
    assert hall.empty


async def test_signs_of_life_are_in_the_table() -> None:
    table, _, _ = Table.create(1)
    table.claim(0)
    hall = Reception(cast(Worker, SimpleNamespace(limits=Limits())), table, 0, lambda: None)
    hall.beat(12.5)
    assert table.beat(0) == 12_500
    hall.close()
    assert table.draining(0)
