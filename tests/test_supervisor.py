"""Starting, with stand-in children; what follows is in tests/supervision/test_loop.py, and with the real children in
tests/integration/test_processes.py.
"""

from __future__ import annotations

import os
import pwd
import queue
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.running import PATIENCE, PYTHONPATH_FOR_EVERYBODY, ROOT, Running, python_for_everybody, wait_for
from tests.supervision.fixtures import edge, talk
from tests.supervision.talk import COMMAND, Talk, ask, ask_controller, refusal, refuses, status, with_each_worker

__all__ = ["edge", "talk"]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become others")


# starting


def test_it_starts_and_says_what_runs(edge: Running) -> None:
    edge.start()
    assert sorted(edge.children().values()) == ["edgeproxy ctl", "edgeproxy w 0", "edgeproxy w 1"]
    found = status(edge)
    assert found["pid"] == edge.pid
    assert found["state"] == "serving"
    assert found["generation"] == 1
    assert [(worker["index"], worker["state"]) for worker in found["workers"]] == [(0, "serving"), (1, "serving")]
    assert found["controller"]["state"] == "serving"
    assert f"https {edge.host}:{edge.https_port}" in found["listeners"]
    assert f"admin {edge.socket}" in found["listeners"]
    assert found["restarts"] == {"workers": 0, "controller": 0}
    assert 0 <= found["uptime"] < PATIENCE


