"""Whose turn it is: visitors first, workspaces in turns, kinds by their shares."""

import collections
import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.issuance.budget import KINDS, Ask, Budget, Limit
from edgeproxy.control.issuance.queue import LANES, Entry, Queue
from tests.control.issuance.test_budget import most_in_any_window, rules, small


def always(_lane):
    return True


def entry(name, workspace="ws", kind="new", **more):
    domain = ".".join(name.split(".")[-2:])
    ask = Ask(name, domain, kind, **{field: more.pop(field) for field in ("renewal", "replaces") if field in more})
    return Entry(ask, workspace, 0.0, **more)


def queue(*entries, limits=None, now=0.0):
    made = Queue(Budget(limits or rules(orders=0)))
    for each in entries:
        made.add(each, now)
    return made


def order_of(made, now=0.0, *, budget=None):
    """Takes all that may go now; their names."""
    taken = []
    while (one := made.take(now, always)) is not None:
        if budget is not None and made.lane(one) != "free":
            budget.spend(one.ask, now)
        taken.append(one.name)
    return taken


# Order


def test_workspaces_take_turns_however_many_names_each_brings():
    made = queue(*(entry(f"a{n}.example.com", "a") for n in range(4)), entry("b.example.net", "b"), entry("c.example.org", "c"))
    assert order_of(made) == [
        "a0.example.com",
        "b.example.net",
        "c.example.org",
        "a1.example.com",
        "a2.example.com",
        "a3.example.com",
    ]


def test_a_name_that_a_visitor_waits_for_comes_first_then_one_that_had_visitors():
    made = queue(
        entry("unseen.example.com", "a"), entry("seen.example.com", "b", visited=True), entry("watched.example.com", "c")
    )
    made.visit("watched.example.com", 3)
    assert order_of(made) == ["watched.example.com", "seen.example.com", "unseen.example.com"]


def test_a_visitor_who_left_is_remembered():
    made = queue(entry("a.example.com", "a"), entry("b.example.com", "b"), entry("c.example.com", "c"))
    made.visit("b.example.com", 1)
    made.visit("c.example.com", 1)
    made.visit("b.example.com", 0)
    assert order_of(made) == ["c.example.com", "b.example.com", "a.example.com"]


def test_within_a_workspace_the_most_urgent_comes_first():
    made = queue(*(entry(f"n{n}.example.com", urgency=float(-n)) for n in range(3)))
    assert order_of(made) == ["n2.example.com", "n1.example.com", "n0.example.com"]


def test_what_sleeps_is_not_served_before_its_time():
    made = queue(entry("a.example.com", not_before=50.0), entry("b.example.com"))
    assert order_of(made, 10.0) == ["b.example.com"]
    assert made.next_at(10.0, always) == 50.0
    assert order_of(made, 50.0) == ["a.example.com"]
    assert made.next_at(50.0, always) == math.inf


def test_a_lane_without_room_waits_and_holds_up_no_other():
    made = queue(entry("a.example.com"), entry("b.example.com", kind="renewal"))
    assert made.take(0.0, lambda lane: lane != "new").name == "b.example.com"
    assert made.take(0.0, lambda lane: lane != "new") is None
    assert made.next_at(0.0, lambda lane: lane != "new") == math.inf
    assert made.take(0.0, always).name == "a.example.com"


def test_an_order_that_is_placed_already_needs_no_budget():
    limits = small(1, 100.0, burst=1)
    made = queue(entry("a.example.com"), entry("b.example.com", free=True), entry("c.example.com"), limits=limits)
    budget = made._budget
    assert order_of(made, budget=budget) == ["b.example.com", "a.example.com"]
    made.release("c.example.com", 1.0)
    assert order_of(made, 1.0) == ["c.example.com"]


def test_a_name_that_becomes_urgent_while_it_waits_goes_before_the_others():
    made = queue(*(entry(f"{n}.example.com", urgency=float(n)) for n in range(1, 5)), limits=small(1, 100.0, burst=1))
    made.hurry("4.example.com", 0.5)
    made.hurry("1.example.com", 9.0)
    made.hurry("none.example.com", 0.0)
    assert order_of(made, budget=made._budget) == ["4.example.com"]
    made.hurry("3.example.com", 1.5)
    assert [order_of(made, at, budget=made._budget) for at in (100.0, 200.0, 300.0)] == [
        ["1.example.com"],
        ["3.example.com"],
        ["2.example.com"],
    ]


def test_a_renewal_that_the_ca_does_not_count_goes_beside_the_others():
    made = queue(limits=small(1, 100.0, burst=1))
    made._budget.spend(entry("a.example.com").ask, 0.0)
    made.add(entry("b.example.com", kind="renewal", renewal=True), 0.0)
    made.add(entry("c.example.com", kind="renewal", renewal=True, replaces=True), 0.0)
    assert order_of(made) == ["c.example.com"]


