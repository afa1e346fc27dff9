"""Many registrations in one transaction, each of which may be refused by itself.

Rows go to the database as one JSON text for each table: SQLite takes a thousand of them apart in one step, for which Python's
threads need not change (a statement for each row has them change twice), and 20 µs a domain is what is left of 400.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Insert, LargeBinary, Table, bindparam, cast, column, func, select

from edgeproxy.control.domains.pairs import RedirectCheck
from edgeproxy.control.store.base import Part, covering, listed, map_key, parent_of
from edgeproxy.control.store.database import PlainWrite
from edgeproxy.control.store.domain_config import told
from edgeproxy.control.store.domains import registered_already
from edgeproxy.control.store.outbox import ID_BYTES
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.control.store.rows.telling import Beside
from edgeproxy.control.store.schema import audit, domains, outbox
from edgeproxy.errors import Conflict, EdgeError, InvalidName
from edgeproxy.model import ANSWERED, wildcard_of

ADDED: Literal["added"] = "added"
THERE: Literal["there"] = "there"

Outcome: TypeAlias = Literal["added", "there"] | EdgeError
"""What came of a registration. THERE: its workspace has it already, and it was not touched. An error: nothing was done."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that is to be registered on the operator's word, and with it its partner, which redirects to it: both or
    neither. Hostnames are normalised, all else is checked but for what the store alone knows."""

    domains: tuple[Domain, ...]
    actor: str
    tells: bool = True
    """Whether `domain.registered` is told."""


class Additions(NamedTuple):
    """What came of many."""

    outcomes: list[Outcome]
    """In the order of the entries."""
    number: int
    """Of the change after which the map has them; 0: there was none."""
    certificates: Mapping[str, str]
    """Those, by hostname, under which domains are served at once that were added and told of; of most there is none yet."""


class Bulk(Part):
    """Registrations by the hundred."""

    async def add_domains(self, entries: Sequence[Entry]) -> Additions:
        """Registers those that can be. The others are told why not: Conflict for a name that is registered already, unless it
        is the same workspace's and proven; InvalidName for a `redirect_to` that is not possible. What redirects may do so to a
        domain of the same call. Raises StateError; nothing is registered then."""
        describe = self.database.describe
        beside: dict[str, Beside] = {}
        if describe is not None:
            beside = {each.hostname: await describe(each) for entry in entries if entry.tells for each in entry.domains}
        write, (outcomes, certificates) = await self.database.write_at_once(lambda write: _add(write, entries, beside))
        return Additions(outcomes, write.number, certificates)


def _add(write: PlainWrite, entries: Sequence[Entry], beside: Mapping[str, Beside]) -> tuple[list[Outcome], Mapping[str, str]]:
    outcomes: dict[int, Outcome] = {}
    accepted: list[tuple[Domain, Entry]] = []
    known = _Known(write)
    known.look(_wanted(entries))
    # Those that redirect come last: where they lead to may be among the others.
    for place in sorted(range(len(entries)), key=lambda place: entries[place].domains[0].redirect_to != ""):
        entry = entries[place]
        try:
            outcomes[place] = known.admit(entry)
        except EdgeError as error:
            outcomes[place] = error
            continue
        if outcomes[place] == ADDED:
            accepted += [(domain, entry) for domain in entry.domains]
    certificates = _put(write, accepted, beside) if accepted else {}
    return [outcomes[place] for place in range(len(entries))], certificates


class _Found(NamedTuple):
    hostname: str
    workspace_id: str
    redirect_to: str
    state: str
    is_proven: bool


_FOUND = select(
    domains.c.hostname, domains.c.workspace_id, domains.c.redirect_to, domains.c.state, domains.c.verified_at.is_not(None)
).where(domains.c.hostname.in_(select(listed(bindparam("names")).c.value)))


class _Known:
    """What the store has under some names, and what is to be there with this transaction."""

    def __init__(self, write: PlainWrite) -> None:
        self._write = write
        self._rows: dict[str, _Found | None] = {}

    def look(self, names: Iterable[str]) -> None:
        """Asks for those of the names that are not known yet."""
        missing = [name for name in dict.fromkeys(names) if name not in self._rows]
        if not missing:
            return
        self._rows |= dict.fromkeys(missing)
        values = {"names": msgspec.json.encode(missing).decode()}
        for row in self._write.connection.execute(_FOUND, values):
            self._rows[row[0]] = _Found(*row)

    def admit(self, entry: Entry) -> Outcome:
        """Whether an entry can be registered; from then on it counts. Raises Conflict or InvalidName."""
        there = [(domain, row) for domain in entry.domains if (row := self._rows[domain.hostname]) is not None]
        for domain, row in there:
            if row.workspace_id != domain.workspace_id:
                raise registered_already(row.hostname)
            if not row.is_proven and row.state not in ANSWERED:
                raise _unproven(row)
        if len(there) == len(entry.domains):
            return THERE
        if there:
            raise registered_already(there[0][1].hostname)
        for domain in entry.domains:
            self._rows[domain.hostname] = _Found(
                map_key(domain.hostname), domain.workspace_id, domain.redirect_to, domain.state.value, True
            )
        try:
            for domain in entry.domains:
                if domain.redirect_to and not (len(entry.domains) > 1 and _is_partners(domain, entry)):
                    self._check_redirect(domain)
        except InvalidName:
            self._rows |= dict.fromkeys(domain.hostname for domain in entry.domains)
            raise
        return ADDED

    def _check_redirect(self, domain: Domain) -> None:
        check = RedirectCheck(domain.hostname, domain.workspace_id, domain.redirect_to)
        while check.name:
            names = (check.name, wildcard_of(check.name))
            self.look(names)
            row = self._rows[names[0]] or self._rows[names[1]]
            check.found(*(("", "", "") if row is None else row[:3]))


def _is_partners(domain: Domain, entry: Entry) -> bool:
    """Whether a domain is the one that redirects to the other of its pair, which itself redirects to nobody."""
    first = entry.domains[0]
    return domain is not first and domain.redirect_to == first.hostname and not first.redirect_to


def _unproven(row: _Found) -> Conflict:
    return Conflict(
        f"{row.hostname} is registered for {row.workspace_id} already, and {row.state}: it is not proven yet. Leave it to its "
        f"owner, or remove it first: `edgeproxy domains remove {row.hostname}`.",
        code="not_proven",
    )


def _wanted(entries: Sequence[Entry]) -> list[str]:
    """The names that are to be looked at."""
    names = [domain.hostname for entry in entries for domain in entry.domains]
    targets = {domain.redirect_to for entry in entries for domain in entry.domains if domain.redirect_to}
    return [*names, *targets, *map(wildcard_of, targets)]


# Writing


def _insert(table: Table, names: Sequence[str]) -> Insert:
    """An insertion of all rows of a JSON text, each an array of the columns' values."""
    rows = func.json_each(bindparam("rows")).table_valued("value", name="rows")
    found: list[ColumnElement[Any]] = [func.json_extract(rows.c.value, f"$[{place}]") for place in range(len(names))]
    for place, name in enumerate(names):
        if isinstance(table.c[name].type, LargeBinary):
            found[place] = cast(found[place], LargeBinary)
    return table.insert().from_select(list(names), select(*found).select_from(rows), include_defaults=False)


