"""A client that asks as fast as a person does."""

import math
import os
import ssl
import subprocess
import time
from pathlib import Path

import pytest

import bench
from bench.errors import BenchError, WrongAnswer
from bench.load.control import CLIENTS, KEPT, NEW, Asked, Control, ask, read_asked
from bench.load.sink import ANSWER
from tests.bench.load.test_slow import HOST, Server
from tests.integration.running import wait_for


def answers(connection: ssl.SSLSocket) -> None:
    while connection.recv(1000):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER)


def control(server: Server, kind: str) -> Control:
    return Control(port=server.port, root_file=server.root, hostname=HOST, kind=kind, rate=100.0)


@pytest.mark.parametrize("kind", [KEPT, NEW])
def test_every_request_is_asked_when_it_is_due_over_a_kept_connection_or_a_new_one(tmp_path, kind):
    looked: list[float] = []

    def ended() -> float:
        looked.append(time.monotonic())
        return math.inf if len(looked) <= 20 else 0.0

    with Server(tmp_path, answers) as server:
        asked = ask(control(server, kind), ended)
        assert len(server.peers) == (CLIENTS if kind == KEPT else 20)
    assert len({each.due for each in asked}) == 20
    assert all(0 <= each.late < each.seconds for each in asked)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 502 Bad Gateway\r\n\r\n"])
def test_another_answer_voids_the_run(tmp_path, said):
    def refuses(connection: ssl.SSLSocket) -> None:
        connection.recv(1000)
        connection.sendall(said)

    looked: list[float] = []

    def ended() -> float:
        looked.append(time.monotonic())
        return math.inf if len(looked) <= 20 else 0.0

    with Server(tmp_path, refuses) as server, pytest.raises((WrongAnswer, OSError)):
        ask(control(server, NEW), ended)


def test_the_process_asks_until_it_is_told_to_end_and_its_report_comes_back(tmp_path):
    with Server(tmp_path, answers) as server, (tmp_path / "log").open("w+b") as log:
        environment = {**os.environ, "PYTHONPATH": str(Path(bench.__file__).parents[1])}
        with subprocess.Popen(control(server, KEPT).command(), stdout=log, env=environment) as process:
            wait_for(lambda: len(server.peers) == CLIENTS, "the control")
            process.terminate()
            assert process.wait(60) == 0
    read_asked((tmp_path / "log").read_text())


def test_a_report_is_what_it_says():
    assert read_asked("noise\nasked [[1.0, 0.1, 0.2]]\n") == [Asked(1.0, 0.1, 0.2)]
    with pytest.raises(WrongAnswer, match="refused"):
        read_asked("failed OSError: refused\n")
    with pytest.raises(BenchError, match="no report"):
        read_asked("")
