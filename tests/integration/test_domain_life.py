"""A customer's domain from its registration to its being live: the whole program, a real CA and a real DNS server."""

from __future__ import annotations

import functools
import http.client
import json
import subprocess
import sys
import threading
import time

import pytest

from tests.integration.running import ROOT, wait_for
from tests.integration.test_issuance import World, folder, origin

__all__ = ["folder", "origin"]

TARGET = "edge.platform.com"
DOMAINS = "/api/v1/infrastructure/domains"
NAME = "gallery.client-domain.com"


class Platform(World):
    """The edge with a DNS of its own, in which every name leads elsewhere unless told otherwise."""

    def __init__(self, folder, origin, **verification):
        super().__init__(folder, origin, platform={"cname_target": TARGET}, verification=verification)

    async def _pebble(self):
        pebble = await super()._pebble()
        await pebble.dns.manage("set-default-ipv4", ip="127.0.0.9")
        await pebble.dns.manage("add-a", host=f"{TARGET}.", addresses=["127.0.0.1"])
        self.tables["dns"] = {"resolvers": [f"127.0.0.1:{pebble.dns.dns_port}"]}
        return pebble

    def dns(self, action, **fields):
        self.run(self.pebble.dns.manage(action, **fields))

    def point_here(self, name=NAME):
        self.dns("set-cname", host=f"{name}.", target=f"{TARGET}.")

    def register(self, name=NAME, **fields):
        body = {"domain": name, "workspace_id": "ws", "verify": True, **fields}
        status, answer = self.edge.api("POST", DOMAINS, body)
        assert status == 201, answer
        return answer["domain_config"]

    def show(self, name=NAME):
        return self.edge.api("GET", f"{DOMAINS}/{name}")[1]

    def verify(self, name=NAME):
        status, answer = self.edge.api("POST", f"{DOMAINS}/{name}/verify")
        assert status == 200, answer
        return answer["domain_config"]

    def wait(self, state, name=NAME):
        """Seconds until the domain has this state."""
        began = time.monotonic()
        wait_for(lambda: self.show(name)["state"] == state, f"{name} {state}: {self.show(name)}")
        return time.monotonic() - began

    def told(self):
        return [line.get("event", line.get("message")) for line in self.edge.log_lines(all_runs=True)]


def test_with_the_dns_right_a_domain_is_live_in_a_moment_and_before_its_first_visitor(folder, origin):
    with Platform(folder, origin) as world:
        world.point_here()
        assert world.register()["state"] == "pending_validation"
        seconds = world.wait("active")
        print(f"active after {seconds:.2f} s")
        orders = world.pebble.orders
        assert world.visit(NAME)[0]["workspace"] == "ws"
        assert world.pebble.orders == orders == 1
        assert world.show()["error"] is None
        assert [record["ok"] for record in world.show()["dns_records"] if record["required"]] == [True]


def test_a_record_that_appears_later_is_found_by_itself(folder, origin):
    with Platform(folder, origin) as world:
        world.register()
        wait_for(lambda: world.show()["error"], "the first look")
        assert world.show()["state"] == "pending_validation"
        assert world.pebble.orders == 0
        world.point_here()
        seconds = world.wait("active")
        print(f"active {seconds:.2f} s after its record")
        world.dns("clear-cname", host=f"{NAME}.")
        wait_for(lambda: world.verify()["state"] == "attention", "a second look that finds it gone")
        assert world.visit(NAME)[0]["workspace"] == "ws", "it is served on"


def test_the_work_goes_on_over_the_death_of_the_controller_at_any_moment(folder, origin):
    with Platform(folder, origin) as world:
        names = [f"n{number}.client-domain.com" for number in range(12)]
        for name in names:
            world.point_here(name)
        ended = threading.Event()

        def kill():
            while not ended.wait(0.4):
                for pid, kind in world.edge.children().items():
                    if kind == "edgeproxy ctl":
                        world.edge.kill(pid)

        for name in names:
            world.register(name)
        thread = threading.Thread(target=kill)
        thread.start()
        ended.wait(2.0)
        ended.set()
        thread.join()
        for name in names:
            wait_for(functools.partial(_is_active, world, name), name, within=150)
        for name in names:
            assert world.visit(name)[0]["workspace"] == "ws"


def _is_active(world, name):
    """The controller that would say may have been killed just now."""
    try:
        return world.show(name)["state"] == "active"
    except (OSError, http.client.HTTPException, KeyError, TypeError):
        return False


def test_watch_tells_each_change_and_ends_when_the_domain_is_live(folder, origin):
    with Platform(folder, origin) as world:
        assert world.edge.cli("domains", "add", NAME, "--workspace", "ws", "--verify").returncode == 0
        said = world.edge.cli("domains", "verify", NAME)
        assert said.returncode == 1
        assert TARGET in said.stdout
        command = [sys.executable, "-m", "edgeproxy", "domains", "watch", NAME]
        environ = {**world.edge.environ, "EDGEPROXY_SOCKET": str(world.edge.socket), "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stderr is not None
            assert "is pending_validation:" in watching.stderr.readline()
            world.point_here()
            assert watching.wait(60) == 0
            assert watching.stderr.read().splitlines()[-1] == f"{NAME} is active"
        assert world.edge.cli("domains", "verify", NAME, "--json").returncode == 0


def test_a_removed_domain_is_refused_and_comes_back_with_its_certificate(folder, origin):
    with Platform(folder, origin) as world:
        world.point_here()
        world.register()
        world.wait("active")
        _, leaf = world.visit(NAME)
        status, removed = world.edge.api("DELETE", f"{DOMAINS}/{NAME}")
        assert (status, removed["published"], removed["domain_config"]["state"]) == (200, True, "removed")
        with pytest.raises(OSError, match=r"(?i)unrecognized"):
            world.visit(NAME)
        assert world.edge.cli("domains", "restore", NAME).returncode == 0
        assert world.visit(NAME)[1] == leaf
        world.wait("active")
        assert world.pebble.orders == 1


def test_another_workspace_needs_a_text_record_for_what_was_somebody_elses(folder, origin):
    with Platform(folder, origin) as world:
        world.point_here()
        world.register()
        world.wait("active")
        assert world.edge.cli("domains", "remove", NAME).returncode == 0
        config = world.register(workspace_id="other")
        [text] = [record for record in config["dns_records"] if record["required"]]
        assert (text["type"], text["name"]) == ("TXT", f"_edgeproxy-verify.{NAME}")
        wait_for(lambda: world.show()["error"], "the first look")
        assert world.show()["state"] == "pending_validation"
        world.dns("set-txt", host=f"{text['name']}.", value=text["value"])
        world.wait("active")
        assert json.dumps(world.show())
        assert world.visit(NAME)[0]["workspace"] == "other"
