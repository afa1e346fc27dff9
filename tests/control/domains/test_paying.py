"""Asking the platform whether workspaces pay, and doing what follows, over a real store and real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from edgeproxy.config.entitlement import Entitlement
from edgeproxy.config.structs import Config
from edgeproxy.control.domains import paying as module
from edgeproxy.control.domains.entitlement import Standing
from edgeproxy.control.domains.paying import Entitlements
from edgeproxy.control.store import Store
from edgeproxy.errors import EntitlementDenied, EntitlementUnknown
from edgeproxy.limits import Limits
from edgeproxy.model import DomainState
from edgeproxy.units import Duration
from tests.control.store.making import DAY, NOW, certificate
from tests.ports import free_port

GRACE, REMOVE = 7 * DAY, 30 * DAY


class Platform:
    """Answers whether workspaces pay: `answers` by workspace, each (status, headers, body) or a body."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/paid?key=1"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._connected, "127.0.0.1", self.port):
            yield
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                query = parse_qs(urlsplit(head.split()[1]).query)
                assert query["key"] == ["1"]
                (workspace,) = query["workspace_id"]
                self.asked.append(workspace)
                await self.go.wait()
                answer = self.answers.get(workspace, {"paid": False})
                status, headers, body = answer if isinstance(answer, tuple) else (200, {}, json.dumps(answer))
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body)}\r\n\r\n{body}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class World:
    def __init__(self, store: Store, platform: Platform) -> None:
        self.store = store
        self.platform = platform
        self.now = NOW
        self.woken = asyncio.Event()
        self._made: list[Entitlements] = []

    def entitlements(self, *, most: int = 10, **settings: Any) -> Entitlements:
        """A controller's, with the platform's URL if nothing else is said."""
        wanted: dict[str, Any] = {"url": self.platform.url, "timeout": Duration(20)} | settings
        config = Config(entitlement=Entitlement(**wanted), limits=Limits(domains_per_workspace=most))
        made = Entitlements(config, self.store, lambda: self.now, wake=self.woken.set)
        self._made.append(made)
        return made

    async def add(self, *hosts: str, workspace: str = "acme", state: DomainState = DomainState.ACTIVE) -> None:
        for host in hosts:
            await self.store.add_domain(host, workspace, state=state, actor="t", now=self.now)

    async def states(self) -> dict[str, str]:
        return {domain.hostname: domain.state.value for domain in await self.store.list_domains(1000)}

    async def close(self) -> None:
        for made in self._made:
            await made.close()


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    platform = Platform()
    async with platform.running():
        world = World(store, platform)
        yield world
        await world.close()


async def settled(entitlements: Entitlements) -> None:
    """Until there is nothing more to do."""
    while await entitlements.review() or await entitlements.apply():
        pass


async def test_the_platform_is_asked_once_and_a_restart_asks_nobody_anew(world):
    world.platform.answers["acme"] = {"paid": True, "max_domains": 3}
    world.platform.go.clear()
    first = world.entitlements()
    asking = [asyncio.ensure_future(first.allowance("acme")) for _ in range(20)]
    await asyncio.sleep(0.1)
    world.platform.go.set()
    assert await asyncio.gather(*asking) == [3] * 20
    assert await world.entitlements().allowance("acme") == 3
    assert world.platform.asked == ["acme"]
    world.now += 301
    assert await first.allowance("acme") == 3
    assert world.platform.asked == ["acme"] * 2


async def test_an_answer_counts_as_long_as_it_says(world):
    world.platform.answers["acme"] = (200, {"cache-control": "max-age=3600"}, '{"paid": true}')
    entitlements = world.entitlements()
    assert await entitlements.allowance("acme") == 10
    world.now += 3599
    assert await entitlements.allowance("acme") == 10
    assert entitlements.asked == 1


async def test_who_does_not_pay_is_told_so_and_who_has_just_paid_need_not_wait(world):
    entitlements = world.entitlements()
    with pytest.raises(EntitlementDenied, match=r"require a paid subscription, and .*acme has none, says"):
        await entitlements.allowance("acme")
    world.platform.answers["acme"] = {"paid": True}
    world.now += module.AFRESH_SECONDS
    assert await entitlements.allowance("acme") == 10


