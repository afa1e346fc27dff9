"""The thread that writes the access log: order, files that move, disks that fill, readers that stop."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeproxy.edge.access_writer import PIECE, Writer

PATIENCE = 60.0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


@contextmanager
def running(writer: Writer) -> Iterator[None]:
    thread = threading.Thread(target=writer.run, daemon=True)
    thread.start()
    yield
    writer.end()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextmanager
def standard_output(descriptor: int) -> Iterator[None]:
    """Puts a descriptor in the place of standard output."""
    before = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def lines(start: int, end: int) -> list[bytes]:
    return [b"line %d\n" % number for number in range(start, end)]


def test_lines_are_written_in_order_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    writer = Writer(path, pytest.fail)
    with running(writer):
        for start in range(0, 10_000, 100):
            writer.put(lines(start, start + 100))
    assert path.read_bytes() == b"before\n" + b"".join(lines(0, 10_000))
    assert (writer.done, writer.lost) == (10_000, 0)


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = Writer(path, pytest.fail)
    with running(writer):
        writer.put(lines(0, 1))
    assert not path.stat().st_mode & 0o007


def test_a_file_that_was_moved_away_is_opened_anew_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = Writer(path, pytest.fail)
    with running(writer):
        writer.put(lines(0, 10))
        until(lambda: writer.done == 10)
        path.rename(tmp_path / "access.log.1")
        writer.put(lines(10, 20))
        writer.reopen()
        writer.put(lines(20, 30))
    assert (tmp_path / "access.log.1").read_bytes() == b"".join(lines(0, 20))
    assert path.read_bytes() == b"".join(lines(20, 30))


def test_a_file_that_can_not_be_opened_costs_lines_and_is_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "logs"
    writer = Writer(folder / "access.log", said.append)
    with running(writer):
        until(lambda: bool(said))  # before the first request, so that whoever started the edge still looks on
        writer.put(lines(0, 5))
        until(lambda: writer.done == 5)
        writer.put(lines(5, 7))
        until(lambda: writer.done == 7)
        assert writer.lost == 7
        folder.mkdir()
        while writer.lost == writer.done:  # once a second
            writer.put(lines(0, 1))
            threading.Event().wait(0.05)
    assert (folder / "access.log").read_bytes().startswith(b"line 0\n")
    assert len(said) == 1
    assert "No such file" in said[0]
    assert "See that its folder is there" in said[0]


def test_a_full_disk_costs_lines_and_no_line_is_glued_to_half_of_another(tmp_path: Path) -> None:
    """The size limit of files stands for a full disk: a write is cut short, and the next one fails."""
    said: list[str] = []
    path = tmp_path / "access.log"
    writer = Writer(path, said.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with running(writer):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            writer.put([b"x" * 29 + b"\n"] * 10)
            until(lambda: writer.done == 10)
            writer.put([b"y\n"])
            until(lambda: writer.done == 11)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            writer.put([b"z\n"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == (b"x" * 29 + b"\n") * 3 + b"x" * 10 + b"\nz\n"
    assert (writer.done, writer.lost) == (12, 8)
    assert len(said) == 1
    assert "too large" in said[0]


def test_a_reader_that_is_gone_costs_lines() -> None:
    said: list[str] = []
    reader, pipe = os.pipe()
    os.close(reader)
    with standard_output(pipe):
        writer = Writer(None, said.append)
        with running(writer):
            writer.put(lines(0, 10))
    os.close(pipe)
    assert (writer.done, writer.lost) == (10, 10)
    assert len(said) == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_stops_only_makes_the_thread_wait(blocking: bool) -> None:
    reader, pipe = os.pipe()
    os.set_blocking(pipe, blocking)
    count = 20_000
    with standard_output(pipe):
        writer = Writer(None, pytest.fail)
        with running(writer):
            writer.put(lines(0, count))
            until(lambda: writer.done > 0)
            threading.Event().wait(0.05)
            assert writer.done < count
            got = b""
            while not got.endswith(b"line %d\n" % (count - 1)):
                got += os.read(reader, 65536)
    os.close(pipe)
    os.close(reader)
    assert got == b"".join(lines(0, count))
    assert (writer.done, writer.lost) == (count, 0)


def test_lines_of_two_workers_never_mix_in_a_pipe() -> None:
    reader, pipe = os.pipe()
    with standard_output(pipe):
        writers = [Writer(None, pytest.fail) for _ in range(2)]
        threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
        for thread in threads:
            thread.start()
        for index, writer in enumerate(writers):
            for length in range(1, 400):
                writer.put([b"%d" % index * length * 5 + b"\n"] * 3)
            writer.end()
        got = bytearray()

        def collect() -> None:
            while piece := os.read(reader, 65536):
                got.extend(piece)

        collector = threading.Thread(target=collect)
        collector.start()
        for thread in threads:
            thread.join(PATIENCE)
    os.close(pipe)
    collector.join(PATIENCE)
    os.close(reader)
    found = got.decode().splitlines()
    assert len(found) == 2 * 3 * 399
    assert all(len(set(line)) == 1 for line in found)


def test_a_piece_is_what_a_pipe_takes_whole() -> None:
    assert PIECE == 4096


def test_a_terminal_is_recognised(tmp_path: Path) -> None:
    assert not Writer(tmp_path / "access.log", pytest.fail).terminal
    controller, terminal = os.openpty()
    with standard_output(terminal):
        assert Writer(None, pytest.fail).terminal
        assert not Writer(tmp_path / "access.log", pytest.fail).terminal
    os.close(controller)
    os.close(terminal)
    reader, pipe = os.pipe()
    with standard_output(pipe):
        assert not Writer(None, pytest.fail).terminal
    os.close(reader)
    os.close(pipe)
