"""One flight per key."""

import asyncio
import functools

import pytest

from edgeproxy.control.flights import Flights


async def test_who_asks_for_the_same_waits_for_the_same_flight_even_when_the_first_leaves():
    flights, begun, go = Flights[str](), [], asyncio.Event()

    async def fly(key):
        begun.append(key)
        await go.wait()
        return f"of {key}"

    first = asyncio.ensure_future(flights.join("a", lambda: fly("a")))
    others = [asyncio.ensure_future(flights.join(key, functools.partial(fly, key))) for key in ("a", "a", "b")]
    await asyncio.sleep(0)
    assert ("a" in flights, "c" in flights, len(flights)) == (True, False, 2)
    first.cancel()
    go.set()
    assert await asyncio.gather(*others) == ["of a", "of a", "of b"]
    assert begun == ["a", "b"]
    assert not len(flights)
    go.clear()
    last = asyncio.ensure_future(flights.join("a", lambda: fly("a")))
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await last
