"""Revocation by the account, or by the certificate's own key."""

import pytest
from cryptography import x509

from edgeproxy.config.visitors import Tls
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.revocation import REASONS, Revoker
from edgeproxy.control.store import Account
from edgeproxy.errors import Fault, IssuanceError
from tests.control.issuance.acme.conftest import issue
from tests.control.issuance.conftest import changed
from tests.control.issuance.fakeca import DIRECTORY, Refuse, answer

NUMBERS = {"unspecified": 0, "keyCompromise": 1, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5}


@pytest.fixture
def revoker(world, seconds):
    return Revoker(world.config(), world.store, world.clock, seconds, network=world.ca)


def serial(issued) -> int:
    return x509.load_pem_x509_certificate(issued.chain).serial_number


@pytest.mark.parametrize("reason", REASONS)
async def test_the_account_revokes_what_was_ordered_under_it(world, issuers, revoker, reason):
    issued, _ = await issue(issuers())
    await revoker.revoke(DIRECTORY, issued.chain, issued.key, reason)
    assert world.ca.revoked == [(serial(issued), NUMBERS[reason], "account")]
    assert world.ca.closed == 1


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
async def test_without_an_account_the_certificates_key_does(world, issuers, revoker, kind):
    issued, _ = await issue(issuers(changed(world.config(), tls=Tls(key_type=kind))))
    await world.store.save_account(Account(directory=DIRECTORY, key=b"", url=""), world.clock())
    await revoker.revoke(DIRECTORY, issued.chain, issued.key, "keyCompromise")
    assert world.ca.revoked == [(serial(issued), 1, "key")]
    assert world.ca.count("account") == 1


@pytest.mark.parametrize("code", ["accountDoesNotExist", "unauthorized", "malformed"])
async def test_an_account_that_the_ca_does_not_accept_gives_way_to_the_key(world, issuers, revoker, code):
    issued, _ = await issue(issuers())
    world.ca.plan("revoke", Refuse(code, 403))
    await revoker.revoke(DIRECTORY, issued.chain, issued.key, "superseded")
    assert world.ca.revoked == [(serial(issued), 4, "key")]


async def test_what_is_revoked_already_is_as_good(world, issuers, revoker):
    issued, _ = await issue(issuers())
    for _ in range(2):
        await revoker.revoke(DIRECTORY, issued.chain, issued.key, "superseded")
    assert len(world.ca.revoked) == 1


async def test_an_answer_that_got_lost_is_asked_for_again(world, issuers, revoker):
    issued, _ = await issue(issuers())
    world.ca.plan("revoke", "lose")
    await revoker.revoke(DIRECTORY, issued.chain, issued.key, "superseded")
    assert len(world.ca.revoked) == 1


async def test_what_the_ca_refuses_is_told(world, issuers, revoker):
    issued, _ = await issue(issuers())
    world.ca.plan("revoke", Refuse("badRevocationReason"))
    with pytest.raises(CaRefused, match="does not take this reason") as caught:
        await revoker.revoke(DIRECTORY, issued.chain, issued.key, "superseded")
    assert (caught.value.fault, caught.value.retryable) == (Fault.CLIENT, False)
    world.ca.lacks.add("revokeCert")
    with pytest.raises(IssuanceError, match="offers no revocation"):
        await revoker.revoke(DIRECTORY, issued.chain, issued.key, "superseded")


async def test_a_ca_that_is_away_is_told_as_that(world, issuers, revoker):
    issued, _ = await issue(issuers())
    world.ca.plan("revoke", answer(503))
    with pytest.raises(CaRefused) as caught:
        await revoker.revoke(DIRECTORY, issued.chain, issued.key, "superseded")
    assert caught.value.about_the_ca
