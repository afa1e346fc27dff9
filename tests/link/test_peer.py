import asyncio
import socket

import pytest
import uvloop

from edgeproxy.errors import LinkError
from edgeproxy.limits import LINK_MESSAGE, LINK_QUEUE
from edgeproxy.link.frames import frame
from edgeproxy.link.messages import Greeting, LinkMessage, Refresh, Report
from edgeproxy.link.peer import Link


class End:
    """One end of a link, and what it heard."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[LinkMessage] = asyncio.Queue()
        self.lost: asyncio.Queue[LinkError | None] = asyncio.Queue()
        self.link: Link

    async def open(self, sock: socket.socket) -> "End":
        self.link = await Link.open(sock, self.messages.put_nowait, self.lost.put_nowait)
        return self


async def pair() -> tuple[End, End]:
    one, other = socket.socketpair()
    return await End().open(one), await End().open(other)


async def test_messages_arrive_in_order_both_ways() -> None:
    worker, controller = await pair()
    for number in range(100):
        assert worker.link.send(Greeting(worker=number, pid=1))
    assert controller.link.send(Refresh(hostname="a.example"))
    assert [await asyncio.wait_for(controller.messages.get(), 30) for _ in range(100)] == [
        Greeting(worker=number, pid=1) for number in range(100)
    ]
    assert await asyncio.wait_for(worker.messages.get(), 30) == Refresh(hostname="a.example")
    worker.link.close()
    controller.link.close()


async def test_nothing_is_delivered_before_the_opener_has_the_link() -> None:
    one, other = socket.socketpair()
    early: list[Link | None] = []
    link: Link | None = None
    done = asyncio.Event()

    def on_message(message: LinkMessage) -> None:
        early.append(link)
        done.set()

    other.sendall(frame(Refresh(hostname="a.example")))
    link = await Link.open(one, on_message, lambda _: None)
    await asyncio.wait_for(done.wait(), 30)
    assert early == [link]
    link.close()
    other.close()


async def test_a_link_whose_other_end_is_gone_already_is_lost_after_its_last_words() -> None:
    one, other = socket.socketpair()
    other.sendall(frame(Refresh(hostname="a.example")))
    other.close()
    end = await End().open(one)
    assert end.lost.empty()
    assert await asyncio.wait_for(end.lost.get(), 30) is None
    assert end.messages.get_nowait() == Refresh(hostname="a.example")


async def test_the_end_of_one_side_is_told_once_to_the_other_only() -> None:
    worker, controller = await pair()
    worker.link.close()
    assert await asyncio.wait_for(controller.lost.get(), 30) is None
    assert not controller.link.alive
    assert not controller.link.send(Refresh(hostname="a.example"))
    await asyncio.sleep(0.01)
    assert worker.lost.empty()
    assert controller.lost.empty()


async def test_what_was_sent_before_the_close_arrives() -> None:
    worker, controller = await pair()
    for _ in range(50):
        worker.link.send(Refresh(hostname="a.example"))
    worker.link.close()
    assert await asyncio.wait_for(controller.lost.get(), 30) is None
    assert controller.messages.qsize() == 50


async def test_garbage_ends_the_link_with_the_reason() -> None:
    one, other = socket.socketpair()
    controller = await End().open(one)
    other.sendall(b"\xff\xff\xff\xff")
    reason = await asyncio.wait_for(controller.lost.get(), 30)
    assert reason is not None
    assert reason.code == "link_malformed"
    assert other.recv(1) == b""
    other.close()


async def test_a_peer_that_reads_nothing_counts_as_gone_at_the_bound() -> None:
    one, other = socket.socketpair()
    worker = await End().open(one)
    report = Report(worker=0, pid=1, counters={f"name{n}": n for n in range(50)})
    sent = 0
    while worker.link.send(report):
        sent += 1
        assert sent < 10 * LINK_QUEUE
    reason = await asyncio.wait_for(worker.lost.get(), 30)
    assert reason is not None
    assert reason.code == "link_overflow"
    assert sent >= LINK_QUEUE
    other.close()


async def test_a_slow_peer_gets_everything_once_it_reads() -> None:
    one, other = socket.socketpair()
    worker = await End().open(one)
    report = Report(worker=0, pid=1, counters={f"name{n}": n for n in range(50)})
    for _ in range(5000):
        assert worker.link.send(report)
    controller = await End().open(other)
    for _ in range(5000):
        assert await asyncio.wait_for(controller.messages.get(), 30) == report
    worker.link.close()
    controller.link.close()


async def test_an_oversized_message_is_refused_and_the_link_goes_on() -> None:
    worker, controller = await pair()
    with pytest.raises(LinkError):
        worker.link.send(Refresh(hostname="a" * LINK_MESSAGE))
    assert worker.link.send(Refresh(hostname="b.example"))
    assert await asyncio.wait_for(controller.messages.get(), 30) == Refresh(hostname="b.example")
    worker.link.close()
    controller.link.close()


async def test_closing_within_a_callback_stops_delivery() -> None:
    one, other = socket.socketpair()
    heard: list[LinkMessage] = []
    done = asyncio.Event()

    def on_message(message: LinkMessage) -> None:
        heard.append(message)
        link.close()
        done.set()

    worker = await End().open(other)
    link = await Link.open(one, on_message, lambda _: None)
    for _ in range(3):
        worker.link.send(Refresh(hostname="a.example"))
    await asyncio.wait_for(done.wait(), 30)
    assert await asyncio.wait_for(worker.lost.get(), 30) is None
    assert len(heard) == 1


def test_it_works_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_messages_arrive_in_order_both_ways())
        runner.run(test_nothing_is_delivered_before_the_opener_has_the_link())
        runner.run(test_a_link_whose_other_end_is_gone_already_is_lost_after_its_last_words())
        runner.run(test_a_slow_peer_gets_everything_once_it_reads())
        runner.run(test_the_end_of_one_side_is_told_once_to_the_other_only())
