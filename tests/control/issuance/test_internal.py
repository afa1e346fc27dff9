"""The built-in CA."""

import asyncio
from datetime import timedelta

import pytest
from cryptography import x509

from edgeproxy.config.visitors import Tls
from edgeproxy.control.issuance.certificates import dns_names, load_key
from edgeproxy.control.issuance.internal import ROOT_FILE, InternalIssuer
from edgeproxy.control.issuance.renewal import DAY
from edgeproxy.errors import Fault, IssuanceError, StateError
from tests.control.issuance.conftest import changed


def quiet(_phrase):
    return None


@pytest.fixture
def issuers(world):
    def make(config=None, **settings):
        return InternalIssuer(config or world.config("internal"), world.store, world.directory, world.clock, **settings)

    return make


async def test_the_root_is_made_once_whoever_asks_and_kept(world, issuers):
    one = issuers()
    roots = await asyncio.gather(*(one.root() for _ in range(10)))
    assert len({root.serial_number for root in roots}) == 1
    assert await issuers().root() == roots[0]
    assert b"PRIVATE KEY" not in world.store.database.path.read_bytes()


async def test_the_root_is_exported_for_people_to_trust(world, issuers):
    await issuers().prepare()
    exported = world.directory / ROOT_FILE
    assert x509.load_pem_x509_certificate(exported.read_bytes()) == await issuers().root()
    assert exported.stat().st_mode & 0o777 == 0o644
    assert b"PRIVATE" not in exported.read_bytes()
    exported.unlink()
    await issuers().prepare()
    assert exported.exists(), "a deleted one is written again"


async def test_a_state_directory_that_cannot_be_written_is_said_to_be_so(world, tmp_path):
    issuer = InternalIssuer(world.config("internal"), world.store, tmp_path / "none", world.clock)
    with pytest.raises(StateError, match=r"internal-ca\.pem cannot be written"):
        await issuer.prepare()


@pytest.mark.parametrize("name", ["a.example", "*.example.com", "gallery.localhost"])
async def test_names_and_wildcards_are_signed_by_the_root(issuers, name):
    issuer = issuers()
    issued = await issuer.issue(name, quiet)
    leaf = x509.load_pem_x509_certificate(issued.chain)
    leaf.verify_directly_issued_by(await issuer.root())
    assert dns_names(leaf) == issued.names == (name,)
    assert leaf.public_key() == load_key(issued.key).public_key()
    assert issued.not_after - issued.not_before == pytest.approx(90 * DAY, abs=600)


async def test_keys_are_of_the_configured_kind_and_never_used_twice(world, issuers):
    issuer = issuers(changed(world.config("internal"), tls=Tls(key_type="rsa2048")))
    one, other = [await issuer.issue("a.example", quiet) for _ in range(2)]
    assert load_key(one.key).key_size == 2048
    assert one.key != other.key
    assert one.id != other.id


async def test_short_lives_are_kept_to_the_second(issuers):
    issued = await issuers(leaf_life=timedelta(seconds=60)).issue("a.example", quiet)
    assert issued.not_after - issued.not_before <= 67


async def test_an_expired_root_signs_nothing(world, issuers):
    issuer = issuers()
    await issuer.prepare()
    world.clock.ahead = 4000 * DAY
    with pytest.raises(IssuanceError, match="root has expired") as caught:
        await issuer.issue("a.example", quiet)
    assert caught.value.fault is Fault.OPERATOR


async def test_nothing_is_ever_left_unfinished(issuers):
    issuer = issuers()
    assert await issuer.unsettled() == []
    await issuer.settled("a.example")
    await issuer.close()
    assert (issuer.directory, issuer.wildcards) == ("internal", True)


async def test_it_never_says_when_to_renew(issuers):
    issuer = issuers()
    assert not await issuer.suggests()
    assert not issuer.replaces
    await issuer.suggestion((await issuer.issue("a.example", quiet)).chain)
