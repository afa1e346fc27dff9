"""Several CAs: who is asked, when the next one is, and when the first one is again."""

from __future__ import annotations

import asyncio

import pytest

from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.acme.permission import CaaForbids
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.authorities import Authorities, another_may_issue, is_its_fault
from edgeproxy.control.issuance.breaker import FIRST_PAUSE
from edgeproxy.control.issuance.choosing import for_fallback
from edgeproxy.errors import Fault, IssuanceError
from tests.control.issuance.conftest import until
from tests.control.issuance.fakeca import DIRECTORY, FakeCa, Refuse, answer

NAME = "a.example"
OTHER = "https://other.example/dir"


@pytest.fixture
async def both(world, service):
    """Makes services over the same two CAs, as processes after one another would; `both.first` and `both.second` are these."""

    class Both:
        first, second = world.ca, FakeCa(world.clock)

        def __call__(self, **issuance):
            config = world.config(fallback=(OTHER,), **issuance)
            parts = world.store, world.publisher, world.sealer, world.clock
            quick = {"monotonic": world.clock, "sleep": world_sleep(world)}
            issuers = [
                AcmeIssuer(config, *parts, network=self.first, **quick),
                AcmeIssuer(for_fallback(config, OTHER), *parts, network=self.second, fallback=True, **quick),
            ]
            return service(config, issuer=Authorities(issuers, world.store, world.clock, sleep=world_sleep(world)))

    return Both()


def world_sleep(world):
    async def sleep(seconds):
        world.clock.ahead += seconds
        await asyncio.sleep(0)

    return sleep


def states(one):
    return [each.state for each in one.authorities()]


async def served_by(world, name=NAME):
    return (await world.store.current_certificate(name)).issuer


async def test_the_first_is_asked_as_long_as_it_is_well(world, both, meter):
    await world.register(NAME)
    one = both()
    await one.issue(NAME)
    assert await served_by(world) == DIRECTORY
    assert (len(both.first.orders), both.second.asked) == (1, [])
    assert meter.orders == [("ca.example", "ok")]
    assert states(one) == ["closed", "closed"]


@pytest.mark.parametrize(
    ("kind", "trouble"),
    [
        ("dir", "refuse"),
        ("new", Refuse("serverInternal", 503)),
        ("new", Refuse("serverInternal", 500)),
        ("dir", "nonsense"),
        ("account", Refuse("serverInternal", 502)),
    ],
)
async def test_the_next_is_asked_where_the_first_fails_again_and_again(world, both, meter, kind, trouble):
    await world.register(NAME)
    both.first.plan(kind, *(answer(200, {}, b"nonsense") if trouble == "nonsense" else trouble for _ in range(50)))
    steps: list[str] = []
    one = both()
    stored = await one.issue(NAME, progress=steps.append)
    assert stored.issuer == OTHER
    assert steps.count("ca.example does not issue; trying other.example") == 1
    assert meter.orders == [("other.example", "ok")]
    assert states(one) == ["open", "closed"]
    assert one.authorities()[0].reason
    await until(lambda: not one.pending)
    assert await world.store.order_for(NAME) is None
    assert (await world.store.account(OTHER)).url


async def test_a_failure_alone_is_tried_again_at_the_same_ca(world, both):
    await world.register(NAME)
    both.first.plan("new", Refuse("serverInternal", 500))
    one = both()
    await one.issue(NAME)
    assert await served_by(world) == DIRECTORY
    assert states(one) == ["closed", "closed"]


async def test_others_do_not_ask_the_one_that_is_away(world, both):
    await world.register(NAME, "b.example")
    both.first.plan("dir", *["refuse"] * 50)
    one = both()
    await one.issue(NAME)
    asked = len(both.first.asked)
    await one.issue("b.example")
    assert await served_by(world, "b.example") == OTHER
    assert len(both.first.asked) == asked


async def test_it_is_tried_again_after_a_pause_and_then_preferred_again(world, both):
    await world.register(NAME, "b.example", "c.example", "d.example")
    both.first.plan("dir", *["refuse"] * 4)
    one = both()
    await one.issue(NAME)
    world.clock.ahead += FIRST_PAUSE + 1
    assert states(one) == ["half_open", "closed"]
    await one.issue("b.example")  # the trial, which fails
    assert await served_by(world, "b.example") == OTHER
    assert states(one) == ["open", "closed"]
    world.clock.ahead += FIRST_PAUSE + 1
    await one.issue("c.example")
    assert await served_by(world, "c.example") == OTHER, "the second pause is longer"
    world.clock.ahead += FIRST_PAUSE + 1
    await one.issue("d.example")
    assert await served_by(world, "d.example") == DIRECTORY
    assert states(one) == ["closed", "closed"]


async def test_renewals_return_to_the_first(world, both):
    await world.register(NAME)
    both.first.plan("dir", *["refuse"] * 3)
    one = both()
    await one.issue(NAME)
    await until(lambda: not one.pending)
    world.clock.ahead += FIRST_PAUSE + 1
    renewed = await one.renew(NAME)
    assert renewed.issuer == OTHER, "it is not due"
    await world.store.set_renewal(renewed.id, 0.0)
    assert (await one.renew(NAME)).issuer == DIRECTORY


