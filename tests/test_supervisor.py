"""The supervisor with stand-in children; with the real ones in tests/integration/test_processes.py."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import (
    PATIENCE,
    PYTHONPATH_FOR_EVERYBODY,
    ROOT,
    Running,
    free_port,
    python_for_everybody,
    wait_for,
)

COMMAND = (sys.executable, "-m", "tests.supervision.standin")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become others")


class Talk:
    """A connection to a stand-in: a line goes, a JSON object comes."""

    def __init__(self, address: tuple[str, int] | Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET)
        self.sock.settimeout(PATIENCE)
        try:
            self.sock.connect(str(address) if isinstance(address, Path) else address)
        except OSError:
            self.sock.close()
            raise
        self._file = self.sock.makefile("rb")

    def send(self, line: str) -> None:
        self.sock.sendall(line.encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise ConnectionResetError("no answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, line: str) -> dict[str, Any]:
        self.send(line)
        return self.receive()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Running]:
    """Not started yet."""
    running = Running(tmp_path / "edge", command=COMMAND)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def talk(edge: Running) -> Iterator[Callable[..., Talk]]:
    """Opens conversations, and closes them in the end."""
    opened: list[Talk] = []

    def open_one(address: tuple[str, int] | Path | None = None) -> Talk:
        opened.append(Talk(address or (edge.host, edge.https_port)))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def ask(edge: Running, line: str, port: int | None = None) -> dict[str, Any]:
    """One question to some worker."""
    with contextlib.closing(Talk((edge.host, port or edge.https_port))) as one:
        return one.ask(line)


def ask_controller(edge: Running, line: str) -> dict[str, Any]:
    """One question to the controller. The stand-in that is just ending may take it and not answer: then to the next one."""
    while True:
        with contextlib.closing(Talk(edge.socket)) as one, contextlib.suppress(ConnectionError):
            return one.ask(line)


def only_new_workers(edge: Running, generation: int) -> None:
    """Waits until no worker of an older generation accepts any more; it may until it has read that it shall drain."""

    def all_new() -> bool:
        return all(ask(edge, "who")["generation"] == generation for _ in range(20))

    wait_for(all_new, "only new workers")


def with_each_worker(edge: Running, talk: Callable[..., Talk], count: int = 2) -> dict[int, Talk]:
    """An open conversation with every worker, by pid."""
    found: dict[int, Talk] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, "not every worker accepts"
        one = talk()
        if found.setdefault(one.ask("who")["pid"], one) is not one:
            one.close()
    return found


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        Talk(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def refusal(edge: Running) -> dict[str, Any]:
    """Starts it and returns why it did not."""
    edge.start(wait=False)
    assert edge.wait_ended() == 1
    return next(line for line in edge.log_lines() if line["message"] == "refused")


def status(edge: Running) -> dict[str, Any]:
    data: dict[str, Any] = ask_controller(edge, "status")["data"]
    return data


def links(edge: Running) -> list[tuple[int, int]]:
    """Workers that greeted the controller there is now."""
    try:
        return [tuple(each) for each in ask_controller(edge, "greetings")["greetings"]]
    except OSError:
        return []


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


# workers


def test_a_killed_worker_is_replaced_and_the_others_connections_go_on(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    workers = with_each_worker(edge, talk)
    victim, witness = workers
    began = time.monotonic()
    edge.kill(victim)
    wait_for(lambda: len(edge.children()) == 3 and victim not in edge.children(), "a new worker")
    took = time.monotonic() - began
    assert workers[witness].ask("who")["pid"] == witness
    line = edge.wait_logged("died and is replaced")
    assert (line["child_pid"], line["how"], line["after"]) == (victim, "killed by SIGKILL", 0.0)
    assert took < 1.0
    with_each_worker(edge, talk)
    assert status(edge)["restarts"] == {"workers": 1, "controller": 0}
    assert ask(edge, "about")["pid"] != victim


def test_connections_that_wait_to_be_accepted_are_served_although_all_workers_die(edge: Running) -> None:
    edge.start()
    workers = [pid for pid, name in edge.children().items() if " w " in name]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    waiting = [Talk((edge.host, edge.https_port)) for _ in range(200)]
    for each in waiting:
        each.send("who")
    for pid in workers:
        edge.kill(pid)
    answers = [each.receive()["pid"] for each in waiting]
    assert not set(answers) & set(workers)
    for each in waiting:
        each.close()


def test_what_a_dead_worker_counted_is_forgotten(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    held = [talk() for _ in range(20)]
    pids = [each.ask("who")["pid"] for each in held]
    for pid in set(pids):
        edge.kill(pid)
    wait_for(lambda: not set(pids) & set(edge.children()) and len(edge.children()) == 3, "new workers")
    assert ask(edge, "count")["count"] == 1


def test_a_worker_that_keeps_dying_is_born_ever_more_slowly_while_the_others_serve(edge: Running) -> None:
    edge.start()
    for _ in range(6):
        with contextlib.suppress(OSError):
            ask(edge, "crash")
    wait_for(lambda: len([line for line in edge.log_lines() if line["message"] == "died and is replaced"]) >= 6, "six deaths")
    delays = [line["after"] for line in edge.log_lines() if line["message"] == "died and is replaced"]
    assert delays.count(0.0) == 2
    assert max(delays) > 0.0
    wait_for(lambda: len(edge.children()) == 3, "everybody back")
    assert ask(edge, "who")


def test_a_worker_that_hangs_is_replaced(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.environ["STANDIN_HUNG"] = "1"
    edge.start()
    workers = with_each_worker(edge, talk)
    victim = min(workers)
    time.sleep(0.5)  # noqa: TID251 - it has given signs of life by now
    os.kill(victim, signal.SIGSTOP)
    edge.wait_logged("gives no sign of life")
    wait_for(lambda: victim not in edge.children() and len(edge.children()) == 3, "a new worker")
    assert workers[max(workers)].ask("who")["pid"] == max(workers)


def test_a_worker_told_to_end_by_somebody_else_is_replaced_while_it_drains(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    workers = with_each_worker(edge, talk)
    victim = min(workers)
    os.kill(victim, signal.SIGTERM)
    wait_for(lambda: len(edge.children()) == 4, "a third worker beside the draining one")
    assert workers[victim].ask("who")["pid"] == victim
    workers[victim].close()
    wait_for(lambda: victim not in edge.children(), "its end")
    assert len(edge.children()) == 3


# the controller and the links


def test_a_killed_controller_is_replaced_and_every_worker_gets_a_fresh_link(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    wait_for(lambda: len(links(edge)) == 2, "two links")
    workers = with_each_worker(edge, talk)
    old = next(pid for pid, name in edge.children().items() if name == "edgeproxy ctl")
    began = time.monotonic()
    edge.kill(old)
    wait_for(lambda: sorted(pid for _, pid in links(edge)) == sorted(workers), "two links to the new controller")
    assert time.monotonic() - began < 2.0
    found = ask_controller(edge, "about")
    assert found["pid"] != old
    assert found["serving"]
    new = f"controller-{found['pid']}"
    wait_for(lambda: all(new in each.ask("links")["heard"] for each in workers.values()), "its word to each")
    assert status(edge)["restarts"] == {"workers": 0, "controller": 1}


def test_a_new_worker_gets_a_link_too(edge: Running) -> None:
    edge.start()
    wait_for(lambda: len(links(edge)) == 2, "two links")
    victim = next(pid for pid, name in edge.children().items() if name == "edgeproxy w 1")
    edge.kill(victim)
    wait_for(lambda: len(links(edge)) == 3, "a third greeting")
    assert [index for index, _ in links(edge)].count(1) == 2


def test_a_link_that_breaks_while_both_live_is_made_anew(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    wait_for(lambda: len(links(edge)) == 2, "two links")
    one = talk()
    time.sleep(1.1)  # noqa: TID251 - a link younger than a second is not replaced
    one.ask("unlink")
    wait_for(lambda: one.ask("links")["alive"] and one.ask("links")["links"] == 2, "a second link")
    assert len(links(edge)) == 3


# the supervisor's own death


def test_without_its_supervisor_everything_ends_and_a_new_start_succeeds_at_once(
    edge: Running, talk: Callable[..., Talk]
) -> None:
    edge.start()
    open_one = talk()
    open_one.ask("who")
    children = edge.children()
    controller = next(pid for pid, name in children.items() if name == "edgeproxy ctl")
    edge.kill()
    edge.wait_ended()
    edge.start()
    assert open_one.ask("who")["pid"] in children  # what was open is finished
    assert controller not in edge.living()
    assert ask(edge, "who")["pid"] not in children
    open_one.close()
    wait_for(lambda: not edge.living() & set(children), "the old workers' end")


# stopping


def test_sigterm_lets_open_connections_end_and_refuses_new_ones(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    open_one = talk()
    open_one.ask("who")
    edge.kill(number=signal.SIGTERM)
    wait_for(lambda: refuses(edge.https_port), "new connections refused")
    assert open_one.ask("who")["pid"]
    assert edge.process is not None
    assert edge.process.poll() is None
    open_one.close()
    assert edge.wait_ended() == 0
    assert not edge.living()
    assert not edge.socket.exists()
    assert not edge.socket.with_name("api.sock").exists()
    assert edge.logged("stopped")


def test_the_controller_lives_until_the_last_worker_has_ended(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    open_one = talk()
    open_one.ask("who")
    answer = ask_controller(edge, "stop")
    assert answer["ok"]
    time.sleep(0.2)  # noqa: TID251
    assert ask_controller(edge, "status")["data"]["state"] == "stopping"
    open_one.close()
    assert edge.wait_ended() == 0
    ended = [line["child"] for line in edge.log_lines() if line["message"] == "ended"]
    assert ended[-1] == "controller"


def test_a_worker_that_does_not_end_in_time_is_killed(edge: Running) -> None:
    edge.configure({"origin": {"header": "x-never-drains"}, "timeouts": {"drain": "100ms"}})
    edge.start()
    edge.kill(number=signal.SIGTERM)
    assert edge.wait_ended() == 0
    assert edge.logged("did not end in time")
    assert not edge.living()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hurries(edge: Running, talk: Callable[..., Talk], number: int) -> None:
    edge.configure({"timeouts": {"drain": "10m"}})
    edge.start()
    open_one = talk()
    open_one.ask("who")
    edge.kill(number=number)
    edge.wait_logged("came")
    edge.kill(number=number)
    assert edge.wait_ended() == 0


def test_it_can_be_stopped_while_it_starts(edge: Running) -> None:
    edge.configure({"origin": {"header": "x-slow-worker"}, "timeouts": {"drain": "100ms"}})
    edge.start(wait=False)
    wait_for(lambda: len(edge.children()) == 3, "children")
    edge.kill(number=signal.SIGTERM)
    assert edge.wait_ended() == 0
    assert not edge.living()


# reloading


def test_sighup_brings_a_new_configuration_while_the_old_workers_finish(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    old = with_each_worker(edge, talk)
    controller = ask_controller(edge, "about")["pid"]
    edge.configure({"origin": {"header": "x-second"}, "workers": {"count": 3}})
    edge.kill(number=signal.SIGHUP)
    line = edge.wait_logged("is in effect")
    assert "Configuration 2" in line["message"]
    assert "3 workers" in line["message"]
    assert "origin.header" in line["message"]
    only_new_workers(edge, 2)
    found = ask(edge, "about")
    assert found["header"] == "x-second"
    assert found["column"] > 1
    for pid, each in old.items():
        assert each.ask("who")["pid"] == pid
    wait_for(lambda: ask_controller(edge, "about")["pid"] != controller, "a new controller")
    assert ask_controller(edge, "about")["header"] == "x-second"
    states = sorted((worker["generation"], worker["state"]) for worker in status(edge)["workers"])
    assert states == [(1, "draining"), (1, "draining"), *[(2, "serving")] * 3]
    wait_for(lambda: len({pid for _, pid in links(edge)}) == 5, "links to all, draining ones too")
    for each in old.values():
        each.close()
    wait_for(lambda: not set(old) & set(edge.children()), "the old workers' end")
    assert len(edge.children()) == 4


def test_a_reload_answers_who_asked_with_what_is_in_effect(edge: Running) -> None:
    edge.start()
    edge.configure({"origin": {"header": "x-second"}})
    answer = ask_controller(edge, "reload")
    assert answer["ok"]
    assert answer["detail"] == "Configuration 2 is in effect, with 2 workers; changed: origin.header."
    assert answer["data"] == {"generation": 2, "workers": 2}


def test_a_new_controller_begins_only_when_the_old_one_has_ended(edge: Running) -> None:
    edge.start()
    controller = ask_controller(edge, "about")["pid"]
    assert ask_controller(edge, "reload")["ok"]
    wait_for(lambda: ask_controller(edge, "about")["pid"] != controller, "a new controller")
    assert ask_controller(edge, "about")["serving"]
    lines = [(line["message"], line.get("child")) for line in edge.log_lines()]
    assert [line for line in lines if line[1] == "controller"] == [
        ("ready", "controller"),
        ("ended", "controller"),
        ("ready", "controller"),
    ]


def test_listeners_are_added_and_removed_by_a_reload(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    open_one = talk()
    open_one.ask("who")
    old, new = edge.http_port, free_port()
    edge.configure({"listen": {"http": [f"{edge.host}:{new}"]}})
    answer = ask_controller(edge, "reload")
    assert f"now also listening on {edge.host}:{new}; no longer listening on {edge.host}:{old}" in answer["detail"]
    assert ask(edge, "who", new)["pid"]
    wait_for(lambda: refuses(old), "the old listener closed in every process")
    assert open_one.ask("who")["generation"] == 1


def test_no_connection_is_lost_over_many_reloads(edge: Running) -> None:
    edge.start()
    for number in range(5):
        edge.configure({"origin": {"header": f"x-number-{number}"}})
        waiting = [Talk((edge.host, edge.https_port)) for _ in range(20)]
        edge.kill(number=signal.SIGHUP)
        waiting += [Talk((edge.host, edge.https_port)) for _ in range(20)]
        for each in waiting:
            assert each.ask("who")["pid"]
            each.close()
        wait_for(lambda number=number: edge.logged(f"Configuration {number + 2} is in effect"), "the reload")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"nonsense": {"key": 1}}, "nonsense"),
        ({"listen": {"https": ["not an address"]}}, "listen.https"),
        ({"state": {"directory": "/elsewhere"}}, "state.directory cannot change while the program runs"),
        ({"origin": {"header": "x-worker-refuses"}}, "the stand-in worker refuses"),
        ({"origin": {"header": "x-worker-exits"}}, "a new worker ended before it was ready (exit status 5)"),
        ({"origin": {"header": "x-slow-worker"}}, "not ready within 1 s"),
    ],
)
def test_an_unusable_configuration_is_refused_and_the_old_one_goes_on(
    edge: Running, talk: Callable[..., Talk], change: dict[str, Any], expected: str
) -> None:
    edge.environ["STANDIN_READY_WITHIN"] = "1"
    edge.start()
    workers = with_each_worker(edge, talk)
    added = free_port()
    if "listen" not in change and "nonsense" not in change:
        edge.configure({"listen": {"http": [f"{edge.host}:{edge.http_port}", f"{edge.host}:{added}"]}})
    edge.configure(change)
    answer = ask_controller(edge, "reload")
    assert not answer["ok"]
    assert "the old one goes on" in answer["detail"]
    assert expected in answer["detail"]
    for pid, each in workers.items():
        assert each.ask("who")["pid"] == pid
    wait_for(lambda: len(edge.children()) == 3, "the new workers gone")
    assert refuses(added)
    found = status(edge)
    assert found["generation"] == 1
    assert found["last_reload"]["ok"] is False
    assert found["restarts"] == {"workers": 0, "controller": 0}


def test_after_a_refusal_a_corrected_configuration_is_taken(edge: Running) -> None:
    edge.start()
    edge.configure({"origin": {"header": "x-worker-refuses"}})
    assert not ask_controller(edge, "reload")["ok"]
    edge.configure({"origin": {"header": "x-good"}})
    assert ask_controller(edge, "reload")["ok"]
    wait_for(lambda: ask(edge, "about")["header"] == "x-good", "the new configuration")


def test_a_port_that_another_program_has_is_refused_by_a_reload(edge: Running) -> None:
    edge.start()
    with socket.create_server((edge.host, 0)) as other:
        edge.configure({"listen": {"http": [f"{edge.host}:{other.getsockname()[1]}"]}})
        answer = ask_controller(edge, "reload")
    assert not answer["ok"]
    assert f"in use by process {os.getpid()}" in answer["detail"]


def test_a_second_reload_meanwhile_is_refused_or_follows(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.environ["STANDIN_READY_WITHIN"] = "2"
    edge.start()
    edge.configure({"origin": {"header": "x-slow-worker"}})
    first = talk(edge.socket)
    first.send("reload")
    wait_for(lambda: len(edge.children()) == 5, "new workers")
    assert "under way already" in ask_controller(edge, "reload")["detail"]
    edge.configure({"origin": {"header": "x-good"}})
    edge.kill(number=signal.SIGHUP)
    assert not first.receive()["ok"]
    edge.wait_logged("is in effect")
    wait_for(lambda: ask(edge, "about")["header"] == "x-good", "the new configuration")


def test_a_worker_killed_during_a_reload_is_replaced_with_the_old_configuration(
    edge: Running, talk: Callable[..., Talk]
) -> None:
    edge.environ["STANDIN_READY_WITHIN"] = "3"
    edge.start()
    workers = with_each_worker(edge, talk)
    edge.configure({"origin": {"header": "x-slow-worker"}})
    edge.kill(number=signal.SIGHUP)
    wait_for(lambda: len(edge.children()) == 5, "new workers")
    edge.kill(min(workers))
    wait_for(lambda: min(workers) not in edge.children() and len(edge.children()) == 5, "a replacement")
    edge.wait_logged("the old one goes on")
    wait_for(lambda: len(edge.children()) == 3, "the new workers gone")
    assert ask(edge, "who")["generation"] == 1


def test_unknown_requests_are_answered(edge: Running) -> None:
    edge.start()
    answer = ask_controller(edge, "dance")
    assert not answer["ok"]
    assert "not known" in answer["detail"]


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
        edge.start()

        def said(beginning: str) -> str:
            while not (text := systemd.recv(1000).decode()).startswith(beginning):
                pass
            return text

        assert f"MAINPID={edge.pid}" in said("READY=1")
        assert said("WATCHDOG=1")
        edge.kill(number=signal.SIGHUP)
        assert "MONOTONIC_USEC=" in said("RELOADING=1")
        assert "configuration 2" in said("READY=1")
        edge.kill(number=signal.SIGTERM)
        assert said("STOPPING=1")


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
