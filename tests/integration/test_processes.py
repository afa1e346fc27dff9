"""Processes that are killed, stopped and reloaded under traffic: the real program."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.supervision.reloading import GENERATIONS
from tests.integration.origins import Origin
from tests.integration.running import PYTHONPATH_FOR_EVERYBODY, Running, Visitor, python_for_everybody, wait_for
from tests.ports import free_port

HOST = "gallery.example.test"
BROKEN = (OSError, http.client.HTTPException)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def edge(tmp_path: Path, origin: Origin) -> Iterator[Running]:
    """Runs, with one domain that has its certificate already, and drains for longer than any test takes."""
    with Running(tmp_path / "edge", {"origin": {"url": origin.url}, "timeouts": {"drain": "2m"}}) as edge:
        edge.add_domain(HOST, "spandantest")
        assert workspace(edge.get(HOST)) == "spandantest"
        yield edge


def workspace(answer: tuple[int, bytes]) -> str:
    """Which workspace the origin saw."""
    status, body = answer
    assert status == 200, body
    return str(json.loads(body)["workspace"])


def pids(edge: Running, kind: str) -> list[int]:
    """Of "w" (workers) or "ctl" (the controller)."""
    return [pid for pid, name in edge.children().items() if name.startswith(f"edgeproxy {kind}")]


def others(edge: Running, kind: str, old: list[int]) -> list[int]:
    """Those of a kind that are in the place of the old ones; nobody as long as one of these is there."""
    now = pids(edge, kind)
    return [] if set(now) & set(old) else now


def connections(edge: Running) -> dict[int, int]:
    """Open client connections per worker process."""
    status, body = edge.api("GET", "/api/v1/admin/status")
    assert status == 200
    return {worker["pid"]: worker["connections"] for worker in body["supervisor"].get("workers", ())}


def still_works(visitor: Visitor) -> bool:
    try:
        return visitor.get()[0] == 200
    except BROKEN:
        return False


def admin_answers(edge: Running) -> bool:
    try:
        return edge.api("GET", "/api/v1/admin/status")[0] == 200
    except BROKEN:
        return False


def died(edge: Running, pid: int) -> dict[str, Any]:
    """What the supervisor says of a child's death; `after`: the seconds for which it puts off the next one."""
    return wait_for(
        lambda: next(
            (line for line in edge.log_lines() if line["message"] == "died and is replaced" and line["child_pid"] == pid), None
        ),
        "word of its death",
    )


# kill -9 of a worker


def test_a_killed_worker_is_replaced_at_once_and_others_go_on(edge: Running) -> None:
    visitors = [edge.visitor(HOST) for _ in range(40)]
    for visitor in visitors:
        assert workspace(visitor.get()) == "spandantest"

    def spread() -> dict[int, int] | None:
        """What each holds, once all are counted and each has some: one that stood still has taken none yet."""
        held = connections(edge)
        if sum(held.values()) != len(visitors):
            return None
        if min(held.values()):
            return held
        visitors.append(edge.visitor(HOST))
        assert workspace(visitors[-1].get()) == "spandantest"
        return None

    held = wait_for(spread, "connections of both workers")
    victim, witness = sorted(held, key=lambda pid: held[pid])
    assert held[victim] > 0
    edge.kill(victim)
    wait_for(lambda: victim not in pids(edge, "w") and len(pids(edge, "w")) == 2, "a new process")
    working = [visitor for visitor in visitors if still_works(visitor)]
    assert len(working) == held[witness]
    assert died(edge, victim)["after"] == 0.0
    ready = wait_for(lambda: [line for line in edge.log_lines() if line["message"] == "ready"][3:], "the new worker's word")
    assert ready[0]["child"].startswith("worker")
    for visitor in visitors:
        visitor.close()


def test_connections_that_were_not_accepted_yet_are_served_after_their_workers_death(edge: Running) -> None:
    victims = pids(edge, "w")
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    answers: list[str] = []

    def visit() -> None:
        answers.append(workspace(edge.get(HOST)))

    visits = [threading.Thread(target=visit) for _ in range(50)]
    for visit_thread in visits:
        visit_thread.start()
    wait_for(lambda: waiting_to_be_accepted(edge.https_port) == 50, "50 connections in the queue")
    for pid in victims:
        edge.kill(pid)
    for visit_thread in visits:
        visit_thread.join()
    assert answers == ["spandantest"] * 50