async def test_trouble_is_not_payment_and_takes_nothing_from_who_paid(world):
    world.platform.answers["paid"] = {"paid": True, "max_domains": 2}
    world.platform.answers["broken"] = (500, {}, "")
    entitlements = world.entitlements()
    assert await entitlements.allowance("paid") == 2
    world.platform.answers["paid"] = (404, {}, '{"paid": false}')
    world.now += 400
    assert await entitlements.allowance("paid") == 2
    standing = await entitlements.standing("paid")
    assert (standing.paid, standing.source) == (True, "platform")
    assert "404" in standing.trouble
    with pytest.raises(EntitlementUnknown, match=r"The platform answered 500 .* Try again in a moment\.") as raised:
        await entitlements.allowance("broken")
    assert raised.value.retryable
    assert await world.entitlements(on_error="allow").allowance("broken") == 10
    asked = len(world.platform.asked)
    with pytest.raises(EntitlementUnknown):
        await entitlements.allowance("broken")
    assert len(world.platform.asked) == asked, "it is left alone for some seconds"
    world.now += module.TROUBLE_LIFETIME
    world.platform.answers["broken"] = {"paid": True}
    assert await entitlements.allowance("broken") == 10


async def test_a_platform_that_is_slow_or_gone_is_trouble(world):
    world.platform.go.clear()
    slow = world.entitlements(timeout=Duration(0.3))
    assert "did not answer within 300ms" in (await slow.standing("acme")).trouble
    gone = world.entitlements(url=f"http://127.0.0.1:{free_port()}/")
    assert "connection refused. See whether it runs, and entitlement.url." in (await gone.standing("acme")).trouble
    world.platform.go.set()


