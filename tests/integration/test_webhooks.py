"""Webhooks of the real program: all events arrive whatever is killed, and TLS, faults and commands are as told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgeproxy.control.webhooks.delivery import FETCHED
from edgeproxy.control.webhooks.sending import CONNECTIONS
from tests.control.webhooks.receiver import SECRET, Got, Receiver, receiving, says
from tests.integration.running import PATIENCE, Running, wait_for

HOOKS = "/api/v1/infrastructure/webhooks"
EVENTS = 300


@contextlib.asynccontextmanager
async def running(edge: Running) -> AsyncIterator[Running]:
    """The program, while this loop goes on for the receivers."""
    await asyncio.to_thread(edge.start)
    try:
        yield edge
    finally:
        await asyncio.to_thread(edge.stop)


async def api(edge: Running, method: str, path: str, body: object = None) -> Any:
    status, answer = await asyncio.to_thread(edge.api, method, path, body)
    assert status < 300, answer
    return answer


def write_events(edge: Running, count: int) -> list[str]:
    """Puts events into the outbox as a transaction of the controller's would."""
    ids = [f"msg_{number}" for number in range(count)]
    connection = sqlite3.connect(edge.state / "edgeproxy.db", timeout=30)
    with connection:
        connection.executemany(
            "INSERT INTO outbox (id, type, subject, workspace_id, at, data) VALUES (?, 'domain.active', ?, 'w', ?, ?)",
            [(each, f"{each}.test", time.time(), json.dumps({"domain": f"{each}.test"}).encode()) for each in ids],
        )
    connection.close()
    return ids


def controller(edge: Running) -> int | None:
    return next((pid for pid, name in edge.children().items() if name == "edgeproxy ctl"), None)


async def answers(edge: Running) -> None:
    """Waits until the admin socket answers."""

    def tried() -> bool:
        with contextlib.suppress(OSError):
            return edge.api("GET", "/healthz", timeout=5)[0] == 200
        return False

    await asyncio.to_thread(wait_for, tried, "the controller's answer")


async def received(receiver: Receiver, ids: list[str]) -> None:
    async with asyncio.timeout(PATIENCE * 2):
        while {got.id for got in receiver.got} < set(ids):
            await asyncio.sleep(0.02)


async def slowly(_got: Got, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.02)
    await says(204)(_got, writer)


