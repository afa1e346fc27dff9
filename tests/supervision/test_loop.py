"""What the supervisor does about what happens, with stand-in children."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.edge import access
from edgeproxy.supervision import loop
from tests.integration.running import Running, wait_for
from tests.ports import free_port
from tests.supervision.talk import Talk, ask, ask_controller, links, only_new_workers, refuses, status, with_each_worker

# workers


def test_a_killed_worker_is_replaced_and_the_others_connections_go_on(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    workers = with_each_worker(edge, talk)
    victim, witness = workers
    edge.kill(victim)
    wait_for(lambda: len(edge.children()) == 3 and victim not in edge.children(), "a new worker")
    assert workers[witness].ask("who")["pid"] == witness
    line = edge.wait_logged("died and is replaced")
    assert (line["child_pid"], line["how"], line["after"]) == (victim, "killed by SIGKILL", 0.0)
    took = edge.wait_logged(" serves")["took"]
    assert 0 < took == round(took, 3)
    with_each_worker(edge, talk)
    assert status(edge)["restarts"] == {"workers": 1, "controller": 0}
    assert ask(edge, "about")["pid"] != victim


def test_a_worker_that_was_asked_to_end_by_another_is_replaced_without_alarm(edge: Running) -> None:
    edge.start()
    victim = next(pid for pid, name in edge.children().items() if " w " in name)
    os.kill(victim, signal.SIGTERM)
    line = edge.wait_logged("ended by itself and is replaced")
    assert (line["child_pid"], line["level"]) == (victim, "info")
    wait_for(lambda: len(edge.children()) == 3 and victim not in edge.children(), "a new worker")


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
    edge.environ["STANDIN_LIVED"] = "3600"
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
    witness = next(each for each in with_each_worker(edge, talk).values() if each.ask("who")["index"] == 1)
    pid = witness.ask("who")["pid"]

    def hung() -> int | None:
        """The first worker, whoever that is by now: on a slow machine one may have seemed hung before."""
        one = talk()
        with contextlib.suppress(ConnectionError):
            found = one.ask("who")
            if found["index"] == 0:
                one.send("hang")
                return int(found["pid"])
        return None

    victim = wait_for(hung, "the first worker")
    edge.wait_logged("gives no sign of life")
    wait_for(lambda: victim not in edge.children() and len(edge.children()) == 3, "a new worker")
    assert witness.ask("who")["pid"] == pid


def test_a_controller_that_hangs_is_replaced_and_its_successor_answers_who_waits(
    edge: Running, talk: Callable[..., Talk]
) -> None:
    edge.environ["STANDIN_CONTROLLER_HUNG"] = "2"
    edge.start()
    workers = with_each_worker(edge, talk)
    victim = ask_controller(edge, "about")["pid"]
    os.kill(victim, signal.SIGSTOP)
    assert ask_controller(edge, "about")["pid"] != victim
    line = edge.wait_logged("gives no sign of life and is killed")
    assert (line["child"], line["child_pid"]) == ("controller", victim)
    assert status(edge)["restarts"]["controller"] > 0
    assert all(each.ask("who")["pid"] == pid for pid, each in workers.items()), "nobody else noticed"


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a process that forbids core dumps")
def test_nothing_is_left_of_children_that_died(edge: Running) -> None:
    edge.start()

    def descriptors() -> int:
        return len(list(Path(f"/proc/{edge.pid}/fd").iterdir()))

    before = descriptors()
    for number in range(1, 5):
        for pid in list(edge.children()):
            edge.kill(pid)
        wait_for(lambda number=number: sum(status(edge)["restarts"].values()) == 3 * number, "everybody replaced")  # type: ignore[misc]
        wait_for(lambda: len(edge.children()) == 3, "who takes their places")  # after a death is counted, another one is born
    wait_for(lambda: len(edge.children()) == 3 and descriptors() == before, "as many descriptors as before")
    assert len({worker["pid"] for worker in status(edge)["workers"]}) == 2


# the controller and the links


def test_a_killed_controller_is_replaced_and_every_worker_gets_a_fresh_link(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    wait_for(lambda: len(links(edge)) == 2, "two links")
    workers = with_each_worker(edge, talk)
    old = next(pid for pid, name in edge.children().items() if name == "edgeproxy ctl")
    edge.kill(old)
    wait_for(lambda: sorted(pid for _, pid in links(edge)) == sorted(workers), "two links to the new controller")
    line = edge.wait_logged("died and is replaced")
    assert (line["child_pid"], line["after"]) == (old, 0.0)
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
    edge.environ["STANDIN_DRAIN_GRACE"] = "1"
    edge.configure({"origin": {"header": "x-never-drains"}, "timeouts": {"drain": "100ms"}})
    edge.start()
    edge.kill(number=signal.SIGTERM)
    assert edge.wait_ended() == 0
    assert edge.logged("did not end in time")
    assert not edge.living()


def test_a_worker_that_uses_all_of_its_time_is_not_killed_while_it_says_its_last_words() -> None:
    assert loop.DRAIN_GRACE >= 2 * access.CLOSE_SECONDS


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

    def told() -> list[str]:
        return [line["message"] for line in edge.log_lines() if line.get("child") == "controller"]

    wait_for(lambda: len(told()) >= 3, "the supervisor's word on the new one, which may answer before it is read")
    assert told() == ["ready", "ended", "ready"]


def test_a_controller_that_still_starts_gives_way_to_the_next_reloads_at_once(edge: Running) -> None:
    edge.environ["STANDIN_CONTROLLER_DRAIN"] = "600"
    edge.start()
    edge.configure({"origin": {"header": "x-slow-controller"}})
    edge.kill(number=signal.SIGHUP)
    wait_for(
        lambda: [line for line in edge.log_lines() if line.get("child") == "controller" and line["message"] == "ended"], ""
    )
    edge.configure({"origin": {"header": "x-good"}})
    edge.kill(number=signal.SIGHUP)
    edge.wait_logged("Configuration 3 is in effect")
    assert ask_controller(edge, "about")["header"] == "x-good"


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
    ("change", "expected", "code"),
    [
        ({"nonsense": {"key": 1}}, "nonsense", "invalid_configuration"),
        ({"listen": {"https": ["not an address"]}}, "listen.https", "invalid_configuration"),
        ({"state": {"directory": "/elsewhere"}}, "state.directory cannot change while the program runs", "restart_needed"),
        ({"origin": {"header": "x-worker-refuses"}}, "the stand-in worker refuses", "state_unusable"),
        ({"origin": {"header": "x-worker-exits"}}, "a new worker ended before it was ready (exit status 5)", "cannot_start"),
        ({"origin": {"header": "x-slow-worker"}}, "not ready within 1 s", "cannot_start"),
    ],
)
def test_an_unusable_configuration_is_refused_and_the_old_one_goes_on(
    edge: Running, talk: Callable[..., Talk], change: dict[str, Any], expected: str, code: str
) -> None:
    edge.environ["STANDIN_READY_WITHIN"] = "1" if "not ready" in expected else "60"
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
    assert answer["data"]["code"] == code
    for pid, each in workers.items():
        assert each.ask("who")["pid"] == pid
    wait_for(lambda: len(edge.children()) == 3, "the new workers gone")
    assert refuses(added)
    found = status(edge)
    assert found["generation"] == 1
    assert found["last_reload"]["ok"] is False
    assert found["restarts"] == {"workers": 0, "controller": 0}


def test_a_refused_configurations_workers_finish_what_they_had_begun_to_serve(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    before = set(edge.children())
    edge.configure({"origin": {"header": "x-slow-second-worker"}})
    edge.kill(number=signal.SIGHUP)
    new = talk()
    while new.ask("who")["generation"] == 1:
        new.close()
        new = talk()
    for pid in set(edge.children()) - {new.ask("who")["pid"]} - before:
        edge.kill(pid)  # who would not be ready for long: the new configuration is given up
    edge.wait_logged("the old one goes on")
    assert new.ask("who")["generation"] == 2
    assert status(edge)["generation"] == 1
    new.close()
    wait_for(lambda: len(edge.children()) == 3, "the new workers gone")


def test_reloads_in_quick_succession_are_bounded_and_no_connection_is_lost(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.environ["STANDIN_GENERATIONS"] = "3"
    edge.configure({"timeouts": {"drain": "10m"}})
    edge.start()
    held = []
    for number in range(1, 4):
        held.append(talk())
        assert held[-1].ask("who")["generation"] == number
        assert ask_controller(edge, "reload")["ok"]
        only_new_workers(edge, number + 1)
    answer = ask_controller(edge, "reload")
    assert not answer["ok"]
    assert "Workers of 3 earlier configurations still finish what is open" in answer["detail"]
    assert answer["data"] == {"code": "busy", "retryable": True}
    for _ in range(5):
        edge.kill(number=signal.SIGHUP)
    assert [each.ask("who")["generation"] for each in held] == [1, 2, 3]
    assert edge.logged("Configuration 5 is in effect") is None
    held[1].close()
    edge.wait_logged("Configuration 5 is in effect")
    assert [each.ask("who")["generation"] for each in (held[0], held[2])] == [1, 3]
    assert edge.logged("did not end in time") is None


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
    assert answer["data"]["code"] == "address_in_use"


def test_a_second_reload_meanwhile_is_refused_or_follows(edge: Running, talk: Callable[..., Talk]) -> None:
    edge.start()
    before = set(edge.children())
    edge.configure({"origin": {"header": "x-slow-worker"}})
    first = talk(edge.socket)
    first.send("reload")
    wait_for(lambda: len(edge.children()) == 5, "new workers")
    busy = ask_controller(edge, "reload")
    assert "under way already" in busy["detail"]
    assert busy["data"]["code"] == "busy"
    edge.configure({"origin": {"header": "x-good"}})
    edge.kill(number=signal.SIGHUP)
    edge.kill(max(set(edge.children()) - before))
    assert not first.receive()["ok"]
    edge.wait_logged("is in effect")
    wait_for(lambda: ask(edge, "about")["header"] == "x-good", "the new configuration")


def test_a_worker_killed_during_a_reload_is_replaced_with_the_old_configuration(
    edge: Running, talk: Callable[..., Talk]
) -> None:
    edge.start()
    workers = with_each_worker(edge, talk)
    before = set(edge.children())
    edge.configure({"origin": {"header": "x-slow-worker"}})
    edge.kill(number=signal.SIGHUP)
    wait_for(lambda: len(edge.children()) == 5, "new workers")
    new = set(edge.children()) - before
    edge.kill(min(workers))
    wait_for(lambda: min(workers) not in edge.children() and len(edge.children()) == 5, "a replacement")
    edge.kill(min(new))  # which ends what is under way
    edge.wait_logged("the old one goes on")
    wait_for(lambda: len(edge.children()) == 3, "the new workers gone")
    assert ask(edge, "who")["generation"] == 1


def test_unknown_requests_are_answered(edge: Running) -> None:
    edge.start()
    answer = ask_controller(edge, "dance")
    assert not answer["ok"]
    assert "not known" in answer["detail"]


def test_a_reload_that_is_asked_for_during_the_start_follows_it(edge: Running) -> None:
    edge.configure({"origin": {"header": "x-late-worker"}})
    edge.start(wait=False)
    wait_for(lambda: len(edge.children()) == 3, "children")
    edge.configure({"origin": {"header": "x-second"}})
    edge.kill(number=signal.SIGHUP)
    edge.wait_logged("Configuration 2 is in effect")
    only_new_workers(edge, 2)
    assert ask(edge, "about")["header"] == "x-second"
