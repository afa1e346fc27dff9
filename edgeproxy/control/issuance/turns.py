"""So many at once, and of them only so many for one client network: a stranger who asks for thousands of names waits behind
themselves, not before everybody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class _Share:
    """What one network has of it, as long as somebody of it is there."""

    def __init__(self, size: int) -> None:
        self.free = asyncio.Semaphore(size)
        self.users = 0


class Turns:
    """`total` at once; of them `each` for one network, and `own` for whoever comes under no network (b""): the edge itself,
    and proxies behind whose address many clients are."""

    def __init__(self, total: int, each: int, own: int) -> None:
        self._free = asyncio.Semaphore(total)
        self._each = each
        self._own = own
        self._shares: dict[bytes, _Share] = {}

    @contextlib.asynccontextmanager
    async def turn(self, network: bytes, patience: float) -> AsyncIterator[None]:
        """Waits for its turn, `patience` seconds at most, and has it until the end of the block. Raises TimeoutError."""
        share = self._shares.get(network)
        if share is None:
            share = self._shares[network] = _Share(self._each if network else self._own)
        share.users += 1
        try:
            async with contextlib.AsyncExitStack() as held:
                async with asyncio.timeout(patience):
                    await held.enter_async_context(share.free)  # in this order: who waits for their own holds up nobody
                    await held.enter_async_context(self._free)
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[network]
