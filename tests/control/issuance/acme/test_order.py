"""One order, from newOrder to the certificate."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.control.issuance.acme.order import VALIDATION_TIME
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.errors import IssuanceError
from tests.control.issuance.acme.conftest import NAME, issue
from tests.control.issuance.fakeca import HOST, Refuse, answer


async def test_a_profile_is_asked_for_only_where_the_ca_has_it(world, issuers):
    with pytest.raises(IssuanceError, match=r"no profile 'shortlived'; it offers none\. Change issuance\.profile"):
        await issue(issuers(profile="shortlived"))
    world.ca.meta = {"profiles": {"shortlived": "six days"}}
    await issue(issuers(profile="shortlived"))
    assert world.ca.last_order["profile"] == "shortlived"


async def test_a_ca_that_offers_none_of_our_challenges_is_said_to_and_asked_for_one_order(world, issuers):
    world.ca.offers = ("dns-01",)
    for _ in range(2):
        with pytest.raises(CaRefused, match=r"The CA does not offer http-01 for a\.example, but dns-01\."):
            await issue(issuers(challenges=("tls-alpn-01", "http-01")))
    assert len(world.ca.orders) == 1


async def test_an_authorization_that_is_valid_already_is_not_validated_again(world, issuers):
    def valid():
        order = world.ca.orders[-1]
        order.authorization, order.status = "valid", "ready"

    world.ca.plan("authz", valid)
    await issue(issuers())
    assert world.ca.count("challenge") == 0


async def test_a_slow_ca_is_waited_for_and_its_retry_after_kept(world, issuers, seconds):
    world.ca.polls_needed, world.ca.retry_after = 25, "3"
    issuer = issuers()
    await issue(issuer)
    assert 30 < seconds.now < VALIDATION_TIME + 120
    assert world.ca.count("authz") == 27


async def test_a_validation_that_never_ends_is_given_up_and_the_order_kept(world, issuers, seconds):
    world.ca.polls_needed = 10**9
    with pytest.raises(CaRefused, match=r"did not validate a\.example within 120 s"):
        await issue(issuers())
    assert (await world.store.order_for(NAME)).url == f"{HOST}/order/0"
    assert await world.challenges() == []
    world.ca.polls_needed = 0
    await issue(issuers())
    assert len(world.ca.orders) == 1


@pytest.mark.parametrize("kind", ["authz", "order", "challenge", "finalize", "cert"])
async def test_a_lost_answer_costs_no_second_order(world, issuers, kind):
    world.ca.plan(kind, "lose")
    await issue(issuers())
    assert len(world.ca.orders) == 1


@pytest.mark.parametrize("kind", ["authz", "order", "challenge", "finalize", "cert", "new"])
async def test_a_request_that_never_arrived_is_made_again(world, issuers, kind):
    world.ca.plan(kind, "drop")
    await issue(issuers())
    assert len(world.ca.orders) == 1


async def test_a_lost_answer_to_new_order_is_looked_up_in_the_accounts_list(world, issuers):
    issuer = issuers()
    for number in range(7):  # several pages of other names' orders
        await issuer.issue(f"other{number}.example", lambda _: None)
    world.ca.plan("new", "lose")
    await issue(issuer)
    assert [order.name for order in world.ca.orders].count(NAME) == 1


async def test_where_the_ca_lists_no_orders_a_lost_answer_is_followed_by_a_new_request(world, issuers):
    world.ca.lists_orders = False
    world.ca.plan("new", "lose")
    await issue(issuers())
    assert len(world.ca.orders) == 2


async def test_a_refused_order_names_the_host_and_the_time(world, issuers):
    world.ca.plan("new", Refuse("rateLimited", 429, "too many certificates", {"retry-after": "3600"}))
    with pytest.raises(CaRefused, match=r"rate limit is reached; a\.example waits.*too many certificates") as caught:
        await issue(issuers())
    assert caught.value.retry_after == 3600
    assert not caught.value.about_the_ca


async def test_a_certificate_for_another_name_is_not_taken(world, issuers):
    def swap():
        world.ca.orders[-1].certificate = world.ca.root.public_bytes(Encoding.PEM)

    world.ca.plan("cert", swap)
    with pytest.raises(IssuanceError, match="cannot be used"):
        await issue(issuers())
    assert await world.challenges() == []


async def test_malformed_answers_are_errors_in_plain_words(world, issuers):
    for kind in ("new", "authz", "order"):
        world.ca.plan(kind, answer(200, {}, b"{"))
        with pytest.raises(IssuanceError):
            await issue(issuers())
        await world.store.delete_order(NAME)
        world.ca.plans.clear()
    assert await world.challenges() == []


async def test_an_order_whose_answers_were_damaged_is_not_made_again(world, issuers):
    world.ca.plan("finalize", answer(200, {}, b"<html>"))
    issuer = issuers()
    await issue(issuer)
    await issuer.settled(NAME)
    assert len(world.ca.orders) == 1
    assert world.ca.count("finalize") == 2, "the order said that it was not taken"
