"""Handshakes that wait for a certificate: one question per name, an end for each wait, and bounds on all of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge import obtain
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.edge.obtain import Obtaining
from edgeproxy.link.messages import LinkMessage, Obtain, Obtained

WAIT = 30.0
BOUND = 5
UNKNOWN = 2


class Visitor:
    """A connection as far as waiting goes."""

    def __init__(self, name: str = "a.example", peer: str = "192.0.2.1", *, trusted: bool = False) -> None:
        self.server_name, self.peer, self.trusted = name, peer, trusted
        self.story: list[Any] = []

    def waits(self) -> None:
        self.story.append("waits")

    def waited(self) -> None:
        self.story.append("waited")

    def alert(self, alert: int, result: str) -> None:
        self.story.append((alert, result))

    def present(self, name: str) -> None:
        self.story.append(("presented", name))


class World:
    """Obtaining, and everybody around it. One clock: Unix time and the loop's time go alike."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None = None, *, linked: bool = True, bound: int = BOUND) -> None:
        self.now = 1000.0
        self.linked = linked
        self.sent: list[Obtain] = []
        self.denied: list[tuple[str, float, bool]] = []
        if monkeypatch is not None:
            monkeypatch.setattr(obtain, "time", SimpleNamespace(time=lambda: self.unix))
        self.obtaining = Obtaining(
            send=self._send,
            present=lambda connection, name: cast(Visitor, connection).present(name),
            deny=lambda *told: self.denied.append(told),
            wait=WAIT,
            bound=bound,
            unknown=UNKNOWN,
            secret=b"secret",
        )

    @property
    def unix(self) -> float:
        return self.now + 1_800_000_000

    def _send(self, message: LinkMessage) -> bool:
        if self.linked:
            self.sent.append(cast(Obtain, message))
        return self.linked

    def join(self, name: str = "a.example", peer: str = "192.0.2.1", *, known: bool = True, trusted: bool = False) -> Visitor:
        visitor = Visitor(name, peer, trusted=trusted)
        self.obtaining.join(cast(Connection, visitor), self.now, known=known)
        return visitor

    def leave(self, visitor: Visitor) -> None:
        self.obtaining.leave(cast(Connection, visitor))

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.obtaining.sweep(self.now)

    def answer(self, number: int = -1, **answer: Any) -> None:
        self.obtaining.answered(Obtained(id=self.sent[number].id, **answer))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_the_first_of_a_name_asks_and_all_of_it_wait(world: World) -> None:
    visitors = [world.join(peer=f"192.0.2.{number}") for number in range(3)]
    (question,) = world.sent
    assert (question.hostname, question.client_ip, question.deadline) == ("a.example", "192.0.2.0", world.unix + WAIT)
    assert [visitor.story for visitor in visitors] == [["waits"]] * 3
    assert world.obtaining.waiting == 3
    world.answer(ok=True)
    assert [visitor.story for visitor in visitors] == [["waits", "waited", ("presented", "a.example")]] * 3
    assert world.obtaining.waiting == 0
    assert world.denied == []


def test_each_name_has_a_question_of_its_own(world: World) -> None:
    one, other = world.join("a.example"), world.join("b.example")
    assert [question.hostname for question in world.sent] == ["a.example", "b.example"]
    assert world.sent[0].id != world.sent[1].id
    world.answer(1, ok=True)
    assert one.story == ["waits"]
    assert other.story[-1] == ("presented", "b.example")


@pytest.mark.parametrize(
    ("denied", "ending"), [(True, (UNRECOGNIZED_NAME, "denied")), (False, (INTERNAL_ERROR, "no_certificate"))]
)
def test_a_no_ends_every_wait_and_is_noted_for_as_long_as_it_counts(world: World, denied: bool, ending: object) -> None:
    visitors = [world.join(), world.join()]
    world.answer(ok=False, denied=denied, remember=60.0)
    assert [visitor.story for visitor in visitors] == [["waits", "waited", ending]] * 2
    assert world.denied == [("a.example", 60.0, denied)]
    assert world.obtaining.waiting == 0


def test_after_an_answer_the_next_visitor_asks_anew(world: World) -> None:
    world.join()
    world.answer(ok=True)
    world.join()
    assert len({question.id for question in world.sent}) == 2


def test_an_answer_to_nothing_is_nothing(world: World) -> None:
    world.join()
    world.obtaining.answered(Obtained(id=77, ok=False, denied=True, remember=60.0))
    world.answer(ok=True)
    world.answer(ok=False, denied=True, remember=60.0)  # a second one, by the controller before
    assert world.denied == []


def test_only_so_many_wait(world: World) -> None:
    visitors = [world.join(f"{number}.example") for number in range(BOUND)]
    refused = [world.join("more.example"), world.join("0.example")]
    assert [visitor.story for visitor in refused] == [[(INTERNAL_ERROR, "overloaded")]] * 2
    assert len(world.sent) == BOUND
    world.leave(visitors[0])
    assert world.join("0.example").story == ["waits"]


