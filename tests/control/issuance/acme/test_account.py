"""The account: made once, kept, sealed."""

import asyncio

import pytest

from edgeproxy.config.issuance import Eab
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.errors import Fault, IssuanceError
from tests.control.issuance.acme.conftest import issue
from tests.control.issuance.fakeca import HOST, Refuse, answer


async def test_concurrent_first_orders_make_one_account(world, issuers):
    issuer = issuers(email="ops@example.com")
    await asyncio.gather(*(issuer.issue(f"a{number}.example", lambda _: None) for number in range(10)))
    assert len(world.ca.orders) == 10
    assert world.ca.count("account") == 1
    assert world.ca.contacts == [{"contact": ["mailto:ops@example.com"], "termsOfServiceAgreed": True}]


async def test_the_account_is_kept_across_processes_and_its_key_sealed(world, issuers):
    await issue(issuers())
    await issue(issuers(), "b.example")
    assert world.ca.count("account") == 1
    account = await world.store.account(world.config().issuance.directory)
    assert account.url == f"{HOST}/acct/0"
    assert b"PRIVATE KEY" in account.key
    assert b"PRIVATE KEY" not in world.store.database.path.read_bytes()


async def test_an_account_whose_answer_got_lost_is_found_again_by_its_key(world, issuers):
    world.ca.plan("account", "lose", "lose")
    with pytest.raises(CaRefused):
        await issue(issuers())
    await issue(issuers())
    assert len(world.ca.accounts) == 1


async def test_an_account_that_the_ca_forgot_is_registered_again_once(world, issuers):
    issuer = issuers()
    await issue(issuer)
    world.ca.accounts.clear()
    await issue(issuer, "b.example")
    assert len(world.ca.accounts) == 1
    world.ca.plan("new", *[Refuse("accountDoesNotExist")] * 2)
    with pytest.raises(CaRefused, match="does not know our account"):
        await issue(issuer, "c.example")


async def test_terms_must_be_agreed_to(world, issuers):
    world.ca.meta = {"termsOfService": "https://ca.example/terms"}
    with pytest.raises(IssuanceError, match=r"https://ca\.example/terms.*issuance\.agree_terms = true") as caught:
        await issue(issuers(agree_terms=False))
    assert caught.value.fault is Fault.OPERATOR
    assert world.ca.count("account") == 0


async def test_an_external_account_is_bound(world, issuers):
    world.ca.meta = {"externalAccountRequired": True}
    with pytest.raises(IssuanceError, match=r"issuance\.eab\.key_id"):
        await issue(issuers())
    with pytest.raises(IssuanceError, match="not base64url") as caught:
        await issue(issuers(eab=Eab(key_id="k1", hmac_key="é secret")))
    assert "é secret" not in str(caught.value)
    await issue(issuers(eab=Eab(key_id="k1", hmac_key="c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=")))
    assert set(world.ca.contacts[0]["externalAccountBinding"]) == {"protected", "payload", "signature"}


async def deactivated(world, issuer):
    """The CA deactivates the account, as one that answers by Boulder does; new keys are welcome."""
    await issue(issuer)
    world.ca.asked.clear()
    gone = Refuse("unauthorized", 403, detail="An account with the provided public key exists but is deactivated")
    world.ca.plan("new", Refuse("unauthorized", 403, detail="Account is not valid, has status deactivated"))
    world.ca.plan("account", gone)
    return await world.store.account(world.config().issuance.directory)


async def test_a_deactivated_account_is_asked_about_and_replaced_by_one_with_a_fresh_key(world, issuers):
    issuer = issuers()
    before = await deactivated(world, issuer)
    await issue(issuer, "b.example")
    after = await world.store.account(before.directory)
    assert after.key != before.key
    assert world.ca.asked[:4] == ["new", "account", "account", "new"]
    assert len(world.ca.accounts) == 2


async def test_an_account_that_is_answered_as_deactivated_is_replaced_too(world, issuers):
    issuer = issuers()
    before = await deactivated(world, issuer)
    world.ca.plans = [plan for plan in world.ca.plans if plan[0] != "account"]
    world.ca.plan("account", answer(200, {"location": before.url}, b'{"status": "deactivated"}'))
    await issue(issuer, "b.example")
    assert len(world.ca.accounts) == 2


async def test_an_account_at_another_address_is_used_there(world, issuers):
    issuer = issuers()
    before = await deactivated(world, issuer)
    world.ca.plans = [plan for plan in world.ca.plans if plan[0] != "account"]
    moved = f"{HOST}/acct/77"
    world.ca.accounts["moved"] = moved
    world.ca.plan("account", answer(200, {"location": moved}, b'{"status": "valid"}'))
    await issue(issuer, "b.example")
    after = await world.store.account(before.directory)
    assert (after.key, after.url) == (before.key, moved)


async def test_a_second_deactivation_within_a_day_makes_no_third_account(world, issuers, seconds):
    issuer = issuers()
    await deactivated(world, issuer)
    await issue(issuer, "b.example")
    for _ in range(2):
        world.ca.plan("new", Refuse("unauthorized", 401))
        world.ca.plan("account", Refuse("unauthorized", 401))
        with pytest.raises(CaRefused, match="deactivated our account again") as caught:
            await issue(issuer, "c.example")
        assert caught.value.fault is Fault.OPERATOR
        world.ca.plans.clear()
    assert len(world.ca.accounts) == 2
    seconds.now += 86_400 + 60
    world.ca.plan("new", Refuse("unauthorized", 401))
    world.ca.plan("account", Refuse("unauthorized", 401))
    await issue(issuer, "c.example")
    assert len(world.ca.accounts) == 3


async def test_while_terms_wait_for_the_owner_one_name_a_minute_asks(world, issuers, seconds):
    issuer = issuers()
    await issue(issuer)
    world.ca.plan("new", *[Refuse("userActionRequired", 403)] * 3)
    for _ in range(3):
        for _ in range(5):
            with pytest.raises(CaRefused, match="waits for you to agree"):
                await issue(issuer, "b.example")
        seconds.now += 61
    assert world.ca.plans == []
    await issue(issuer, "b.example")
    await issue(issuer, "c.example")
