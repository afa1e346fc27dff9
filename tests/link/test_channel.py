import asyncio
import socket
import threading
from pathlib import Path

import pytest
import uvloop

from edgeproxy.errors import LinkError
from edgeproxy.limits import CHANNEL_MESSAGE, CHANNEL_QUEUE
from edgeproxy.link.channel import Channel, Received
from edgeproxy.link.messages import Drain, Failed, LinkEnd, Ready, Request, Result


def has_ended(channel: Channel) -> bool:
    return channel.ended


def test_messages_pass_without_an_event_loop() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    assert supervisor.read() == []
    child.send(Ready())
    child.send(Request(id=1, action="status"))
    assert supervisor.read() == [Received(Ready()), Received(Request(id=1, action="status"))]
    assert not has_ended(supervisor)
    child.close()
    assert supervisor.read() == []
    assert has_ended(supervisor)
    supervisor.close()


def test_a_socket_travels_with_its_message() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    one, other = socket.socketpair()
    supervisor.send(LinkEnd(worker=3), [one])
    assert one.fileno() == -1
    (received,) = child.read()
    assert received.message == LinkEnd(worker=3)
    (came,) = received.sockets
    assert not came.get_inheritable()
    other.sendall(b"hello")
    assert came.recv(5) == b"hello"
    for each in (came, other):
        each.close()
    supervisor.close()
    child.close()


def test_last_words_are_read_although_the_child_left_messages_unread() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    supervisor.send(Drain())
    child.send(Failed(detail="no store"))
    child.close()
    with pytest.raises(LinkError):
        supervisor.send(Drain())
    assert supervisor.read() == [Received(Failed(detail="no store"))]
    assert supervisor.ended
    supervisor.close()


def test_sending_to_a_child_that_is_gone_raises_and_closes_the_sockets() -> None:
    supervisor, theirs = Channel.pair()
    theirs.close()
    for _ in range(2):
        one, other = socket.socketpair()
        with pytest.raises(LinkError):
            supervisor.send(LinkEnd(worker=0), [one])
        assert one.fileno() == -1
        assert other.recv(1) == b""
        other.close()
    supervisor.close()


def test_messages_to_a_busy_child_wait_and_its_queue_is_bounded() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    result = Result(id=1, ok=True, detail="x" * 4000)
    sent = 0
    failure: LinkError | None = None
    while failure is None:
        try:
            supervisor.send(result)
            sent += 1
        except LinkError as error:
            failure = error
    assert failure.code == "link_overflow"
    assert supervisor.waiting
    assert sent > CHANNEL_QUEUE
    came = 0
    while came < sent:
        came += len(child.read())
        supervisor.flush()
    assert came == sent
    supervisor.close()
    child.close()


def test_a_message_over_the_bound_is_refused() -> None:
    supervisor, theirs = Channel.pair()
    with pytest.raises(LinkError, match="over the bound"):
        supervisor.send(Result(id=1, ok=False, detail="x" * CHANNEL_MESSAGE))
    theirs.close()
    supervisor.close()


def test_a_packet_that_is_no_message_is_an_error_and_reading_goes_on() -> None:
    supervisor, theirs = Channel.pair()
    theirs.send(b"\xc1")
    child = Channel(theirs)
    child.send(Ready())
    with pytest.raises(LinkError):
        supervisor.read()
    assert supervisor.read() == [Received(Ready())]
    supervisor.close()
    child.close()


def test_messages_of_a_later_version_are_skipped() -> None:
    supervisor, theirs = Channel.pair()
    theirs.send(b"\x81\xa4type\xa6future")
    theirs.send(b"\x81\xa4type\xa5ready")
    assert supervisor.read() == [Received(Ready())]
    theirs.close()
    supervisor.close()


def test_closing_closes_sockets_that_nobody_took() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    one, other = socket.socketpair()
    supervisor.send(LinkEnd(worker=0), [one])
    supervisor.close()
    child.close()
    assert other.recv(1) == b""
    other.close()


async def test_a_child_receives_with_asyncio_until_its_supervisor_is_gone() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)

    def act() -> None:
        supervisor.send(Drain())
        for number in range(50):
            supervisor.send(LinkEnd(worker=number))
        supervisor.close()

    thread = threading.Timer(0.05, act)
    thread.start()
    async with asyncio.timeout(30):
        came = [received.message async for received in child]
    thread.join()
    assert came == [Drain(), *(LinkEnd(worker=number) for number in range(50))]
    assert await child.receive() is None
    child.close()


async def test_a_child_may_send_more_than_the_kernel_takes_at_once() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    waiting = asyncio.create_task(child.receive())
    await asyncio.sleep(0)
    for number in range(500):
        child.send(Result(id=number, ok=True, detail="x" * 2000))
    assert child.waiting
    came: list[Received] = []
    async with asyncio.timeout(30):
        while len(came) < 500:
            came += supervisor.read()
            await asyncio.sleep(0.001)
    assert [received.message for received in came] == [Result(id=n, ok=True, detail="x" * 2000) for n in range(500)]
    supervisor.close()
    assert await asyncio.wait_for(waiting, 30) is None
    child.close()


def test_it_works_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_child_receives_with_asyncio_until_its_supervisor_is_gone())
        runner.run(test_a_child_may_send_more_than_the_kernel_takes_at_once())


def test_no_descriptor_is_left_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    test_a_socket_travels_with_its_message()
    test_sending_to_a_child_that_is_gone_raises_and_closes_the_sockets()
    test_closing_closes_sockets_that_nobody_took()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
