"""uvicorn on a socket that was bound for it."""

import asyncio
import contextlib
import os
import pwd
import signal
import socket
import stat
import sys
import textwrap
from asyncio import base_events

import pytest
from fastapi import FastAPI, Request

from edgeproxy.control.api import server as module
from edgeproxy.control.api.server import BoundedProtocol, Peer, admin_protocol, may_administer, peer_of, workers_protocol
from tests.control.api.conftest import client_of, serving


@pytest.fixture
def app():
    app = FastAPI()

    @app.get("/who")
    async def who(request: Request) -> dict[str, str]:
        return {"actor": request.state.actor}

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "done"

    return app


async def raw(path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_the_peer_is_named_by_the_kernel(app, bound):
    sock, path = bound
    async with serving(app, sock), client_of(path) as client:
        answer = await client.get("/who")
        assert answer.json() == {"actor": f"uid:{os.geteuid()}"}
        assert "server" not in answer.headers
        assert "date" in answer.headers


async def test_permissions_of_the_socket_are_left_as_they_were(app, bound):
    sock, path = bound
    async with serving(app, sock):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_a_stranger_is_refused_with_the_reason(app, bound, monkeypatch):
    sock, path = bound
    monkeypatch.setattr(module, "peer_of", lambda sock: Peer(1, 4242, frozenset((4242,))))
    async with serving(app, sock), client_of(path) as client:
        answer = await client.get("/who")
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "forbidden"
        assert "4242" in answer.json()["detail"]


async def test_a_member_of_the_sockets_group_is_let_in(app, bound, monkeypatch):
    sock, path = bound
    monkeypatch.setattr(module, "peer_of", lambda sock: Peer(1, 4242, frozenset((4242, path.stat().st_gid))))
    async with serving(app, sock), client_of(path) as client:
        assert (await client.get("/who")).json() == {"actor": "uid:4242"}


def test_root_the_service_and_its_group_may_administer_and_nobody_else():
    assert may_administer(Peer(1, 0, frozenset()), 1000, None)
    assert may_administer(Peer(1, 1000, frozenset()), 1000, None)
    assert may_administer(Peer(1, 7, frozenset((50, 60))), 1000, 60)
    assert not may_administer(Peer(1, 7, frozenset((50,))), 1000, 60)
    assert not may_administer(Peer(1, 7, frozenset()), 1000, None)


def test_workers_of_another_user_may_not_although_they_are_in_the_group():
    assert not may_administer(Peer(1, 7, frozenset((60,))), 1000, 60, worker_uid=7)
    assert may_administer(Peer(1, 8, frozenset((60,))), 1000, 60, worker_uid=7)
    assert may_administer(Peer(1, 1000, frozenset()), 1000, 60, worker_uid=1000)
    assert admin_protocol("root").worker_uid == 0
    assert admin_protocol("").worker_uid is None
    assert admin_protocol("nobody-such").worker_uid is None


def test_the_kernel_tells_our_own_peer():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert {os.getegid(), *os.getgroups()} <= peer.groups


async def test_what_is_not_http_gets_a_problem_document(app, bound):
    sock, path = bound
    async with serving(app, sock):
        answer = await raw(path, b"\x16\x03\x01 this is not http\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in answer
        assert b"malformed_request" in answer


async def test_an_endless_head_is_refused(app, bound):
    sock, path = bound
    async with serving(app, sock):
        answer = await raw(path, b"GET /who HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000)
        assert answer.startswith(b"HTTP/1.1 4")


async def test_a_silent_connection_is_closed(app, bound, monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.05)
    sock, path = bound
    async with serving(app, sock):
        assert await raw(path, b"") == b""
        assert await raw(path, b"GET /who HTTP/1.1\r\nhost: x\r\n") == b""


async def test_a_slow_answer_is_not_taken_for_a_silent_client(app, bound):
    sock, path = bound
    async with serving(app, sock) as server, client_of(path) as client:
        request = asyncio.ensure_future(client.get("/slow"))
        while not server.server_state.tasks:
            await asyncio.sleep(0.005)
        for protocol in server.server_state.connections:
            protocol._head_late()  # the time for a head is over
        assert (await request).json() == "done"


async def test_connections_above_the_bound_are_told_to_come_again(app, bound, monkeypatch):
    monkeypatch.setattr(BoundedProtocol, "connections_limit", 2)
    sock, path = bound
    async with serving(app, sock) as server:
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        while len(server.server_state.connections) < 2:
            await asyncio.sleep(0.005)
        answer = await raw(path, b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"retryable":true' in answer
        for _, writer in idle:
            writer.close()
        while server.server_state.connections:
            await asyncio.sleep(0.005)
        answer = await raw(path, b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_open_requests_end_well_when_the_server_is_asked_to_end(app, bound):
    sock, path = bound
    async with client_of(path) as client:
        async with serving(app, sock) as server:
            request = asyncio.ensure_future(client.get("/slow"))
            while not server.server_state.tasks:
                await asyncio.sleep(0.005)
            server.end()
        assert (await request).json() == "done"


@pytest.mark.parametrize("turns", range(4))
async def test_who_came_before_the_server_was_asked_to_end_is_answered(app, bound, monkeypatch, turns):
    attach = base_events.Server._attach  # type: ignore[attr-defined]

    def as_asyncio_has_it(server, *transport):
        assert server._sockets is not None
        attach(server, *transport)

    monkeypatch.setattr(base_events.Server, "_attach", as_asyncio_has_it)
    monkeypatch.setattr(module, "FIRST_SECONDS", 60.0)
    sock, path = bound
    async with serving(app, sock) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            for _ in range(turns):  # until it has been accepted, and its protocol made
                await asyncio.sleep(0)
            ending = asyncio.ensure_future(server.shutdown())
            if turns:
                await asyncio.sleep(0.05)  # the server has closed whatever it would
                client.sendall(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n")
                reader, writer = await asyncio.open_unix_connection(sock=client)
                answer = await asyncio.wait_for(reader.read(), 60)
                assert answer.startswith(b"HTTP/1.1 200 ")
                writer.close()
            await asyncio.wait_for(ending, 60)
            server.servers.clear()  # it has ended: when it is asked to once more there is nothing left of it


async def test_who_came_and_says_nothing_is_not_waited_for_long(app, bound, monkeypatch):
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.05)
    sock, path = bound
    async with serving(app, sock) as server:
        reader, writer = await asyncio.open_unix_connection(str(path))
        while not server.server_state.connections:
            await asyncio.sleep(0.005)
        server.end()
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


async def test_a_tcp_listener_serves_without_asking_who_comes(bound):
    app = FastAPI()

    @app.get("/")
    async def root() -> str:
        return "ok"

    listener = socket.create_server(("127.0.0.1", 0))
    async with serving(app, listener, BoundedProtocol):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_signals_stay_with_whoever_had_them(app, bound):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    sock, _ = bound
    async with serving(app, sock):
        assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_process_of_another_user_is_refused_even_where_the_file_would_let_it_in(app, bound):
    sock, path = bound
    path.chmod(0o666)
    for parent in path.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    program = textwrap.dedent(
        """
        import os, socket, sys
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        client = socket.socket(socket.AF_UNIX)
        client.connect(sys.argv[1])
        client.sendall(b"GET /who HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
        sys.stdout.buffer.write(client.recv(4096))
        """
    )
    async with serving(app, sock):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE, cwd="/"
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.startswith(b"HTTP/1.1 403 ")


async def test_only_workers_may_speak_on_the_socket_of_the_api(app, bound, monkeypatch):
    sock, path = bound
    async with serving(app, sock, workers_protocol("", 55.0)), client_of(path) as client:
        assert (await client.get("/slow")).status_code == 200
        for uid in (4242, 0 if os.geteuid() else 1):
            monkeypatch.setattr(module, "peer_of", lambda sock, uid=uid: Peer(1, uid, frozenset((path.stat().st_gid,))))
            async with client_of(path) as stranger:
                answer = await stranger.get("/slow")
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_workers_of_another_user_are_known_by_it_and_their_idle_connections_are_not_closed_before_they_do():
    protocol = workers_protocol("nobody", 55.0)
    assert protocol.worker_uid == pwd.getpwnam("nobody").pw_uid
    assert protocol.head_seconds > 55
