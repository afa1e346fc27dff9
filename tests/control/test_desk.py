"""What workers are answered."""

import asyncio
import dataclasses
import socket
import time

import pytest

from edgeproxy.control.desk import Desk
from edgeproxy.control.metrics import Metrics
from edgeproxy.errors import StateError
from edgeproxy.link.messages import Greeting, Obtain, Obtained, Refresh, Report, Slow
from edgeproxy.link.peer import Link
from edgeproxy.link.sketch import Sketch, bucket


@dataclasses.dataclass(frozen=True)
class Outcome:
    ok: bool = True
    denied: bool = False
    detail: str = ""
    remember: float = 0.0
    limited: bool = False


class Obtainer:
    """Answers what the test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refreshed: list[str] = []
        self.visits: list[dict[str, int]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.outcome: Outcome | Exception = Outcome()

    async def obtain(self, hostname: str, client_ip: str) -> Outcome:
        self.asked.append((hostname, client_ip))
        await self.go.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def visited(self, hosts) -> None:
        self.visits.append(dict(hosts))

    async def refresh_gate(self, hostname: str) -> None:
        self.refreshed.append(hostname)
        await self.go.wait()


class Worker:
    """The worker's end of a link."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Obtained] = asyncio.Queue()
        self.lost = asyncio.Event()

    async def attach(self, desk: Desk, index: int = 0) -> None:
        ours, theirs = socket.socketpair()
        self.link = await Link.open(ours, self.answers.put_nowait, lambda reason: self.lost.set())  # type: ignore[arg-type]
        await desk.attach(index, theirs)

    async def answer(self) -> Obtained:
        return await asyncio.wait_for(self.answers.get(), 60)