def waiting_to_be_accepted(port: int) -> int:
    """The kernel tells a listening socket's queue as its rx_queue."""
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if fields[3] == "0A" and fields[1].endswith(f":{port:04X}"):
            return int(fields[4].partition(":")[2], 16)
    return -1


# kill -9 of the controller


def test_traffic_goes_on_without_the_controller_and_it_is_replaced(edge: Running) -> None:
    names = [f"name{number}.example.test" for number in range(5)]
    for name in names:
        edge.add_domain(name, name.partition(".")[0])
        edge.get(name)  # has its certificate now
    old_workers, (controller,) = pids(edge, "w"), pids(edge, "ctl")
    os.kill(controller, signal.SIGSTOP)  # gone for as long as this test wants
    for pid in old_workers:
        edge.kill(pid)
    # Workers with empty memories, and nobody whom they could ask: the map has it all.
    wait_for(lambda: len(others(edge, "w", old_workers)) == 2, "new workers")
    for name in names:
        assert workspace(edge.get(name)) == name.partition(".")[0]
    assert not [line for line in edge.log_lines() if line.get("child") == "controller" and "died" in line["message"]]
    edge.kill(controller)
    (replacement,) = wait_for(lambda: others(edge, "ctl", [controller]), "a new process")
    assert died(edge, controller)["after"] == 0.0
    wait_for(lambda: admin_answers(edge), "the new controller's answer")
    assert replacement in pids(edge, "ctl")
    assert edge.api("GET", f"/api/v1/infrastructure/domains/{names[0]}")[0] == 200


def test_a_handshake_that_waits_for_a_certificate_survives_the_controllers_death(edge: Running) -> None:
    edge.add_domain("new.example.test", "fresh")
    (controller,) = pids(edge, "ctl")
    os.kill(controller, signal.SIGSTOP)
    answers: list[str] = []
    visit = threading.Thread(target=lambda: answers.append(workspace(edge.get("new.example.test"))))
    visit.start()
    time.sleep(0.3)  # noqa: TID251 - the wish is on its way to a controller that will never read it
    edge.kill(controller)
    visit.join()
    assert answers == ["fresh"]


# kill -9 of the supervisor


def test_without_its_supervisor_open_requests_end_well_and_a_new_start_succeeds_at_once(edge: Running, origin: Origin) -> None:
    slow = edge.visitor(HOST)
    serial = slow.serial
    slow.send("/slow")
    origin.wait_started()
    old = edge.children()
    (controller,) = pids(edge, "ctl")
    edge.kill()
    edge.wait_ended()
    edge.start()
    assert controller not in edge.living()
    assert workspace(edge.get(HOST)) == "spandantest"
    again = edge.visitor(HOST)
    assert again.serial == serial  # no new certificate
    again.close()
    origin.release()
    assert workspace(slow.receive()) == "spandantest"
    slow.close()
    wait_for(lambda: not edge.living() & set(old), "the old workers' end")


# stopping


def test_sigterm_finishes_open_requests_within_the_drain_time(edge: Running, origin: Origin) -> None:
    slow, idle = edge.visitor(HOST), edge.visitor(HOST)
    idle.get()
    slow.send("/slow")
    origin.wait_started()
    edge.kill(number=signal.SIGTERM)
    wait_for(lambda: not accepts(edge.https_port), "new connections refused")
    origin.release()
    assert workspace(slow.receive()) == "spandantest"
    assert edge.wait_ended() == 0
    assert not still_works(idle)
    assert not edge.living()
    assert not edge.socket.exists()
    slow.close()
    idle.close()


