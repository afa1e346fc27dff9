"""A CA with bad days: busy, limiting, slow, away. What is asked again and when, and what is not made twice."""

import asyncio

import pytest

from edgeproxy.control.issuance.acme import transport
from edgeproxy.control.issuance.acme.transport import NONCE_TRIES
from edgeproxy.control.issuance.acme.wire import Account, OrderList, read
from tests.integration import cafaults as fault
from tests.integration.issuing import Issuing

NAME = "a.example.com"
STEPS = ("newOrder", "authorization", "challenge", "finalize", "order", "certificate")
TWENTY = [f"n{number}.example.com" for number in range(20)]


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


# Nonces


async def test_bad_nonces_are_only_a_detour(ca, issuing):
    for kind in ("newOrder", "challenge", "finalize", "certificate"):
        ca.plan(kind, *[fault.problem("badNonce")] * (NONCE_TRIES - 1))
    assert (await issuing.obtain(NAME)).ok
    assert ca.made == (1, 0)
    assert ca.count("newOrder") == NONCE_TRIES
    nonces = [request.nonce for request in ca.of("newOrder")]
    assert len(set(nonces)) == NONCE_TRIES, "each try had another nonce"


async def test_a_ca_that_refuses_every_nonce_is_in_trouble_and_cured_by_itself(ca, issuing):
    for kind in (*STEPS, "account", "orders"):
        ca.always(kind, fault.problem("badNonce"))
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in TWENTY[:5]))
    assert {outcome.ok for outcome in outcomes} == {False}
    details = " ".join(outcome.detail for outcome in outcomes)
    assert "The CA refused our nonces again and again; it is tried again." in details
    began = issuing.time()
    await issuing.pass_by(300)
    assert ca.most_within(1.0, since=began) <= 2
    ca.well()
    await issuing.pass_by(150)
    assert ca.made == (5, 0)


# Busy


@pytest.mark.parametrize("kind", ["newOrder", "finalize"])
async def test_a_ca_that_does_not_do_the_one_thing_is_not_well_either(ca, issuing, kind):
    ca.always(kind, fault.busy())
    await asyncio.gather(*(issuing.obtain(name) for name in TWENTY))
    began = issuing.time()
    await issuing.pass_by(300)
    assert ca.count(since=began) <= 300 / 5
    # One a second; on a slow machine several come late together, but never all that wait.
    assert ca.most_within(9.9, since=began) < len(TWENTY)
    ca.well()
    await issuing.pass_by(300)
    assert await issuing.has(*TWENTY)
    assert ca.made == (20, 0)


async def test_an_order_that_the_ca_stumbles_over_holds_up_nobody_else(ca, issuing):
    ca.plan("finalize", fault.problem("serverInternal", 500))
    began = issuing.time()
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in TWENTY[:5]))
    assert [outcome.ok for outcome in outcomes].count(False) == 1
    assert issuing.time() - began < 2


@pytest.mark.parametrize("retry_after", [None, 7], ids=["without Retry-After", "with Retry-After"])
async def test_twenty_names_that_wait_on_a_busy_ca_make_one_request_a_second_at_most(ca, issuing, retry_after):
    await issuing.time.sleep(60)
    ca.always("*", fault.late(0.1, fault.busy(retry_after=retry_after)))
    began = issuing.time()
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in TWENTY))
    assert {outcome.ok for outcome in outcomes} == {False}
    for outcome in outcomes:
        assert "The CA is out of order (HTTP status 503); it is tried again." in outcome.detail or (
            "The certificate authority at 127.0.0.1 is away or busy; it is asked again in" in outcome.detail
        )
    await issuing.pass_by(600)
    times = [request.at - began for request in ca.requests]
    for number, at in enumerate(times):
        assert at >= number, f"request {number} came after {at} s"
    assert len(times) < 40, "a CA that stays in trouble is asked less and less"
    assert ca.most_within(0.99) == 1
    ca.well()
    await issuing.pass_by(150)
    assert await issuing.has(*TWENTY)
    assert ca.made == (20, 0)


