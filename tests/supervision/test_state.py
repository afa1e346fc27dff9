import os
import signal
from pathlib import Path

import pytest

from edgeproxy.errors import StateError
from edgeproxy.supervision.identity import Identities, Identity
from edgeproxy.supervision.state import LOCK_NAME, StateLock, prepare, require_writable

NOBODY = Identities(None, None)


def holder_process(directory: Path) -> int:
    """A process that holds the lock until it is killed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            StateLock(directory)
            os.write(write, b"x")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(read, 1) == b"x"
    os.close(read)
    os.close(write)
    return pid


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "state"
    prepare(directory, NOBODY)
    assert directory.stat().st_mode & 0o777 == 0o700
    prepare(directory, NOBODY)


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("")
    with pytest.raises(StateError, match=r"not a directory\. Name one; it is made where it is missing"):
        prepare(path, NOBODY)


def test_a_place_that_cannot_be_made_is_said_with_the_cure() -> None:
    with pytest.raises(StateError, match=r"cannot be made.*install -d"):
        prepare(Path("/proc/edgeproxy-state"), NOBODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_workers_of_another_user_may_pass_through_but_not_look(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    separated = Identities(Identity("c", 12345, 12346, (12346,)), Identity("w", 12347, 12348, (12346, 12348)))
    prepare(directory, separated)
    status = directory.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12346, 0o710)


def test_a_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    pid = holder_process(tmp_path)
    try:
        with pytest.raises(StateError, match=f"in use by process {pid}") as caught:
            StateLock(tmp_path)
        assert caught.value.code == "state_locked"
        assert (tmp_path / LOCK_NAME).read_text() == f"{pid}\n"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path: Path) -> None:
    pid = holder_process(tmp_path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lock = StateLock(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    lock.close()


def test_a_child_that_closes_its_copy_does_not_free_the_lock(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    pid = os.fork()
    if pid == 0:
        lock.close()
        os._exit(0)
    os.waitpid(pid, 0)
    pid = os.fork()
    if pid == 0:
        try:
            StateLock(tmp_path)
        except StateError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    lock.close()


def test_the_lock_file_is_private_and_no_link_is_followed(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    assert (tmp_path / LOCK_NAME).stat().st_mode & 0o777 == 0o600
    lock.close()
    (tmp_path / LOCK_NAME).unlink()
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="cannot be opened"):
        StateLock(tmp_path)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    require_writable(tmp_path)
    with pytest.raises(StateError, match="not writable"):
        require_writable(tmp_path / "missing")
