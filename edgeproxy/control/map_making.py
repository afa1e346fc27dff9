"""A published map made from the whole store, where there is none that could be followed up."""

from __future__ import annotations

import msgspec
from anyio.to_thread import run_sync

from edgeproxy.control.map_content import MapContent
from edgeproxy.published.writer import MapWriter

BATCH = 5000
"""Records that are looked up and written at once."""


async def make(writer: MapWriter, content: MapContent, head: int, store_id: str) -> int:
    """Makes the map anew and puts it in the place of the one before; how many sites it has.

    `head`: the store's change number before this was called. What changes meanwhile comes after that number, and is to be
    followed afterwards. Raises MapError, StateError; the map before is then left as it was.
    """
    rebuild = await run_sync(writer.rebuilding)
    with rebuild:
        own, _ = await content.of("sites", content.settings.edge_names)
        tickets, _ = await content.of("tickets", ["current"])
        await run_sync(rebuild.put, own + tickets)
        sites = len(own)
        for database in ("sites", "certificates", "challenges"):
            after = ""
            while keys := await content.keys(database, after, BATCH):
                puts, _ = await content.of(database, keys)
                await run_sync(rebuild.put, puts)
                sites += len(puts) if database == "sites" else 0
                after = keys[-1]
        noted = msgspec.msgpack.encode(content.settings)
        await run_sync(lambda: rebuild.finish(head, store_id=store_id, settings=noted))
    return sites
