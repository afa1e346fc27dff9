"""Domains with what else is told of them: one question for all of it, since programs ask for thousands of domains again and
again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, select

from edgeproxy.control.store.base import Part, covering, listed
from edgeproxy.control.store.domains import COLUMNS
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.control.store.rows.issuance import Failure
from edgeproxy.control.store.schema import domains, failures
from edgeproxy.model import DomainState


class Sheet(msgspec.Struct, frozen=True):
    """A registration, and how it stands with its certificate."""

    domain: Domain
    certificate_id: str | None
    """The newest that covers it and is still valid: its own first, else its wildcard's."""
    failure: Failure | None
    """What went wrong last when its certificate was to be obtained."""


class Sheets(Part):
    """Hostnames are normalised (`model.hostname`) by the caller."""

    async def sheet(self, hostname: str, now: float) -> Sheet | None:
        """The registration of exactly this name."""
        row = await self.database.first(_ONE, {"hostname": hostname, "now": now})
        return None if row is None else _sheet(row)

    async def sheets(self, hostnames: Sequence[str], now: float) -> dict[str, Sheet]:
        """The same for those of the names that are registered."""
        values = {"names": msgspec.json.encode(hostnames).decode(), "now": now}
        found = [_sheet(row) for row in await self.database.rows(_MANY, values)]
        return {each.domain.hostname: each for each in found}


def _sheets() -> Select[Any]:
    hostname: ColumnElement[str] = domains.c.hostname
    now: ColumnElement[float] = bindparam("now")
    certificate = covering(hostname, now).label("certificate")
    beside = [column.label(f"failure_{column.name}") for column in failures.c]
    return select(*COLUMNS, certificate, *beside).outerjoin(failures, failures.c.name == hostname)


# Made once: to put such a question together takes longer than to answer it.
_ONE = _sheets().where(domains.c.hostname == bindparam("hostname"))
_MANY = _sheets().where(domains.c.hostname.in_(select(listed(bindparam("names")).c.value)))


def _sheet(row: Any) -> Sheet:
    values = row._mapping
    known = {name: values[name] for name in Domain.__struct_fields__}
    failure = None
    if values["failure_name"] is not None:
        failure = Failure(**{name: values[f"failure_{name}"] for name in Failure.__struct_fields__})
    return Sheet(Domain(**(known | {"state": DomainState(row.state)})), row.certificate, failure)
