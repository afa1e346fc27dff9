import json
import os
import pty
import socket
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.log import LINE, Log, Sink, human_line, json_line


def pipe_log(**options) -> tuple[Log, int, int]:
    read, write = os.pipe()
    return Log("supervisor", Sink(write), **options), read, write


def lines(read: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(read, 1 << 20).decode().splitlines()]


def test_a_line_on_a_pipe_is_one_json_object() -> None:
    log, read, write = pipe_log()
    log.info("worker ended", worker=1, signal="SIGKILL")
    (line,) = lines(read)
    assert line["message"] == "worker ended"
    assert (line["level"], line["process"], line["pid"]) == ("info", "supervisor", os.getpid())
    assert (line["worker"], line["signal"]) == (1, "SIGKILL")
    log.sink.close()
    os.close(read)
    os.close(write)


def test_a_terminal_gets_readable_lines() -> None:
    master, slave = pty.openpty()
    log = Log("supervisor", Sink(slave))
    assert log.human
    log.warning("no user is set", user="")
    text = os.read(master, 10_000).decode()
    assert "supervisor" in text
    assert "warning" in text
    assert "no user is set" in text
    log.sink.close()
    os.close(master)
    os.close(slave)


def test_lines_below_the_level_are_left_out() -> None:
    log, read, write = pipe_log(level="warning")
    log.debug("one")
    log.info("two")
    log.warning("three")
    log.error("four")
    assert [line["message"] for line in lines(read)] == ["three", "four"]
    log.sink.close()
    os.close(read)
    os.close(write)


def test_a_reader_that_does_not_read_blocks_nobody_and_the_loss_is_told() -> None:
    log, read, write = pipe_log()
    for _ in range(5000):
        log.info("x" * 200)
    dropped = log.sink.dropped
    assert dropped > 0
    came = lines(read)
    log.info("again")
    (line,) = lines(read)
    assert line["message"] == "again"
    assert line["lines_dropped"] == dropped
    assert len(came) + dropped == 5000
    log.info("and on")
    assert "lines_dropped" not in lines(read)[0]
    assert os.get_blocking(write)
    log.sink.close()
    os.close(read)
    os.close(write)


def test_a_reader_that_is_gone_blocks_nobody() -> None:
    log, read, write = pipe_log()
    os.close(read)
    log.info("nobody hears it")
    assert log.sink.dropped == 1
    log.sink.close()
    os.close(write)


def test_a_full_disk_blocks_nobody() -> None:
    with Path("/dev/full").open("wb") as full:
        log = Log("worker 0", Sink(full.fileno()), style="json")
        log.info("lost")
        assert log.sink.dropped == 1
        log.sink.close()


def test_a_socket_works_as_journald_gives_it() -> None:
    ours, theirs = socket.socketpair()
    log = Log("controller", Sink(theirs.fileno()))
    for _ in range(3000):
        log.info("y" * 1000)
    assert log.sink.dropped > 0
    assert json.loads(ours.recv(1 << 20).splitlines()[0])["message"] == "y" * 1000
    log.sink.close()
    ours.close()
    theirs.close()


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab") as file:
        log = Log("supervisor", Sink(file.fileno()))
        log.info("one")
        log.info("two")
        log.sink.close()
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["one", "two"]


def test_an_over_long_line_is_cut_so_that_it_stays_whole_among_others() -> None:
    log, read, write = pipe_log()
    log.info("ü" * 10_000)
    log.info("short", host="a" * 10_000)
    data = os.read(read, 1 << 20)
    first, second = (json.loads(line) for line in data.splitlines())
    assert max(len(line) for line in data.splitlines()) < LINE
    assert first["message"].endswith("ü…")
    assert second["message"] == "short"
    log.info("z", **{f"field{number}": "y" * 90 for number in range(100)})
    assert len(os.read(read, 1 << 20)) <= LINE
    log.sink.close()
    os.close(read)
    os.close(write)


def test_a_derived_log_has_its_own_name_and_context() -> None:
    log, read, write = pipe_log(level="debug")
    child = log.named("worker 3", generation=2).named("worker 3", column=7)
    child.debug("born", pid_of="x")
    (line,) = lines(read)
    assert (line["process"], line["generation"], line["column"]) == ("worker 3", 2, 7)
    log.sink.close()
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\rb", "x\x07", "\u202e"])
def test_what_strangers_sent_cannot_control_the_terminal(evil: str) -> None:
    line = human_line(0.0, "info", "worker 0", f"refused {evil}", {"host": evil})
    assert evil not in line


def test_a_message_of_several_lines_stays_readable() -> None:
    line = human_line(0.0, "error", "supervisor", "first\nsecond", {})
    assert len(line.splitlines()) == 2
    assert "second" in line.splitlines()[1]


def test_fields_never_hide_what_every_line_has() -> None:
    line = json.loads(json_line(1.5, "info", "supervisor", "hello", {"message": "other", "pid": 1, "path": Path("/x")}))
    assert line["message"] == "hello"
    assert line["message_"] == "other"
    assert line["pid"] == os.getpid()
    assert line["path"] == "/x"
    assert line["time"] == "1970-01-01T00:00:01.500Z"