def test_a_network_that_has_its_share_leaves_the_other_half_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, bound=32)
    theirs = [world.join(peer=f"192.0.2.{number}") for number in range(32)]
    assert [visitor.story for visitor in theirs] == [["waits"]] * 16 + [[(INTERNAL_ERROR, "overloaded")]] * 16
    assert world.join("b.example", "198.51.100.1").story == ["waits"]
    assert world.join("b.example", "192.0.2.1", trusted=True).story == ["waits"]
    world.answer(0, ok=True)
    world.passes(WAIT + 1)
    assert world.obtaining.waiting == 0
    assert not world.obtaining._waiting_of
    assert world.join(peer="192.0.2.9").story == ["waits"]


def test_who_leaves_is_told_nothing_and_the_next_visitor_has_the_answer(world: World) -> None:
    gone = world.join()
    world.leave(gone)
    world.leave(gone)
    assert world.obtaining.waiting == 0
    next_one = world.join()
    assert len(world.sent) == 1
    world.answer(ok=True)
    assert gone.story == ["waits"]
    assert next_one.story[-1] == ("presented", "a.example")


def test_leaving_without_having_waited_changes_nothing(world: World) -> None:
    waiting = world.join()
    world.leave(Visitor())
    world.leave(Visitor("b.example"))
    assert world.obtaining.waiting == 1
    world.answer(ok=True)
    assert waiting.story[-1] == ("presented", "a.example")


def test_each_waits_for_its_own_time(world: World) -> None:
    first = world.join()
    world.passes(20)
    second = world.join()
    world.passes(10)
    assert first.story == ["waits"]  # to the very end of it
    world.passes(1)
    assert first.story == ["waits", "waited", (INTERNAL_ERROR, "no_certificate_in_time")]
    assert second.story == ["waits"]
    assert world.obtaining.waiting == 1
    world.passes(20)
    assert second.story[-1] == (INTERNAL_ERROR, "no_certificate_in_time")
    assert world.obtaining.waiting == 0


def test_a_certificate_that_took_longer_than_the_first_may_wait_is_in_time_for_those_who_came_later(world: World) -> None:
    first = world.join()
    world.passes(20)
    second = world.join()
    world.now += 9.99
    world.answer(0, ok=False)  # what the controller says when the question's own time is over, by its clock
    world.passes(0.1)
    assert first.story[-1] == (INTERNAL_ERROR, "no_certificate_in_time")
    assert second.story == ["waits"]
    assert [question.hostname for question in world.sent] == ["a.example"] * 2
    assert world.sent[1].deadline == world.sent[0].deadline + 20
    assert world.denied == []
    world.answer(1, ok=True)
    assert second.story[-1] == ("presented", "a.example")


def test_a_question_whose_time_is_over_for_all_is_not_asked_again(world: World) -> None:
    visitor = world.join()
    world.now += WAIT + 0.001
    world.answer(ok=False)
    assert len(world.sent) == 1
    assert visitor.story[-1] == (INTERNAL_ERROR, "no_certificate")


def test_who_came_later_is_not_asked_for_without_end(world: World) -> None:
    world.join()
    world.passes(1)
    second = world.join()
    world.now += WAIT - 1
    for _ in range(5):
        world.answer(ok=False)
    assert len(world.sent) == 2
    assert second.story[-1] == (INTERNAL_ERROR, "no_certificate")


def test_a_failure_that_came_early_is_an_answer(world: World) -> None:
    world.join()
    world.passes(10)
    late = world.join()
    world.answer(ok=False)
    assert len(world.sent) == 1
    assert late.story[-1] == (INTERNAL_ERROR, "no_certificate")


def test_another_controller_is_asked_what_the_last_one_left_open(world: World) -> None:
    world.join("a.example")
    world.join("b.example")
    world.answer(0, ok=True)
    world.obtaining.again()
    assert [question.hostname for question in world.sent] == ["a.example", "b.example", "b.example"]
    assert world.sent[2] == world.sent[1]
    visitor = world.join("b.example")
    world.answer(2, ok=True)
    assert visitor.story[-1] == ("presented", "b.example")


def test_another_controller_is_told_how_long_the_last_visitor_waits(world: World) -> None:
    world.linked = False
    world.join()
    for _ in range(3):  # there is always somebody, long after the first has gone
        world.passes(20)
        last = world.join()
    world.linked = True
    world.obtaining.again()
    assert world.sent[0].deadline == world.unix + WAIT
    world.answer(ok=True)
    assert last.story[-1] == ("presented", "a.example")


def test_what_nobody_waits_for_any_more_is_not_asked_of_another_controller(world: World) -> None:
    world.linked = False
    world.leave(world.join())
    world.passes(WAIT + 1)
    world.linked = True
    world.obtaining.again()
    assert world.sent == []