def test_a_request_that_never_ends_does_not_hold_up_the_end_for_longer(edge: Running, origin: Origin) -> None:
    edge.configure({"timeouts": {"drain": "2s"}})
    assert edge.cli("reload").returncode == 0
    slow = edge.visitor(HOST)
    slow.send("/slow")
    origin.wait_started()
    began = time.monotonic()
    edge.kill(number=signal.SIGTERM)
    assert edge.wait_ended() == 0
    assert time.monotonic() - began > 1.5
    assert edge.logged("did not end in time") is None
    slow.close()


def test_stop_on_the_command_line_ends_it(edge: Running) -> None:
    done = edge.cli("stop")
    assert done.returncode == 0, done.stderr
    assert edge.wait_ended() == 0
    assert not edge.living()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except OSError:
        return False
    return True


# reloading


def test_reloads_under_traffic_lose_no_request(edge: Running, origin: Origin) -> None:
    stop = threading.Event()
    lost: list[BaseException] = []
    served = [0, 0, 0]

    def visit(number: int) -> None:
        """Each request on a connection of its own, or as many on one as the edge lets: it has to say which is the last."""
        while not stop.is_set():
            try:
                with contextlib.closing(edge.visitor(HOST)) as visitor:
                    last = False
                    while not last and not stop.is_set():
                        assert workspace(visitor.get()) == "spandantest"
                        served[number] += 1
                        last = visitor.last or number == 0
            except BaseException as error:  # noqa: BLE001
                lost.append(error)
                return

    visits = [threading.Thread(target=visit, args=(number,)) for number in range(3)]
    slow = edge.visitor(HOST)
    slow.send("/slow")
    origin.wait_started()
    for each in visits:
        each.start()
    for number in range(3):
        edge.configure({"timeouts": {"idle": f"{60 + number}s"}})
        before = pids(edge, "ctl")
        if number % 2:
            edge.kill(number=signal.SIGHUP)
            edge.wait_logged(f"Configuration {number + 2} is in effect")
        else:
            done = edge.cli("reload")
            assert done.returncode == 0, done.stderr
            assert f"Configuration {number + 2} is in effect" in done.stdout + done.stderr
        # The one before may take a command's connection and end.
        wait_for(lambda before=before: others(edge, "ctl", before), "another controller")  # type: ignore[misc]
        wait_for(lambda: admin_answers(edge), "its answer")
    held = [slow]
    for _ in range(12):  # and now without waiting for what comes of it
        held.append(edge.visitor(HOST))
        held[-1].send("/slow")
        origin.wait_started()
        edge.kill(number=signal.SIGHUP)
        time.sleep(0.1)  # noqa: TID251
    assert len(pids(edge, "w")) <= 2 * (GENERATIONS + 2)  # those that drain, that serve, and that begin
    stop.set()
    for each in visits:
        each.join()
    origin.release()
    for visitor in held:
        assert workspace(visitor.receive()) == "spandantest"
        visitor.close()
    wait_for(lambda: len(edge.children()) == 3, "the old workers' end")
    assert edge.logged("did not end in time") is None
    assert lost == []
    assert min(served) > 0


def test_an_invalid_configuration_is_refused_with_its_fault_and_the_old_one_goes_on(edge: Running) -> None:
    before = pids(edge, "w")
    good = edge.config.read_text()
    edge.config.write_text(good.replace("[workers]", "[workers]\nnumber = 3"))
    done = edge.cli("reload")
    assert done.returncode == 2
    line = next(number for number, text in enumerate(edge.config.read_text().splitlines(), 1) if text == "number = 3")
    assert f"{edge.config}:{line}: workers.number" in done.stderr
    assert "the old one goes on" in done.stderr
    edge.kill(number=signal.SIGHUP)
    wait_for(
        lambda: len([each for each in edge.log_lines() if "the old one goes on" in each["message"]]) == 2, "a second refusal"
    )
    assert pids(edge, "w") == before
    assert workspace(edge.get(HOST)) == "spandantest"


def test_a_reload_onto_a_port_in_use_ends_as_a_start_would(edge: Running) -> None:
    with socket.create_server((edge.host, 0)) as other:
        port = other.getsockname()[1]
        edge.configure({"listen": {"http": [f"{edge.host}:{port}"]}})
        done = edge.cli("reload")
    assert done.returncode == 1
    assert f"Port {port} on {edge.host} is in use by process {os.getpid()} (" in done.stderr
    assert workspace(edge.get(HOST)) == "spandantest"


