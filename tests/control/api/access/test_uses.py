"""The last uses of tokens."""

import anyio

from edgeproxy.control.api.access import uses as module
from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.store import Token
from edgeproxy.errors import StateError
from edgeproxy.model import TokenScope


def token(token_id: str) -> Token:
    return Token(id=token_id, digest=token_id.encode(), scope=TokenScope.PLATFORM, created_at=1.0, created_by="uid:0")


async def test_uses_are_written_together_and_once(world, monkeypatch):
    for token_id in ("a", "b", "c"):
        await world.store.add_token(token(token_id))
    written: list[dict[str, float]] = []
    real = world.store.tokens_used

    async def counted(used):
        written.append(dict(used))
        await real(used)

    monkeypatch.setattr(world.store, "tokens_used", counted)
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.05)
    uses = Uses(world.context)
    for second in range(100):
        uses.note("a", 1000.0 + second)
    uses.note("b", 7.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(uses.run)
        with anyio.fail_after(60):
            while not written:
                await anyio.sleep(0.01)
        await anyio.sleep(0.2)
        uses.note("c", 9.0)
        await uses.end()
    assert written == [{"a": 1099.0, "b": 7.0}, {"c": 9.0}]
    assert [each.used_at for each in await world.store.list_tokens(10)] == [1099.0, 7.0, 9.0]


async def test_a_store_that_cannot_write_them_hinders_nobody(world, monkeypatch):
    async def fails(used):
        raise StateError("The disk is full.")

    monkeypatch.setattr(world.store, "tokens_used", fails)
    uses = Uses(world.context)
    uses.note("a", 1.0)
    await uses.flush()
    world.context.plane = None
    uses.note("a", 2.0)
    await uses.flush()
