"""Clients that are slow on purpose."""

import asyncio
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import bench.load.slow
from bench.children import free_ports
from bench.errors import WrongAnswer
from bench.load.arguments import parse
from bench.load.sink import ANSWER, LARGE, LARGE_PATH, Taker
from bench.load.slow import KINDS, THERE, Attack, Slow, address_of, careless_context, connected, goes_on
from tests.edge.harness import self_signed
from tests.integration.running import wait_for

HOST = "slow.test"


class Server:
    """TLS on loopback; says what a handler does."""

    def __init__(self, folder: Path, handler) -> None:
        chain, key = self_signed(HOST)
        self.root = folder / "root.pem"
        self.root.write_bytes(chain + key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.root)
        self._context.set_alpn_protocols(["http/1.1"])
        self._handler = handler
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.peers: list[str] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _start(self, what, *arguments) -> None:
        self._threads.append(threading.Thread(target=what, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                plain, peer = self._server.accept()
            except OSError:
                return
            self.peers.append(peer[0])
            self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                self._handler(connection)
        except OSError:
            pass  # the client went away

    def slow(self, **changes) -> Slow:
        values = {"port": self.port, "hostname": HOST, "kind": "head", "first": 0, "count": 3, "rate": 1000.0}
        return Slow(**(values | changes))


def waits(connection: ssl.SSLSocket) -> None:
    while connection.recv(1000):
        pass


def test_slow_clients_come_from_many_networks():
    addresses = [address_of(number) for number in range(10_000)]
    assert len(set(addresses)) == 10_000
    networks = {address.rpartition(".")[0] for address in addresses}
    assert len(networks) == 40


def until(path: Callable[[], bool]) -> Callable[[], bool]:
    """Ends once this is so, or after a minute."""
    deadline = time.monotonic() + 60
    return lambda: path() or time.monotonic() > deadline


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_come_as_are_wanted_and_it_is_said_when_they_are_there(tmp_path, kind, capsys):
    said: list[str] = []

    def there() -> bool:
        said.append(capsys.readouterr().out)
        return THERE in said[-1]

    with Server(tmp_path, waits) as server:
        report = Attack(server.slow(kind=kind)).run(until(there))
        assert (report.succeeded, report.failures) == (3, {})
        assert len(set(server.peers)) == 3


def test_who_is_ended_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(bench.load.slow, "PAUSE", 0.02)
    with Server(tmp_path, lambda connection: connection.recv(1000)) as server:
        report = Attack(server.slow()).run(until(lambda: len(server.peers) > 6))
    assert report.failures["ended"] >= 3
    assert report.succeeded > 6


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_ended_is_noticed(tmp_path, kind):
    with Server(tmp_path, lambda connection: connection.recv(1000)) as server:
        slow = server.slow(kind=kind)
        with connected(slow, careless_context(), 1) as client:
            client.setblocking(True)
            client.recv(1)  # the server has ended it
            client.setblocking(False)
            deadline = time.monotonic() + 60
            while goes_on(slow, client) and time.monotonic() < deadline:  # beneath TLS there is its last word to be taken
                pass
            assert not goes_on(slow, client)


def test_clients_of_whom_none_is_let_in_void_the_run(tmp_path):
    slow = Slow(port=free_ports(1)[0], hostname=HOST, kind="head", first=0, count=2, rate=1000.0)
    with pytest.raises(WrongAnswer, match="only 0 were let in"):
        Attack(slow).run(until(lambda: False))


def test_the_command_line_has_all_of_it_and_the_report_comes_back(tmp_path):
    with Server(tmp_path, waits) as server, (tmp_path / "log").open("w+b") as log:
        environment = {**os.environ, "PYTHONPATH": str(Path(bench.__file__).parents[1])}
        with subprocess.Popen(server.slow(count=2).command(), stdout=log, env=environment) as process:
            wait_for(lambda: THERE in (tmp_path / "log").read_text(), "the slow clients")
            process.terminate()
            assert process.wait(60) == 0
    assert parse((tmp_path / "log").read_text()).succeeded == 2


class Written(asyncio.Transport):
    def __init__(self):
        self.data = bytearray()
        self.taker: Taker | None = None

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def write(self, data):
        self.data += data
        if self.taker is not None:
            self.taker.pause_writing()


def test_the_origin_answers_requests_and_swallows_bodies():
    taker, written = Taker(), Written()
    taker.connection_made(written)
    taker.data_received(b"GET / HTTP/1.1\r\n")
    assert not written.data
    taker.data_received(b"\r\n")
    assert written.data.endswith(b"\r\n\r\n" + ANSWER)
    before = len(written.data)
    taker.data_received(b"POST / HTTP/1.1\r\n\r\nx")
    taker.data_received(b"x")
    assert len(written.data) == before


def test_the_origin_keeps_of_a_large_answer_what_is_not_taken():
    taker, written = Taker(), Written()
    taker.connection_made(written)
    written.taker = taker
    taker.data_received(f"GET {LARGE_PATH} HTTP/1.1\r\n\r\n".encode())
    assert len(written.data) < LARGE / 2
    written.taker = None
    taker.resume_writing()
    assert written.data.partition(b"\r\n\r\n")[2] == bytes(LARGE)
