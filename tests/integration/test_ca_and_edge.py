"""The whole program before a CA with bad days: who has a certificate notices nothing, and operators read what is wrong."""

import contextlib
import threading

from tests.integration import cafaults as fault
from tests.integration.caproxy import CaProxy
from tests.integration.running import wait_for
from tests.integration.test_issuance import World, folder, origin

__all__ = ["folder", "origin"]

SERVED = [f"s{number}.example.com" for number in range(3)]


class _Both:
    """Pebble, and the proxy in front of it."""

    def __init__(self, pebble, ca):
        self._pebble, self._ca = pebble, ca
        self.directory, self.ca_bundle, self.root = ca.directory, ca.ca_bundle, pebble.root

    async def __aexit__(self, *error):
        await self._ca.__aexit__(*error)
        await self._pebble.__aexit__(*error)


class BadWorld(World):
    """The edge before pebble behind the fault-injecting proxy, `ca`; three names have their certificates."""

    async def _pebble(self):
        pebble = await super()._pebble()
        self.ca = await CaProxy(self.folder, pebble).__aenter__()
        return _Both(pebble, self.ca)

    def _begin(self):
        super()._begin()
        for name in SERVED:
            self.add(name, "ws")
        self.leaves = {name: self.visit(name)[1] for name in SERVED}
        self.ca.requests.clear()

    @contextlib.contextmanager
    def visitors(self):
        """Somebody visits the names that have a certificate all the time; each visit has to go well."""
        ended, failed, went = threading.Event(), [], []

        def visit():
            while not ended.is_set():
                for name in SERVED:
                    try:
                        said, leaf = self.visit(name)
                        assert (said["workspace"], leaf) == ("ws", self.leaves[name])
                        went.append(name)
                    except (OSError, AssertionError) as error:
                        failed.append(error)
                ended.wait(0.02)

        thread = threading.Thread(target=visit)
        thread.start()
        try:
            yield went
        finally:
            ended.set()
            thread.join()
        assert failed == []

    def issue(self, name):
        found = self.edge.cli("certs", "issue", name)
        return found.returncode, " ".join((found.stdout + found.stderr).split())


FAULTS = {
    "newOrder": [
        (fault.busy(retry_after=1), "The CA is out of order (HTTP status 503); it is tried again."),
        (
            fault.problem("rejectedIdentifier", detail="Policy forbids issuing for name"),
            "The CA issues no certificates for new.example.com. The CA says: Policy forbids issuing for name.",
        ),
    ],
    "authorization": [(fault.malformed(b"<html>"), "The CA's answer cannot be understood (Authorization:")],
    "certificate": [(fault.chain(broken=True), "the certificates of its chain do not follow one from another")],
}


def test_while_the_ca_has_its_troubles_every_issued_name_is_served_and_the_reason_can_be_read(folder, origin):
    with BadWorld(folder, origin) as world, world.visitors() as visits:
        world.add("new.example.com", "ws")
        for kind, cases in FAULTS.items():
            for unwell, words in cases:
                world.ca.well()
                world.ca.always(kind, unwell)
                visits.clear()
                status, said = world.issue("new.example.com")
                assert (status, words in said) == (1, True), said
                assert "Traceback" not in said
                wait_for(lambda: visits, "a visit meanwhile")
        world.run(world.ca.go_down())
        status, said = world.issue("new.example.com")
        assert status == 1
        assert "cannot be reached: connection refused" in said or "is away or busy; it is asked again in" in said
        world.ca.well()
        world.run(world.ca.come_back())
        wait_for(lambda: world.issue("new.example.com")[0] == 0, "the certificate")
        assert world.visit("new.example.com")[0]["workspace"] == "ws"
        world.add("late.example.com", "ws")
        world.ca.always("newOrder", fault.problem("rateLimited", 429, detail="too many new orders recently", retry_after=90))
        for _ in range(2):
            status, said = world.issue("late.example.com")
            assert (status, "the CA's rate limit is reached (the CA says: too many new orders recently)" in said) == (
                1,
                True,
            ), said
            assert "late.example.com has no certificate yet: queued, position about 1" in said


def test_a_controller_that_starts_while_the_ca_is_away_leaves_every_issued_name_served(folder, origin):
    with BadWorld(folder, origin) as world:
        world.run(world.ca.go_down())
        world.edge.stop()
        world.edge.start()
        with world.visitors() as visits:
            controller = next(pid for pid, name in world.edge.children().items() if "ctl" in name)
            world.edge.kill(controller)
            wait_for(lambda: len(visits) > 30, "visits")
        world.run(world.ca.come_back())


def test_a_visitor_of_a_new_name_is_served_though_the_connection_to_the_ca_is_reset_at_finalize(folder, origin):
    with BadWorld(folder, origin) as world:
        for after in (False, True):
            name = f"reset-{after}.example.com".lower()
            world.add(name, "ws")
            world.ca.plan("finalize", fault.reset(after=after))
            assert world.visit(name)[0]["workspace"] == "ws"
        assert world.ca.made == (2, 0)
