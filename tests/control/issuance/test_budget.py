"""A CA's limits: never above one in any window, whoever asks for what and when."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.issuance import Budget as Settings
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.budget import KEPT, KINDS, Ask, Budget, Limit, Rules, Spent, Window, rules_of

HOUR, DAY = 3600.0, 86_400.0
DIRECTORY = "https://ca.example/dir"


def rules(**settings):
    return rules_of(Config(issuance=Issuance(directory=DIRECTORY, budget=Settings(**settings))))


def small(orders=10, window=100.0, burst=4, **limits):
    """Rules in which little is much."""
    given = {"certificates": Limit(0, 1.0), "failures": Limit(0, 1.0), "duplicates": Limit(0, 1.0)} | limits
    shares = tuple(zip(KINDS, (60, 30, 10), strict=True))
    return Rules(Limit(orders, window), **given, burst=burst, exempt="replaces", shares=shares)


def ask(name="a.example.com", kind="new", **more):
    return Ask(name, ".".join(name.split(".")[-2:]), kind, **more)


def most_in_any_window(times, window):
    times = sorted(times)
    return max((sum(at <= other < at + window for other in times) for at in times), default=0)


def may(budget, one, now):
    counts = budget.counts(one)
    return budget.account_free_at(one.kind, now, counts=counts) <= now and budget.name_free_at(one, now) <= now


def place(budget, asks, now):
    """Spends on each that may be; their number."""
    count = 0
    for one in asks:
        if may(budget, one, now):
            budget.spend(one, now)
            count += 1
    return count


# What is configured


def test_the_defaults_are_those_of_lets_encrypt():
    found = rules()
    assert found.orders == Limit(300, 3 * HOUR)
    assert found.certificates == Limit(50, 7 * DAY)
    assert found.failures == Limit(5, HOUR)
    assert found.duplicates == Limit(5, 7 * DAY)
    assert found.exempt == "replaces"
    assert found.longest == 7 * DAY


def test_the_built_in_ca_has_no_limits():
    budget = Budget(rules_of(Config(issuance=Issuance(directory="internal"))))
    assert place(budget, [ask(f"n{n}.example.com") for n in range(1000)], 0.0) == 1000
    assert budget.left(0.0).limit == 0


def test_a_limit_of_0_is_none():
    budget = Budget(rules(orders=0, certificates=0, failures=0, duplicates=0))
    assert place(budget, [ask() for _ in range(1000)], 0.0) == 1000


# Windows


@given(st.integers(1, 6), st.lists(st.floats(0, 50, allow_nan=False), max_size=60))
def test_a_window_never_holds_more_than_its_limit(count, gaps):
    window, now, taken = Window(Limit(count, 60.0)), 0.0, []
    for gap in gaps:
        now += gap
        if window.free_at(now) <= now:
            window.add(now)
            taken.append(now)
    assert most_in_any_window(taken, 60.0) <= count


@given(st.integers(1, 5), st.lists(st.floats(0, 200, allow_nan=False), min_size=1, max_size=30))
def test_a_window_says_exactly_from_when_it_has_room(count, times):
    window = Window(Limit(count, 60.0))
    for at in sorted(times):
        if window.free_at(at) <= at:
            window.add(at)
    now = max(times)
    free = window.free_at(now)
    before = free - 0.001
    assert before <= now or window.free_at(before) > before
    assert free <= now or window.free_at(free) <= free


def test_what_another_machine_spent_earlier_finds_its_place():
    window = Window(Limit(2, 60.0))
    window.add(100.0)
    window.add(50.0)
    assert window.free_at(101.0) == 110.0


# Orders


kinds = st.sampled_from(KINDS)
wishes = st.lists(st.tuples(st.floats(0, 40, allow_nan=False), kinds, st.integers(0, 5)), max_size=150)


@given(st.integers(1, 40), st.integers(1, 60), wishes)
def test_orders_never_exceed_the_limit_in_any_window(orders, burst, asked):
    budget, now, spent = Budget(small(orders, 100.0, max(1, min(burst, orders)))), 0.0, []
    for gap, kind, more in asked:
        now += gap
        for _ in range(more):
            if may(budget, ask(kind=kind), now):
                budget.spend(ask(kind=kind), now)
                spent.append(now)
    assert most_in_any_window(spent, 100.0) <= orders


@given(wishes)
def test_no_burst_is_larger_than_configured(asked):
    budget, now = Budget(small(40, 100.0, burst=7)), 0.0
    for gap, kind, _ in asked:
        now += gap
        assert place(budget, [ask(kind=kind) for _ in range(50)], now) <= 7


@given(st.integers(4, 400), wishes, kinds)
def test_what_is_kept_of_a_share_is_there_whatever_the_others_took(orders, asked, kind):
    """Within the pace: never is a kind that has spent less than its kept part held up by the window."""
    budget, now = Budget(small(orders, 100.0, burst=orders)), 0.0
    budget._orders.interval = budget._orders.slack = 0.0  # the pace apart, which holds up all alike
    share = dict(budget.rules.shares)[kind]
    for gap, _, _ in asked:
        now += gap
        place(budget, [ask(kind=other) for other in KINDS if other != kind for _ in range(orders)], now)
        if budget._orders.used[kind] < orders * share // (100 * KEPT):
            assert budget.account_free_at(kind, now) <= now
            budget.spend(ask(kind=kind), now)


def test_unused_shares_are_lent_but_for_what_is_kept():
    budget = Budget(small(400, 100.0, burst=400))
    assert place(budget, [ask() for _ in range(1000)], 0.0) == 400 - 30 - 10
    assert place(budget, [ask(kind="renewal") for _ in range(1000)], 0.0) == 30
    assert place(budget, [ask(kind="retry") for _ in range(1000)], 0.0) == 10
    assert budget.left(0.0).left == 0


def test_orders_after_the_burst_are_spread_over_the_window():
    budget = Budget(rules())
    asks = [ask(f"n{n}.d{n}.com") for n in range(2000)]
    assert place(budget, asks, 0.0) == 100
    assert place(budget, asks, 35.0) == 0
    assert place(budget, asks, 36.0) == 1
    assert place(budget, asks, 36.0 * 11) == 10


def test_it_says_from_when_an_order_may_be_placed():
    budget = Budget(small(10, 100.0, burst=10))
    assert place(budget, [ask() for _ in range(20)], 5.0) == 10
    free = budget.account_free_at("new", 6.0)
    assert free == 105.0
    assert place(budget, [ask() for _ in range(20)], free - 0.01) == 0
    assert place(budget, [ask() for _ in range(20)], free) >= 1


def test_an_order_that_the_ca_never_took_is_taken_back():
    budget = Budget(small(2, 100.0, burst=2, duplicates=Limit(1, 100.0), certificates=Limit(1, 100.0)))
    spent = budget.spend(ask(), 0.0)
    assert spent is not None
    assert not may(budget, ask(), 1.0)
    budget.take_back(spent)
    assert may(budget, ask(), 1.0)
    assert budget.left(1.0).left == 2


def test_an_order_without_a_certificate_counts_as_an_order_only():
    budget = Budget(small(2, 100.0, burst=2, duplicates=Limit(1, 100.0), certificates=Limit(1, 100.0)))
    spent = budget.spend(ask(), 0.0)
    assert spent is not None
    budget.failed(spent)
    assert may(budget, ask(), 1.0)
    assert budget.left(1.0).left == 1


# Names and registered domains


def test_certificates_of_one_registered_domain_are_limited_and_others_are_not_held_up():
    budget = Budget(rules(burst=300))
    assert place(budget, [ask(f"n{n}.example.com") for n in range(100)], 0.0) == 50
    assert place(budget, [ask(f"n{n}.example.net") for n in range(10)], 0.0) == 10
    assert budget.name_free_at(ask("x.example.com"), 10.0) == 7 * DAY
    assert budget.left(10.0).domains_full == 1


def test_the_same_name_is_limited():
    budget = Budget(rules(certificates=0))
    assert place(budget, [ask()] * 10, 0.0) == 5
    assert may(budget, ask("b.example.com"), 0.0)


def test_failed_validations_hold_up_their_name_until_the_window_has_passed():
    budget = Budget(rules())
    for at in range(5):
        budget.learn(Spent("validation", float(at), "a.example.com"))
    assert budget.name_free_at(ask(), 10.0) == HOUR
    assert may(budget, ask("b.example.com"), 10.0)
    assert may(budget, ask(), HOUR)


@pytest.mark.parametrize(
    ("exempt", "one", "orders", "certificates"),
    [
        ("none", ask(kind="renewal", renewal=True, replaces=True), False, False),
        ("replaces", ask(kind="renewal", renewal=True), False, False),
        ("replaces", ask(kind="renewal", renewal=True, replaces=True), True, True),
        ("renewals", ask(kind="renewal", renewal=True), True, False),
        ("renewals", ask(kind="retry", renewal=True), True, False),
        ("renewals", ask(kind="new"), False, False),
    ],
)
def test_what_the_ca_does_not_count_is_not_counted(exempt, one, orders, certificates):
    budget = Budget(dataclasses.replace(small(3, 100.0, burst=3, duplicates=Limit(2, 100.0)), exempt=exempt))
    while may(budget, one, 0.0) and budget.left(0.0).left == 3:
        if budget.spend(one, 0.0) is None:
            break
    assert (budget.left(0.0).left == 3) is orders
    budget = Budget(dataclasses.replace(small(0, duplicates=Limit(2, 100.0)), exempt=exempt))
    assert (place(budget, [one] * 5, 0.0) == 5) is certificates


@pytest.mark.parametrize(("exempt", "count"), [("none", 3), ("replaces", 5), ("renewals", 5)])
def test_renewals_do_not_count_for_their_registered_domain(exempt, count):
    limits = small(0, certificates=Limit(3, 100.0))
    budget = Budget(dataclasses.replace(limits, exempt=exempt))
    asks = [ask(f"n{n}.example.com", "renewal", renewal=True) for n in range(5)]
    assert place(budget, asks, 0.0) == count
    assert place(budget, [ask(f"m{n}.example.com") for n in range(5)], 0.0) == (0 if exempt == "none" else 3)
    assert place(budget, asks, 1.0) == (0 if exempt == "none" else 5), "not even where it is full"


# What the CA says


def test_what_the_ca_put_off_waits_for_as_long_and_nothing_else_does():
    budget = Budget(rules())
    budget.block("name", "a.example.com", 100.0)
    budget.block("domain", "example.net", 200.0)
    assert budget.name_free_at(ask(), 0.0) == 100.0
    assert budget.name_free_at(ask("b.example.net"), 0.0) == 200.0
    assert may(budget, ask("b.example.com"), 0.0)
    budget.block("account", "", 300.0)
    assert budget.account_free_at("renewal", 0.0) == 300.0
    assert budget.account_free_at("renewal", 0.0, counts=False) == 300.0
    assert may(budget, ask(), 300.0)


def test_a_shorter_word_of_the_ca_does_not_undo_a_longer_one():
    budget = Budget(rules())
    budget.block("account", "", 300.0)
    budget.block("account", "", 100.0)
    assert budget.account_free_at("new", 0.0) == 300.0


# Growth


def test_what_no_longer_counts_is_forgotten():
    budget = Budget(rules(orders=0))
    for number in range(1000):
        budget.spend(ask(f"n{number}.d{number}.com"), 0.0)
        budget.learn(Spent("validation", 0.0, f"n{number}.d{number}.com"))
        budget.block("name", f"n{number}", 5.0)
    budget.forget(7 * DAY)
    assert [len(each) for each in (budget._certificates, budget._duplicates, budget._failures, budget._blocks)] == [0] * 4


def test_names_that_are_counted_have_a_bound(monkeypatch):
    monkeypatch.setattr("edgeproxy.control.issuance.budget.SUBJECTS", 10)
    monkeypatch.setattr("edgeproxy.control.issuance.budget.BLOCKS", 10)
    budget = Budget(rules(orders=0))
    budget.block("account", "", 5.0)
    for number in range(100):
        budget.spend(ask(f"n{number}.d{number}.com"), 0.0)
        budget.block("name", f"n{number}", 5.0)
    assert len(budget._certificates) == len(budget._duplicates) == len(budget._blocks) == 10
    assert budget.account_free_at("new", 0.0) == 5.0


# Telling


@pytest.mark.parametrize("already", [0, 30, 100])
def test_what_is_expected_is_about_what_happens(already):
    budget = Budget(rules())
    names = (ask(f"n{n}.d{n}.com") for n in itertools.count())
    place(budget, [next(names) for _ in range(already)], 0.0)
    now, happened = 1.0, list[float]()
    told = [budget.expected("new", position, now, alone=True) for position in range(700)]
    while len(happened) < 700:
        if may(budget, one := next(names), now):
            budget.spend(one, now)
            happened.append(now)
        else:
            now = max(budget.account_free_at("new", now), now + 0.001)
    for guess, truth in zip(told, happened, strict=True):
        assert abs(guess - truth) <= max(600.0, 0.2 * truth)


def test_what_is_left_tells_how_it_was_spent():
    budget = Budget(rules())
    place(budget, [ask(kind=kind) for kind in ("new", "new", "retry")], 0.0)
    left = budget.left(1.0)
    assert (left.limit, left.window, left.left) == (300, 3 * HOUR, 297)
    assert left.by_kind == {"new": 2, "renewal": 0, "retry": 1}
    assert budget.need("new") < budget.need("retry") < 1