def test_both_workers_accept_from_the_same_socket(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    with_each_worker(edge, talk)


def test_each_child_has_only_what_is_its_own(edge: Running) -> None:
    edge.start()
    worker, controller = ask(edge, "about"), ask_controller(edge, "about")
    https, http = f"https {edge.host}:{edge.https_port}", f"http {edge.host}:{edge.http_port}"
    assert worker["sockets"] == sorted([https, http])
    assert controller["sockets"] == ["admin", "api"]
    inodes = {row.split()[9] for row in Path("/proc/net/tcp").read_text().splitlines()[1:] if row.split()[3] == "0A"}
    for child, listeners in ((worker, 2), (controller, 0)):
        targets = child["descriptors"].values()
        assert not any("edgeproxy.lock" in target for target in targets)
        assert not any("memfd" in target for target in targets)
        assert sum(target == f"socket:[{inode}]" for target in targets for inode in inodes) == listeners
        assert "NoNewPrivs:\t1" in child["status"]
        assert child["umask"] == 0o077
        core = next(line for line in child["limits"].splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
    assert worker["key"] == b"k".hex() * 32
    assert not worker["serving"]


@root_only
def test_the_supervisor_keeps_its_listeners_inheritable_for_an_upgrade(edge: Running) -> None:
    edge.start()
    inheritable = 0
    for entry in Path(f"/proc/{edge.pid}/fdinfo").iterdir():
        flags = int(entry.read_text().split("flags:")[1].split()[0], 8)
        inheritable += not flags & os.O_CLOEXEC and entry.name not in "012"
    assert inheritable == 4


def test_files_have_the_modes_of_the_interface(edge: Running) -> None:
    edge.start()
    assert stat.S_IMODE(edge.socket.stat().st_mode) == 0o660
    assert stat.S_IMODE(edge.socket.with_name("api.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(edge.state.stat().st_mode) == 0o700


def test_a_second_instance_on_the_same_state_directory_is_refused_with_the_pid(edge: Running, tmp_path: Path) -> None:
    edge.start()
    other = Running(tmp_path / "other", {"state": {"directory": str(edge.state)}}, command=COMMAND)
    refused = refusal(other)
    assert f"in use by process {edge.pid}" in refused["detail"]
    assert refused["code"] == "state_locked"
    assert ask(edge, "who")["generation"] == 1


def test_a_port_in_use_is_refused_with_who_has_it(edge: Running) -> None:
    with socket.create_server((edge.host, edge.https_port)):
        refused = refusal(edge)
    assert f"Port {edge.https_port} on 127.0.0.1 is in use by process {os.getpid()} (" in refused["detail"]
    assert not edge.living()
    assert not edge.socket.exists()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("x-store-broken", "the stand-in store is broken"),
        ("x-worker-refuses", "the stand-in worker refuses"),
        ("x-no-key", "the stand-in has no key"),
        ("x-worker-exits", "does not start: exit status 5"),
        ("x-controller-exits", "The controller does not start: exit status 4"),
        ("x-controller-raises", "The controller does not start: exit status 70"),
    ],
)
def test_a_start_that_cannot_work_is_refused_and_leaves_nothing(edge: Running, fault: str, expected: str) -> None:
    edge.configure({"origin": {"header": fault}})
    assert expected in refusal(edge)["detail"]
    wait_for(lambda: not edge.living(), "no process left")
    assert not edge.socket.exists()
    assert refuses(edge.https_port)


# users


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may pass through, as pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="edgeproxy-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def command_for_everybody() -> tuple[list[str], dict[str, str]]:
    return [python_for_everybody(), *COMMAND[1:]], {"PYTHONPATH": PYTHONPATH_FOR_EVERYBODY}


@root_only
def test_a_python_that_the_users_may_not_read_is_told(open_folder: Path) -> None:
    closed = open_folder / "closed"
    shutil.copytree(ROOT / "edgeproxy", closed / "edgeproxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", closed / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    closed.chmod(0o700)
    command, _ = command_for_everybody()
    environ = {"PYTHONPATH": PYTHONPATH_FOR_EVERYBODY.replace(str(ROOT), str(closed), 1)}
    edge = Running(open_folder, {"process": {"user": "daemon"}}, command=command, environ=environ)
    assert f"The user daemon may not read the program's own files: {closed}" in refusal(edge)["detail"]


@root_only
def test_children_become_the_users_of_the_configuration(open_folder: Path) -> None:
    users = {"user": "daemon", "worker_user": "nobody"}
    command, environ = command_for_everybody()
    daemon, nobody = pwd.getpwnam("daemon"), pwd.getpwnam("nobody")
    run = open_folder / "run"
    tables = {"process": users, "admin": {"socket": str(run / "admin.sock")}}
    with Running(open_folder, tables, command=command, environ=environ) as edge:
        edge.socket = run / "admin.sock"
        worker, controller = ask(edge, "about"), ask_controller(edge, "about")
        assert (controller["uid"], controller["gid"]) == (daemon.pw_uid, daemon.pw_gid)
        assert (worker["uid"], worker["gid"]) == (nobody.pw_uid, nobody.pw_gid)
        assert daemon.pw_gid in worker["groups"]
        assert "CapEff:\t0000000000000000" in worker["status"]
        assert (edge.state / "key-made-by").read_text() == str(daemon.pw_uid)
        modes = {
            path: (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode))
            for path in (edge.state, run, run / "admin.sock", run / "api.sock")
        }
        assert modes == {
            edge.state: (daemon.pw_uid, daemon.pw_gid, 0o710),
            run: (daemon.pw_uid, daemon.pw_gid, 0o750),
            run / "admin.sock": (daemon.pw_uid, daemon.pw_gid, 0o660),
            run / "api.sock": (nobody.pw_uid, nobody.pw_gid, 0o600),
        }
        assert edge.logged("runs as root") is None
        edge.kill(worker["pid"])
        wait_for(lambda: worker["pid"] not in edge.children() and len(edge.children()) == 3, "a new worker")
        assert ask(edge, "about")["uid"] == nobody.pw_uid


@root_only
def test_a_state_directory_of_another_user_is_refused_with_the_cure(open_folder: Path) -> None:
    command, environ = command_for_everybody()
    edge = Running(open_folder, {"process": {"user": "daemon"}}, command=command, environ=environ)
    edge.state.mkdir(mode=0o700)
    assert f"not writable for uid {pwd.getpwnam('daemon').pw_uid}" in refusal(edge)["detail"]


@root_only
def test_root_without_a_user_is_warned(edge: Running) -> None:
    edge.start()
    assert edge.logged("runs as root")


@root_only
def test_a_user_who_may_not_open_a_low_port_is_told_what_to_grant(open_folder: Path) -> None:
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    port = next((port for port in range(limit - 1, 0, -1) if _is_free(port)), 0)
    if port == 0:
        pytest.skip("every port may be opened by everybody here")
    nobody = pwd.getpwnam("nobody")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    command, environ = command_for_everybody()
    command = ["setpriv", f"--reuid={nobody.pw_uid}", "--clear-groups", *command]
    edge = Running(open_folder, {"listen": {"https": [f"127.0.0.1:{port}"]}}, command=command, environ=environ)
    refused = refusal(edge)
    assert refused["code"] == "port_not_permitted"
    for cure in ("CAP_NET_BIND_SERVICE", f"ip_unprivileged_port_start={port}", "process.user"):
        assert cure in refused["detail"]


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


# systemd


def test_systemd_hears_of_each_state(edge: Running, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(PATIENCE)
        systemd.bind(str(tmp_path / "notify"))
        edge.environ.update(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        heard: queue.SimpleQueue[str] = queue.SimpleQueue()

        def hear() -> None:
            """At once, as systemd does: ten words of the watchdog are as many as wait, and whatever comes then is lost."""
            while text := systemd.recv(1000).decode():
                heard.put(text)

        def said(beginning: str) -> str:
            while not (text := heard.get(timeout=PATIENCE)).startswith(beginning):
                pass
            return text

        hearing = threading.Thread(target=hear, daemon=True)
        hearing.start()
        edge.start()
        assert f"MAINPID={edge.pid}" in said("READY=1")
        assert said("WATCHDOG=1")
        edge.kill(number=signal.SIGHUP)
        assert "MONOTONIC_USEC=" in said("RELOADING=1")
        assert "configuration 2" in said("READY=1")
        edge.kill(number=signal.SIGTERM)
        assert said("STOPPING=1")
        edge.wait_ended()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(tmp_path / "notify"))
        hearing.join()


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
def test_sockets_of_systemd_are_used(edge: Running) -> None:
    address = f"{edge.host}:{edge.https_port}"
    edge.command = ["systemd-socket-activate", "-l", address, "-E", "PYTHONPATH", *edge.command]
    edge.start(wait=False)
    # It starts the program when somebody connects; that connection is served too.
    first = wait_for(lambda: _connected((edge.host, edge.https_port)), "a listener")
    first.send("who")
    assert first.receive()["generation"] == 1
    edge.wait_logged(" serves")
    assert f"https {address}" in status(edge)["listeners"]
    first.close()


def _connected(address: tuple[str, int]) -> Talk | None:
    try:
        return Talk(address)
    except ConnectionRefusedError:
        return None


def test_importing_the_supervisor_is_quick_and_brings_no_control_plane() -> None:
    code = "import edgeproxy.supervisor, sys; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    for heavy in ("fastapi", "sqlalchemy", "rich", "structlog", "typer", "uvicorn", "asyncio.runners", "httpx2", "acme"):
        assert heavy not in modules or heavy == "asyncio.runners"