async def test_a_names_own_fault_is_no_cas(world, both):
    await world.register(NAME)
    both.first.fails = {"tls-alpn-01": "connection", "http-01": "connection"}
    one = both()
    outcome = await one.obtain(NAME, "")
    assert "could not connect to a.example" in outcome.detail
    assert both.second.asked == []
    assert states(one) == ["closed", "closed"]


async def test_what_one_refuses_by_its_policy_another_may_give(world, both):
    await world.register(NAME)
    both.first.plan("new", Refuse("rejectedIdentifier", 400))
    one = both()
    await one.issue(NAME)
    assert await served_by(world) == OTHER
    assert states(one) == ["closed", "closed"]


async def test_where_none_issues_the_reasons_of_all_are_told(world, both):
    await world.register(NAME)
    both.first.plan("dir", *["refuse"] * 50)
    both.second.plan("new", *[Refuse("rejectedIdentifier", 400)] * 5)
    outcome = await both().obtain(NAME, "")
    assert "The CA issues no certificates for a.example" in outcome.detail
    assert "ca.example: The certificate authority at ca.example cannot be reached" in outcome.detail


async def test_where_all_are_left_alone_nothing_is_asked(world, both):
    await world.register(NAME, "b.example")
    for ca in (both.first, both.second):
        ca.plan("dir", *["refuse"] * 50)
    one = both()
    for name in (NAME, "b.example", NAME):
        assert not (await one.obtain(name, "")).ok
        world.clock.ahead += 21
    asked = len(both.first.asked) + len(both.second.asked)
    if states(one) == ["open", "open"]:
        outcome = await one.obtain("b.example", "")
        assert not outcome.ok
        assert len(both.first.asked) + len(both.second.asked) == asked


async def test_a_long_rate_limit_of_the_account_has_the_next_one_asked(world, both):
    await world.register(NAME, "b.example")
    both.first.plan("new", Refuse("rateLimited", 429, detail="too many new orders recently", headers={"retry-after": "7200"}))
    one = both()
    await one.issue(NAME)
    assert await served_by(world) == OTHER
    assert states(one) == ["open", "closed"]
    world.clock.ahead += 7100
    assert states(one) == ["open", "closed"]
    world.clock.ahead += 200
    await one.issue("b.example")
    assert await served_by(world, "b.example") == DIRECTORY


async def test_each_ca_has_a_budget_of_its_own(world, both):
    await world.register(NAME, "b.example")
    both.first.plan("dir", *["refuse"] * 50)
    one = both()
    await one.issue(NAME)
    await until(lambda: not one.pending)
    spent = {directory: await world.store.list_spent(directory, 0, 0, 10) for directory in (DIRECTORY, OTHER)}
    assert [len(rows) for rows in spent.values()] == [0, 1]
    assert one.queue().left.left == one.queue().left.limit - 1, "of the one that is used now"
    ledgers = one._scheduler._ledger
    assert {d: b.left(world.clock()).left - b.left(world.clock()).limit for d, b in ledgers.budgets().items()} == {
        DIRECTORY: 0,
        OTHER: -1,
    }


async def test_an_order_that_was_begun_at_the_second_is_continued_there(world, both):
    await world.register(NAME)
    both.first.plan("dir", *["refuse"] * 3)
    both.second.plan("finalize", *[Refuse("serverInternal", 500)] * 3)
    assert not (await both().obtain(NAME, "")).ok
    row = await world.store.order_for(NAME)
    assert (row.directory, bool(row.url)) == (OTHER, True)
    world.clock.ahead += 3600
    again = both()
    await again.resume(NAME)
    assert await served_by(world) == OTHER
    assert (len(both.first.orders), len(both.second.orders)) == (0, 1)
    await until(lambda: not again.pending)
    assert await world.store.order_for(NAME) is None


async def test_the_first_is_prepared_alone_and_the_account_is_the_firsts(world, both):
    one = both()
    await one._issuer.prepare()
    assert both.second.asked == []
    assert (await one._issuer.account())[0] == (await world.store.account(DIRECTORY)).url
    await one._issuer.roll_over()
    assert (both.first.count("keychange"), both.second.count("keychange")) == (1, 0)


def test_tells_whose_fault_it_is():
    for error, its, others in (
        (CaRefused("away", problem="unreachable"), True, False),
        (CaRefused("lost", problem="lost"), True, False),
        (CaRefused("slow", problem="slow", status=200), True, False),
        (CaRefused("busy", problem="http503", status=503), True, False),
        (CaRefused("policy", problem="rejectedIdentifier", status=400), False, True),
        (CaRefused("CAA", problem="caa", status=400, fault=Fault.CUSTOMER_DNS), False, True),
        (CaRefused("DNS", problem="dns", status=400, fault=Fault.CUSTOMER_DNS), False, False),
        (CaRefused("limit", problem="rateLimited", status=429), False, False),
        (CaaForbids("CAA"), False, True),
        (IssuanceError("EAB", fault=Fault.OPERATOR), False, True),
        (IssuanceError("nonsense", code="ca_malformed"), True, False),
        (IssuanceError("no challenge"), False, False),
    ):
        assert (is_its_fault(error), another_may_issue(error)) == (its, others), error.detail