def test_a_full_registered_domain_lets_the_other_names_of_its_workspace_go_on():
    names = [entry(f"n{n}.example.com", "a") for n in range(60)]
    made = queue(*names, entry("shop.example.net", "a"), limits=rules(burst=300))
    taken = order_of(made, budget=made._budget)
    assert len(taken) == 51
    assert taken[-1] == "shop.example.net"
    assert len(made) == 10
    turn = made.turn("n59.example.com", 10.0)
    assert turn.expected >= 7 * 86400
    assert "limit" in turn.reason
    week = 7 * 86400.0
    assert len(order_of(made, week, budget=made._budget)) == 10


# Shares


def simulate(made, budget, until, *, arrivals=(), work=lambda one, now: None):
    """Time goes from event to event; who was served when."""
    served, now, arrivals = [], 0.0, sorted(arrivals, key=lambda pair: pair[0])
    while now <= until:
        while arrivals and arrivals[0][0] <= now:
            made.add(arrivals.pop(0)[1], now)
        while (one := made.take(now, always)) is not None:
            if made.lane(one) != "free":
                budget.spend(one.ask, now)
            served.append((now, one))
            work(one, now)
        next_at = min(made.next_at(now, always), arrivals[0][0] if arrivals else math.inf)
        if next_at == math.inf:
            break
        now = max(next_at, now + 0.001)
    return served


def test_two_thousand_names_at_once_are_all_served_in_a_fair_order():
    names = [(f"n{n}.big{n}.com", "big") for n in range(1000)]
    names += [(f"n{n}.w{w}-{n}.com", f"w{w}") for w in range(39) for n in range(1000 // 39 + 1)]
    random.Random(4).shuffle(names)
    limits = rules()
    made = queue(*(entry(name, workspace) for name, workspace in names), limits=limits)
    served = simulate(made, made._budget, 40 * 86400)
    assert len(served) == len(names)
    assert most_in_any_window([at for at, _ in served], limits.orders.window) <= 300
    # as long as others wait, the workspace that brought a thousand has no more turns than each of them
    count = collections.Counter[str]()
    for place, (_, one) in enumerate(served[:1000]):
        count[one.workspace] += 1
        if place % 40 == 39:
            assert max(count.values()) - min(count[f"w{w}"] for w in range(39)) <= 1, place
    assert served[-1][0] < 2000 / 300 * 3 * 3600 * 1.3, "the budget is used"


def test_a_flood_of_new_names_leaves_renewals_and_retries_their_shares():
    limits = rules(certificates=0)
    arrivals = [(float(n), entry(f"r{n}.example.com", "r", "renewal")) for n in range(0, 80_000, 60)]
    arrivals += [(float(n), entry(f"t{n}.example.com", "t", "retry")) for n in range(0, 80_000, 60)]
    made = queue(*(entry(f"n{n}.example.com") for n in range(5000)), limits=limits)
    served = simulate(made, made._budget, 80_000, arrivals=arrivals)
    late = collections.Counter(one.ask.kind for at, one in served if at > 20_000)
    total = sum(late.values())
    assert late["new"] / total == pytest.approx(0.6, abs=0.07)
    assert late["renewal"] / total == pytest.approx(0.3, abs=0.07)
    assert late["retry"] / total == pytest.approx(0.1, abs=0.05)


def test_renewals_and_retries_alone_may_use_what_nobody_else_does():
    made = queue(*(entry(f"t{n}.example.com", kind="retry") for n in range(500)), limits=rules(certificates=0))
    served = simulate(made, made._budget, 3 * 3600 - 1)
    assert len(served) > 200


def test_a_visitor_goes_before_everybody_else_within_the_share_of_its_kind():
    limits = rules(certificates=0)
    made = queue(*(entry(f"r{n}.example.com", "r", "renewal") for n in range(1000)), limits=limits)
    simulate(made, made._budget, 500.0)
    visitor = entry("visitor.example.com", "v")
    made.add(visitor, 501.0)
    made.visit(visitor.name, 1)
    turn = made.turn(visitor.name, 501.0)
    assert turn.position == 1
    assert turn.expected <= 501.0 + 60
    now = made.next_at(501.0, always)
    assert made.take(now, always).name == visitor.name


def test_visitors_do_not_take_the_shares_of_the_others():
    limits = rules(certificates=0)
    made = queue(*(entry(f"n{n}.example.com") for n in range(2000)), limits=limits)
    for n in range(2000):
        made.visit(f"n{n}.example.com", 1)
    made.add(entry("r.example.com", "r", "renewal"), 0.0)
    for n in range(40):
        made.add(entry(f"r{n}.example.com", "r", "renewal"), 0.0)
    served = simulate(made, made._budget, 6 * 3600)
    assert sum(one.ask.kind == "renewal" for _, one in served) == 41


# Places


def test_a_full_queue_takes_a_place_from_the_workspace_that_has_most():
    made = queue(*(entry(f"a{n}.example.com", "a") for n in range(5)), entry("b.example.net", "b"))
    made.visit("a4.example.com", 1)
    assert made.make_room("c").name == "a3.example.com"
    assert made.make_room("b").name == "a2.example.com"
    assert made.make_room("a") is None
    assert len(made) == 4
    assert queue().make_room("a") is None


def test_in_a_full_queue_a_name_with_a_visitor_takes_the_place_of_one_of_its_own_workspace_that_had_none():
    made = queue(*(entry(f"a{n}.example.com", "a", visited=n == 1) for n in range(3)))
    assert made.make_room("a") is None
    assert made.make_room("a", visited=True).name == "a2.example.com"
    assert made.make_room("a", visited=True).name == "a0.example.com"
    assert made.make_room("a", visited=True) is None
    assert queue().make_room("a", visited=True) is None


def test_who_has_to_wait_again_keeps_its_place():
    made = queue(*(entry(f"n{n}.example.com") for n in range(3)))
    first = made.take(0.0, always)
    first.not_before = 5.0
    made.add(first, 0.0)
    assert made.take(0.0, always).name == "n1.example.com"
    assert order_of(made, 5.0) == ["n0.example.com", "n2.example.com"]


def test_a_name_is_told_where_it_stands():
    made = queue(*(entry(f"a{n}.example.com", "a") for n in range(3)), *(entry(f"b{n}.example.net", "b") for n in range(3)))
    places = {name: made.turn(name, 0.0).position for name in (one.name for one in made)}
    assert places == {
        "a0.example.com": 1,
        "a1.example.com": 3,
        "a2.example.com": 5,
        "b0.example.net": 2,
        "b1.example.net": 4,
        "b2.example.net": 6,
    }
    assert order_of(made) == sorted(places, key=lambda name: places[name])
    assert made.turn("a0.example.com", 0.0) is None


def test_who_waits_is_counted_by_kind():
    made = queue(entry("a.example.com"), entry("b.example.com", kind="retry", not_before=9.0))
    assert made.waiting() == {"new": 1, "renewal": 0, "retry": 1}
    assert made.get("b.example.com").not_before == 9.0
    made.remove("b.example.com")
    made.remove("b.example.com")
    assert len(made) == 1


# Whatever happens


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "take", "visit", "leave", "remove", "release", "hurry", "wait", "again"]),
        st.integers(0, 15),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(KINDS),
        st.floats(0, 60, allow_nan=False),
    ),
    max_size=120,
)