async def test_a_crowd_in_full_swing_stops_when_the_ca_gets_busy(ca, issuing):
    """Only what is under way when the first 503 comes meets one too."""
    ca.always("finalize", fault.busy(retry_after=20))
    await asyncio.gather(*(issuing.obtain(name) for name in TWENTY))
    finals = ca.of("finalize")
    first = finals[0].finished
    assert len(finals) <= 12
    assert not [request for request in ca.requests if first + 1 < request.at < first + 19]
    ca.well()
    await issuing.pass_by(200)
    assert ca.made == (20, 0)
    assert await issuing.has(*TWENTY)


async def test_nobody_asks_before_the_retry_after_of_a_busy_ca_is_over(ca, issuing):
    ca.plan("newOrder", fault.busy(retry_after=1_800))
    assert not (await issuing.obtain(NAME)).ok
    outcome = await issuing.obtain("b.example.com")
    assert "it is asked again in 1800 s" in outcome.detail
    assert ca.count() == 1
    await issuing.pass_by(1_790)
    assert ca.count() == 1
    await issuing.pass_by(120)
    assert await issuing.has(NAME, "b.example.com")
    assert ca.made == (2, 0)


@pytest.mark.parametrize("skew", [0, 3_600, -3_600], ids=["right", "ahead", "behind"])
async def test_a_retry_after_that_is_a_date_is_read_by_the_cas_clock(ca, issuing, skew):
    ca.skew = skew
    ca.plan("newOrder", fault.busy(retry_after=fault.in_a_while(ca, 600)))
    await issuing.obtain(NAME)
    began = issuing.time()
    await issuing.pass_by(570)
    assert ca.count("newOrder") == 1
    await issuing.pass_by(120)
    assert 590 <= ca.of("newOrder")[1].at - began <= 660


async def test_nonces_that_are_still_there_do_not_hide_that_orders_are_not(ca, issuing):
    ca.always("newOrder", fault.busy())
    for _ in range(5):
        await issuing.obtain(NAME)
        await issuing.time.sleep(61)
    gaps = [later.at - sooner.at for sooner, later in zip(ca.of("newOrder"), ca.of("newOrder")[1:], strict=False)]
    assert min(gaps) >= 20


# Limits


async def test_a_rate_limit_is_kept_and_the_order_made_when_it_is_over(ca, issuing):
    ca.plan("newOrder", fault.problem("rateLimited", 429, detail="too many certificates already issued", retry_after=900))
    outcome = await issuing.obtain(NAME)
    assert not outcome.ok
    assert f"{NAME} has no certificate yet: queued" in outcome.detail
    assert "because the CA's rate limit is reached (the CA says: too many certificates already issued)" in outcome.detail
    assert issuing.issuance.turn(NAME).expected - issuing.time() == pytest.approx(900, abs=30)
    assert (await issuing.obtain("b.example.com")).detail.count("rate limit is reached") == 1, "the whole account waits"
    began = issuing.time()
    await issuing.pass_by(870)
    assert len([request for request in ca.of("newOrder") if request.names == [NAME]]) == 1
    await issuing.pass_by(120)
    assert await issuing.has(NAME)
    assert 895 <= ca.of("newOrder")[-1].at - began <= 990
    assert ca.made == (2, 0)


async def test_a_limit_met_while_polling_leaves_the_order_to_be_continued(ca, issuing):
    ca.plan("authorization", fault.problem("rateLimited", 429, retry_after=300))
    assert not (await issuing.obtain(NAME)).ok
    await issuing.pass_by(400)
    assert await issuing.has(NAME)
    assert ca.made == (1, 0)


@pytest.mark.parametrize("kind", ["newNonce", "newOrder"])
async def test_a_front_end_that_limits_requests_is_left_alone_by_all(ca, issuing, kind):
    ca.always(kind, fault.busy(429, retry_after=120))
    if kind == "newNonce":
        ca.plan("newOrder", fault.problem("badNonce"), fault.answer(400))
    await issuing.obtain(NAME)
    if kind == "newNonce":
        issuing.issuer._transport._nonces.clear()
        await issuing.obtain("b.example.com")
    before = ca.count()
    outcome = await issuing.obtain("c.example.com")
    assert "is away or busy; it is asked again in" in outcome.detail
    assert ca.count() == before


# Connections


