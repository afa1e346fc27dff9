"""The controller's HTTP servers: what answers where, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator

import anyio
import httpx2
import msgspec
import pytest

from edgeproxy.config.machine import Process
from edgeproxy.config.platform import Api
from edgeproxy.control.api.serving import Listeners
from tests.control.api.conftest import client_of

DOMAINS = "/api/v1/infrastructure/domains"
NOBODY = 65534


@contextlib.asynccontextmanager
async def up(listeners: Listeners) -> AsyncIterator[None]:
    """Runs them; ended and their tasks over when the block is left."""
    async with asyncio.timeout(60), anyio.create_task_group() as tasks:
        await listeners.up(tasks)
        try:
            yield
        finally:
            await listeners.end()


@pytest.fixture
def metrics():
    sock = socket.create_server(("127.0.0.1", 0))
    yield sock
    sock.close()


async def test_the_admin_socket_has_everything_and_the_metrics_listener_only_what_others_may_see(world, bound, metrics) -> None:
    sock, path = bound
    base = "http://{}:{}".format(*metrics.getsockname())
    async with (
        up(Listeners(world.context, {"admin": sock, "metrics": metrics})),
        client_of(path) as admin,
        httpx2.AsyncClient(base_url=base, timeout=60) as others,
    ):
        for each in (admin, others):
            assert (await each.get("/healthz")).status_code == 200
            assert (await each.get("/metrics")).status_code == 200
        assert (await admin.get(DOMAINS)).status_code == 200
        assert (await others.get(DOMAINS)).status_code == 404


async def test_who_asks_on_the_admin_socket_is_noted(world, bound) -> None:
    sock, path = bound
    async with up(Listeners(world.context, {"admin": sock})), client_of(path) as client:
        answer = await client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"})
        assert answer.status_code == 201
    assert [entry.actor for entry in await world.store.list_audit(10)] == [f"uid:{os.geteuid()}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("worker_user", "status"), [("", "200"), ("nobody", "403")])
async def test_the_workers_user_is_kept_out_though_it_is_in_the_sockets_group(world, bound, worker_user, status) -> None:
    sock, path = bound
    os.chown(path, 0, NOBODY)
    path.parent.chmod(0o755)
    config = msgspec.structs.replace(world.context.config, process=Process(worker_user=worker_user))
    world.context.config = config

    def ask() -> str:
        # By a relative path: the folders above are root's alone, and the child changes into this one before it becomes nobody.
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path.name, "http://edge/healthz"]
        child = subprocess.run(
            command, cwd=path.parent, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, check=False
        )
        return child.stdout

    async with up(Listeners(world.context, {"admin": sock})):
        assert await asyncio.to_thread(ask) == status


async def test_sockets_of_other_roles_are_left_alone(world, bound, metrics) -> None:
    sock, _ = bound
    async with up(Listeners(world.context, {"admin": sock, "api": metrics})):
        _, writer = await asyncio.open_connection(*metrics.getsockname())
        metrics.settimeout(30)
        accepted, _ = await asyncio.to_thread(metrics.accept)  # it waits for us: nobody else took it
        accepted.close()
        writer.close()


async def test_the_end_waits_for_open_requests_and_lets_nobody_in_any_more(world, bound, metrics, monkeypatch) -> None:
    sock, path = bound
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(number: int) -> None:
        begun.set()
        await go.wait()

    monkeypatch.setattr(world.publisher, "published", slow)
    listeners = Listeners(world.context, {"admin": sock, "metrics": metrics})
    async with client_of(path) as client, up(listeners):
        request = asyncio.ensure_future(client.post(DOMAINS, json={"domain": "a.example.com", "workspace_id": "w"}))
        await begun.wait()
        ending = asyncio.ensure_future(listeners.end())
        async with asyncio.timeout(60):
            while await connects(path):
                await asyncio.sleep(0.01)
        assert not ending.done()
        go.set()
        assert (await request).status_code == 201
        await ending


async def connects(path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    return True


async def test_the_apis_socket_is_served_where_it_has_a_hostname_and_lets_nobody_in_without_a_token(world, bound) -> None:
    sock, path = bound
    world.context.config = msgspec.structs.replace(world.context.config, api=Api(hostname="api.example.com"))
    token = (await world.client.post("/api/v1/tokens", json={"scope": "operator:read"})).json()
    async with up(Listeners(world.context, {"api": sock})), client_of(path) as client:
        assert (await client.get(DOMAINS)).status_code == 401
        answer = await client.get(DOMAINS, headers={"authorization": f"Bearer {token['token']}"})
        assert answer.status_code == 200
        assert (await client.get("/metrics", headers={"authorization": f"Bearer {token['token']}"})).status_code == 404
    stored = await world.store.token(token["id"])
    assert stored.used_at is not None, "written when the servers end"


async def test_without_sockets_there_is_nothing_to_wait_for(world) -> None:
    listeners = Listeners(world.context, {})
    async with up(listeners):
        await listeners.end()
