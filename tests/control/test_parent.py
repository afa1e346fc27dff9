"""The controller's end of the channel to the supervisor."""

import asyncio
import socket

import pytest

from edgeproxy.control import parent
from edgeproxy.control.parent import Parent
from edgeproxy.errors import LinkError
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Alive, Drain, LinkEnd, Ready, Request, Result


class Supervisor:
    """The other end, with what the controller was told by it."""

    def __init__(self) -> None:
        self.channel, theirs = Channel.pair()
        self.links: list[tuple[int, socket.socket]] = []
        self.drained = asyncio.Event()
        self.gone = asyncio.Event()
        self.parent = Parent(theirs, on_link=self._link, on_drain=self.drained.set, on_gone=self.gone.set)

    async def _link(self, worker: int, sock: socket.socket) -> None:
        self.links.append((worker, sock))

    async def heard(self):
        received = await asyncio.wait_for(self.channel.receive(), 60)
        assert received is not None
        return received.message


@pytest.fixture
async def supervisor():
    supervisor = Supervisor()
    task = asyncio.ensure_future(supervisor.parent.run())
    yield supervisor
    task.cancel()
    supervisor.parent.close()
    supervisor.channel.close()
    for _, sock in supervisor.links:
        sock.close()


async def test_ready_is_told(supervisor):
    supervisor.parent.ready()
    assert await supervisor.heard() == Ready()


async def test_signs_of_life_are_given_again_and_again_but_not_to_one_that_does_not_read(supervisor, monkeypatch):
    monkeypatch.setattr(parent, "ALIVE_SECONDS", 0.001)
    living = asyncio.ensure_future(supervisor.parent.live())
    assert [await supervisor.heard(), await supervisor.heard()] == [Alive(), Alive()]
    while not supervisor.parent._channel.waiting:  # until the kernel holds no more
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert len(supervisor.parent._channel._outgoing) == 1
    assert not living.done()
    living.cancel()


async def test_a_question_gets_its_own_answer(supervisor):
    first = asyncio.ensure_future(supervisor.parent.ask("status", 60))
    second = asyncio.ensure_future(supervisor.parent.ask("reload", 60))
    asked = [await supervisor.heard(), await supervisor.heard()]
    assert [question.action for question in asked] == ["status", "reload"]
    for question in reversed(asked):
        assert isinstance(question, Request)
        supervisor.channel.send(Result(id=question.id, ok=True, detail=question.action))
    assert (await first).detail == "status"
    assert (await second).detail == "reload"


async def test_an_answer_that_does_not_come_is_an_error_in_time(supervisor):
    with pytest.raises(LinkError, match=r"did not answer to status within 0\.05 s"):
        await supervisor.parent.ask("status", 0.05)
    question = await supervisor.heard()
    supervisor.channel.send(Result(id=question.id, ok=True))
    later = asyncio.ensure_future(supervisor.parent.ask("status", 60))
    question = await supervisor.heard()
    supervisor.channel.send(Result(id=question.id, ok=True, detail="later"))
    assert (await later).detail == "later"


async def test_links_are_handed_over_with_their_sockets(supervisor):
    ours, theirs = socket.socketpair()
    supervisor.channel.send(LinkEnd(worker=3), [theirs])
    while not supervisor.links:
        await asyncio.sleep(0.005)
    assert supervisor.links[0][0] == 3
    ours.send(b"hello")
    assert supervisor.links[0][1].recv(10) == b"hello"
    ours.close()


async def test_the_order_to_drain_is_passed_on(supervisor):
    supervisor.channel.send(Drain())
    await asyncio.wait_for(supervisor.drained.wait(), 60)


async def test_a_supervisor_that_is_gone_is_noticed_at_once(supervisor):
    supervisor.channel.close()
    await asyncio.wait_for(supervisor.gone.wait(), 60)