async def eventually(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def wish(number: int = 1, hostname: str = "a.example.com", within: float = 30) -> Obtain:
    return Obtain(id=number, hostname=hostname, client_ip="192.0.2.1", deadline=time.time() + within)


@pytest.fixture
async def obtainer() -> Obtainer:
    return Obtainer()


@pytest.fixture
async def desk(obtainer):
    desk = Desk(Metrics("1", 10), waiting=3, now=time.time, why_closed=lambda: "The store is broken.")
    desk.obtainer = obtainer
    yield desk
    desk.close()


@pytest.fixture
async def worker(desk):
    worker = Worker()
    await worker.attach(desk)
    yield worker
    worker.link.close()


async def test_a_wish_is_answered_with_what_came_of_it(worker, obtainer):
    worker.link.send(wish(7))
    assert await worker.answer() == Obtained(id=7, ok=True)
    assert obtainer.asked == [("a.example.com", "192.0.2.1")]


async def test_a_denial_says_so_and_for_how_long(worker, obtainer):
    obtainer.outcome = Outcome(ok=False, denied=True, detail="Not registered.", remember=60)
    worker.link.send(wish(1))
    assert await worker.answer() == Obtained(id=1, ok=False, denied=True, detail="Not registered.", remember=60)


async def test_a_network_that_asks_too_much_is_told_apart_from_a_name_that_failed(worker, obtainer):
    obtainer.outcome = Outcome(ok=False, detail="Too many new names.", limited=True)
    worker.link.send(wish(1))
    assert await worker.answer() == Obtained(id=1, ok=False, detail="Too many new names.", limited=True)


async def test_nobody_waits_past_the_deadline(worker, obtainer):
    obtainer.go.clear()
    worker.link.send(wish(1, within=0.05))
    answer = await worker.answer()
    assert not answer.ok
    assert not answer.denied
    assert "longer" in answer.detail


async def test_a_wish_sent_twice_on_one_link_is_one(worker, obtainer, desk):
    obtainer.go.clear()
    worker.link.send(wish(1))
    worker.link.send(wish(1))
    worker.link.send(wish(2))
    await eventually(lambda: len(obtainer.asked) == 2)
    assert desk.waiting == 2


async def test_one_worker_cannot_have_more_wishes_than_allowed(worker, obtainer):
    obtainer.go.clear()
    for number in range(4):
        worker.link.send(wish(number))
    answer = await worker.answer()
    assert answer.id == 3
    assert not answer.ok
    assert answer.remember > 0
    obtainer.go.set()
    assert {(await worker.answer()).id for _ in range(3)} == {0, 1, 2}


async def test_a_known_error_is_answered_with_its_sentence(worker, obtainer):
    obtainer.outcome = StateError("The database is damaged.")
    worker.link.send(wish(1))
    answer = await worker.answer()
    assert (answer.ok, answer.denied, answer.detail) == (False, False, "The database is damaged.")


async def test_an_unforeseen_error_is_answered_and_counted_and_the_link_goes_on(worker, obtainer, desk):
    obtainer.outcome = ZeroDivisionError("secret")
    worker.link.send(wish(1))
    answer = await worker.answer()
    assert not answer.ok
    assert "secret" not in answer.detail
    assert desk._metrics._errors == {"desk": 1}
    obtainer.outcome = Outcome()
    worker.link.send(wish(2))
    assert (await worker.answer()).ok


async def test_without_a_store_wishes_are_answered_with_the_reason(worker, desk):
    desk.obtainer = None
    worker.link.send(wish(1))
    answer = await worker.answer()
    assert (answer.ok, answer.denied, answer.detail) == (False, False, "The store is broken.")


async def test_a_worker_that_is_gone_no_longer_waits(worker, obtainer, desk):
    obtainer.go.clear()
    worker.link.send(wish(1))
    await eventually(lambda: desk.waiting == 1)
    worker.link.close()
    await eventually(lambda: desk.links == 0)
    await eventually(lambda: not desk._tasks)


async def test_the_same_wish_on_a_new_link_is_answered_there(worker, obtainer, desk):
    obtainer.go.clear()
    worker.link.send(wish(5))
    await eventually(lambda: desk.waiting == 1)
    successor = Worker()
    await successor.attach(desk)
    successor.link.send(wish(5))
    await eventually(lambda: len(obtainer.asked) == 2)
    worker.link.close()
    obtainer.go.set()
    assert (await successor.answer()).id == 5
    successor.link.close()


async def test_reports_are_counted_and_end_with_their_worker(worker, desk):
    worker.link.send(Greeting(worker=0, pid=42))
    worker.link.send(Report(worker=0, pid=42, counters={"requests_total|2xx|h1": 3.0, "connections|idle": 2.0}))
    totals = desk._metrics.totals
    await eventually(lambda: totals.sums().get(("connections", ("idle",))) == 2)
    worker.link.close()
    await eventually(lambda: ("connections", ("idle",)) not in totals.sums())
    assert totals.sums()["requests_total", ("2xx", "h1")] == 3


async def test_which_names_are_visited_is_passed_on_where_somebody_wants_to_know(worker, obtainer, desk):
    worker.link.send(Report(worker=0, pid=42, counters={}, hosts={"a.example.com": 3}))
    await eventually(lambda: obtainer.visits)
    desk.obtainer = None
    worker.link.send(Report(worker=0, pid=42, counters={}, hosts={"a.example.com": 4}))
    worker.link.send(Report(worker=0, pid=42, counters={"connections|idle": 1.0}))
    await eventually(lambda: desk._metrics.totals.sums().get(("connections", ("idle",))) == 1)
    assert obtainer.visits == [{"a.example.com": 3}]


async def test_names_that_keep_their_visitors_waiting_are_added_up(worker, desk):
    for _ in range(2):
        worker.link.send(Slow(names={"a.example.com": Sketch(5, {bucket(3.0): 2})}))
    await eventually(lambda: [each.requests for each in desk._metrics.latency.waiting(time.monotonic())] == [10])


async def test_a_gate_is_asked_once_for_a_name_however_often_workers_ask(worker, obtainer, desk):
    obtainer.go.clear()
    for _ in range(5):
        worker.link.send(Refresh(hostname="a.example.com"))
    worker.link.send(Refresh(hostname="b.example.com"))
    await eventually(lambda: len(obtainer.refreshed) == 2)
    obtainer.go.set()
    await eventually(lambda: not desk._refreshing)
    worker.link.send(Refresh(hostname="a.example.com"))
    await eventually(lambda: obtainer.refreshed.count("a.example.com") == 2)


async def test_a_socket_that_is_broken_already_is_dropped(desk):
    ours, theirs = socket.socketpair()
    ours.close()
    await desk.attach(0, theirs)
    await eventually(lambda: desk.links == 0)
