"""Certificates with an RSA key beside those with an ECDSA key: obtained, renewed, revoked and deleted with them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeproxy.config.visitors import Tls
from edgeproxy.control.issuance.companion import REFUSED_SECONDS, TROUBLE_SECONDS, lacks_companion
from edgeproxy.control.store import CUSTOM, Order
from tests.control.issuance.conftest import changed, until
from tests.control.issuance.fakeca import Refuse
from tests.control.store.making import NOW, certificate, made_companion

NAME = "a.example"
BOTH = Tls(second_key_type="rsa2048")


async def accompanied(world, one):
    """Lets the service's own task find what lacks a companion, and gives the certificate."""
    running = asyncio.create_task(one._issuing.companions.run(one))
    try:
        async with asyncio.timeout(60):
            while (stored := await world.store.current_certificate(NAME)) is None or stored.companion is None:
                await asyncio.sleep(0.01)
            await until(lambda: not one.pending)
    finally:
        running.cancel()
    return await world.store.current_certificate(NAME)


def both(world, *parts, **issuance):
    return changed(world.config(*parts, **issuance), tls=BOTH)


@pytest.mark.parametrize("directory", ["internal", None])
async def test_a_name_has_a_certificate_of_each_kind(world, service, directory, meter):
    await world.register(NAME)
    one = service(both(world, directory) if directory else both(world))
    await one.issue(NAME)
    stored = await accompanied(world, one)
    first, second = x509.load_pem_x509_certificate(stored.chain), x509.load_pem_x509_certificate(stored.companion.chain)
    assert isinstance(first.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(second.public_key(), rsa.RSAPublicKey)
    assert (stored.key_type, stored.companion.key_type) == ("p256", "rsa2048")
    assert world.sealer.open(stored.companion.sealed_key, b"key:" + stored.companion.id.encode())
    assert stored.companion.serial == f"{second.serial_number:x}"
    assert world.clock() < stored.companion_at < stored.companion.not_after
    assert [result for _, result in meter.orders] == ["ok", "ok"]
    assert await world.store.order_for(NAME) is None
    assert "certificate.accompanied" in [event.type for event in await world.store.events_after(0, 10)]
    if directory is None:
        assert len(world.ca.orders) == 2


async def test_none_is_obtained_where_none_is_wanted(world, service):
    await world.register(NAME)
    one = service(world.config())
    await one.issue(NAME)
    await one._issuing.companions.run(one)  # ends at once
    assert (await world.store.current_certificate(NAME)).companion is None


async def test_it_stays_when_the_other_is_renewed_until_there_is_another(world, service):
    await world.register(NAME)
    one = service(both(world))
    await one.issue(NAME)
    before = await accompanied(world, one)
    await one.issue(NAME, force=True)
    await until(lambda: not one.pending)
    between = await world.store.current_certificate(NAME)
    assert between.id != before.id
    assert between.companion == before.companion
    async with asyncio.timeout(60):
        while (after := await accompanied(world, one)).companion.id == before.companion.id:
            await asyncio.sleep(0.01)
            await one._issuing.companions.see_to_it(one)
    assert after.id == between.id
    assert after.companion.serial != before.companion.serial


async def test_a_renewal_goes_before_a_companion(world, service):
    await world.register(NAME)
    first = await service(world.config()).issue(NAME)
    await world.store.set_renewal(first.id, 0.0)
    one = service(both(world))
    renewed = await one.renew(NAME)
    assert renewed.id != first.id
    assert (renewed.key_type, renewed.companion) == ("p256", None)


async def test_what_was_begun_is_continued_by_the_next_process(world, service):
    await world.register(NAME)
    await service(world.config()).issue(NAME)
    world.ca.plan("finalize", "drop", "drop")
    one = service(both(world))
    await one._issuing.companions.see_to_it(one)
    assert (await world.store.order_for(NAME)).url
    assert len(world.ca.orders) == 2
    world.clock.ahead += 3600
    await service(both(world)).resume(NAME)
    assert (await world.store.current_certificate(NAME)).companion is not None
    assert len(world.ca.orders) == 2
    assert len(world.ca.accounts) == 1


async def test_an_order_that_the_certificate_itself_left_is_not_taken_for_its_companions(world, service):
    await world.register(NAME)
    config = both(world)
    first = await service(config).issue(NAME)
    key = world.sealer.open(first.sealed_key, b"key:" + first.id.encode())
    left = Order(
        hostname=NAME,
        directory=config.issuance.directory,
        url=f"{config.issuance.directory}/x",
        step="ordered",
        key=key,
        started_at=1.0,
    )
    await world.store.save_order(left, world.clock())
    await service(config).resume(NAME)
    stored = await world.store.current_certificate(NAME)
    assert (stored.id, stored.companion.key_type) == (first.id, "rsa2048")


@pytest.mark.parametrize(
    ("trouble", "pause"),
    [(Refuse("badPublicKey", 400), REFUSED_SECONDS), (Refuse("serverInternal", 503), TROUBLE_SECONDS)],
)
async def test_a_ca_that_gives_none_is_asked_again_later_and_the_name_is_not_held_up(world, service, trouble, pause):
    await world.register(NAME)
    first = await service(world.config()).issue(NAME)
    one = service(both(world))
    world.ca.plan("new", trouble)
    assert await one._issuing.companions.see_to_it(one)
    stored = await world.store.current_certificate(NAME)
    assert stored.companion is None
    assert stored.companion_at - world.clock() == pytest.approx(pause, abs=5)
    assert await world.store.failure(NAME) is None
    assert not await one._issuing.companions.see_to_it(one)
    assert stored.id == first.id


async def test_an_operators_renewal_is_not_answered_with_a_companion(world, service):
    await world.register(NAME)
    first = await service(world.config()).issue(NAME)
    one = service(both(world))
    seeing = asyncio.create_task(one._issuing.companions.see_to_it(one))
    while not one.pending:
        await asyncio.sleep(0)
    renewed = await one.issue(NAME, force=True)
    assert renewed.id != first.id
    await seeing


def test_tells_what_lacks_one():
    present = msgspec.structs.replace(certificate("c1", NAME), key_type="p256")
    assert lacks_companion(present, NAME, NOW)
    assert not lacks_companion(present, "b.example", NOW)
    for field, value in (
        ("key_type", "rsa2048"),
        ("key_type", ""),
        ("issuer", CUSTOM),
        ("revocation", "keyCompromise"),
        ("renew_at", NOW),
        ("companion_at", NOW + 1),
        ("names", (NAME, "b.example")),
    ):
        assert not lacks_companion(msgspec.structs.replace(present, **{field: value}), NAME, NOW), field
    later = msgspec.structs.replace(present, companion=made_companion("r1"), companion_at=NOW - 1)
    assert lacks_companion(later, NAME, NOW), "its time has come"
