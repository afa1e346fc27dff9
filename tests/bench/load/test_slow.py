"""Clients that are slow on purpose."""

import asyncio
import socket
import ssl
import sys
import threading
from pathlib import Path

import pytest

from bench.errors import WrongAnswer
from bench.load.client import client_context
from bench.load.sink import ANSWER, LARGE, LARGE_PATH, Taker
from bench.load.slow import KINDS, Slow, address_of, attack, connected, control, goes_on, main
from tests.edge.harness import self_signed

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
        values = {"port": self.port, "root_file": self.root, "hostname": HOST, "kind": "head", "count": 3, "seconds": 0.0}
        return Slow(**(values | changes))


def waits(connection: ssl.SSLSocket) -> None:
    while connection.recv(1000):
        pass


def answers(connection: ssl.SSLSocket) -> None:
    while connection.recv(1000):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER)


def test_slow_clients_come_from_many_networks():
    addresses = [address_of(number) for number in range(10_000)]
    assert len(set(addresses)) == 10_000
    networks = {address.rpartition(".")[0] for address in addresses}
    assert len(networks) == 40


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_come_as_are_wanted(tmp_path, kind):
    with Server(tmp_path, waits) as server:
        report = attack(server.slow(kind=kind))
        assert (report.succeeded, report.failures) == (3, {})
        assert len(set(server.peers)) == 3


def test_who_is_ended_is_noticed(tmp_path):
    with Server(tmp_path, lambda connection: connection.recv(1000)) as server:
        slow = server.slow()
        with connected(slow, client_context(slow.root_file, "http/1.1"), 1) as client:
            client.setblocking(True)
            client.recv(1)  # the server has ended it
            client.setblocking(False)
            assert not goes_on(slow, client)


def test_control_counts_its_answers_and_each_fifth_is_over_a_new_connection(tmp_path):
    with Server(tmp_path, answers) as server:
        report = control(server.slow(kind="control", count=100, seconds=0.2))
        assert report.succeeded == len(report.seconds) >= 20
        assert len(server.peers) == -(-report.succeeded // 5)


def test_control_without_an_answer_voids_the_run(tmp_path):
    with Server(tmp_path, lambda connection: None) as server, pytest.raises((WrongAnswer, OSError)):
        control(server.slow(kind="control", count=1, seconds=0.1))


def test_the_command_line_has_all_of_it_and_the_report_comes_back(tmp_path, monkeypatch, capsys):
    with Server(tmp_path, waits) as server:
        command = server.slow(count=2).command()
        monkeypatch.setattr(sys, "argv", ["slow", *command.command[3:]])
        main()
    assert command.parse(capsys.readouterr().out).succeeded == 2


class Written(asyncio.BaseTransport):
    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


def test_the_origin_answers_requests_and_swallows_bodies():
    taker, written = Taker(), Written()
    taker.connection_made(written)
    taker.data_received(b"GET / HTTP/1.1\r\n")
    assert not written.data
    taker.data_received(b"\r\n")
    assert written.data.endswith(b"\r\n\r\n" + ANSWER)
    taker.data_received(f"GET {LARGE_PATH} HTTP/1.1\r\n\r\n".encode())
    assert len(written.data) > LARGE
    before = len(written.data)
    taker.data_received(b"POST / HTTP/1.1\r\n\r\nx")
    taker.data_received(b"x")
    assert len(written.data) == before
