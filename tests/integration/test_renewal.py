"""Renewal at a CA that says when, and at one that does not: lives from days to months, in simulated time."""

import asyncio
import contextlib
import itertools

import pytest

from edgeproxy.config.issuance import Budget
from edgeproxy.control.issuance.renewal import DAY
from edgeproxy.units import Duration
from tests.integration import cafaults as fault
from tests.integration.issuing import Issuing
from tests.integration.servers import Pebble

NAME = "a.example.com"
HOUR = 3_600.0


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


async def current(issuing, name=NAME):
    return await issuing.store.current_certificate(name)


async def test_a_short_lived_certificate_is_renewed_at_half_its_life_for_ever_though_nobody_comes(tmp_path, ca):
    ca.newer.renewal_info = False
    ca.newer.profiles["shortlived"] = "https://ca.example/shortlived"
    ca.newer.lives["shortlived"] = 160 * HOUR
    async with Issuing(tmp_path, ca, profile="shortlived") as issuing:
        assert (await issuing.obtain(NAME)).ok
        await issuing.pass_by(76 * HOUR, every=HOUR)
        assert ca.made[0] == 1
        await issuing.pass_by(6 * HOUR, every=HOUR)
        assert ca.made[0] == 2
        await issuing.pass_by(20 * DAY, every=5 * HOUR)
        stored = await current(issuing)
        assert stored.not_after > issuing.time() + 74 * HOUR
        assert ca.made[0] in (8, 9)


async def test_the_cas_window_counts_and_the_order_says_what_it_replaces(ca, issuing):
    await issuing.obtain(NAME)
    first = await current(issuing)
    start = issuing.time() + 5 * DAY
    ca.newer.suggest(first.chain, start, start + DAY, retry_after=6 * HOUR)
    await issuing.pass_by(5 * DAY, every=3 * HOUR)
    assert (await current(issuing)).id == first.id
    planned = (await current(issuing)).renew_at
    assert start <= planned <= start + DAY
    await issuing.pass_by(DAY + HOUR, every=HOUR)
    second = await current(issuing)
    assert second.id != first.id
    assert abs(second.added_at - planned) <= HOUR
    assert len(ca.newer.replacing(first.chain)) == 1
    asked = [request for request in ca.of("renewalInfo") if request.at < second.added_at]
    assert 2 * 15 <= len(asked) <= 2 * 25, "each six hours or a little later, of the two names that there are"


async def test_the_ca_is_asked_no_more_often_than_each_minute_and_daily_at_least(ca, issuing):
    await issuing.obtain(NAME)
    first = await current(issuing)
    later = issuing.time() + 40 * DAY
    ca.newer.suggest_all(later, later + DAY)
    for said, span, fewest, most in ((1, 600, 8, 11), (30 * DAY, 4 * DAY, 3, 5)):
        ca.newer.retry_after = said
        await issuing.store.asked_about({first.id: (0.0, None)})
        served = await current(issuing, "served.example.com")
        await issuing.store.asked_about({served.id: (issuing.time() + 9 * DAY, None)})
        ca.requests.clear()
        await issuing.pass_by(span, every=span / 50)
        assert fewest <= ca.count("renewalInfo") <= most


@pytest.mark.parametrize("trouble", [fault.busy(), fault.answer(200, b"{}"), fault.answer(404), fault.reset()])
async def test_a_ca_that_cannot_say_when_leaves_the_plan_as_it_was(ca, issuing, trouble):
    await issuing.obtain(NAME)
    first = await current(issuing)
    ca.always("renewalInfo", trouble)
    await issuing.pass_by(2 * HOUR, every=300)
    assert 1 <= ca.count("renewalInfo") <= 2 * 12
    assert (await current(issuing)).renew_at == first.renew_at
    ca.well()


async def test_an_order_that_another_one_forestalled_is_made_without_replacing_anything(ca, issuing):
    await issuing.obtain(NAME)
    first = await current(issuing)
    await issuing.store.set_renewal(first.id, 0.0)
    ca.plan("newOrder", fault.problem("alreadyReplaced", 409))
    await issuing.upkeep.renew_due()
    await issuing.idle()
    second = await current(issuing)
    assert second.id != first.id
    assert ca.newer.replacing(first.chain) == []
    assert issuing.issuance.queue().left.by_kind["renewal"] == 1, "this one the CA counts"
    await issuing.store.set_renewal(second.id, 0.0)
    await issuing.upkeep.renew_due()
    await issuing.idle()
    assert len(ca.newer.replacing(second.chain)) == 1
    assert issuing.issuance.queue().left.by_kind["renewal"] == 1, "and this one not"