def test_listeners_come_and_go_with_a_reload(edge: Running) -> None:
    old, new = edge.https_port, free_port()
    kept = edge.visitor(HOST)
    edge.configure({"listen": {"https": [f"{edge.host}:{new}"]}})
    assert edge.cli("reload").returncode == 0
    edge.https_port = new
    assert workspace(edge.get(HOST)) == "spandantest"
    wait_for(lambda: not accepts(old), "the old port closed")
    kept.close()


# refusals


def test_a_second_instance_is_refused_in_one_sentence(edge: Running, tmp_path: Path) -> None:
    other = Running(tmp_path / "other", {"state": {"directory": str(edge.state)}})
    other.start(wait=False)
    assert other.wait_ended() == 1
    said = other.log.read_text() + other.output.read_text()
    assert f"is in use by process {edge.pid}" in said
    assert "Traceback" not in said
    assert workspace(edge.get(HOST)) == "spandantest"


def test_a_port_in_use_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        edge = Running(tmp_path, {"listen": {"https": [f"127.0.0.1:{port}"]}})
        edge.start(wait=False)
        assert edge.wait_ended() == 1
    said = edge.log.read_text() + edge.output.read_text()
    assert f"Port {port} on 127.0.0.1 is in use by process {os.getpid()} (" in said
    assert "Traceback" not in said
    assert not edge.living()


# users


def as_worker(edge: Running) -> int:
    """What the admin socket answers to a process of the workers' user and groups."""
    code = (
        "import socket; sock = socket.socket(socket.AF_UNIX); sock.settimeout(60); "
        f"sock.connect({str(edge.socket)!r}); sock.sendall(b'GET /api/v1/admin/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); "
        "print(sock.recv(1000).split()[1].decode())"
    )
    nobody, group = pwd.getpwnam("nobody"), pwd.getpwnam("daemon").pw_gid
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", code],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[group],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become others")
def test_controller_and_workers_serve_as_two_users(origin: Origin) -> None:
    folder = Path(tempfile.mkdtemp(prefix="edgeproxy-test-"))
    folder.chmod(0o755)
    tables = {
        "process": {"user": "daemon", "worker_user": "nobody"},
        "admin": {"socket": str(folder / "run" / "admin.sock")},
        "origin": {"url": origin.url},
        "api": {"hostname": "api.test"},
    }
    try:
        python = python_for_everybody()
        command = [python, "-m", "edgeproxy", "serve", "--config"]
        edge = Running(folder, tables, command=command, environ={"PYTHONPATH": PYTHONPATH_FOR_EVERYBODY})
        edge.socket = folder / "run" / "admin.sock"
        with edge:
            edge.add_domain(HOST, "spandantest")
            assert workspace(edge.get(HOST)) == "spandantest"
            owners = {name: Path(f"/proc/{pid}").stat() for pid, name in edge.children().items()}
            uids = {pid: int(Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0]) for pid in edge.children()}
            assert owners
            assert {uids[pid] for pid in pids(edge, "ctl")} == {pwd.getpwnam("daemon").pw_uid}
            assert {uids[pid] for pid in pids(edge, "w")} == {pwd.getpwnam("nobody").pw_uid}
            assert as_worker(edge) == 403
            status, body = edge.get("api.test", "/api/v1/tokens")
            assert (status, json.loads(body)["code"]) == (401, "unauthorized"), "workers reach the controller"
            edge.socket = edge.socket.with_name("api.sock")
            assert edge.api("GET", "/api/v1/tokens")[1]["code"] == "forbidden", "root is no worker"
            for path in edge.state.rglob("*"):
                if path.name in ("state.key", "edgeproxy.db"):
                    assert stat.S_IMODE(path.stat().st_mode) == 0o600
            for pid in pids(edge, "w"):
                edge.kill(pid)
            assert workspace(edge.get(HOST)) == "spandantest"
    finally:
        shutil.rmtree(folder)
