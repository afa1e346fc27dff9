"""What visitors trust, as far as we know."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

from edgeproxy.config.structs import Config
from edgeproxy.control.store import Store

DAY = 86_400.0
"""Seconds for which it counts: the system's roots change with its updates."""


def trust(config: Config, internal_root: bytes | None) -> ssl.SSLContext:
    """The system's roots, `issuance.ca_bundle`, the built-in CA's root (PEM).

    Reads files, some 20 ms: call it in a thread. A bundle that is gone is left out.
    """
    context = ssl.create_default_context()
    context.check_hostname = False  # a wrong name is a grade of its own
    if config.issuance.ca_bundle:
        with contextlib.suppress(OSError, ssl.SSLError):
            context.load_verify_locations(cafile=Path(config.issuance.ca_bundle))
    if internal_root:
        with contextlib.suppress(ssl.SSLError):
            context.load_verify_locations(cadata=internal_root.decode("ascii", "replace"))
    return context


async def trust_now(config: Config, store: Store) -> ssl.SSLContext:
    """The same, read now, with the root of the store's."""
    root = await store.internal_ca()
    return await asyncio.to_thread(trust, config, None if root is None else root.certificate)


class Trust:
    """The same, read anew once a day. `clock` gives Unix time."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], float]) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._read: ssl.SSLContext | None = None
        self._read_at = 0.0

    async def get(self) -> ssl.SSLContext:
        """It, for handshakes with whomever."""
        if self._read is None or self._clock() - self._read_at > DAY:
            self._read = await trust_now(self._config, self._store)
            self._read_at = self._clock()
        return self._read
