"""A worker among clients that hurt by being slow, or too many: others are served meanwhile, and it outlives them."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.integration.nginx import NAME, WORKSPACE, Nginx
from tests.integration.running import Running, wait_for

HEAD = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Slow: ".encode()
BODY = f"PUT /put/slow HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 100000\r\n\r\n".encode()
KINDS = {"head": HEAD, "body": BODY}
EACH = 30


@pytest.fixture(scope="module")
def edge(nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One worker that is patient for two seconds."""
    timeouts = {"handshake": "5s", "client_header": "2s", "client_body": "2s"}
    with Running(tmp_path_factory.mktemp("edge"), {"origin": {"url": nginx.url}, "timeouts": timeouts}, workers=1) as edge:
        edge.add_domain(NAME, WORKSPACE)
        yield edge


def worker_of(edge: Running) -> int:
    """The only worker's process."""
    (pid,) = (pid for pid, name in edge.children().items() if " w" in name)
    return pid


def slow_client(edge: Running, said: bytes, context: ssl.SSLContext) -> socket.socket:
    """A client that has said so much over TLS."""
    plain = socket.create_connection((edge.host, edge.https_port), 60)
    sock = context.wrap_socket(plain, server_hostname=NAME)
    with contextlib.suppress(OSError):  # ended already: this process stood still for longer than the edge has patience
        sock.sendall(said)
    return sock


def test_others_are_served_while_slow_clients_come_and_all_of_those_are_ended(edge):
    with contextlib.closing(edge.visitor(NAME)) as visitor, contextlib.ExitStack() as stack:
        assert visitor.get("/seen")[0] == 200
        pid = worker_of(edge)
        context = ssl.create_default_context(cafile=edge.root)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # no ticket comes later, which would count as an answer
        chosen = stack.enter_context(selectors.DefaultSelector())
        ended = dict.fromkeys(KINDS, 0)
        for kind, said in KINDS.items():
            for _ in range(EACH):
                sock = stack.enter_context(slow_client(edge, said, context))
                sock.setblocking(False)
                chosen.register(sock, selectors.EVENT_READ, kind)
        deadline = time.monotonic() + 60
        while sum(ended.values()) < 2 * EACH and time.monotonic() < deadline:
            for key, _ in chosen.select(0.1):
                ended[key.data] += 1
                chosen.unregister(key.fileobj)
            for key in list(chosen.get_map().values()):
                with contextlib.suppress(OSError):  # one that is ended just now
                    cast(ssl.SSLSocket, key.fileobj).send(b"x")
            assert visitor.get("/seen")[0] == 200
        assert ended == dict.fromkeys(KINDS, EACH)
        assert worker_of(edge) == pid
        visitor.get("/seen")

        def told() -> bool:
            text = edge.api("GET", "/metrics")[1]
            wanted = ('timeouts_total{what="client_header"}', 'timeouts_total{what="client_body"}')
            counts = [line.split()[1] for want in wanted for line in text.splitlines() if want in line]
            return len(counts) == 2 and all(float(count) > EACH / 2 for count in counts)  # the others were ended in another way

        wait_for(told, "the counters of slow clients")


def test_a_worker_without_descriptors_makes_room_says_so_once_and_goes_on(edge):
    with contextlib.closing(edge.visitor(NAME)) as first:
        assert first.get("/seen")[0] == 200  # there is a connection to the origin now
    pid = worker_of(edge)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 5, before[1]))
    with contextlib.ExitStack() as stack:

        def come() -> None:
            visitor = stack.enter_context(contextlib.closing(edge.visitor(NAME)))
            assert visitor.get("/seen")[0] == 200  # who was idle the longest has made room

        for _ in range(200):  # some descriptors may have been those of earlier clients
            come()
            if edge.logged("No new connections for a moment: Too many open files"):
                break
        for _ in range(4):
            come()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert edge.get(NAME, "/seen")[0] == 200
    assert worker_of(edge) == pid
    said = [line for line in edge.log_lines() if "No new connections" in str(line.get("message", ""))]
    assert len(said) == 1
