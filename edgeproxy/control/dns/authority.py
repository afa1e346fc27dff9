"""What our zone says at this moment: the records that the configuration makes, and the challenges that the store has.

The store is the truth. What it has under `dns:LABEL/VALUE` is the TXT record VALUE at LABEL; all of it is read once and held
in memory, so that strangers' questions never reach the database, and followed with the change log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from edgeproxy.config.nameservers import delegation, nameservers
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.zone import Reply, Zone, respond
from edgeproxy.control.store import Store

log = structlog.get_logger("dns")

PREFIX = "dns:"
"""Of the keys of the store's challenges that are ours."""

VALUES = 64
"""TXT records of one label at most; those of a hostname and its wildcard are two. All fit into an answer over TCP."""

VALUE_BYTES = 512
"""Bytes of one. A CA's has 43 characters (RFC 8555 section 8.4)."""

PAGE = 1000
"""Challenges that are read from the store at once."""


class Authority:
    """The answers of one controller. `loaded` is set once they are those of the store."""

    def __init__(self, config: Config, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.delegation = delegation(config)
        """Lines for the zone above."""
        self.zone = Zone(config.dns.zone, nameservers(config), config.platform.addresses)
        self.loaded = asyncio.Event()
        self._store = store
        self._clock = clock
        self._texts: dict[bytes, tuple[bytes, ...]] = {}
        self._serial = int(clock())

    def respond(self, data: bytes, *, udp: bool, limited: bool = False) -> Reply:
        """The answer to a query's bytes; see `zone.respond`."""
        return respond(self.zone, data, self._texts, self._serial, udp=udp, limited=limited)

    async def follow(self, keys: Sequence[str] | None) -> None:
        """Takes over what the store has now for some keys of challenges, or, with None, for all. Raises StateError; the answers
        are those from before then."""
        if keys is None:
            texts: dict[bytes, tuple[bytes, ...]] = {}
            after = PREFIX
            while page := [key for key in await self._store.keys_of("challenges", after, PAGE) if key.startswith(PREFIX)]:
                _collect(texts, page)
                after = page[-1]
        else:
            labels = {key[len(PREFIX) :].partition("/")[0] for key in keys if key.startswith(PREFIX)}
            if not labels:
                return
            texts = {label: values for label, values in self._texts.items() if label.decode() not in labels}
            for label in labels:
                start = f"{PREFIX}{label}/"
                found = await self._store.keys_of("challenges", start, VALUES)
                _collect(texts, [key for key in found if key.startswith(start)])
        if texts != self._texts:
            # Secondaries would look whether this grows; nothing else does. Never less than one more than before.
            self._serial = max(self._serial + 1, int(self._clock()))
        self._texts = texts
        self.loaded.set()


def _collect(texts: dict[bytes, tuple[bytes, ...]], keys: Sequence[str]) -> None:
    """Adds the values of some keys to their labels."""
    for key in keys:
        label, slash, value = key[len(PREFIX) :].partition("/")
        name = label.lower().encode()
        values = texts.get(name, ())
        if slash and value and len(value) <= VALUE_BYTES and value.isascii() and len(values) < VALUES:
            texts[name] = (*values, value.encode())
