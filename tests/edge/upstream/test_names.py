"""Where origins' names point: when the resolver is asked, what serves while it is down, and which address is taken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from edgeproxy.edge.upstream import names
from edgeproxy.edge.upstream.names import FRESH_SECONDS, STALE_SECONDS, Addresses, connect_first, interleaved, system
from tests.ports import free_port


class Resolver:
    """Says what the test says, and counts."""

    def __init__(self, *said: str) -> None:
        self.said = list(said)
        self.down = False
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        await asyncio.sleep(0)
        if self.down:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.said


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("2001:db8::1", ["2001:db8::1"]),
        ("localhost", ["127.0.0.1"]),
        ("a.localhost", ["127.0.0.1"]),
    ],
)
async def test_what_needs_no_resolver_asks_none(host: str, known: list[str]) -> None:
    resolver = Resolver("192.0.2.9")
    addresses = Addresses(host, 80)
    assert addresses.fixed
    assert await addresses.get(resolver, 100.0) == known
    assert not resolver.asked


async def test_an_answer_is_asked_for_once_and_anew_when_it_is_old() -> None:
    resolver = Resolver("192.0.2.1")
    addresses = Addresses("app.test", 8080)
    found = await asyncio.gather(*(addresses.get(resolver, 100.0) for _ in range(5)))
    assert found == [["192.0.2.1"]] * 5
    assert resolver.asked == [("app.test", 8080)]
    resolver.said = ["192.0.2.2"]
    assert await addresses.get(resolver, 99.9 + FRESH_SECONDS) == ["192.0.2.1"]
    assert await addresses.get(resolver, 100.0 + FRESH_SECONDS) == ["192.0.2.2"]


async def test_the_last_answer_serves_while_the_resolver_is_down_and_not_for_ever() -> None:
    resolver = Resolver("192.0.2.1")
    addresses = Addresses("app.test", 80)
    resolver.down = True
    with pytest.raises(socket.gaierror):
        await addresses.get(resolver, 50.0)
    resolver.down = False
    await addresses.get(resolver, 100.0)
    resolver.down = True
    assert await addresses.get(resolver, 90.0 + STALE_SECONDS) == ["192.0.2.1"]
    with pytest.raises(socket.gaierror):
        await addresses.get(resolver, 101.0 + STALE_SECONDS)


async def test_who_leaves_does_not_take_the_question_along() -> None:
    resolver = Resolver("192.0.2.1")
    addresses = Addresses("app.test", 80)
    first = asyncio.create_task(addresses.get(resolver, 100.0))
    second = asyncio.create_task(addresses.get(resolver, 100.0))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ["192.0.2.1"]
    assert len(resolver.asked) == 1


async def test_the_systems_resolver_gives_each_address_once() -> None:
    assert await system("127.0.0.1", 80) == ["127.0.0.1"]


def test_families_take_turns_and_the_first_stays_first() -> None:
    assert interleaved(["a:1", "a:2", "a:3", "1", "2"]) == ["a:1", "1", "a:2", "2", "a:3"]
    assert interleaved(["1", "2", "a:1"]) == ["1", "a:1", "2"]
    assert interleaved([]) == []


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address whose connections are never accepted nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.3", free_port("127.0.0.4")))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):  # more than the queue holds
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(address)
        yield address


async def test_an_address_that_does_not_answer_is_overtaken(silent: tuple[str, int]) -> None:
    host, port = silent
    with socket.socket() as other:
        other.bind(("127.0.0.4", port))
        other.listen(5)
        with await asyncio.wait_for(connect_first([host, "127.0.0.4"], port), 60) as sock:
            assert sock.getpeername() == ("127.0.0.4", port)


async def test_an_address_that_refuses_is_passed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "ATTEMPT_SECONDS", 1_000.0)
    with socket.socket() as other:
        other.bind(("127.0.0.4", 0))
        other.listen(5)
        port = other.getsockname()[1]
        with await asyncio.wait_for(connect_first(["127.0.0.5", "::1", "127.0.0.4"], port), 60) as sock:
            assert sock.getpeername() == ("127.0.0.4", port)


async def test_where_all_refuse_that_is_told() -> None:
    with pytest.raises(OSError, match="refused"):
        await connect_first(["127.0.0.4", "127.0.0.5"], 9)
    with pytest.raises(OSError, match="no address"):
        await connect_first([], 9)


async def test_attempts_that_are_not_needed_leave_no_socket(silent: tuple[str, int]) -> None:
    host, port = silent
    task = asyncio.create_task(connect_first([host, host], port))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)  # a socket left open would be a ResourceWarning, which is an error
