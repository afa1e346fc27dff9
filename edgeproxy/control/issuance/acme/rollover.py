"""Another key for an account (RFC 8555 section 7.3.5): the request, and what there is to remember meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from acme import jws
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from edgeproxy.errors import Fault, IssuanceError

WAIT_SECONDS = 30.0
"""How long a change of the key waits for orders under way, while new ones wait for it: a challenge's answer has the account's
key in it, so a key that changes under an order fails it."""


def change(kid: str, old: JWKEC, new: JWKEC, url: str) -> dict[str, Any]:
    """The request's payload: what the new key has signed, to be signed by the old one. Pure."""
    inner = msgspec.json.encode({"account": kid, "oldKey": old.public_key().to_json()})
    signed: dict[str, Any] = msgspec.json.decode(jws.JWS.sign(inner, new, ES256, None, url=url).json_dumps())
    return signed


class InUse:
    """Who works with the account's key, so that it changes under nobody. One event loop's."""

    def __init__(self) -> None:
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = asyncio.Event()
        self._open.set()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """For work that needs the key to stay as it is."""
        while not self._open.is_set():
            await self._open.wait()
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """For changing it. Raises IssuanceError where the others do not end in WAIT_SECONDS, or somebody changes it now."""
        if not self._open.is_set():
            raise IssuanceError("The account's key is being changed already.", code="busy", fault=Fault.CLIENT)
        self._open.clear()
        try:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._idle.wait()
            except TimeoutError:
                raise IssuanceError(
                    f"Orders are under way whose challenges have the present key in their answers, and they did not end within "
                    f"{WAIT_SECONDS:.0f} s. Nothing was changed; try again later.",
                    code="busy",
                    fault=Fault.EDGE,
                ) from None
            yield
        finally:
            self._open.set()
