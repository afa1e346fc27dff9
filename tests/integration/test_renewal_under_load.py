"""Renewals while visitors come: every worker soon has the new certificate, and no request fails."""

import functools
import threading
import time

from tests.integration.running import wait_for
from tests.integration.test_ca_and_edge import SERVED, BadWorld
from tests.integration.test_issuance import folder, origin

__all__ = ["folder", "origin"]

VISITORS = 3
SOON = 60.0
"""Seconds after the CA gave a certificate in which all workers have to serve it. They do within one where the machine has time
for them, which it has not while visitors who never rest share it with other tests."""

ENOUGH = 40
"""Visits in a row after which each of two workers had some: one of them has all of so many once in 2^39 times."""


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

    def until_all_have(self, new_from, name, old):
        """Waits until so many visits in a row saw another certificate than the old one that every worker must have had some.
        How many seconds after the CA gave it the old one was seen for the last time."""
        wait_for(lambda: len(seen := self.serials(name)) >= ENOUGH and old not in seen[-ENOUGH:], "the new one of every worker")
        return max(began for began, seen, serial in self.seen if (seen, serial) == (name, old)) - new_from

    def serials(self, name):
        """What the handshakes of a name saw, in the order of their ends."""
        return [serial for _, seen, serial in list(self.seen) if seen == name]


def test_a_renewed_certificate_is_served_by_all_workers_at_once_and_no_request_fails(folder, origin):
    with BadWorld(folder, origin, workers={"count": 2}) as world, Load(world) as load:
        for name in SERVED[:2]:
            old = world.leaves[name].serial_number
            wait_for(functools.partial(load.serials, name), "a visit before")
            assert world.edge.cli("certs", "renew", name).returncode == 0
            came = world.ca.of("certificate")[-1].finished
            assert load.until_all_have(came, name, old) < SOON
            assert len(set(load.serials(name))) == 2
        orders = world.ca.made[0]
        asked, name = time.time(), SERVED[2]
        old = world.leaves[name].serial_number
        status, answer = world.edge.api("POST", "/api/v1/infrastructure/ssl-renewals", {"serials": [f"{old:x}"]})
        assert (status, answer) == (200, {"renewing": [f"{old:x}"], "unknown": []})
        wait_for(lambda: world.ca.made[0] == orders + 1, "the renewal", 60)
        wait_for(lambda: len(set(load.serials(name))) == 2, "the new certificate", 60)
        came = world.ca.of("certificate")[-1].finished
        assert came - asked < 60
        assert load.until_all_have(came, name, old) < SOON
        wait_for(lambda: len(load.seen) > 300, "visits enough to tell")
    assert load.failed == []
