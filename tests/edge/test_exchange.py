"""One request and its response: where it goes, when it is tried again, what the edge says itself, and what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.config.machine import Admin
from edgeproxy.config.platform import Api, Origin
from edgeproxy.errors import MapError
from edgeproxy.limits import Limits
from edgeproxy.policies import Policies
from edgeproxy.published.records import Site
from edgeproxy.units import Size
from tests.edge import client1, client2
from tests.edge.client1 import request
from tests.edge.harness import Edge, MapProcess, Reader, Script, Writer, config_for, edge_with, patient, until
from tests.edge.visiting import following, visiting

# Where it goes


async def test_a_request_reaches_the_origin_with_its_workspace(edge: Edge, script: Script, protocol: str) -> None:
    async with visiting(edge, protocol) as ask:
        answer = await ask("/path?q=1")
        assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)
    (head,) = script.heads
    assert head.lower().startswith(b"get /path?q=1 http/1.1\r\nhost: gallery.test\r\n")
    assert b"\r\nworkspace-id: spandantest\r\n" in head


async def test_a_site_added_and_removed_on_a_living_connection_counts_at_once(
    edge: Edge, script: Script, protocol: str
) -> None:
    edge.add_certificate("both", "a.test", "b.test")
    edge.add_site("a.test", "one", certificate="both")
    async with visiting(edge, protocol, "a.test") as ask:
        assert (await ask()).status == 200
        assert (await ask(host="b.test")).status == 404
        edge.add_site("b.test", "two", certificate="both")
        assert (await ask(host="b.test")).status == 200
        assert b"workspace-id: two" in script.heads[-1]
        assert (await ask()).status == 200  # back and forth: each by its own destination
        assert b"workspace-id: one" in script.heads[-1]
        edge.publish(deletes=(("sites", "a.test"),))
        assert (await ask()).status == 404
        edge.publish(("sites", "b.test", Site(workspace="three", certificate="both")))
        assert (await ask(host="b.test")).status == 200
        assert b"workspace-id: three" in script.heads[-1]


async def test_hosts_that_the_certificate_does_not_cover_are_misdirected(edge: Edge, script: Script, protocol: str) -> None:
    edge.add_site("other.test", "w")
    async with visiting(edge, protocol) as ask:
        for host in ("other.test", "nobody.test", "192.0.2.1", "a.gallery.test"):
            assert (await ask(host=host)).status == 421
        assert (await ask(host="GALLERY.test:8443")).status == 200
    assert len(script.heads) == 1


async def test_a_wildcard_certificate_covers_the_hosts_beneath_it(edge: Edge, script: Script, protocol: str) -> None:
    edge.add_certificate("wild", "*.wild.test")
    edge.add_site("*.wild.test", "w", certificate="wild")
    async with visiting(edge, protocol, "a.wild.test") as ask:
        assert (await ask(host="b.wild.test")).status == 200
        assert (await ask(host="a.b.wild.test")).status == 421


async def test_an_origin_that_nobody_asked_for_long_is_dialled_anew(edge: Edge, script: Script, protocol: str) -> None:
    async with visiting(edge, protocol) as ask:
        assert (await ask()).status == 200
        ((target, pool),) = edge.worker._pools.items()
        pool.close()  # as the sweep does
        del edge.worker._pools[target]
        await until(lambda: not pool.open)
        assert (await ask()).status == 200
    assert script.connections == 2


@pytest.mark.parametrize("on_unknown", ["reject", "forward"])
async def test_whom_nobody_owns_is_nobodys_or_the_origins(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str, on_unknown: str
) -> None:
    script, port = origin
    edge = edge_with(tmp_path, maps, port, origin=Origin(url=f"http://127.0.0.1:{port}", on_unknown=on_unknown))  # type: ignore[arg-type]
    async with edge.running(), visiting(edge, protocol) as ask:
        assert (await ask()).status == 200
        edge.publish(deletes=(("sites", "gallery.test"),))
        assert (await ask()).status == (200 if on_unknown == "forward" else 404)
    assert b"workspace-id" not in script.heads[-1] or on_unknown == "reject"


async def test_requests_for_the_api_go_to_the_controller_with_all_that_a_token_needs(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    config = config_for(origin[1], api=Api(hostname="api.test"), admin=Admin(socket=str(tmp_path / "admin.sock")))
    edge = Edge(tmp_path, config, maps)
    edge.add_site("api.test", "")
    controller = Script()
    controller.response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    sent = ((b"authorization", b"Bearer x"), (b"x-forwarded-for", b"192.0.2.66"), (b"workspace-id", b"evil"))
    async with edge.running(), visiting(edge, protocol, "api.test") as ask:
        answer = await ask("/api/v1/tokens", fields=sent)
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "api_not_available"), "nobody listens yet"
        async with controller.listening(unix=tmp_path / "api.sock"):
            assert (await ask("/api/v1/tokens", fields=sent)).status == 200
        answer = await ask()
        assert (answer.status, json.loads(answer.body)["retryable"]) == (503, True), "nobody listens any more"
        answer = await ask("/api/domains/verify/a.example.com")
        assert (answer.status, set(json.loads(answer.body))) == (503, {"status", "message"})
    (head,) = controller.heads
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"get /api/v1/tokens http/1.1"
    assert b"authorization: bearer x" in lines
    assert [line for line in lines if line.startswith(b"x-forwarded-for")] == [b"x-forwarded-for: 127.0.0.1"]
    assert not [line for line in lines if line.startswith(b"workspace-id")]
    assert not origin[0].connections


async def test_a_map_that_cannot_be_read_is_a_503_where_that_is_wanted(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    edge = Edge(tmp_path, config_for(origin[1], origin=Origin(url="http://127.0.0.1:1", on_error="reject")), maps)
    edge.add_certificate("both", "a.test", "b.test")
    edge.add_site("a.test", "one", certificate="both", origin=f"http://127.0.0.1:{origin[1]}")

    def unreadable(_host: str) -> Site | None:
        raise MapError("the map is away")

    async with edge.running(), visiting(edge, protocol, "a.test") as ask:
        assert (await ask()).status == 200
        edge.worker.routes._site = unreadable
        assert (await ask(host="b.test")).status == 503
        assert (await ask()).status == 200  # the last known answer


# When it is tried again


def stale(script: Script, said: bytes = b"") -> None:
    """Each connection of the origin serves one request; over the second it says something, perhaps, and closes."""

    async def once(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response if not said or len(script.heads) == 1 else said)
        await script.read_head(reader)
        writer.write(said)

    script.handler = once


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"])
async def test_what_a_kept_connection_lost_is_asked_again_where_that_does_no_harm(
    edge: Edge, script: Script, protocol: str, method: str
) -> None:
    script.response = b"HTTP/1.1 204 No Content\r\n\r\n"
    stale(script)
    async with visiting(edge, protocol) as ask:
        assert (await ask()).status == 204
        await until(lambda: next(iter(edge.worker._pools.values())).idle)
        harmless = method not in ("POST", "PATCH")
        fields = ((b"content-length", b"0"),) if method in ("PUT", "POST", "PATCH") else ()
        assert (await ask(method=method, fields=fields)).status == (204 if harmless else 502)
    asked = sum(head.startswith(method.encode()) for head in script.heads)
    assert asked == (2 if harmless else 1) + (method == "GET")


async def test_a_request_with_a_body_is_not_sent_again(edge: Edge, script: Script) -> None:
    stale(script)
    async with client1.connected(edge) as client:
        assert (await client.get()).status == 200
        await until(lambda: next(iter(edge.worker._pools.values())).idle)
        client.send(request(b"PUT /", b"Content-Length: 2", body=b"hi"))
        assert (await client.answer()).status == 502
    assert sum(head.startswith(b"PUT") for head in script.heads) == 1


async def test_it_is_asked_again_once(edge: Edge, script: Script, protocol: str) -> None:
    async def lazy(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        if len(script.heads) == 1:
            writer.write(script.response)
            await script.read_head(reader)

    script.handler = lazy
    async with visiting(edge, protocol) as ask:
        assert (await ask()).status == 200
        await until(lambda: next(iter(edge.worker._pools.values())).idle)
        assert (await ask()).status == 502
    assert len(script.heads) == 3


@pytest.mark.parametrize(
    "said",
    [
        b"H",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
    ],
    ids=["a byte", "hints", "a part"],
)
async def test_where_an_answer_had_begun_it_is_not_asked_again(edge: Edge, script: Script, protocol: str, said: bytes) -> None:
    stale(script, said)
    async with visiting(edge, protocol) as ask:
        assert (await ask()).status == 200
        await until(lambda: next(iter(edge.worker._pools.values())).idle)
        got = await ask()
        assert (got.status, got.complete) == ((200, False) if said.endswith(b"hel") else (502, True))
    assert len(script.heads) == 2


async def test_a_silent_origin_is_not_asked_again(edge: Edge, script: Script, protocol: str) -> None:
    async def fades(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(script.response)
        await script.read_head(reader)
        await reader.read()

    script.handler = fades
    async with visiting(edge, protocol) as ask:
        assert (await ask()).status == 200
        await until(lambda: next(iter(edge.worker._pools.values())).idle)
        edge.worker.timeouts = patient(origin_response=0.3)
        assert (await ask()).status == 504
    assert len(script.heads) == 2


# What the edge answers by itself


async def test_an_origin_that_is_not_there_is_a_502_with_a_request_id(edge: Edge, protocol: str) -> None:
    edge.add_site("gone.test", "w", origin="http://127.0.0.1:1")
    told = following(edge)
    async with visiting(edge, protocol, "gone.test") as ask:
        answer = await ask(fields=((b"accept", b"application/json"),))
    (over,) = told
    assert (answer.status, over.status, over.bytes_out) == (502, 502, len(answer.body))
    assert over.request_id in answer.body
    assert "http://127.0.0.1:1 cannot be reached" in over.error
    assert b"127.0.0.1" not in answer.body  # where the origin is, is for the log only


async def test_a_new_domain_whose_origin_is_not_there_yet_is_being_set_up(edge: Edge, protocol: str) -> None:
    edge.add_certificate("new", "new.test")
    edge.publish(("sites", "new.test", Site(workspace="w", certificate="new", origin="http://127.0.0.1:1", new=True)))
    told = following(edge)
    async with visiting(edge, protocol, "new.test") as ask:
        answer = await ask(fields=((b"accept", b"application/json"),))
        edge.publish(("sites", "new.test", Site(workspace="w", certificate="new", new=True)))
        assert (await ask()).status == 200  # the origin is there: it is asked, though the domain is not active yet
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "setting_up")
    assert "http://127.0.0.1:1 cannot be reached" in told[0].error


async def test_a_malformed_trailer_of_the_origin_cuts_the_answer_off(edge: Edge, script: Script, protocol: str) -> None:
    script.response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nno trailer\r\n\r\n"
    told = following(edge)
    async with visiting(edge, protocol) as ask:
        assert not (await ask()).complete
    assert "malformed trailer" in told[0].error


# Who leaves


async def test_a_client_that_leaves_frees_the_origin(edge: Edge, script: Script) -> None:
    left = asyncio.Event()

    async def waiting(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await reader.read()
        left.set()

    script.handler = waiting
    told = following(edge)
    async with client1.connected(edge) as client:
        client.send(request(b"GET /"))
        await until(lambda: script.heads)
        client.transport.abort()
        await asyncio.wait_for(left.wait(), 60)
    assert [(over.status, over.error) for over in told] == [(499, "the client went away")]


async def test_a_client_that_leaves_while_it_waits_for_a_connection_waits_no_more(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    script, port = origin

    async def silent(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        await reader.read()

    script.handler = silent
    edge = edge_with(tmp_path, maps, port, limits=Limits(origin_connections=1))
    async with edge.running(), client1.connected(edge) as first:
        first.send(request(b"GET /"))
        await until(lambda: script.heads)
        (pool,) = edge.worker._pools.values()
        told = following(edge)
        async with visiting(edge, protocol) as ask:
            waiting = asyncio.ensure_future(ask())
            await until(lambda: pool._waiting)
            ask.leave()
            with contextlib.suppress(ConnectionError, EOFError):
                await waiting
        await until(lambda: not pool._waiting)
        assert [over.status for over in told] == [499]
        first.transport.abort()


# What is told of it


async def test_an_answer_is_told_with_its_times_and_sizes(edge: Edge, script: Script, protocol: str) -> None:
    go = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        while head := await script.read_head(reader):
            if b"/slow" in head:
                await asyncio.sleep(0.2)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
                await go.wait()
                writer.write(b"0123456789")
            else:
                writer.write(script.response)

    script.handler = handler
    told = following(edge)
    async with visiting(edge, protocol) as ask:
        await ask()
        slow = asyncio.ensure_future(ask("/slow"))
        await asyncio.sleep(0.5)
        go.set()
        await slow
    whole, parts = told
    assert (whole.status, whole.bytes_in, whole.bytes_out, whole.error, whole.tunnel) == (200, 0, 5, "", False)
    assert 0 < whole.seconds == whole.origin_seconds < 30
    assert (parts.status, parts.bytes_out) == (200, 10)
    assert 0.19 <= parts.origin_seconds < 30  # the loop's own clock ends a sleep up to a millisecond early
    assert parts.destination is whole.destination
    assert whole.destination is not None
    assert whole.destination.route.workspace == "spandantest"


# How large a body may be


LIMITED = Limits(request_body=Size(1000))


def reached(edge: Edge, name: str) -> float:
    """How often a bound was reached."""
    return edge.worker.access.snapshot({}).get(f"limits_reached_total|{name}", 0)


async def test_a_body_that_is_said_to_be_too_large_never_reaches_the_origin(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], limits=LIMITED)
    async with edge.running():
        async with client1.connected(edge) as client:
            client.send(request(b"POST /", b"Content-Length: 1000", body=bytes(1000)))
            assert (await client.answer()).status == 200
            client.send(request(b"POST /", b"Content-Length: 1001", b"Expect: 100-continue"))
            answer = await client.answer()
            assert (answer.status, answer.interim, answer.field(b"connection")) == (413, [], b"close")
            assert await client.ended() == b""
        async with client2.connected(edge) as other:
            number = other.request([*client2.get(method="POST"), (b"content-length", b"1001")])
            assert (await other.answer(number)).status == 413
            assert (await other.get(client2.get())).status == 200  # the others of the connection go on
        assert len(origin[0].heads) == 2
        assert reached(edge, "request_body") == 2


@pytest.mark.parametrize(("own", "status"), [(None, 413), (0, 200), (2000, 200), (1500, 413)])
async def test_a_domain_may_have_a_bound_of_its_own(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], own: int | None, status: int
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], limits=LIMITED)
    policies = Policies(request_body=own)
    edge.publish(("sites", "gallery.test", Site(workspace="w", certificate="cert-gallery.test", policies=policies)))
    async with edge.running(), client1.connected(edge) as client:
        client.send(request(b"POST /", b"Content-Length: 1600", body=bytes(1600)))
        assert (await client.answer()).status == status


async def test_a_body_that_becomes_too_large_is_cut_off_visibly(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    script, port = origin
    ended = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        script.bodies.append(await reader.read())
        ended.set()

    script.handler = handler
    edge = edge_with(tmp_path, maps, port, limits=LIMITED)
    async with edge.running():
        if protocol == "h1":
            async with client1.connected(edge) as client:
                client.send(request(b"POST /", b"Transfer-Encoding: chunked"))
                for _ in range(2):
                    await until(lambda: script.heads)
                    client.send(b"258\r\n" + bytes(0x258) + b"\r\n")
                assert (await client.answer()).status == 413
                assert await client.ended() == b""
        else:
            async with client2.connected(edge) as other:
                number = other.request(client2.get(method="POST"))
                for _ in range(2):
                    await until(lambda: script.heads)
                    other.send(number, bytes(600))
                assert (await other.answer(number)).status == 413
                await until(lambda: edge.worker.connections)
        await asyncio.wait_for(ended.wait(), 60)
    assert not script.bodies[0].endswith(b"0\r\n\r\n")  # the origin cannot take it for complete
    assert len(script.bodies[0]) < 1100
    assert reached(edge, "request_body") == 1


async def test_a_websocket_may_say_any_amount(tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]) -> None:
    script, port = origin

    async def handler(reader: Reader, writer: Writer) -> None:
        await script.read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        writer.write(await reader.readexactly(5000))
        await reader.read()

    script.handler = handler
    edge = edge_with(tmp_path, maps, port, limits=LIMITED)
    async with edge.running(), client1.connected(edge) as client:
        client.send(request(b"GET /", b"Connection: upgrade", b"Upgrade: websocket"))
        assert (await client.answer()).status == 101
        client.send(bytes(5000))
        assert await asyncio.wait_for(client.reader.readexactly(5000), 60) == bytes(5000)
    assert not reached(edge, "request_body")


@pytest.mark.parametrize(
    ("raw", "status", "bound"),
    [
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414, "request_line"),
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431, "request_head"),
        (b"GET / HTTP/1.1\r\nHost: gallery.test\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "request_head"),
    ],
)
async def test_what_goes_beyond_the_bounds_of_a_head_is_counted_and_told(
    edge: Edge, raw: bytes, status: int, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(type(edge.worker.access), "record", lambda _, *entry: told.append(entry))
    assert (await edge.exchange("gallery.test", raw)).startswith(b"HTTP/1.1 %d " % status)
    assert reached(edge, bound) == 1
    assert [(entry[0], "(limits." in entry[-1]) for entry in told] == [("gallery.test", True)]
