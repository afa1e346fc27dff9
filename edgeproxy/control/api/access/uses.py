"""When tokens were last used: remembered, and written once a minute for all of them together."""

from __future__ import annotations

import anyio
import structlog

from edgeproxy.control.api.context import Context
from edgeproxy.errors import EdgeError

WRITE_SECONDS = 60.0
"""Between two writes: that often a token's last use is written at most."""

log = structlog.get_logger("api")


class Uses:
    """One per controller."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._used: dict[str, float] = {}
        self._ended = anyio.Event()

    def note(self, token_id: str, now: float) -> None:
        """A valid token was used. Bounded by the tokens that there are."""
        self._used[token_id] = now

    async def run(self) -> None:
        """Writes now and then, until `end`."""
        while not self._ended.is_set():
            with anyio.move_on_after(WRITE_SECONDS):
                await self._ended.wait()
            await self.flush()

    async def end(self) -> None:
        """Writes what is left, and lets `run` return."""
        self._ended.set()
        await self.flush()

    async def flush(self) -> None:
        """Writes what is remembered. What cannot be written is logged and forgotten: it is worth no second try."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._context.open_plane().store.tokens_used(used)
        except EdgeError as error:
            log.warning("the last uses of tokens could not be written", tokens=len(used), error=error.detail)
