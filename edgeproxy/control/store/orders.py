"""What issuance must not forget: accounts, orders under way, pending challenges, failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.events import Event
from edgeproxy.control.store.base import Part, fields, map_key, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.outbox import happened
from edgeproxy.control.store.rows.issuance import Account, Failure, Order
from edgeproxy.control.store.schema import accounts, challenges, failures, orders
from edgeproxy.published.records import Challenge

MAX_FAILURES = 100_000
"""Names whose failures are remembered; above it the longest untouched go."""


class Accounts(Part):
    """ACME accounts, one per directory. Their keys are sealed under a key of their own."""

    async def account(self, directory: str) -> Account | None:
        """The account at a directory."""
        row = await self.database.first(select(accounts).where(accounts.c.directory == directory))
        if row is None:
            return None
        context, coming = b"account:" + directory.encode(), row.sealed_next_key
        return Account(
            **fields(row, "sealed_key", "sealed_next_key"),
            key=self._account_sealer.open(row.sealed_key, context),
            next_key=None if coming is None else self._account_sealer.open(coming, context),
        )

    async def save_account(self, account: Account, now: float) -> None:
        """Makes or replaces the account at its directory."""
        context = b"account:" + account.directory.encode()
        coming = account.next_key
        values = {
            "url": account.url,
            "sealed_key": self._account_sealer.seal(account.key, context),
            "sealed_next_key": None if coming is None else self._account_sealer.seal(coming, context),
            "contact": account.contact,
            "key_changed_at": account.key_changed_at,
        }
        statement = insert(accounts).values(directory=account.directory, created_at=now, **values)
        async with self.database.write() as write:
            await write.connection.execute(statement.on_conflict_do_update(index_elements=["directory"], set_=values))
            write.destroyed()


class Orders(Part):
    """Orders under way, one per name."""

    async def order_for(self, hostname: str) -> Order | None:
        """The order under way for a name."""
        row = await self.database.first(select(orders).where(orders.c.hostname == hostname))
        return None if row is None else self._order(row)

    async def save_order(self, order: Order, now: float) -> None:
        """Makes or replaces the order for its name."""
        async with self.database.write() as write:
            await self._put_order(write, order, now)

    async def delete_order(self, hostname: str) -> None:
        """Forgets the order for a name, if there is one."""
        async with self.database.write() as write:
            if (await write.connection.execute(delete(orders).where(orders.c.hostname == hostname))).rowcount:
                write.destroyed()

    async def list_orders(self, limit: int = 1000, after: str = "") -> list[Order]:
        """A page of orders behind the name `after`, by name."""
        query = select(orders).where(orders.c.hostname > after).order_by(orders.c.hostname).limit(page(limit))
        async with self.database.read() as connection:
            return [self._order(row) for row in await connection.execute(query)]

    async def _put_order(self, write: Write, order: Order, now: float) -> None:
        sealed = self._sealer.seal(order.key, b"order:" + order.hostname.encode())
        values = {
            "directory": order.directory,
            "url": order.url,
            "step": order.step,
            "sealed_key": sealed,
            "data": order.data,
            "started_at": order.started_at,
            "updated_at": now,
            "error": order.error,
        }
        statement = insert(orders).values(hostname=order.hostname, **values)
        await write.connection.execute(statement.on_conflict_do_update(index_elements=["hostname"], set_=values))

    def _order(self, row: Any) -> Order:
        return Order(**fields(row, "sealed_key"), key=self._sealer.open(row.sealed_key, b"order:" + row.hostname.encode()))


class Challenges(Part):
    """Answers to pending ACME challenges, on their way into the map."""

    async def put_challenge(self, key: str, challenge: Challenge, now: float) -> int:
        """Adds or replaces an answer under `alpn:HOST` or `http:HOST/TOKEN`. Returns the change number at which every
        worker gives it. Raises InvalidName where the key does not fit."""
        record = msgspec.msgpack.encode(challenge)
        statement = insert(challenges).values(key=map_key(key), record=record, created_at=now)
        async with self.database.write() as write:
            await write.connection.execute(
                statement.on_conflict_do_update(index_elements=["key"], set_={"record": record, "created_at": now})
            )
            write.changed("challenges", key)
        return write.number

    async def delete_challenge(self, key: str, now: float) -> int:
        """Removes an answer. Returns the change number; 0 where there was none."""
        async with self.database.write() as write:
            result = await write.connection.execute(delete(challenges).where(challenges.c.key == key))
            if result.rowcount:
                write.changed("challenges", key)
        return write.number

    async def delete_challenges(self, hostname: str, now: float) -> int:
        """Removes every answer for a hostname, whoever put it there. Returns the change number; 0 where there was none."""
        tokens = f"http:{hostname}/"
        mine = or_(challenges.c.key == f"alpn:{hostname}", challenges.c.key.between(tokens, tokens + "\U0010ffff"))
        async with self.database.write() as write:
            keys = (await write.connection.scalars(select(challenges.c.key).where(mine))).all()
            if keys:
                await write.connection.execute(delete(challenges).where(challenges.c.key.in_(keys)))
            for key in keys:
                write.changed("challenges", key)
        return write.number

    async def remove_old_challenges(self, before: float, now: float, limit: int = 1000) -> int:
        """Removes answers older than a time, left behind by orders that nobody resumed. How many."""
        query = select(challenges.c.key).where(challenges.c.created_at < before).limit(page(limit))
        async with self.database.write() as write:
            keys = (await write.connection.scalars(query)).all()
            if keys:
                await write.connection.execute(delete(challenges).where(challenges.c.key.in_(keys)))
            for key in keys:
                write.changed("challenges", key)
        return len(keys)


class Failures(Part):
    """What failed, remembered across restarts so that no CA is asked too soon again."""

    async def failure(self, name: str) -> Failure | None:
        """What is remembered of a name."""
        row = await self.database.first(select(failures).where(failures.c.name == name))
        return None if row is None else Failure(**fields(row))

    async def failures(self, names: Sequence[str]) -> dict[str, Failure]:
        """What went wrong last, for those of the names that fail."""
        query = select(failures).where(failures.c.name.in_(names))
        return {row.name: Failure(**fields(row)) for row in await self.database.rows(query)}

    async def save_failure(self, failure: Failure, now: float, *, event: Event | None = None) -> None:
        """Remembers, with `event`; at most MAX_FAILURES names, the longest untouched go."""
        values = {
            "count": failure.count,
            "next_try": failure.next_try,
            "detail": failure.detail[:2000],
            "fault": failure.fault,
            "updated_at": now,
        }
        statement = insert(failures).values(name=map_key(failure.name), **values)
        async with self.database.write() as write:
            await write.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
            if self._clean_due("failures"):
                oldest = select(failures.c.name).order_by(failures.c.updated_at.desc()).offset(MAX_FAILURES)
                await write.connection.execute(delete(failures).where(failures.c.name.in_(oldest)))
            await happened(write, now, event)

    async def clear_failure(self, name: str) -> None:
        """Forgets a name's failures: it succeeded."""
        async with self.database.write() as write:
            await write.connection.execute(delete(failures).where(failures.c.name == name))

    async def list_failures(self, limit: int = 1000, after: str = "") -> list[Failure]:
        """A page of failures behind the name `after`, by name."""
        query = select(failures).where(failures.c.name > after).order_by(failures.c.name).limit(page(limit))
        async with self.database.read() as connection:
            return [Failure(**fields(row)) for row in await connection.execute(query)]
