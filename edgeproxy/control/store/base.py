"""What the parts of the store share: its database, its sealers, and how rows become structs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, ScalarSelect, TableValuedAlias, func, literal, select

from edgeproxy.control.store.database import Database
from edgeproxy.control.store.schema import certificate_names
from edgeproxy.errors import InvalidName
from edgeproxy.limits import Limits
from edgeproxy.published import layout
from edgeproxy.published.seal import Sealer

MAX_PAGE = 10_000
"""Rows of one page of any listing."""

CLEAN_EVERY = 64
"""Puts between two looks at a bounded table: the bound may be exceeded by this many rows for a moment."""


class Part:
    """A part of the store. The parts are one object (`store.Store`); each knows only what is here."""

    def __init__(self, database: Database, sealer: Sealer, account_sealer: Sealer, limits: Limits) -> None:
        self.database = database
        self._sealer = sealer
        self._account_sealer = account_sealer
        self._limits = limits
        self._puts: dict[str, int] = {}

    @property
    def changed(self) -> asyncio.Event:
        """Set after each commit that logged a change for the published map."""
        return self.database.changed

    def _clean_due(self, table: str) -> bool:
        """Whether a bounded table should be looked at after this put: the first, then each CLEAN_EVERY-th."""
        count = self._puts.get(table, 0)
        self._puts[table] = count + 1
        return count % CLEAN_EVERY == 0


def map_key(key: str) -> str:
    """A key that fits the published map; raises InvalidName. What does not fit must not get into the change log: the
    publisher could never get past it."""
    if not 0 < len(key.encode("utf-8", "surrogatepass")) <= layout.MAX_KEY or not key.isprintable():
        raise InvalidName(f"A key of {len(key)} characters cannot be published; 1 to {layout.MAX_KEY} printable ones can.")
    return key


def parent_of(name: str) -> str:
    """What a name is listed under, to find those beneath a wildcard: "example.com" for "a.example.com"; nothing for
    wildcards themselves."""
    return "" if name.startswith("*.") else name.partition(".")[2]


def page(limit: int) -> int:
    """A page's size within bounds."""
    return max(1, min(limit, MAX_PAGE))


def listed(names: Sequence[str] | ColumnElement[str]) -> TableValuedAlias:
    """Names, or a parameter that has them as JSON, as a table with a column `value`: one parameter however many, and one
    plan."""
    array = names if isinstance(names, ColumnElement) else msgspec.json.encode(names).decode()
    return func.json_each(array).table_valued("value", name="names")


def wildcard(name: ColumnElement[str]) -> ColumnElement[str]:
    """`model.wildcard_of` as an expression."""
    return literal("*.") + func.substr(name, func.instr(name, ".") + 1)


def newest_of(name: ColumnElement[str], now: float | ColumnElement[float]) -> ScalarSelect[str]:
    """The id of the newest certificate of a name that outlives `now`, as a subquery."""
    columns = certificate_names.c
    query = select(columns.certificate_id).where(columns.name == name, columns.not_after > now)
    return query.order_by(columns.number.desc()).limit(1).scalar_subquery()


def covering(hostname: ColumnElement[str], now: float | ColumnElement[float]) -> ColumnElement[str]:
    """The id of the certificate that a hostname is served under: its own first, else its wildcard's; or NULL."""
    return func.coalesce(newest_of(hostname, now), newest_of(wildcard(hostname), now))


def fields(row: Any, *without: str) -> dict[str, Any]:
    """A row's columns as keyword arguments."""
    return {name: value for name, value in row._mapping.items() if name not in without}
