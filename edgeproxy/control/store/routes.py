"""Routes learnt from the gate."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields, map_key, page, parent_of
from edgeproxy.control.store.rows.issuance import GateRoute
from edgeproxy.control.store.schema import gate_routes

_COLUMNS = [column for column in gate_routes.c if column.name != "parent"]


class GateRoutes(Part):
    """At most `limits.gate_routes`: above it the longest untouched go."""

    async def put_gate_route(self, route: GateRoute, now: float) -> int:
        """Adds or replaces the route of a hostname. Returns the change number at which workers have it."""
        values = {
            "workspace_id": route.workspace_id,
            "origin": route.origin,
            "fresh_until": route.fresh_until,
            "updated_at": now,
        }
        hostname = map_key(route.hostname)
        statement = insert(gate_routes).values(hostname=hostname, parent=parent_of(hostname), **values)
        async with self.database.write() as write:
            await write.connection.execute(statement.on_conflict_do_update(index_elements=["hostname"], set_=values))
            write.changed("sites", hostname)
            if self._clean_due("gate_routes"):
                newest_first = select(gate_routes.c.hostname).order_by(gate_routes.c.updated_at.desc())
                surplus = (
                    await write.connection.scalars(newest_first.offset(self._limits.gate_routes).limit(page(1000)))
                ).all()
                for old in surplus:
                    await write.connection.execute(delete(gate_routes).where(gate_routes.c.hostname == old))
                    write.changed("sites", old)
        return write.number

    async def get_gate_route(self, hostname: str) -> GateRoute | None:
        """The route of a hostname, fresh or stale."""
        row = await self.database.first(select(*_COLUMNS).where(gate_routes.c.hostname == hostname))
        return None if row is None else GateRoute(**fields(row))

    async def delete_gate_route(self, hostname: str, now: float) -> int:
        """Forgets a route: the gate denies the name now. Returns the change number; 0 where there was none."""
        async with self.database.write() as write:
            result = await write.connection.execute(delete(gate_routes).where(gate_routes.c.hostname == hostname))
            if result.rowcount:
                write.changed("sites", hostname)
        return write.number

    async def list_gate_routes(self, limit: int, after: str = "") -> list[GateRoute]:
        """A page of routes behind the hostname `after`, by hostname."""
        query = select(*_COLUMNS).where(gate_routes.c.hostname > after).order_by(gate_routes.c.hostname).limit(page(limit))
        async with self.database.read() as connection:
            return [GateRoute(**fields(row)) for row in await connection.execute(query)]

    async def count_gate_routes(self) -> int:
        """How many there are."""
        async with self.database.read() as connection:
            return int(await connection.scalar(select(func.count()).select_from(gate_routes)) or 0)
