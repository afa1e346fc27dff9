"""The pool of connections to an origin: bounds, waiting, what dialling may reach, and growing old."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge import worker
from edgeproxy.edge.upstream import breaker, connection, names
from edgeproxy.edge.upstream import pool as pool_module
from edgeproxy.edge.upstream.budget import FLOOR, RetryBudget
from edgeproxy.edge.upstream.connection import OriginConnection
from edgeproxy.edge.upstream.dialing import Dialer
from edgeproxy.edge.upstream.pool import Pool, networks
from edgeproxy.edge.upstream.target import Target
from edgeproxy.limits import Limits
from edgeproxy.published.records import Site
from tests.edge.client2 import connected, get
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, fields, patient, pool_of, to_origin, until
from tests.ports import free_port

GET = b"GET / HTTP/1.1\r\nHost: gallery.test\r\nConnection: close\r\n\r\n"


def test_names_among_what_is_allowed_are_no_networks():
    assert [str(network) for network in networks(("10.0.0.0/8", "app.internal", "::1"))] == ["10.0.0.0/8", "::1/128"]


async def test_no_more_connections_than_allowed_and_who_waits_is_served_in_turn(tmp_path: Path, maps: MapProcess):
    script = Script()
    together = most = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal together, most
        while await script.read_head(reader):
            together += 1
            most = max(most, together)
            await asyncio.sleep(0.05)
            together -= 1
            writer.write(script.response)

    script.handler = handler
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port, limits=Limits(origin_connections=2)), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            answers = await asyncio.gather(*(edge.exchange("gallery.test", GET) for _ in range(8)))
    assert [fields(answer)[0] for answer in answers] == [200] * 8
    assert most == 2
    assert script.connections <= 2


async def test_who_waits_too_long_for_a_connection_gets_a_504(tmp_path: Path, maps: MapProcess):
    script = Script()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    script.handler = silent
    async with script.listening() as port:
        timeouts = patient(origin_connect=0.5, drain=1)
        edge = Edge(tmp_path, config_for(port, limits=Limits(origin_connections=1), timeouts=timeouts), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            first = asyncio.create_task(edge.exchange("gallery.test", GET))
            await until(lambda: script.connections)
            assert fields(await edge.exchange("gallery.test", GET))[0] == 504
            edge.worker.drain()
            await first


class Waiter:
    """Notes what it was told; `next` begins to wait at that very moment, as a request that comes right then does."""

    def __init__(self, pool: Pool, next: Waiter | None = None) -> None:  # noqa: A002
        self.pool, self.next = pool, next
        self.told: list[str] = []

    network = b""

    def connected(self, connection: OriginConnection) -> None:
        self._note("connected")

    def displaced(self, reason: str) -> None:
        self._note("displaced")

    def not_connected(self, reason: str, *, timeout: bool) -> None:
        self._note("timeout" if timeout else "failed")

    def left_alone(self, reason: str, seconds: int) -> None:
        self._note("left alone")

    def _note(self, what: str) -> None:
        self.told.append(what)
        if self.next is not None:
            self.pool.wait(self.next)


@pytest.mark.parametrize("reachable", [True, False])
async def test_who_begins_to_wait_as_another_attempt_ends_has_an_attempt_too(
    edge: Edge, origin: tuple[Script, int], reachable: bool
):
    pool = edge.worker.pool(Target("127.0.0.1", origin[1] if reachable else 9, False))
    second = Waiter(pool)
    first = Waiter(pool, second)
    pool.wait(first)
    await until(lambda: second.told)
    assert first.told == second.told == ["connected" if reachable else "failed"]


async def test_what_nobody_foresaw_fails_one_request_and_is_not_tried_again_and_again(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    tried: list[OriginConnection] = []

    async def dial(_dialer: Dialer, connection: OriginConnection, preface: bytes) -> None:
        tried.append(connection)
        raise ValueError("something odd")

    monkeypatch.setattr(Dialer, "dial", dial)
    assert fields(await edge.exchange("gallery.test", GET))[0] == 502
    assert len(tried) == 1
    assert "something odd" in capfd.readouterr().err


async def test_an_origin_on_a_unix_socket(tmp_path: Path, maps: MapProcess):
    path = tmp_path / "app.sock"
    script = Script()
    edge = Edge(tmp_path, config_for(1, origin=Origin(url=f"unix:{path}")), maps)
    edge.add_site("gallery.test", "w")
    async with script.listening(unix=path), edge.running():
        assert fields(await edge.exchange("gallery.test", GET))[::2] == (200, b"hello")


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_origin_by_https_is_verified(tmp_path: Path, maps: MapProcess, trusted: bool):
    import ssl

    from tests.certificates import self_signed

    chain, key = self_signed("localhost")
    (tmp_path / "origin.pem").write_bytes(chain + key)
    (tmp_path / "root.pem").write_bytes(chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "origin.pem")
    script = Script()
    async with script.listening(tls=context) as port:
        origin = Origin(url=f"https://localhost:{port}", ca_bundle=str(tmp_path / "root.pem") if trusted else "")
        edge = Edge(tmp_path, config_for(1, origin=origin), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            assert fields(await edge.exchange("gallery.test", GET))[0] == (200 if trusted else 502)


async def test_what_the_gate_named_may_not_be_private(edge: Edge, origin: tuple[Script, int]):
    edge.add_site("gate.test", "w")
    url = f"http://127.0.0.1:{origin[1]}"
    edge.publish(("sites", "gate.test", Site(workspace="w", origin=url, source="gate", certificate="cert-gate.test")))
    raw = GET.replace(b"gallery", b"gate")
    assert fields(await edge.exchange("gate.test", raw))[0] == 502
    assert not origin[0].connections
    edge.publish(("sites", "gate.test", Site(workspace="w", origin=url, certificate="cert-gate.test")))
    assert fields(await edge.exchange("gate.test", raw))[0] == 200


async def test_idle_connections_are_closed_before_the_origin_does(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    timeouts = patient(origin_idle=0.3)
    edge = Edge(tmp_path, config_for(origin[1], timeouts=timeouts), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        await edge.exchange("gallery.test", GET)
        pool = next(iter(edge.worker._pools.values()))
        await until(lambda: not pool.open)
        assert not pool.idle


async def test_host_and_target_of_routing_by_subdomain(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    config = config_for(origin[1])
    config = msgspec.structs.replace(config, origin=Origin(url=f"http://localhost:{origin[1]}", routing="subdomain"))
    edge = Edge(tmp_path, config, maps)
    edge.add_site("gallery.test", "acme")
    async with edge.running():
        assert fields(await edge.exchange("gallery.test", GET))[0] == 200
    assert b"\r\nhost: acme.localhost:%d\r\n" % origin[1] in origin[0].heads[0]
    assert b"Host: gallery.test" not in origin[0].heads[0]


# What comes behind an answer


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 404 Not Found\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 40\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 40\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
async def test_content_that_may_not_follow_an_answer_is_not_the_next_answer(
    edge: Edge, script: Script, method: str, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers that send it do so in a write of its own, which comes a moment later than the head."""
    monkeypatch.setattr(connection, "REST", 60.0)
    resting: list[OriginConnection] = []

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if b" /first " in head:
                resting.append(to_origin(edge))
                writer.write(said)
                await asyncio.sleep(0.02)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            else:
                await asyncio.sleep(0.1)
                writer.write(script.response)

    script.handler = handler
    async with connected(edge) as client:
        assert (await client.get(get("/first", method=method))).complete
        assert (await client.get(get("/second"))).body == b"hello"
        (first,) = resting
        first._rested()
        assert len(pool_of(edge).idle) == len(pool_of(edge).open) == 1  # the one that was closed as it rested is not lent
    assert script.connections == 2


