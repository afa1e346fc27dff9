"""Issuers over one store and one CA within the process."""

import asyncio

import pytest

from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from tests.control.issuance.fakeca import FakeCa

NAME = "a.example"


class Seconds:
    """Monotonic seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def seconds():
    return Seconds()


@pytest.fixture
async def issuers(world, seconds):
    """Makes issuers over the same store and CA, as processes after one another would."""
    made = []

    def make(config=None, **settings):
        issuer = AcmeIssuer(
            config or world.config(**settings),
            world.store,
            world.publisher,
            world.sealer,
            world.clock,
            network=world.ca,
            monotonic=seconds,
            sleep=seconds.sleep,
        )
        made.append(issuer)
        return issuer

    yield make
    for issuer in made:
        await issuer.close()


async def issue(issuer, name=NAME):
    steps: list[str] = []
    issued = await issuer.issue(name, steps.append)
    return issued, steps


def kinds_tried(ca: FakeCa) -> list[str]:
    return [kind for order in ca.orders for kind, challenge in order.challenges.items() if challenge["status"] != "pending"]
