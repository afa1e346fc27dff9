"""What is spent is written down with the order, and what became of it is known after a restart."""

import pytest

from edgeproxy.config.issuance import Budget, Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.budget import Ask
from edgeproxy.control.issuance.issuer import NotNow
from edgeproxy.control.issuance.ledger import BREATH_SECONDS, LOOK_AGAIN_SECONDS, Ledger
from edgeproxy.control.store import Order
from edgeproxy.control.store import turns as store_turns
from edgeproxy.errors import IssuanceError
from tests.control.issuance.simulated import DIRECTORY, START, Clock
from tests.control.store.making import DAY, opened

NAME = "a.example.com"
HOUR = 3600.0


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path) as store:
        yield store


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(store, clock):
    async def make(machine="m1", directory=DIRECTORY, **budget):
        config = Config(issuance=Issuance(directory=directory, budget=Budget(**budget)))
        ledger = Ledger(config, store, directory, machine, clock)
        await ledger.open()
        return ledger

    return make


def ask(name=NAME, kind="new", **more):
    return Ask(name, ".".join(name.split(".")[-2:]), kind, **more)


def order(name=NAME, url="", step="new", key=b"key"):
    return Order(hostname=name, directory=DIRECTORY, url=url, step=step, key=key, started_at=START)


async def begun(ledger, one=None, **more):
    one = one or ask()
    purse = ledger.reserve(one, free=False)
    await ledger.begin(order(one.name), purse, unless_issued=True, **more)
    return purse


def left(ledger):
    return ledger.budget.left(ledger._clock()).left


async def rows(store):
    return [(row.what, row.name) for row in await store.list_spent(DIRECTORY, 0.0, 0, 100)]


def refused(problem="connection", challenge="http-01", **more):
    return CaRefused("It did not work.", problem=problem, challenge=challenge, status=400, **more)


async def test_an_order_is_spent_when_it_is_begun_and_known_to_the_next_process(store, make):
    ledger = await make()
    purse = await begun(ledger)
    await ledger.settle(purse, None)
    assert left(ledger) == 299
    assert await rows(store) == [("order", NAME)]
    assert left(await make()) == 299
    assert left(await make("m2")) == 299
    assert left(await make(directory="https://other.example/dir")) == 300


async def test_what_was_reserved_and_not_used_is_taken_back(store, make):
    ledger = await make()
    purse = ledger.reserve(ask(), free=False)
    assert left(ledger) == 299
    await ledger.settle(purse, None)
    assert left(ledger) == 300
    assert await rows(store) == []
    assert ledger.reserve(ask(), free=True).reserved is None


async def test_an_order_that_the_ca_never_took_costs_nothing(store, make):
    ledger = await make()
    purse = await begun(ledger)
    await store.save_order(order(step="wanted"), START)
    await ledger.settle(purse, refused("unreachable", ""))
    assert left(ledger) == 300
    assert await rows(store) == []


async def test_a_wish_that_took_the_place_of_a_failed_order_does_not_undo_it(store, make):
    ledger = await make()
    purse = await begun(ledger)
    await store.save_order(order(step="wanted", key=b"another"), START)
    await ledger.settle(purse, refused("unreachable", ""))
    assert left(ledger) == 299


async def test_an_order_whose_answer_was_lost_may_have_been_taken(store, make):
    ledger = await make()
    purse = await begun(ledger)
    await ledger.settle(purse, refused("lost", ""))
    assert left(ledger) == 299
    assert await rows(store) == [("order", NAME)]


async def test_an_order_that_is_still_there_may_yet_become_a_certificate(store, make):
    ledger = await make()
    purse = await begun(ledger)
    await store.save_order(order(url="https://ca.example/order/1"), START)
    await ledger.settle(purse, refused("slow", ""))
    assert await rows(store) == [("order", NAME)]


