"""What issuance and its CAs have in common: a CA's name, and waiting for the published map."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgeproxy.control.issuance import issuer
from edgeproxy.control.issuance.issuer import host_of, until_published
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.errors import MapError, StateError
from edgeproxy.published.writer import MapWriter
from tests.control.store.making import certificate, opened


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("https://ca.example/dir", "ca.example"),
        ("https://CA.example:443/dir", "ca.example"),
        ("https://user@ca.example:14000/dir", "ca.example:14000"),
        ("https://[::1]:14000/dir", "[::1]:14000"),
        ("internal", "internal"),
    ],
)
def test_a_ca_has_one_name_for_people_and_programs(directory: str, name: str) -> None:
    assert host_of(directory) == name
    assert host_of(name) == name, "so that it may be told twice"


class Answering:
    """A publisher that does what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.numbers: list[int] = []

    async def published(self, number: int) -> None:
        self.numbers.append(number)
        if self.error is not None:
            raise self.error


@pytest.fixture
async def store(tmp_path: Path):
    async with opened(tmp_path) as store:
        yield store


async def test_it_returns_when_the_map_has_the_change_and_not_before(tmp_path: Path, store: Store) -> None:
    writer = MapWriter(tmp_path)
    publisher = Publisher(store, writer, [])
    change = await store.add_certificate(certificate("one", "a.example"), 1.0)
    waiting = asyncio.ensure_future(until_published(publisher, change))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    running = asyncio.ensure_future(publisher.run())
    await asyncio.wait_for(waiting, 60)
    assert publisher.reached >= change
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    writer.close()


async def test_a_map_that_never_gets_there_is_an_error_worth_another_try(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "PUBLISH_TIME", 0.05)
    writer = MapWriter(tmp_path)
    with pytest.raises(MapError, match="does not follow the store") as caught:
        await until_published(Publisher(store, writer, []), 1)
    assert caught.value.retryable
    writer.close()


async def test_the_publishers_own_error_goes_before() -> None:
    error = StateError("The disk is full.")
    publisher = Answering(error)
    with pytest.raises(StateError) as caught:
        await until_published(publisher, 7)
    assert caught.value is error
    assert publisher.numbers == [7]


async def test_who_gives_up_waiting_is_not_told_of_the_map(tmp_path: Path, store: Store) -> None:
    writer = MapWriter(tmp_path)
    waiting = asyncio.ensure_future(until_published(Publisher(store, writer, []), 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    writer.close()
