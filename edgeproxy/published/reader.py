"""The published map as workers see it.

One reader per process, opened after the fork (LMDB refuses an environment that was open before it). Every lookup is a
transaction of its own that ends before the call returns: a reader that stays in one keeps the file growing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import lmdb
import msgspec

from edgeproxy.errors import MapError
from edgeproxy.published import layout
from edgeproxy.published.records import CHANGES_RING, SCHEMA, Certificate, Challenge, Change, Site, Tickets

_site = msgspec.msgpack.Decoder(Site).decode
_certificate = msgspec.msgpack.Decoder(Certificate).decode
_challenge = msgspec.msgpack.Decoder(Challenge).decode
_tickets = msgspec.msgpack.Decoder(Tickets).decode
_change = msgspec.msgpack.Decoder(Change).decode

T = TypeVar("T")

_DAMAGE = (lmdb.Error, msgspec.DecodeError, UnicodeDecodeError)
"""msgspec lets the error of a string that is not UTF-8 through as it is."""


class MapReader:
    """Lookups in the map that counts now.

    The caller watches `stamp()` (tens of nanoseconds) and calls `changes()` when it moved, and calls `check_current()`
    about once a second. Everything raises MapError and nothing else; after one the reader stays usable, and what the
    caller remembers is the best answer there is.
    """

    __slots__ = ("_current", "_data", "_directory", "_env", "_epoch", "_fresh", "_kinds", "_path", "_seen", "_words")

    def __init__(self, state_directory: Path) -> None:
        """Raises MapError where there is no map yet, or not one of this schema."""
        self._directory = state_directory
        self._path = layout.published_directory(state_directory) / "current"
        self._current = layout.Current(self._path)
        self._words = self._current.words
        self._fresh = False
        try:
            self._env, self._kinds, self._epoch, self._seen = _open(state_directory, layout.epoch_of(self._current.word()))
        except MapError:
            self._current.close()
            raise
        self._data = layout.identity(layout.map_folder(state_directory, self._epoch) / "data.mdb")

    def stamp(self) -> int:
        """A number that is another one whenever something in the map changed."""
        return self._words[layout.WORD]

    def changes(self) -> list[Change] | None:
        """What changed since the last call (since the opening, at the first); None: drop everything remembered.

        A change of a site whose key is a wildcard concerns every name beneath it.
        """
        if layout.epoch_of(self._current.word()) != self._epoch:
            self._enter(self._current)
        changes = self._ring()
        if self._fresh:
            self._fresh = False
            return None
        return changes

    def site(self, hostname: str) -> Site | None:
        """The site under exactly this key; "*.example.com" is a key like others."""
        return self._get("sites", hostname, _site)

    def certificate(self, certificate_id: str) -> Certificate | None:
        """A certificate by its id."""
        return self._get("certificates", certificate_id, _certificate)

    def challenge(self, key: str) -> Challenge | None:
        """The answer to a pending challenge: `alpn:HOST` or `http:HOST/TOKEN`."""
        return self._get("challenges", key, _challenge)

    def tickets(self) -> Tickets | None:
        """The secrets for session tickets; None where none were made yet."""
        return self._get("tickets", "current", _tickets)

    def check_current(self) -> bool:
        """Whether the map was found to be another one and opened: then drop everything remembered.

        Looks at the file system: `current` may have been deleted and made anew, which its mapping does not show.
        Raises MapError while there is none.
        """
        now = layout.identity(self._path)
        if now is None:
            raise MapError(
                f"The published map is gone: {self._path}. The controller makes it anew; until then known answers serve."
            )
        if now != self._current.identity:
            current = layout.Current(self._path)
            try:
                self._enter(current)
            except MapError:
                current.close()
                raise
            self._current.close()
            self._current, self._words = current, current.words
            return True
        if layout.epoch_of(self._current.word()) != self._epoch:
            self._enter(self._current)
            return True
        return False

    def close(self) -> None:
        """Closes the map. A closed reader raises MapError."""
        self._env.close()
        self._current.close()

    def _get(self, database: str, key: str, decode: Callable[[bytes], T]) -> T | None:
        try:
            transaction = self._env.begin(self._kinds[database])
            try:
                value = transaction.get(key.encode())
            finally:
                transaction.abort()
            return None if value is None else decode(value)
        except lmdb.BadValsizeError:
            return None  # an empty key is a stranger's, not a fault of the map
        except UnicodeEncodeError:
            return None  # lone surrogates: no key has any
        except lmdb.MapResizedError:
            self._env.set_mapsize(0)
            return self._get(database, key, decode)
        except _DAMAGE as error:
            raise _damaged(error) from error

    def _ring(self) -> list[Change] | None:
        """The changes behind the last seen one; None where the ring no longer has them all."""
        try:
            with self._env.begin() as transaction:
                newest = layout.number(transaction.get(layout.META_SEQUENCE, db=self._kinds["meta"]))
                seen, self._seen = self._seen, newest
                if not 0 <= newest - seen <= CHANGES_RING:
                    return None
                ring = self._kinds["changes"]
                values = [transaction.get(layout.ring_key(number), db=ring) for number in range(seen + 1, newest + 1)]
            return [_change(value) for value in values if value is not None] if None not in values else None
        except lmdb.MapResizedError:
            self._env.set_mapsize(0)
            return None
        except _DAMAGE as error:
            raise _damaged(error) from error

    def _enter(self, current: layout.Current) -> None:
        """Opens the map that `current` names and leaves the one before. On MapError the one before stays open."""
        epoch = layout.epoch_of(current.word())
        data = layout.identity(layout.map_folder(self._directory, epoch) / "data.mdb")
        if epoch != self._epoch or data != self._data:  # LMDB refuses the same files twice
            opened = _open(self._directory, epoch)
            self._env.close()
            self._env, self._kinds, self._epoch, self._seen = opened
            self._data = data
        self._fresh = True


def _open(state_directory: Path, epoch: int) -> tuple[lmdb.Environment, dict[str, lmdb._Database], int, int]:
    """(environment, databases, epoch, number of the newest change)."""
    folder = layout.map_folder(state_directory, epoch)
    try:
        env = lmdb.open(
            str(folder),
            map_size=layout.MAP_SIZE,
            max_readers=layout.MAX_READERS,
            max_dbs=len(layout.DATABASES) + len(layout.INTERNAL_DATABASES),
            max_spare_txns=2,
            readonly=True,
            create=False,
            lock=True,
            readahead=False,
        )
    except lmdb.Error as error:
        raise MapError(
            f"The published map cannot be opened: {folder}: {error}. It must have schema {SCHEMA} and be readable, and "
            "its lock.mdb writable, for the workers' user."
        ) from error
    try:
        kinds = {name: env.open_db(name.encode(), create=False) for name in (*layout.DATABASES, *layout.INTERNAL_DATABASES)}
        with env.begin(kinds["meta"]) as transaction:
            return env, kinds, epoch, layout.number(transaction.get(layout.META_SEQUENCE))
    except (lmdb.Error, MapError) as error:
        env.close()
        raise _damaged(error) from error


def _damaged(error: Exception) -> MapError:
    return MapError(f"The published map cannot be read: {error}. The controller rebuilds a damaged map by itself.")