@given(steps)
def test_nobody_is_lost_or_served_twice_whatever_happens(taken_steps):
    budget = Budget(dataclasses.replace(small(6, 50.0, burst=3), certificates=Limit(4, 80.0)))
    made, now = Queue(budget), 0.0
    waiting, busy, spent = {}, {}, []
    for what, number, workspace, kind, seconds in taken_steps:
        name = f"n{number}.d{number % 3}.com"
        if what == "add" and name not in waiting and name not in busy:
            waiting[name] = entry(name, workspace, kind, not_before=seconds if number % 4 == 0 else 0.0)
            made.add(waiting[name], now)
        elif what == "take" and (one := made.take(now, always)) is not None:
            assert one.not_before <= now
            assert one is waiting.pop(one.name)
            busy[one.name] = one
            if not one.free:
                budget.spend(one.ask, now)
                spent.append(now)
        elif what in ("visit", "leave"):
            made.visit(name, 1 if what == "visit" else 0)
        elif what == "remove":
            assert (made.remove(name) is None) is (waiting.pop(name, None) is None)
        elif what == "release":
            made.release(name, now)
        elif what == "hurry":
            made.hurry(name, seconds - 30)
        elif what == "again" and busy:
            one = busy.popitem()[1]
            one.not_before, one.free = now + seconds, False
            waiting[one.name] = one
            made.add(one, now)
        elif what == "wait":
            now += seconds
        assert {one.name for one in made} == waiting.keys()
        assert sum(ring.count for lane in LANES for ring in made._rings[lane]) == sum(
            one.place is not None for one in waiting.values()
        )
    assert most_in_any_window(spent, 50.0) <= 6
    for _ in range(10_000):
        if not waiting:
            break
        while (one := made.take(now, always)) is not None:
            del waiting[one.name]
            if not one.free:
                budget.spend(one.ask, now)
        next_at = made.next_at(now, always)
        assert waiting.keys() == {one.name for one in made}
        assert not waiting or next_at < math.inf, "whoever waits has a time at which it is looked at"
        now = max(next_at, now + 0.001) if waiting else now
    assert not waiting


def test_what_went_away_while_it_slept_leaves_nothing_behind():
    made = queue()
    for number in range(5000):
        made.add(entry(f"n{number}.example.com", not_before=1e9), 0.0)
        made.remove(f"n{number}.example.com")
    assert len(made._sleeping) < 200