async def test_too_many_questions_at_once_are_trouble_for_those_that_come_last(world, monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", 3)
    world.platform.go.clear()
    entitlements = world.entitlements()
    asking = [asyncio.ensure_future(entitlements.standing(f"w{number}")) for number in range(3)]
    while len(world.platform.asked) < 3:
        await asyncio.sleep(0.01)
    assert "3 questions wait" in (await entitlements.standing("w9")).trouble
    world.platform.go.set()
    assert not any(standing.trouble for standing in await asyncio.gather(*asking))


async def test_a_workspace_that_stops_paying_is_suspended_then_removed_and_can_come_back_until_then(world):
    await world.add("a.example.com", "b.example.com")
    await world.add("o.example.org", workspace="other")
    await world.store.add_certificate(certificate("c1", "a.example.com", until=NOW + 900 * DAY), NOW)
    world.platform.answers |= {"acme": {"paid": False}, "other": {"paid": True}}
    entitlements = world.entitlements()
    await settled(entitlements)
    assert set((await world.states()).values()) == {"active"}, "there is a time of grace"

    world.now += GRACE
    await settled(entitlements)
    assert await world.states() == {
        "a.example.com": "suspended",
        "b.example.com": "suspended",
        "o.example.org": "active",
    }
    told = [event.type for event in await world.store.events_after(0, 10)]
    assert [each for each in told if each != "domain.registered"] == ["domain.suspended"] * 2
    (entry, *_) = reversed(await world.store.list_audit(100, subject="a.example.com"))
    assert (entry.actor, entry.action, entry.detail) == ("edge", "domain.state", "active to suspended")

    world.platform.answers["acme"] = {"paid": True}
    world.now += 600
    await settled(entitlements)
    assert (await world.states())["a.example.com"] == "verified"

    world.platform.answers["acme"] = {"paid": False}
    world.now += 2 * 3600
    await settled(entitlements)
    world.now += GRACE
    await settled(entitlements)
    world.now += REMOVE - 1
    await settled(entitlements)
    assert (await world.states())["a.example.com"] == "suspended"
    assert await world.store.get_certificate("c1") is not None
    world.now += 1
    await settled(entitlements)
    assert list(await world.states()) == ["o.example.org"]
    assert await world.store.get_certificate("c1") is None, "its key is destroyed"
    assert await world.store.removals_of("a.example.com") == []


async def test_trouble_suspends_and_removes_nobody(world):
    await world.add("a.example.com")
    world.platform.answers["acme"] = {"paid": True}
    entitlements = world.entitlements()
    await settled(entitlements)
    world.platform.answers["acme"] = (503, {}, "")
    for _ in range(100):
        world.now += DAY
        await settled(entitlements)
    assert await world.states() == {"a.example.com": "active"}
    world.platform.answers["acme"] = {"paid": False}
    world.now += DAY
    await settled(entitlements)
    world.platform.answers["acme"] = (503, {}, "")
    world.now += GRACE
    await settled(entitlements)
    assert await world.states() == {"a.example.com": "active"}, "its last answer is old, and nobody confirms it"


async def test_the_apis_word_goes_first_at_once_and_can_be_taken_back(world):
    await world.add("a.example.com")
    world.platform.answers["acme"] = {"paid": True, "max_domains": 2}
    entitlements = world.entitlements(grace=Duration(0.001))
    await entitlements.say("acme", paid=False, max_domains=None, actor="uid:0")
    world.now += 1
    await settled(entitlements)
    assert await world.states() == {"a.example.com": "suspended"}
    with pytest.raises(EntitlementDenied, match="as was set by the API: PUT"):
        await entitlements.allowance("acme")
    assert not world.platform.asked
    await entitlements.say("acme", paid=True, max_domains=7, actor="uid:0")
    assert await world.states() == {"a.example.com": "verified"}, "not in the next round, but at once"
    assert world.woken.is_set()
    assert await entitlements.allowance("acme") == 7
    assert await entitlements.unsay("acme", actor="uid:0")
    assert not await entitlements.unsay("acme", actor="uid:0")
    assert await entitlements.standing("acme") == Standing(True, 2, "platform")


async def test_taking_back_that_somebody_does_not_pay_is_no_payment(world):
    entitlements = world.entitlements()
    await entitlements.say("acme", paid=False, max_domains=None, actor="uid:0")
    world.platform.answers["acme"] = (500, {}, "")
    await entitlements.unsay("acme", actor="uid:0")
    standing = await entitlements.standing("acme")
    assert (standing.paid, standing.source) == (False, "platform")


async def test_an_answer_under_way_does_not_overrule_the_api(world):
    world.platform.go.clear()
    entitlements = world.entitlements()
    asking = asyncio.ensure_future(entitlements.standing("acme"))
    while not world.platform.asked:
        await asyncio.sleep(0.01)
    await entitlements.say("acme", paid=True, max_domains=1, actor="uid:0")
    world.platform.go.set()
    assert (await asking).paid
    assert (await entitlements.standing("acme")).source == "api"


async def test_a_list_alone_decides_on_all_and_leaving_it_is_like_not_paying(world):
    await world.add("a.example.com")
    await world.add("b.example.com", workspace="other")
    listed = world.entitlements(url="", static=("acme 2",))
    assert await listed.allowance("acme") == 2
    with pytest.raises(EntitlementDenied, match=r"entitlement\.static does not list it"):
        await listed.allowance("other")
    await settled(listed)
    world.now += GRACE
    await settled(listed)
    assert await world.states() == {"a.example.com": "active", "b.example.com": "suspended"}
    unlisted = world.entitlements(url="", static=("acme", "other"))
    await settled(unlisted)
    assert await world.states() == {"a.example.com": "active", "b.example.com": "verified"}


async def test_without_any_configuration_all_may_and_who_was_suspended_comes_back(world):
    await world.add("a.example.com")
    listed = world.entitlements(url="", static=("other",))
    await settled(listed)
    world.now += GRACE
    await settled(listed)
    assert await world.states() == {"a.example.com": "suspended"}
    plain = world.entitlements(url="")
    assert await plain.allowance("anybody") == 10
    await settled(plain)
    assert await world.states() == {"a.example.com": "verified"}


async def test_work_is_done_in_pages(world, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    for number in range(8):
        await world.add(f"h{number}.example.com", workspace=f"w{number}")
    entitlements = world.entitlements()
    assert [await entitlements.review() for _ in range(3)] == [True, True, False]
    assert sorted(world.platform.asked) == [f"w{number}" for number in range(8)]
    world.now += GRACE
    while await entitlements.review():
        pass
    assert await entitlements.apply()
    assert list((await world.states()).values()).count("suspended") == 3
    await settled(entitlements)
    assert set((await world.states()).values()) == {"suspended"}


async def test_one_workspace_that_always_fails_keeps_nobody_waiting(world, monkeypatch):
    monkeypatch.setattr(module, "CONNECTIONS", 1)
    world.platform.answers["w0"] = (500, {}, "")
    for number in range(3):
        await world.add(f"h{number}.example.com", workspace=f"w{number}")
    entitlements = world.entitlements()
    assert not await entitlements.review()
    assert not await entitlements.review()
    assert world.platform.asked == ["w0", "w1", "w2"]


async def test_the_task_works_by_itself_and_sooner_when_somebody_pays(world, monkeypatch):
    await world.add("a.example.com")
    entitlements = world.entitlements(grace=Duration(0.001))
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    task = asyncio.ensure_future(entitlements.run())

    async def until(state: str) -> None:
        async with asyncio.timeout(60):
            while (await world.states())["a.example.com"] != state:
                world.now += 60
                await asyncio.sleep(0.02)

    await until("suspended")
    world.platform.answers["acme"] = {"paid": True}
    await until("verified")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_task_acts_when_the_grace_time_ends_and_not_a_round_later(world, monkeypatch):
    await world.add("a.example.com")
    entitlements = world.entitlements(grace=Duration(1.0))
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    began = time.monotonic()
    monkeypatch.setattr(entitlements, "_clock", lambda: world.now + time.monotonic() - began)
    task = asyncio.ensure_future(entitlements.run())
    try:
        await entitlements.say("acme", paid=False, max_domains=None, actor="t")
        async with asyncio.timeout(60):
            while (await world.states())["a.example.com"] != "suspended":
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