# Made once: to put them together takes longer than to write a few rows.
_FIELDS = Domain.__struct_fields__
_DOMAINS = _insert(domains, [*_FIELDS, "parent"])
_AUDIT = _insert(audit, ["at", "actor", "action", "subject", "detail"])
_EVENTS = _insert(outbox, ["id", "type", "subject", "workspace_id", "at", "data"])
_NAMES = func.json_each(bindparam("names")).table_valued("value", name="names")
_CERTIFICATES = select(_NAMES.c.value, covering(column("value"), bindparam("now")))


def _put(write: PlainWrite, accepted: Sequence[tuple[Domain, Entry]], beside: Mapping[str, Beside]) -> Mapping[str, str]:
    """Makes the rows, notes who did it, and tells of it; the certificates of those that are told of."""
    for domain, _ in accepted:
        write.changed("sites", domain.hostname)
    _rows(write, _DOMAINS, [(*msgspec.structs.astuple(each), parent_of(each.hostname)) for each, _ in accepted])
    noted = []
    for each, entry in accepted:
        detail = f"workspace {each.workspace_id}, {each.state.value}"
        noted.append((each.created_at, entry.actor, "domain.added", each.hostname, detail))
    _rows(write, _AUDIT, noted)
    telling = [each for each, entry in accepted if entry.tells]
    return _tell(write, telling, beside) if telling else {}


def _tell(write: PlainWrite, registered: Sequence[Domain], beside: Mapping[str, Beside]) -> Mapping[str, str]:
    """`domain.registered` of each, as `outbox.became` tells it of one; their certificates."""
    values = {"names": msgspec.json.encode([each.hostname for each in registered]).decode(), "now": registered[0].created_at}
    found = write.connection.execute(_CERTIFICATES, values)
    certificates: dict[str, str] = {row[0]: row[1] for row in found if row[1] is not None}
    rows = []
    for each in registered:
        data = msgspec.json.encode(told(each, certificates.get(each.hostname), beside.get(each.hostname))).decode()
        event_id = f"msg_{secrets.token_urlsafe(ID_BYTES)}"
        rows.append((event_id, "domain.registered", each.hostname, each.workspace_id, each.created_at, data))
    _rows(write, _EVENTS, rows)
    write.told()
    return certificates


def _rows(write: PlainWrite, statement: Insert, rows: Sequence[tuple[Any, ...]]) -> None:
    write.connection.execute(statement, {"rows": msgspec.json.encode(rows).decode()})
