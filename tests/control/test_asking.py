"""Questions to a server of the platform's: how long answers count, what is too much, and who asks twice."""

import asyncio
import contextlib

import pytest

from edgeproxy.control.asking import ANSWER_BYTES, LIFETIME_MAX, LIFETIME_MIN, Asker, NoAnswer, lifetime
from edgeproxy.units import Duration
from tests.ports import free_port


@contextlib.asynccontextmanager
async def served(handler):
    """A server for the block, whose connections have ended at its end; gives its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader, writer):
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    port = free_port()
    async with await asyncio.start_server(connected, "127.0.0.1", port):
        yield port
        await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 300),
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": "public, Max-Age = 60"}, 60),
        ({"cache-control": 'max-age="60"'}, 60),
        ({"cache-control": "max-age=60, s-maxage=10"}, 10),
        ({"cache-control": "max-age=60", "age": "20"}, 40),
        ({"cache-control": "max-age=60", "age": "90"}, LIFETIME_MIN),
        ({"cache-control": "max-age=60", "age": "x"}, 60),
        ({"cache-control": "max-age=0"}, LIFETIME_MIN),
        ({"cache-control": "no-store"}, LIFETIME_MIN),
        ({"cache-control": "no-cache, max-age=60"}, LIFETIME_MIN),
        ({"cache-control": "max-age=999999999999"}, LIFETIME_MAX),
        ({"cache-control": "max-age=-5"}, 300),
        ({"cache-control": "max-age=1.5"}, 300),
        ({"cache-control": "private"}, 300),
    ],
)
def test_an_answer_counts_as_long_as_its_cache_control_says(headers, seconds):
    found = lifetime(headers, Duration(300))
    assert found == seconds
    assert type(found) is float, "it travels to workers, and a Duration does not"


async def test_an_answer_comes_whole_and_the_urls_own_parameters_stay():
    seen = []

    async def answers(reader, writer):
        seen.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0])
        writer.write(b"HTTP/1.1 202 Accepted\r\nx-a: b\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody")

    asker = Asker("The platform", "entitlement.url", Duration(20), 4)
    async with served(answers) as port:
        answer = await asker.get(f"http://127.0.0.1:{port}/paid?key=1", {"workspace_id": "a&b=c"})
    assert (answer.status, answer.headers["x-a"], answer.body, asker.asked) == (202, "b", b"body", 1)
    assert seen == [b"GET /paid?key=1&workspace_id=a%26b%3Dc HTTP/1.1"]
    await asker.close()


async def test_what_cannot_be_read_is_told_in_a_sentence_with_the_place_to_look():
    async def slow(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n")
        while True:  # each read is in time, the whole never
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def large(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (ANSWER_BYTES + 1))

    asker = Asker("The platform", "entitlement.url", Duration(0.5), 4)
    async with served(slow) as port:
        with pytest.raises(NoAnswer, match=r"The platform did not answer within 500ms\."):
            await asker.get(f"http://127.0.0.1:{port}/", {})
    patient = Asker("The platform", "entitlement.url", Duration(20), 4)
    async with served(large) as port:
        with pytest.raises(NoAnswer, match=f"more than {ANSWER_BYTES} bytes"):
            await patient.get(f"http://127.0.0.1:{port}/", {})
    with pytest.raises(NoAnswer, match=r"cannot be reached: connection refused\. See whether it runs, and entitlement\.url\."):
        await patient.get(f"http://127.0.0.1:{free_port()}/", {})
    for each in (asker, patient):
        await each.close()