def test_names_whose_visitors_leave_at_once_are_not_kept_without_end(world: World) -> None:
    world.linked = False  # nobody answers
    for number in range(100):
        world.leave(world.join(f"{number}.example"))
    kept = world.join("kept.example")
    for number in range(100):
        world.leave(world.join(f"more{number}.example"))
    world.linked = True
    world.obtaining.again()
    assert len(world.sent) <= BOUND
    (question,) = [question for question in world.sent if question.hostname == "kept.example"]
    world.obtaining.answered(Obtained(id=question.id, ok=True))
    assert kept.story[-1] == ("presented", "kept.example")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["join", "join", "join", "leave", "leave", "answer", "denied", "failed", "again", "unlink", "pass", "pass long"]
        ),
        st.integers(0, 15),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_everybody_who_waits_is_told_once(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(monkeypatch)
        everybody: list[Visitor] = []
        left: set[Visitor] = set()
        for step, number in steps:
            match step:
                case "join":
                    everybody.append(world.join(f"{number}.example"))
                case "leave" if everybody:
                    left.add(everybody[number % len(everybody)])
                    world.leave(everybody[number % len(everybody)])
                case "answer" | "denied" | "failed" if world.sent:
                    world.answer(number % len(world.sent), ok=step == "answer", denied=step == "denied")
                case "again" | "unlink":
                    world.linked = step == "again"
                    if world.linked:
                        world.obtaining.again()
                case "pass" | "pass long":
                    world.passes(WAIT + 1 if step == "pass long" else number)
            waiting = [visitor for visitor in everybody if visitor.story == ["waits"] and visitor not in left]
            assert world.obtaining.waiting == len(waiting) <= BOUND
            assert len(world.obtaining._asked) == len(world.obtaining._by_id) <= BOUND
        world.passes(WAIT + 1)
        world.passes(WAIT + 1)
        assert world.obtaining.waiting == 0
        assert not world.obtaining._asked
        for visitor in everybody:
            ended = visitor.story[0] != "waits" or (len(visitor.story) == 3 and visitor.story[1] == "waited")
            assert ended or (visitor in left and visitor.story == ["waits"])


LIMITED = (INTERNAL_ERROR, "limited")


def ask_all(world: World, count: int, **how: Any) -> int:
    """How many of so many names that come after one another the controller is asked about; each has its answer at once."""
    before = len(world.sent)
    for number in range(count):
        asked = len(world.sent)
        visitor = world.join(f"n{world.now}-{number}.example", known=False, **how)
        if len(world.sent) > asked:
            world.answer(ok=False, denied=True, remember=60.0)
        else:
            assert visitor.story == [LIMITED]
    return len(world.sent) - before


def test_a_network_asks_about_so_many_names_that_the_map_does_not_know(world: World) -> None:
    full = UNKNOWN * obtain.BURST_SECONDS
    assert ask_all(world, 30) == full
    assert ask_all(world, 30, peer="192.0.2.200") == 0
    assert ask_all(world, 30, peer="198.51.100.1") == full
    assert ask_all(world, 30, peer="2001:db8::1") == full
    assert world.obtaining.waiting == 0
    world.passes(2.0)
    assert ask_all(world, 30) == 2 * UNKNOWN


def test_names_that_the_map_has_questions_that_are_open_and_trusted_proxies_are_not_counted(world: World) -> None:
    open_already = world.join("open.example", known=False)
    ask_all(world, 30)
    assert world.join("open.example", known=False).story == ["waits"]
    assert world.join("registered.example").story == ["waits"]
    assert world.join("new.example", known=False, trusted=True).story == ["waits"]
    assert world.join("new.example", known=False).story == ["waits"]
    assert open_already.story == ["waits"]


def test_who_is_limited_takes_nobody_with_them(world: World) -> None:
    theirs = [world.join(peer="192.0.2.1"), world.join(peer="192.0.2.99")]
    others = [world.join(peer="198.51.100.7"), world.join(peer="2001:db8::1")]
    world.answer(ok=False, limited=True)
    assert [visitor.story for visitor in theirs] == [["waits", "waited", LIMITED]] * 2
    assert [visitor.story for visitor in others] == [["waits"]] * 2
    assert (world.sent[-1].client_ip, len(world.sent), world.obtaining.waiting) == ("198.51.100.7", 2, 2)
    assert world.denied == []
    world.answer(ok=True)
    assert [visitor.story[-1] for visitor in others] == [("presented", "a.example")] * 2


def test_a_limit_that_meets_everybody_who_waits_ends_the_question(world: World) -> None:
    visitors = [world.join(), world.join()]
    world.answer(ok=False, limited=True)
    assert [visitor.story[-1] for visitor in visitors] == [LIMITED] * 2
    assert (len(world.sent), world.obtaining.waiting, world.denied) == (1, 0, [])
    assert world.join(peer="198.51.100.7").story == ["waits"]  # nothing is remembered of the name
    assert len(world.sent) == 2
