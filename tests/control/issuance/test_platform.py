"""The platform's own wildcard is there before its first visitor."""

import asyncio

import pytest
from structlog.testing import capture_logs

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.platform import PRESENT_SECONDS, PlatformWildcard, own_wildcard
from edgeproxy.control.issuance.renewal import DAY
from edgeproxy.control.issuance.upkeep import RETRY_SECONDS
from edgeproxy.control.store import Failure, StoredCertificate
from edgeproxy.errors import IssuanceDenied, IssuanceError, StateError

NAME = "*.ve.ai"
CONFIG = Config(platform=Platform(name="ve.ai"))


class Issuer:
    directory = "https://ca.example/dir"
    wildcards = True


class Desk:
    """Stands where the service is: what it is to say, and what it was asked."""

    def __init__(self, world):
        self.world = world
        self.error: Exception | None = None
        self.asked: list[str] = []

    async def renew(self, name):
        self.asked.append(name)
        if self.error is not None:
            raise self.error
        await self.world.store.add_certificate(certificate(self.world), self.world.clock())

    async def failure(self, name):
        return await self.world.store.failure(name)

    async def resume(self, name):
        raise AssertionError


def certificate(world, *names):
    now = world.clock()
    return StoredCertificate(
        id=f"c{now}", names=names or (NAME,), chain=b"", sealed_key=b"", not_before=now, not_after=now + 90 * DAY, renew_at=now
    )


@pytest.fixture
def desk(world):
    return Desk(world)


@pytest.fixture
def keeper(world, desk):
    return PlatformWildcard(CONFIG, desk, world.store, Issuer(), world.clock)  # type: ignore[arg-type]


async def test_it_is_obtained_where_there_is_none_and_left_alone_where_there_is(world, desk, keeper):
    for _ in range(2):
        assert await keeper.see_to_it() == PRESENT_SECONDS
    assert desk.asked == [NAME]
    world.clock.ahead = 91 * DAY
    await keeper.see_to_it()
    assert desk.asked == [NAME, NAME]


async def test_a_certificate_for_another_name_does_not_count(world, desk, keeper):
    await world.store.add_certificate(certificate(world, "ve.ai"), world.clock())
    await keeper.see_to_it()
    assert desk.asked == [NAME]


async def test_after_a_failure_it_waits_as_long_as_every_name(world, desk, keeper):
    now = world.clock()
    await world.store.save_failure(Failure(name=NAME, count=1, next_try=now + 60, detail="no"), now)
    assert await keeper.see_to_it() == pytest.approx(60, abs=5)
    assert desk.asked == []


@pytest.mark.parametrize(
    ("error", "pause"), [(IssuanceError("no"), RETRY_SECONDS), (IssuanceDenied("reserved"), PRESENT_SECONDS)]
)
async def test_what_goes_wrong_is_tried_again_later(desk, keeper, error, pause):
    desk.error = error
    assert await keeper.see_to_it() == pause


async def test_a_store_that_fails_does_not_end_it(world, desk, keeper, monkeypatch):
    looks = []

    async def broken(*_):
        looks.append(1)
        raise StateError("The disk is gone.")

    monkeypatch.setattr(world.store, "current_certificate", broken)
    monkeypatch.setattr("edgeproxy.control.issuance.platform.LOOK_SECONDS", 0.001)
    task = asyncio.ensure_future(keeper.run())
    async with asyncio.timeout(60):
        while len(looks) < 3:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("directory", "said"), [("https://ca.example/dir", 1), ("internal", 0)])
async def test_a_wildcard_that_no_challenge_can_prove_is_told_at_the_start(world, desk, directory, said):
    issuer = Issuer()
    issuer.directory, issuer.wildcards = directory, False
    with capture_logs() as logged:
        await PlatformWildcard(CONFIG, desk, world.store, issuer, world.clock).run()  # type: ignore[arg-type]
    assert [line["hostname"] for line in logged if line["log_level"] == "warning"] == [NAME] * said  # others may speak too
    assert desk.asked == []
    await world.store.add_certificate(certificate(world), world.clock())
    with capture_logs() as logged:  # somebody has uploaded one
        await PlatformWildcard(CONFIG, desk, world.store, issuer, world.clock).run()  # type: ignore[arg-type]
    assert not [line for line in logged if line["log_level"] == "warning"]


@pytest.mark.parametrize(
    ("config", "directory", "wildcards", "name"),
    [
        (CONFIG, "https://ca.example/dir", True, NAME),
        (CONFIG, "https://ca.example/dir", False, ""),
        (CONFIG, "internal", True, ""),
        (Config(dns=Dns()), "https://ca.example/dir", True, ""),
    ],
)
def test_only_what_an_acme_ca_can_be_shown_is_obtained_by_itself(config, directory, wildcards, name):
    issuer = Issuer()
    issuer.directory, issuer.wildcards = directory, wildcards
    assert own_wildcard(config, issuer) == name  # type: ignore[arg-type]
