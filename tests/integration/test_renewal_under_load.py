"""Renewals while visitors come: every worker has the new certificate within a second, and no request fails."""

import threading
import time

from tests.integration.running import wait_for
from tests.integration.test_ca_and_edge import SERVED, BadWorld
from tests.integration.test_issuance import folder, origin

__all__ = ["folder", "origin"]

VISITORS = 3
SOON = 1.0
"""Seconds after the CA gave a certificate in which all workers have to serve it."""


class Load:
    """Visitors of all names who never rest: when each handshake began, and what it saw."""

    def __init__(self, world):
        self.world, self.failed, self.seen = world, [], []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(VISITORS)]

    def _visit(self, number):
        while not self._ended.is_set():
            for place in range(len(SERVED)):
                name = SERVED[(place + number) % len(SERVED)]
                began = time.time()
                try:
                    said, leaf = self.world.visit(name)
                    assert said["workspace"] == "ws"
                    self.seen.append((began, name, leaf.serial_number))
                except (OSError, AssertionError) as error:
                    self.failed.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait(self, at, name):
        """Until so many visits began after a time that every worker must have had some."""
        wait_for(lambda: len(self.since(at, name)) >= 40, "visits to every worker")

    def since(self, at, name):
        """The serial numbers that handshakes saw which began at a time or later."""
        return [serial for began, seen, serial in self.seen if seen == name and began >= at]


def test_a_renewed_certificate_is_served_by_all_workers_within_a_second_and_no_request_fails(folder, origin):
    with BadWorld(folder, origin, workers={"count": 2}) as world, Load(world) as load:
        for name in SERVED[:2]:
            old = world.leaves[name].serial_number
            assert world.edge.cli("certs", "renew", name).returncode == 0
            came = world.ca.of("certificate")[-1].finished
            load.wait(came + SOON, name)
            assert old not in load.since(came + SOON, name)
            assert set(load.since(0.0, name)) == {old, load.since(came + SOON, name)[0]}
        orders = world.ca.made[0]
        asked, name = time.time(), SERVED[2]
        old = world.leaves[name].serial_number
        status, answer = world.edge.api("POST", "/api/v1/infrastructure/ssl-renewals", {"serials": [f"{old:x}"]})
        assert (status, answer) == (200, {"renewing": [f"{old:x}"], "unknown": []})
        wait_for(lambda: world.ca.made[0] == orders + 1, "the renewal", 60)
        wait_for(lambda: len(set(load.since(asked, name))) == 2, "the new certificate", 60)
        came = world.ca.of("certificate")[-1].finished
        assert came - asked < 60
        load.wait(came + SOON, name)
        assert old not in load.since(came + SOON, name)
        assert len(load.seen) > 300
    assert load.failed == []
