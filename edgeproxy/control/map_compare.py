"""The published map compared with the store, a few records at a time, round and round."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from anyio.to_thread import run_sync

from edgeproxy.control.map_content import MapContent
from edgeproxy.published.writer import MapWriter

log = structlog.get_logger("publisher")

COMPARED = 200
"""Records that are compared in one step."""


class Comparison:
    """A certificate that expired gives way to a valid one here; and damage where nothing changes would else be met by readers
    alone, who cannot cure it. By lookups: LMDB's cursors end the process at a damaged page."""

    def __init__(self, content: MapContent, writer: MapWriter) -> None:
        self._content = content
        self._writer = writer
        self._at = ("sites", "")
        """The database that is compared, and the last key that was."""

    async def step(self, reached: int) -> None:
        """Puts the map's next records right, where they differ. `reached`: the change number that the map has, and keeps.
        Raises MapError, StateError."""
        database, after = self._at
        keys = await self._content.keys(database, after, COMPARED)
        if keys:
            await self._put_right(database, keys, reached)
            self._at = (database, keys[-1])
        elif database == "sites":
            await self._put_right("sites", self._content.settings.edge_names, reached)
            self._at = ("certificates", "")
        else:
            self._at = ("sites", "")

    async def _put_right(self, database: str, keys: Sequence[str], reached: int) -> None:
        puts, deletes = await self._content.of(database, keys)
        for change in await run_sync(self._writer.apply, puts, deletes, reached):
            log.info("a record of the published map was brought up to date", database=database, key=change.key)
