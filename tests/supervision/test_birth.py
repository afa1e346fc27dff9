import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.errors import ConfigError, LinkError, StartError, StateError
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Failed
from edgeproxy.log import Log, Sink
from edgeproxy.supervision import birth
from edgeproxy.supervision.birth import Birth


def log_to(path: Path) -> Log:
    return Log("test", Sink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)), style="json")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return log_to(tmp_path / "log")


def exit_status(given: Birth, body: Callable[[], int | None]) -> int:
    pid = given.fork(body)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_childs_exit_status_is_what_its_body_returns(log: Log) -> None:
    assert exit_status(Birth("worker 0", log, None), lambda: None) == 0
    assert exit_status(Birth("worker 0", log, None), lambda: 7) == 7


def test_an_unexpected_error_is_logged_with_its_place(log: Log, tmp_path: Path) -> None:
    def body() -> int:
        raise RuntimeError("surprise")

    assert exit_status(Birth("worker 3", log, None), body) == 70
    text = (tmp_path / "log").read_text()
    assert "RuntimeError: surprise at test_birth.py:" in text
    assert '"process":"worker 3"' in text


def test_a_child_has_only_the_descriptors_that_are_its_own(log: Log) -> None:
    mine, theirs = socket.socketpair()
    stranger = os.dup(0)

    def body() -> int:
        open_now = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
        # The folder that is being listed has one too.
        allowed = {0, 1, 2, theirs.fileno(), log.sink.fileno()}
        extra = {fd for fd in open_now - allowed if Path(f"/proc/self/fd/{fd}").exists()}
        return len(extra) + (mine.fileno() != -1)

    assert exit_status(Birth("worker 0", log, None, keep=[theirs.fileno()], close=[mine]), body) == 0
    mine.close()
    theirs.close()
    os.close(stranger)


def test_the_supervisors_signal_handlers_are_not_inherited(log: Log) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:

        def body() -> int:
            default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            ignored = signal.getsignal(signal.SIGHUP) == signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            unblocked = not signal.pthread_sigmask(signal.SIG_BLOCK, [])
            return 0 if default and ignored and unblocked else 1

        assert exit_status(Birth("worker 0", log, None), body) == 0
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_a_helper_answers_comes_back(log: Log) -> None:
    assert birth.ask_child(Birth("helper", log, None), lambda: b"k" * 32, 30) == b"k" * 32
    assert birth.ask_child(Birth("helper", log, None), lambda: b"", 30) == b""


@pytest.mark.parametrize("kind", [StateError, ConfigError, StartError])
def test_what_a_helper_refuses_is_raised_here(log: Log, kind: type[StateError]) -> None:
    def question() -> bytes:
        raise kind("the key is gone")

    with pytest.raises(kind, match="the key is gone"):
        birth.ask_child(Birth("helper", log, None), question, 30)


def test_a_helper_that_crashes_or_hangs_is_an_error(log: Log) -> None:
    with pytest.raises(StartError, match="exit status 3"):
        birth.ask_child(Birth("helper", log, None), lambda: os._exit(3), 30)

    def hang() -> bytes:
        time.sleep(600)  # noqa: TID251
        return b""

    with pytest.raises(StartError, match="killed by SIGKILL"):
        birth.ask_child(Birth("helper", log, None), hang, 0.05)


def test_a_refusal_of_a_main_reaches_the_supervisor(log: Log) -> None:
    ours, theirs = Channel.pair()

    def main() -> int:
        raise StateError("the store is damaged")

    assert birth.run_main(main, Channel(theirs), log) == 1
    assert [received.message for received in ours.read()] == [Failed(detail="the store is damaged", code="state_unusable")]
    ours.close()
    theirs.close()


def test_errors_of_other_processes_keep_their_kind() -> None:
    assert isinstance(birth.edge_error("state_unusable", "x"), StateError)
    assert isinstance(birth.edge_error("invalid_configuration", "x"), ConfigError)
    unknown = birth.edge_error("something_new", "x")
    assert isinstance(unknown, StartError)
    assert unknown.code == "something_new"
    assert not isinstance(unknown, LinkError)


@pytest.mark.parametrize(("status", "expected"), [(0, "exit status 0"), (256, "exit status 1"), (9, "killed by SIGKILL")])
def test_how_a_process_ended_is_said_in_words(status: int, expected: str) -> None:
    assert birth.ending(status) == expected


def test_a_gate_opens_or_falls() -> None:
    read, write = os.pipe()
    os.write(write, b"g")
    assert birth.wait_for_gate(read)
    os.close(write)
    read, write = os.pipe()
    os.close(write)
    assert not birth.wait_for_gate(read)