async def test_a_renewal_that_fails_is_tried_after_1_10_and_100_minutes_then_daily_also_over_restarts(tmp_path, ca):
    ca.newer.renewal_info = False
    tries = []
    async with Issuing(tmp_path, ca) as issuing:
        await issuing.obtain(NAME)
        first = await current(issuing)
        await issuing.store.set_renewal(first.id, 0.0)
        start = issuing.time()
        ca.always("finalize", fault.edited(fault.invalid))
        ca.always("order", fault.edited(fault.invalid))
        await issuing.pass_by(700)
    async with Issuing(tmp_path, ca) as issuing:
        issuing.time.now = max(issuing.time.now, start + 700)
        await issuing.pass_by(7_000, every=120)
        await issuing.pass_by(3 * DAY, every=1_800)
        tries = [request.at - start for request in ca.of("newOrder") if request.at >= start]
        gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert (await current(issuing)).id == first.id
        ca.well()
        await issuing.pass_by(DAY + 3 * HOUR, every=HOUR)
        assert (await current(issuing)).id != first.id
    assert [round(gap / 60) for gap in gaps[:3]] == [
        pytest.approx(1, abs=1),
        pytest.approx(10, abs=2),
        pytest.approx(105, abs=6),
    ]
    assert all(DAY <= gap <= 1.1 * DAY + 600 for gap in gaps[3:])
    assert len(gaps) in (5, 6)


@pytest.mark.parametrize("told", ["windows", "serials"])
async def test_revoked_in_masses_they_are_replaced_at_the_budgets_pace_the_most_visited_first(tmp_path, ca, told):
    names = [f"n{number:02}.example.com" for number in range(8)]
    budget = Budget(orders=6, orders_window=Duration(3 * HOUR), burst=1, exempt="none", certificates=0)
    async with Issuing(tmp_path, ca, budget=budget, handshake_wait=Duration(0.5)) as issuing:
        for name in names:
            assert (await issuing.obtain(name)).ok
            await issuing.pass_by(30 * 60, every=30 * 60)
        await issuing.pass_by(6 * HOUR, every=2 * HOUR)
        ca.requests.clear()
        await issuing.store.save_visits({name: 10.0 + place for place, name in enumerate(names)}, issuing.time())
        if told == "windows":
            for one in [stored.id for stored in await issuing.store.list_certificates(100)]:
                await issuing.store.asked_about({one: (0.0, None)})
            for certificate in list(ca.newer.certificates):
                ca.newer.suggest(certificate, issuing.time() - DAY, issuing.time() - 1)
        else:
            serials = [stored.serial for stored in await issuing.store.list_certificates(100)]
            await issuing.store.bring_forward(serials, actor="test", now=issuing.time())
        for _ in range(20):
            await issuing.pass_by(900, every=900)
            issuing.issuance._scheduler.look()  # what its timer does, which knows real seconds only
            while issuing.issuance.queue().working:
                await asyncio.sleep(0.005)
        orders = [request.names[0] for request in ca.of("newOrder")]
        # whoever was quickest found a free place, and all others wait in line
        assert orders[1:] == [name for name in names[::-1] if name != orders[0]]
        assert ca.most_within(3 * HOUR, "newOrder") <= 6
        assert issuing.issuance.queue().waiting["renewal"] == 0


async def test_a_ca_whose_windows_are_always_in_the_past_makes_no_circle_of_renewals(tmp_path, ca):
    async with Issuing(tmp_path, ca) as issuing:
        await issuing.obtain(NAME)
        ca.newer.suggest_all(issuing.time() - DAY, issuing.time() - 1)
        ca.newer.retry_after = 60
        await issuing.pass_by(2 * DAY, every=1_800)
        assert 3 <= ca.count("newOrder") <= 4, "one more at once, then one a day"


class Bare:
    """Pebble without the proxy, for `Issuing`."""

    def __init__(self, pebble):
        self.directory, self.ca_bundle = pebble.directory, pebble.ca_bundle
        self.under_way, self.stirred, self.clock = 0, 0.0, None


@pytest.mark.parametrize("way", ["pebble", "proxy"])
async def test_renewal_information_of_whichever_ca_has_it_is_read_and_its_orders_replace(tmp_path, ca, way):
    """Debian's pebble has none, a newer one on PATH has."""
    async with contextlib.AsyncExitStack() as stack:
        if way == "pebble":
            ca = Bare(await stack.enter_async_context(Pebble(tmp_path, environ={"PEBBLE_VA_ALWAYS_VALID": "1"})))
        issuing = await stack.enter_async_context(Issuing(tmp_path, ca))
        assert (await issuing.obtain(NAME)).ok
        if not issuing.issuer.replaces:
            pytest.skip("this pebble has no renewal information")
        first = await current(issuing)
        found = await issuing.issuer.suggestion(first.chain)
        assert found is not None
        assert first.not_before <= found.start < found.end <= first.not_after
        await issuing.windows.look()
        planned = await current(issuing)
        assert found.start <= planned.renew_at <= found.end
        assert planned.info_at > issuing.time()
        await issuing.store.set_renewal(first.id, 0.0)
        await issuing.upkeep.renew_due()
        await issuing.idle()
        assert (await current(issuing)).id != first.id
        assert issuing.issuance.queue().left.by_kind["renewal"] == 0, "the CA took it as a replacement, which it does not count"
