"""The API under its hostname, as workers reach it, and tokens for it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.api.app import tokens_app

TOKENS = "/api/v1/tokens"
DOMAINS = "/api/v1/infrastructure/domains"


class Api:
    """Asks as whoever has a token."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.uses = Uses(world.context)
        self.app = tokens_app(world.context, self.uses)

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        *,
        address: str = "192.0.2.1",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx2.Response:
        sent = {"x-forwarded-for": address, "x-request-id": "worker-1"} | (headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        transport = httpx2.ASGITransport(self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="https://api.example.com", timeout=20) as client:
            return await client.request(method, path, headers=sent, **more)

    async def token(self, scope: str, **more: object) -> str:
        """Makes one on the admin socket."""
        answer = await self.world.client.post(TOKENS, json={"scope": scope, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def add(self, domain: str, workspace: str) -> None:
        """Registers a domain on the admin socket."""
        answer = await self.world.client.post(DOMAINS, json={"domain": domain, "workspace_id": workspace})
        assert answer.status_code == 201, answer.text


@pytest.fixture
def api(world):
    return Api(world)
