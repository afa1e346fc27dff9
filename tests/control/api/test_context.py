"""What endpoints work with: the store or the reason why there is none, and who asks."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest
from starlette.requests import Request

from edgeproxy.control import publish
from edgeproxy.control.api.context import actor_of, context_of
from edgeproxy.errors import EdgeError, StateError
from tests.control.store.making import certificate


def request_with(**scope: Any) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/", "headers": [], **scope})


async def test_an_open_store_is_given_although_it_failed_a_moment_ago(world) -> None:
    world.context.faults.fails("store", StateError("The disk was full."), 1.0)
    assert world.context.open_plane() is world.context.plane


async def test_without_a_store_the_reason_is_raised_as_it_was_noted(world) -> None:
    world.context.plane = None
    error = StateError("The database is damaged: do this.")
    world.context.faults.fails("store", error, 1.0)
    world.context.faults.fails("map", StateError("another part's trouble"), 1.0)
    with pytest.raises(EdgeError) as caught:
        world.context.open_plane()
    assert caught.value is error


async def test_a_store_that_is_still_being_opened_is_worth_another_try(world) -> None:
    world.context.plane = None
    with pytest.raises(StateError, match="Try again in a moment") as caught:
        world.context.open_plane()
    assert caught.value.retryable


async def test_a_map_that_does_not_follow_is_a_fault_until_it_does(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "RETRY", (0.02,))
    context, folder = world.context, world.directory / "published"
    context.note_map()
    assert len(context.faults) == 0

    await asyncio.to_thread(world.writer.close)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    await world.store.add_certificate(certificate("one", "a.example.com"), 1.0)
    async with asyncio.timeout(60):
        while world.publisher.error is None:
            await asyncio.sleep(0.01)
    context.now = lambda: 100.0
    context.note_map()
    context.now = lambda: 200.0
    context.note_map()
    (fault,) = context.faults
    assert (fault.part, fault.since) == ("map", 100.0)
    assert fault.error is world.publisher.error

    folder.unlink()
    async with asyncio.timeout(60):
        while world.publisher.error is not None:
            await asyncio.sleep(0.01)
    context.note_map()
    assert len(context.faults) == 0


async def test_without_a_store_nothing_is_said_of_the_map(world) -> None:
    world.context.faults.fails("map", StateError("x"), 1.0)
    world.context.plane = None
    world.context.note_map()
    assert len(world.context.faults) == 0


async def test_a_request_finds_the_context_of_the_app_that_it_came_to(world) -> None:
    app = world.client._transport.app
    assert context_of(request_with(app=app)) is world.context


def test_who_asks_is_who_the_socket_says_and_nobody_a_client_could_name() -> None:
    assert actor_of(request_with(state={"actor": "uid:1000"})) == "uid:1000"
    assert actor_of(request_with(state={})) == "unknown"
    assert actor_of(request_with(headers=[(b"actor", b"uid:0")])) == "unknown"