async def test_orders_whose_answers_were_lost_do_not_count_as_certificates_once_another_was_made(store, make):
    """A CA that answers 500 to every order would else use up what the same name may have in a week."""
    ledger = await make(duplicates=2)
    for _ in range(4):
        await ledger.claim(NAME)
        purse = await begun(ledger)
        await ledger.settle(purse, refused("serverInternal", ""))
        await store.finish(NAME, ledger.holder)
    assert [what for what, _ in await rows(store)] == ["failed", "failed", "failed", "order"]
    assert left(ledger) == 296, "the CA may have counted them as orders"
    for each in (ledger, await make(duplicates=2)):
        assert each.budget.name_free_at(ask(), START) <= START
    await ledger.claim(NAME)
    purse = await begun(ledger)
    await ledger.settle(purse, None)
    await store.finish(NAME, ledger.holder, succeeded=True)
    await ledger.claim(NAME)
    await ledger.settle(await begun(ledger, ask(renewal=True)), None)
    for each in (ledger, await make(duplicates=2)):
        assert each.budget.name_free_at(ask(), START) == START + 7 * DAY, "two certificates"


async def test_a_failed_validation_counts_for_its_name(store, make):
    ledger = await make(failures=1)
    purse = await begun(ledger)
    await store.delete_order(NAME)
    await ledger.settle(purse, refused())
    assert await rows(store) == [("failed", NAME), ("validation", NAME)]
    assert ledger.budget.name_free_at(ask(), START) == START + HOUR
    assert (await make(failures=1)).budget.name_free_at(ask(), START) == START + HOUR


async def test_a_failed_validation_of_an_order_from_before_counts_too(store, make):
    ledger = await make(failures=1)
    await ledger.settle(ledger.reserve(ask(), free=True), refused())
    assert await rows(store) == [("validation", NAME)]


async def test_a_failure_that_was_no_validation_is_only_an_order_without_a_certificate(store, make):
    ledger = await make(duplicates=1)
    purse = await begun(ledger)
    await store.delete_order(NAME)
    await ledger.settle(purse, IssuanceError("The order is gone."))
    assert await rows(store) == [("failed", NAME)]
    assert ledger.budget.name_free_at(ask(), START) <= START
    assert left(ledger) == 299


async def test_a_second_order_for_another_challenge_is_paid_for_too(store, make):
    ledger = await make()
    purse = await begun(ledger)
    await store.delete_order(NAME)
    await ledger.begin(order(), purse, unless_issued=True)
    await ledger.settle(purse, None)
    assert await rows(store) == [("failed", NAME), ("validation", NAME), ("order", NAME)]
    assert left(ledger) == 298


async def test_a_second_order_that_cannot_be_paid_for_waits_and_the_first_failure_counts_once(store, make):
    ledger = await make(failures=1)
    purse = await begun(ledger)
    await store.delete_order(NAME)
    with pytest.raises(NotNow) as caught:
        await ledger.begin(order(), purse, unless_issued=True)
    assert caught.value.until == START + HOUR
    await ledger.settle(purse, refused())
    assert await rows(store) == [("failed", NAME), ("validation", NAME)]


async def test_a_second_order_asks_no_pace_and_no_share(make):
    ledger = await make(orders=10, burst=1)
    purse = await begun(ledger)
    assert ledger.budget.account_free_at("new", START) > START
    await ledger.begin(order(), purse, unless_issued=True)


async def test_a_renewal_that_the_ca_does_not_count_is_not_written_down(store, make):
    ledger = await make()
    purse = await begun(ledger, ask(kind="renewal", renewal=True, replaces=True))
    await store.delete_order(NAME)
    await ledger.settle(purse, refused())
    assert await rows(store) == [("validation", NAME)]
    assert left(ledger) == 300


async def test_what_another_machine_spent_meanwhile_is_seen_before_an_order_is_made(store, make):
    one, other = await make("m1", orders=2, burst=2), await make("m2", orders=2, burst=2)
    await begun(one, ask("a.example.com"))
    await begun(one, ask("b.example.net"))
    assert left(other) == 2, "it does not know yet"
    with pytest.raises(NotNow) as caught:
        await begun(other, ask("c.example.org"))
    assert caught.value.until == START + 3 * HOUR
    assert left(other) == 0
    assert len(await rows(store)) == 2
    assert await store.order_for("c.example.org") is None