async def test_a_controller_that_is_killed_again_and_again_loses_no_event(tmp_path: Path) -> None:
    async with receiving() as receiver, running(Running(tmp_path, {"webhooks": {"allow": ["127.0.0.0/8"]}})) as edge:
        receiver.usual = slowly
        added = await api(edge, "POST", HOOKS, {"url": receiver.url, "secret": SECRET})
        one = added["webhook"]["id"]
        ids = await asyncio.to_thread(write_events, edge, EVENTS)
        await api(edge, "PATCH", f"{HOOKS}/{one}", {"label": "looks at the outbox now"})
        for share in (0.1, 0.3, 0.6):
            await receiver.has(int(EVENTS * share))
            victim = controller(edge)
            assert victim is not None
            edge.kill(victim)
            await asyncio.to_thread(wait_for, lambda: controller(edge) not in (None, victim), "a new controller")  # noqa: B023
            await answers(edge)
        await received(receiver, ids)
        # What is told of it: each delivered, and nothing waits.
        async with asyncio.timeout(PATIENCE):
            while (await api(edge, "GET", f"{HOOKS}/{one}"))["pending"]:
                await asyncio.sleep(0.05)
        log = (await api(edge, "GET", f"{HOOKS}/{one}/deliveries?limit=1000"))["deliveries"]
    assert {each["event_id"] for each in log} == set(ids)
    assert {each["state"] for each in log} == {"delivered"}
    assert all(got.verified() for got in receiver.got)
    bodies: dict[str, set[bytes]] = {}
    for got in receiver.got:
        bodies.setdefault(got.id, set()).add(got.body)
    assert all(bodies[each] == {next(iter(bodies[each]))} for each in ids), "an id is never another event's"
    assert all(json.loads(next(iter(bodies[each])))["data"]["domain"] == f"{each}.test" for each in ids)
    again = len(receiver.got) - EVENTS
    assert again <= 3 * (FETCHED * 3 // 2 + CONNECTIONS), "only what was under way comes again"


async def test_endpoints_of_the_configuration_are_told_of_certificates_and_of_reloads(tmp_path: Path) -> None:
    async with receiving() as receiver, receiving() as other:
        endpoints = [{"url": receiver.url, "secret": SECRET, "events": ["certificate.*"]}]
        edge = Running(tmp_path, {"webhooks": {"endpoints": endpoints}})
        async with running(edge):
            await asyncio.to_thread(edge.add_domain, "shop.example.test")
            assert (await asyncio.to_thread(edge.cli, "certs", "issue", "shop.example.test")).returncode == 0
            (got, *_) = await receiver.has(1)
            assert got.payload["type"] == "certificate.issued"
            data = got.payload["data"]
            assert isinstance(data, dict)
            assert (data["domain"], data["workspace_id"]) == ("shop.example.test", "acme-store")
            assert got.verified()
            shown = await api(edge, "GET", "/api/v1/infrastructure/domains/shop.example.test")
            assert shown["certificate_id"]
            assert {name: data[name] for name in shown} == shown, "an event says of a domain what the API says"
            edge.configure({"webhooks": {"endpoints": [{"url": other.url, "secret": SECRET}]}})
            assert (await asyncio.to_thread(edge.cli, "reload")).returncode == 0
            await asyncio.to_thread(
                wait_for, lambda: edge.cli("webhooks", "list").stdout.count(other.url) == 1, "the other endpoint"
            )
            before = len(receiver.got)
            await asyncio.to_thread(edge.add_domain, "second.example.test", "w2")
            (got, *_) = await other.has(1)
            assert got.payload["type"] == "domain.registered"
            config = got.payload["data"]
            assert isinstance(config, dict)
            assert (config["domain"], config["workspace_id"]) == ("second.example.test", "w2")
            assert (await asyncio.to_thread(edge.cli, "certs", "renew", "shop.example.test")).returncode == 0
            async with asyncio.timeout(PATIENCE):
                while "certificate.renewed" not in [each.payload["type"] for each in other.got]:
                    await asyncio.sleep(0.05)
            assert len(receiver.got) == before
            tail = await asyncio.to_thread(edge.cli, "events", "tail", "--no-follow", "--json")
            assert "certificate.renewed" in [json.loads(line)["type"] for line in tail.stdout.splitlines()]


async def test_an_endpoint_that_fails_is_a_fault_in_the_status(tmp_path: Path) -> None:
    async with receiving() as receiver, running(Running(tmp_path, {"webhooks": {"allow": ["127.0.0.0/8"]}})) as edge:
        receiver.usual = says(500)
        added = await asyncio.to_thread(edge.cli, "webhooks", "add", receiver.url, "--label", "platform")
        assert added.stdout.startswith("whsec_")
        one = (await api(edge, "GET", HOOKS))["webhooks"][0]["id"]
        assert (await asyncio.to_thread(edge.cli, "webhooks", "test", one)).returncode == 1
        await asyncio.to_thread(write_events, edge, 3)
        await api(edge, "PATCH", f"{HOOKS}/{one}", {"label": "platform"})

        def told() -> bool:
            return "Events cannot be delivered to platform: It answered 500." in edge.cli("status").stderr

        await asyncio.to_thread(wait_for, told, "the fault")
        receiver.usual = says(200)
        replayed = await asyncio.to_thread(edge.cli, "events", "replay", one, "--since", "1h", "--failed")
        assert replayed.stderr.startswith("3 events are delivered once more.")
        await asyncio.to_thread(wait_for, lambda: "Fault in webhook" not in edge.cli("status").stderr, "no fault")
        first = {got.id for got in receiver.got if got.payload["type"] != "webhook.test"}
        assert len(first) == 3, "what is replayed keeps its id"
        wanted = min(first)
        before = [got.id for got in receiver.got].count(wanted)
        assert (await asyncio.to_thread(edge.cli, "webhooks", "redeliver", one, wanted)).returncode == 0
        async with asyncio.timeout(PATIENCE):
            while [got.id for got in receiver.got].count(wanted) == before:
                await asyncio.sleep(0.02)