async def test_a_connection_rests_only_after_such_an_answer(
    edge: Edge, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REST", 60.0)
    async with connected(edge) as client:
        script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"
        assert (await client.get(get(method="HEAD"))).complete
        assert not pool_of(edge).idle
        to_origin(edge)._rested()
        assert pool_of(edge).idle
        script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        assert (await client.get(get())).complete
        assert pool_of(edge).idle
    assert script.connections == 1


async def test_a_connection_that_rests_ends_with_its_worker(edge: Edge, script: Script) -> None:
    gone = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        await reader.read()
        gone.set()

    script.handler = handler
    async with connected(edge) as client:
        assert (await client.get(get(method="HEAD"))).complete
        pool_of(edge).close()
        await asyncio.wait_for(gone.wait(), 60)


# Origins that fail


async def ask(edge: Edge, times: int) -> list[int]:
    """The statuses that one visitor after the other gets."""
    return [fields(await edge.exchange("gallery.test", GET))[0] for _ in range(times)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures need not go on for long."""
    monkeypatch.setattr(breaker, "PERSISTENT", 0.0)


@pytest.mark.usefixtures("impatient")
async def test_an_origin_that_fails_is_left_alone_until_it_answers(
    tmp_path: Path, maps: MapProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    script = Script()
    broken = True

    async def handler(reader: Reader, writer: Writer) -> None:
        while await script.read_head(reader):
            if broken:
                return
            writer.write(script.response)

    script.handler = handler
    async with script.listening() as port:
        timeouts = patient(origin_retry=1000)
        edge = Edge(tmp_path, config_for(port, limits=Limits(origin_failures=3), timeouts=timeouts), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            assert await ask(edge, 3) == [502] * 3
            status, found, _ = fields(await edge.exchange("gallery.test", GET))
            assert status == 503
            assert 900 < int(found[b"retry-after"]) <= 1000
            assert await ask(edge, 2) == [503] * 2
            assert script.connections == 3
            pool = pool_of(edge)
            pool.breaker._until = 0.0  # the pause is over
            assert await ask(edge, 2) == [502, 503]
            broken = False
            pool.breaker._until = 0.0
            assert await ask(edge, 3) == [200] * 3
            assert not pool.breaker.open
            counters = edge.worker.access.snapshot({})
            assert counters["origin_circuits_total|opened"] == counters["origin_circuits_total|closed"] == 1
            assert counters["origin_errors_total|left_alone"] == 4
    told = capfd.readouterr().err
    assert told.count("times in a row: it is left alone") == 1
    assert told.count("answers again") == 1


@pytest.mark.usefixtures("impatient")
async def test_those_who_wait_are_told_when_an_origin_is_left_alone(tmp_path: Path, maps: MapProcess) -> None:
    edge = Edge(tmp_path, config_for(9, limits=Limits(origin_failures=1, origin_connections=1)), maps)
    edge.add_site("gallery.test", "w")
    async with edge.running():
        pool = edge.worker.pool(Target("127.0.0.1", 9, False))
        first, second = Waiter(pool), Waiter(pool)
        pool.wait(first)
        pool.wait(second)
        await until(lambda: first.told)
        assert (first.told, second.told) == (["failed"], ["left alone"])
        pool.wait(first)
        assert first.told == ["failed", "left alone"]


@pytest.mark.usefixtures("impatient")
async def test_an_answer_between_failures_makes_them_none_in_a_row(tmp_path: Path, maps: MapProcess) -> None:
    script = Script()

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if b" /broken " in head:
                return
            if b" /last " in head:
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
            elif b" /open " in head:
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
                return
            else:
                writer.write(script.response)

    script.handler = handler
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port, limits=Limits(origin_failures=2)), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            for _ in range(2):
                for path in (b"/", b"/last", b"/open"):
                    assert await ask_for(edge, b"/broken") == 502
                    assert await ask_for(edge, path) == 200
                    assert not pool_of(edge).breaker.failures
                    assert len(pool_of(edge).idle) <= 1
            assert await ask_for(edge, b"/broken") == 502
            assert await ask_for(edge, b"/broken") == 502
            assert await ask_for(edge, b"/") == 503


@pytest.mark.usefixtures("impatient")
async def test_an_upload_that_an_origin_breaks_off_is_none_of_its_failures(tmp_path: Path, maps: MapProcess) -> None:
    script = Script()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)  # and will not have the rest

    script.handler = handler
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port, limits=Limits(origin_failures=1)), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running():
            for _ in range(2):
                unfinished = b"POST / HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 9\r\n\r\n1"
                assert fields(await edge.exchange("gallery.test", unfinished))[0] == 502
            assert await ask_for(edge, b"/") == 502
            assert await ask_for(edge, b"/") == 503


async def ask_for(edge: Edge, path: bytes) -> int:
    """The status of one request that an origin's closed connection does not have sent twice."""
    raw = b"POST " + path + b" HTTP/1.1\r\nHost: gallery.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return fields(await edge.exchange("gallery.test", raw))[0]


async def test_the_edges_own_api_is_never_left_alone(edge: Edge) -> None:
    pool = edge.worker.pool(Target("", 0, False, edge.config.admin.api_socket))
    for _ in range(1_000):
        pool.failed("it is away")
    assert not pool.breaker.open


async def test_requests_are_sent_twice_within_a_budget(tmp_path: Path, maps: MapProcess) -> None:
    script = Script()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        if await script.read_head(reader):
            return  # the second request of each connection finds it closed

    script.handler = handler
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running(), connected(edge) as client:
            pool = pool_of_first(edge, (await client.get(get())).status)
            pool._retries = RetryBudget()
            assert [(await client.get(get())).status for _ in range(FLOOR)] == [200] * FLOOR
            while pool._retries.take(edge.worker.now):
                pass
            assert (await client.get(get())).status == 502
            counters = edge.worker.access.snapshot({})
            assert counters["origin_retries_total|sent"] == FLOOR
            assert counters["origin_retries_total|refused"] == 1
            await until(lambda: pool.asked >= FLOOR)


async def test_of_many_connections_each_has_its_turn_and_each_of_its_requests_counts_once(
    tmp_path: Path, maps: MapProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "LOOK_MOST", 2)
    monkeypatch.setattr(worker, "SWEEP_SECONDS", 3600.0)
    looked: list[OriginConnection] = []
    look = OriginConnection.look

    def noted(self: OriginConnection, now: float) -> None:
        looked.append(self)
        look(self, now)

    monkeypatch.setattr(OriginConnection, "look", noted)
    script = Script()
    async with script.listening() as port:
        edge = Edge(tmp_path, config_for(port), maps)
        edge.add_site("gallery.test", "w")
        async with edge.running(), connected(edge) as client:
            pool = pool_of_first(edge, (await client.get(get())).status)
            before = pool.asked
            (first,) = pool.open
            others = [OriginConnection(edge.worker, pool) for _ in range(4)]
            for number, connection in enumerate(others, 1):
                connection.requests = number
                pool.open.add(connection)
            counted = [pool.asked]

            def sweep(times: int) -> None:
                for _ in range(times):
                    pool.sweep(edge.worker.now)
                    counted.append(pool.asked)

            sweep(1)
            gone = next(connection for connection in others if connection not in looked)
            pool.gone(gone)
            sweep(5)
            pool.open.intersection_update({first})  # the others have no transport that could be closed
    assert looked[:2] == [*dict.fromkeys(looked[:2])]
    assert {*looked} == {first, *others} - {gone}
    assert counted[3] == counted[-1] == before + first.requests + 1 + 2 + 3 + 4


def pool_of_first(edge: Edge, status: int) -> Pool:
    """The pool, once a request went well."""
    assert status == 200
    return pool_of(edge)


# An origin's addresses


async def test_busy_connections_follow_an_origin_to_its_new_address(
    tmp_path: Path, maps: MapProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(names, "FRESH_SECONDS", 0.1)
    addresses = ["127.0.0.2"]
    port = free_port("127.0.0.2")

    async def resolve(host: str, _port: int) -> list[str]:
        assert host == "app.internal.test"
        return list(addresses)

    async def server(address: str) -> asyncio.Server:
        async def handler(reader: Reader, writer: Writer) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + address.encode())
            writer.close()

        return await asyncio.start_server(handler, address, port)

    config = config_for(port, origin=Origin(url=f"http://app.internal.test:{port}"))
    edge = Edge(tmp_path, config, maps)
    edge.add_site("gallery.test", "w")
    async with await server("127.0.0.2"), await server("127.0.0.3"), edge.running(), connected(edge) as client:
        edge.worker.resolve = resolve
        assert (await client.get(get())).body == b"127.0.0.2"
        addresses[:] = ["127.0.0.3"]

        async with asyncio.timeout(60):
            while (await client.get(get())).body != b"127.0.0.3":
                await asyncio.sleep(0.01)
        assert {connection.address for connection in pool_of(edge).open} == {"127.0.0.3"}
        addresses[:] = ["127.0.0.9", "127.0.0.2"]  # nobody is at the first
        async with asyncio.timeout(60):
            while (await client.get(get())).body != b"127.0.0.2":
                await asyncio.sleep(0.01)


async def test_origins_that_nobody_uses_are_forgotten_where_there_are_too_many(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POOLS", 3)
    assert fields(await edge.exchange("gallery.test", GET))[0] == 200
    used = pool_of(edge)
    await until(lambda: used.idle)
    made = [edge.worker.pool(Target(f"w{number}.test", 80, False)) for number in range(10)]
    assert len(edge.worker._pools) <= 3
    assert edge.worker._pools[used.target] is used
    assert made[0].closed
    assert not made[-1].closed