async def test_a_ca_that_gives_no_nonces_is_in_trouble_too(ca, issuing):
    issuing.issuer._transport._nonces.clear()
    ca.always("newNonce", fault.answer(403))
    assert (await issuing.obtain(NAME)).detail == "The CA gives no nonces (HTTP status 403); it is tried again."
    ca.well()
    await issuing.pass_by(90)
    assert await issuing.has(NAME)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", STEPS)
async def test_a_reset_connection_costs_neither_order_nor_visitor(ca, issuing, kind, after):
    ca.plan(kind, fault.reset(after=after))
    if kind == "order":  # asked at once for a certificate that is not there yet, or after a lost answer to finalize
        ca.plan("finalize", fault.reset(after=True))
    outcome = await issuing.obtain(NAME)
    assert outcome.detail == ""
    assert ca.planned == 0
    assert ca.made[0] == 1, "where the answer to newOrder got lost, its order was found"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["newOrder", "finalize"])
async def test_a_ca_that_resets_again_and_again_gets_one_order_all_the_same(ca, issuing, kind, after):
    ca.always(kind, fault.reset(after=after))
    outcome = await issuing.obtain(NAME)
    assert outcome.ok is after, "what the CA has done is found, however often its answer gets lost"
    assert after or "cannot be reached" in outcome.detail
    await issuing.pass_by(300)
    ca.well()
    await issuing.pass_by(120)
    assert await issuing.has(NAME)
    assert len(await listed(issuing)) == 2, "the served name's, and this one's"


async def listed(issuing):
    """The account's orders, as the CA has them."""
    mine = await issuing.issuer._accounts.get()
    answer = await issuing.issuer._transport.post(mine.kid, None, mine.key, mine.kid)
    page = await issuing.issuer._transport.post(read(answer.body, Account).orders, None, mine.key, mine.kid)
    return read(page.body, OrderList).orders


async def test_a_lost_answer_to_the_first_account_makes_no_second_one(ca, tmp_path):
    ca.plan("newAccount", fault.reset(after=True), fault.reset(after=True))
    async with Issuing(tmp_path, ca) as issuing:
        await issuing.obtain(NAME)
        await issuing.pass_by(90)
        assert await issuing.has(NAME)
        statuses = [request.status for request in ca.of("newAccount")]
        assert statuses == [0, 0, 200], "the same account was found by its key"


async def test_a_slow_ca_is_waited_for(ca, issuing):
    ca.always("*", fault.slow(0.3))
    assert (await issuing.obtain(NAME)).ok
    assert ca.made == (1, 0)


@pytest.mark.parametrize("kind", ["newOrder", "finalize"])
async def test_a_ca_too_slow_to_wait_for_gets_one_order_all_the_same(ca, issuing, kind, monkeypatch):
    monkeypatch.setattr(transport, "_REQUEST_TIME", 0.4)
    ca.plan(kind, fault.slow(0.8))
    outcome = await issuing.obtain(NAME)
    assert outcome.detail == ""
    assert len(await listed(issuing)) == 2


# Away


async def test_a_ca_that_is_away_for_an_hour_issues_everything_by_itself_when_it_is_back(ca, issuing):
    await ca.go_down()
    began = issuing.time()
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in TWENTY[:4]))
    assert {outcome.ok for outcome in outcomes} == {False}
    assert any(
        outcome.detail.startswith("The certificate authority at 127.0.0.1 cannot be reached: connection refused.")
        for outcome in outcomes
    )
    tried = issuing.issuer._transport.requests
    await issuing.pass_by(3_600, every=60)
    assert issuing.issuer._transport.requests - tried <= 3_600 / 60 + 10
    assert ca.count() == 0
    await ca.come_back()
    await issuing.pass_by(150)
    assert await issuing.has(*TWENTY[:4])
    assert ca.made == (4, 0)
    assert issuing.time() - began < 3_600 + 400


async def test_a_ca_that_is_away_at_the_very_first_start_issues_when_it_is_back(ca, tmp_path):
    await ca.go_down()
    async with Issuing(tmp_path, ca) as issuing:
        assert not (await issuing.obtain(NAME)).ok
        await issuing.pass_by(600)
        await ca.come_back()
        await issuing.pass_by(150)
        assert await issuing.has(NAME)
        assert ca.made == (1, 1)
