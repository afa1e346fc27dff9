"""Names that nobody registered."""

import contextlib
import socket
import sys
import threading

import pytest

from bench.errors import WrongAnswer
from bench.load.strangers import INTERNAL_ERROR, UNRECOGNIZED_NAME, Flood, main, name_of, run
from edgeproxy.edge.hello import parse


@contextlib.contextmanager
def refusing(answer=UNRECOGNIZED_NAME):
    """A server that answers every ClientHello so: its port, and the names that it was asked for."""
    names: list[str | None] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        data = b""
                        while (hello := parse(data, 32768)) is None:
                            data += connection.recv(4096)
                        names.append(hello.server_name)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], names
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_every_name_is_another_one_and_all_are_asked_for():
    with refusing() as (port, names):
        report = run(Flood(port=port, first=100, count=70, seconds=60))
    assert (report.succeeded, report.failures) == (70, {})
    assert names == [name_of(number) for number in range(100, 170)]
    assert len(set(names)) == 70


def test_another_answer_than_the_alert_voids_the_run():
    with refusing(INTERNAL_ERROR) as (port, _), pytest.raises(WrongAnswer, match="answered"):
        run(Flood(port=port, first=0, count=1, seconds=60))


def test_the_process_ends_when_its_time_is_over():
    assert run(Flood(port=1, first=0, count=10, seconds=0)).succeeded == 0


def test_the_command_line_has_all_of_it_and_the_report_comes_back(monkeypatch, capsys):
    with refusing() as (port, names):
        command = Flood(port=port, first=7, count=3, seconds=60).command()
        assert command.command[:3] == [sys.executable, "-m", "bench.load.strangers"]
        monkeypatch.setattr("sys.argv", command.command[2:])
        main()
    assert command.parse(capsys.readouterr().out).succeeded == 3
    assert names == [name_of(number) for number in range(7, 10)]


def test_one_network_may_be_limited_and_comes_from_one_address():
    with refusing(INTERNAL_ERROR) as (port, names):
        assert run(Flood(port=port, first=0, count=70, seconds=60, one_address=1)).succeeded == 70
    assert len(set(names)) == 70