async def test_a_name_that_another_machine_works_on_is_looked_at_again_soon(make, clock):
    one, other = await make("m1"), await make("m2")
    await begun(one)
    with pytest.raises(NotNow, match="another machine obtains it") as caught:
        await other.claim(NAME)
    assert caught.value.until == START + LOOK_AGAIN_SECONDS
    with pytest.raises(NotNow) as caught:
        await begun(other)
    assert caught.value.until == START + LOOK_AGAIN_SECONDS
    assert left(other) == 300, "what it reserved it has taken back"
    clock.now += 61
    with pytest.raises(NotNow) as caught:
        await begun(other)
    assert caught.value.until == clock.now + BREATH_SECONDS, "the order is there, and is to be continued"
    await other.claim(NAME)
    await begun(other)


async def test_what_the_ca_put_off_is_known_to_the_next_process(make, clock):
    ledger = await make()
    said = 'too many certificates (50) already issued for "example.com" in the last 168h0m0s'
    wait = await ledger.put_off(refused("rateLimited", "", retry_after=7200.0, said=said), ask())
    assert wait.until == START + 7200
    assert wait.reason == f"the CA's rate limit is reached (the CA says: {said})"
    for each in (ledger, await make()):
        assert each.budget.name_free_at(ask("b.example.com"), START) == START + 7200
        assert each.budget.name_free_at(ask("b.example.net"), START) <= START
        assert each.budget.why(ask("b.example.com"), START) == wait.reason
        assert each.budget.why(ask("b.example.net"), START) == ""
    wait = await ledger.put_off(refused("rateLimited", "", retry_after=60.0, said="too many new orders."), ask())
    assert wait.reason.endswith("(the CA says: too many new orders)")
    assert wait.until == START, "the whole account waits, so that the name keeps its place"
    assert (await make()).budget.account_free_at("new", START) == START + 60
    clock.now += 7200
    await ledger.prune()
    assert not ledger.budget._blocks


async def test_what_the_ca_put_off_while_the_clock_was_ahead_is_not_taken_over(make, clock):
    clock.now += 366 * 86_400
    await (await make()).put_off(refused("rateLimited", "", retry_after=600.0, said="too many new orders"), ask())
    clock.now = START
    assert (await make()).budget.account_free_at("new", START) <= START


async def test_what_the_ca_put_off_is_learnt_by_other_machines(make):
    one, other = await make("m1"), await make("m2")
    await one.put_off(refused("rateLimited", "", retry_after=600.0, said="too many new orders"), ask())
    assert other.budget.account_free_at("new", START) <= START
    await other.prune()
    assert other.budget.account_free_at("new", START) == START + 600


async def test_what_no_longer_counts_is_dropped(store, make, clock):
    ledger = await make()
    await begun(ledger)
    clock.now += 8 * DAY
    await ledger.prune()
    assert await rows(store) == []
    assert left(ledger) == 300


async def test_a_clock_that_was_ahead_does_not_spend_for_ever(store, make, clock):
    clock.now += 365 * DAY
    await begun(await make())
    clock.now = START
    ledger = await make()
    assert left(ledger) == 299
    clock.now += 3 * HOUR
    assert left(ledger) == 300


async def test_many_rows_are_read_page_by_page(make, monkeypatch):
    ledger = await make()
    for number in range(7):
        await begun(ledger, ask(f"n{number}.example.com"))
    monkeypatch.setattr("edgeproxy.control.issuance.ledger.PAGE", 2)
    assert left(await make()) == 293
    assert store_turns.MAX_SPENT > 7


async def test_the_built_in_ca_asks_nobody(store, make):
    ledger = await make(directory="internal")
    assert ledger.alone
    await ledger.claim(NAME)
    await ledger.settle(ledger.reserve(ask(), free=False), None)
    assert await rows(store) == []
