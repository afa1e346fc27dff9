"""Requests that came with an Idempotency-Key, and what was answered to them."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import delete, func, select

from edgeproxy.control.store.base import Part
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.schema import idempotency_keys
from edgeproxy.errors import MapError
from edgeproxy.published.seal import Sealer

KEPT_SECONDS = 86_400.0
"""How long an answer is given again."""

ABANDONED_SECONDS = 60.0
"""After so long a request that another process took, and did not answer, counts as having died with that process."""

PER_CALLER = 5_000
"""Keys of one caller that are remembered, some 15 MB. Above it its oldest are forgotten."""

MAX_KEYS = 100_000
"""Keys in all. Above it the oldest of whoever has most are forgotten, a quarter of theirs at a time."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered to a request."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a key was used for."""

    request: bytes
    """A digest of the request."""
    answer: Answer | None = None
    """None: it is at work."""


class IdempotencyKeys(Part):
    """`use_id` is what `use_id` makes of caller and key; `holder` names one process. What is stored is sealed: a request may be
    guessed from its digest, and an answer may have a secret."""

    async def begin_use(self, use_id: str, caller: str, request: bytes, *, holder: str, now: float) -> KeyUse | None:
        """Takes a key for a request that is known not to be at work in this process. None: it is to be answered now, and then
        `end_use` or `release_use` called; else what the key was used for before."""
        row = idempotency_keys.c
        async with self.database.write() as write:
            found = (await write.connection.execute(select(idempotency_keys).where(row.id == use_id))).first()
            if found is not None and not _is_over(found, holder, now) and (use := _opened(self._sealer, found)) is not None:
                return use
            await write.connection.execute(delete(idempotency_keys).where(row.id == use_id))
            await _make_room(write, caller, now, all_of_them=self._clean_due("idempotency_keys"))
            sealed = _sealed(self._sealer, use_id, KeyUse(request=request))
            values: dict[str, Any] = {"id": use_id, "caller": caller, "holder": holder, "begun_at": now}
            await write.connection.execute(idempotency_keys.insert().values(values | {"sealed_use": sealed}))
        return None

    async def end_use(self, use_id: str, use: KeyUse, *, holder: str, now: float) -> None:
        """Notes the answer, which `use` has."""
        values = {"answered_at": now, "sealed_use": _sealed(self._sealer, use_id, use)}
        async with self.database.write() as write:
            await write.connection.execute(idempotency_keys.update().where(_at_work(use_id, holder)).values(values))

    async def release_use(self, use_id: str, *, holder: str) -> None:
        """Gives a key free again: nothing was done under it."""
        async with self.database.write() as write:
            await write.connection.execute(delete(idempotency_keys).where(_at_work(use_id, holder)))


def use_id(caller: str, key: str) -> str:
    """What names a caller's use of a key."""
    return hashlib.sha256(f"{caller}\0{key}".encode()).hexdigest()


def _context(of: str) -> bytes:
    return b"idempotency:" + of.encode()


def _sealed(sealer: Sealer, of: str, use: KeyUse) -> bytes:
    return sealer.seal(msgspec.msgpack.encode(use), _context(of))


def _opened(sealer: Sealer, row: Any) -> KeyUse | None:
    """None where it does not open: an older program has changed the state key, and knows nothing of this table."""
    try:
        return msgspec.msgpack.decode(sealer.open(row.sealed_use, _context(row.id)), type=KeyUse)
    except (MapError, msgspec.MsgspecError):
        return None


def _at_work(of: str, holder: str) -> Any:
    row = idempotency_keys.c
    return (row.id == of) & (row.holder == holder) & row.answered_at.is_(None)


def _is_over(row: Any, holder: str, now: float) -> bool:
    """Whether a key may be used anew."""
    age = abs(now - row.begun_at)  # or the clock was ahead by so much
    return bool(age >= KEPT_SECONDS or (row.answered_at is None and (row.holder == holder or age >= ABANDONED_SECONDS)))


async def _make_room(write: Write, caller: str, now: float, *, all_of_them: bool) -> None:
    """Forgets what is over, and what is too much."""
    if all_of_them:
        old = idempotency_keys.c.begun_at <= now - KEPT_SECONDS
        await write.connection.execute(delete(idempotency_keys).where(old))
        if await _count(write) >= MAX_KEYS:
            most = select(idempotency_keys.c.caller).group_by(idempotency_keys.c.caller).order_by(func.count().desc()).limit(1)
            greatest = str(await write.connection.scalar(most))
            await _forget(write, greatest, await _count(write, greatest) // 4 + 1)
    beyond = await _count(write, caller) + 1 - PER_CALLER
    if beyond > 0:
        await _forget(write, caller, beyond)


async def _count(write: Write, caller: str | None = None) -> int:
    query = select(func.count()).select_from(idempotency_keys)
    if caller is not None:
        query = query.where(idempotency_keys.c.caller == caller)
    return int(await write.connection.scalar(query) or 0)


async def _forget(write: Write, caller: str, number: int) -> None:
    """The oldest of a caller's that are answered."""
    row = idempotency_keys.c
    mine = select(row.id).where(row.caller == caller, row.answered_at.is_not(None)).order_by(row.begun_at).limit(number)
    await write.connection.execute(delete(idempotency_keys).where(row.id.in_(mine)))
