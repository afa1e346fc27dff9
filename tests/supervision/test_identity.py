import ctypes
import os
import pwd
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.config.machine import Process
from edgeproxy.errors import ConfigError
from edgeproxy.supervision import identity

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become others")


def in_child(body: Callable[[], str]) -> str:
    """What `body` returns in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, body().encode())
        except BaseException as error:  # noqa: BLE001
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


def status(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


def test_without_users_everybody_stays_who_they_are() -> None:
    assert identity.identities(Process()) == identity.Identities(None, None)


@pytest.mark.parametrize("key", ["user", "worker_user"])
def test_an_unknown_user_is_named_with_the_command_that_makes_one(key: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"process\.{key}.*no user 'nobody-such'.*useradd" if os.geteuid() == 0 else "no user"
    ):
        identity.identities(Process(**{key: "nobody-such"}))


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ConfigError, match=r"process\.group.*no group 'nobody-such'.*groupadd"):
        identity.identities(Process(group="nobody-such"))


@root_only
def test_controller_and_workers_can_be_two_users_that_share_a_group() -> None:
    found = identity.identities(Process(user="daemon", worker_user="nobody"))
    assert found.controller is not None
    assert found.worker is not None
    assert found.separated
    assert found.controller.gid in found.worker.groups
    assert found.worker.gid != found.controller.gid
    assert found.owner == (found.controller.uid, found.controller.gid)


@root_only
def test_one_user_means_no_separation() -> None:
    found = identity.identities(Process(user="daemon"))
    assert found.controller == found.worker
    assert not found.separated


@root_only
def test_a_child_becomes_its_user_for_good() -> None:
    user = pwd.getpwnam("nobody")
    nobody = identity.identities(Process(user="nobody")).worker

    def body() -> str:
        identity.become(nobody)
        try:
            os.setuid(0)
        except PermissionError:
            refused = "refused"
        else:
            refused = "root again"
        return "|".join(
            (status("Uid"), status("Gid"), refused, status("CapEff"), status("CapPrm"), status("CapInh"), status("NoNewPrivs"))
        )

    uid, gid = "\t".join([str(user.pw_uid)] * 4), "\t".join([str(user.pw_gid)] * 4)
    assert in_child(body) == f"{uid}|{gid}|refused|{'0' * 16}|{'0' * 16}|{'0' * 16}|1"


@root_only
def test_capabilities_of_a_user_that_is_not_root_are_dropped_too() -> None:
    def body() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
        os.setresuid(65534, 65534, 65534)
        kept = status("CapPrm")
        identity.become(None)
        return f"{kept}|{status('CapPrm')}"

    kept, after = in_child(body).split("|")
    assert int(kept, 16) != 0
    assert int(after, 16) == 0


@root_only
def test_a_user_who_may_not_become_another_is_told_so() -> None:
    def body() -> str:
        os.setresuid(65534, 65534, 65534)
        identity.identities(Process(user="daemon"))
        return "no error"

    text = in_child(body)
    assert text.startswith("ConfigError: process.user: ")
    assert "cannot become 'daemon'" in text


@root_only
def test_the_own_user_may_be_named_without_root() -> None:
    def body() -> str:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        return repr(identity.identities(Process(user="nobody", worker_user="nobody")))

    assert in_child(body) == "Identities(controller=None, worker=None)"


def test_core_dumps_and_looking_into_the_memory_are_off() -> None:
    def body() -> str:
        identity.forbid_core_dumps()
        libc = ctypes.CDLL(None)
        return f"{resource.getrlimit(resource.RLIMIT_CORE)} {libc.prctl(3, 0, 0, 0, 0)}"

    assert in_child(body) == "(0, 0) 0"


def test_a_process_can_be_named() -> None:
    def body() -> str:
        identity.name_process("edgeproxy worker number 17")
        return Path("/proc/self/comm").read_text().strip()

    assert in_child(body) == "edgeproxy worke"


def test_a_child_can_be_made_to_end_with_its_parent() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        parent = os.getpid()
        if os.fork() == 0:
            alive = identity.die_with_parent(signal.SIGKILL, parent)
            os.write(write, b"y" if alive else b"n")
            time.sleep(600)  # noqa: TID251
            os._exit(0)
        signal.pause()
        os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"y"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b""  # the grandchild's end of the pipe went with it
    os.close(read)


def test_the_descriptor_limit_is_raised_to_the_hard_one() -> None:
    def body() -> str:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        limit = identity.raise_descriptor_limit()
        return str(limit == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    assert in_child(body) == "True"
