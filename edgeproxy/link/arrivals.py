"""The times of rate limits that the workers of a machine share: one theoretical arrival time (`gcra`) for each key.

Shared memory of fixed size, made by the supervisor before the first fork; it outlives workers and reloads. It has a region for
each kind of key, so that invented networks drive out no hostname. A region is sets of WAYS cells. Which set a key has, and the
tag by which its cell is known there, come from a keyed hash: the key is random, so that nobody can choose addresses that fall
into a victim's set.

A cell is one 64-bit word, tag and time together, and written whole. So two workers that write one cell at once lose a request,
or a key is forgotten; never is a key found with the time of another. Which is the rule for everything here: what goes wrong
admits too much, a request at a time, and refuses nobody.

A cell whose time is past says nothing and is free. Where a set has no free one, the key that has asked for least gives its
place. Two keys are taken for one where 24 bits of tag are the same within a set of eight: five in ten million, if all are full.

Times are microseconds modulo 2**40, which come around after 12 days. `sweep` empties old cells long before.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from typing import Final

import msgspec

from edgeproxy.errors import LinkError
from edgeproxy.gcra import LONGEST, SECOND, Rate

REGIONS: Final = {"network": 131_072, "hostname": 32_768, "workspace": 32_768}
"""Cells for each kind of key: 1.5 MiB together, of which the machine gives what is written. Needed are those of keys whose time
lies ahead, and not of all that ever asked: at 100/s who asks once is forgotten after 10 ms."""

WAYS: Final = 8
"""Cells of a set: one line of the processor's cache."""

SWEPT: Final = 1_024
"""Cells that one sweep looks at, in some 50 µs; at one each second all of them in three minutes."""

_MAGIC: Final = 0x4550524154453031
_KEY: Final = 1
_HEAD: Final = 8
_CELLS: Final = _HEAD + sum(REGIONS.values())
_TIME_BITS: Final = 40
_TIME: Final = (1 << _TIME_BITS) - 1
_TAG: Final = (1 << 64 - _TIME_BITS) - 1
_HORIZON: Final = (LONGEST + 60) * SECOND
"""A time further ahead than any that is ever written is one that is past."""
_SKEW: Final = SECOND
"""By how much two workers' `now` may differ: each is that of the read which brought the request."""


class Key(msgspec.Struct, frozen=True, gc=False):
    """What is counted, at which rate, and where."""

    kind: str
    """One of REGIONS."""
    rate: Rate
    first: int
    """Where its set begins."""
    tag: int
    interval: int
    full: int
    """A burst's worth, in microseconds."""
    most: int
    """A time further ahead is past, or of a rate that the operator has changed since."""


class Over(msgspec.Struct, frozen=True, gc=False):
    """Who has asked too often."""

    key: Key
    wait: int
    """Microseconds until the next request is admitted."""


class Arrivals:
    """The table, as any process sees it."""

    def __init__(self, view: memoryview) -> None:
        """`view` is `WorkerStart.arrivals`: the mapped bytes. Raises LinkError when they are not a table of this layout."""
        self._cells = cells = view.cast("B").cast("Q")
        if len(cells) != _CELLS or cells[0] != _MAGIC:
            raise LinkError("The times that workers share have another layout than this version's.", code="table_layout")
        self._secret = cells[_KEY : _KEY + 2].tobytes()
        self._swept = _HEAD
        self._regions = {}
        begin = _HEAD
        for kind, size in REGIONS.items():
            self._regions[kind] = begin, size // WAYS
            begin += size

    @classmethod
    def create(cls) -> tuple[Arrivals, memoryview]:
        """A new, empty table, and its bytes for `WorkerStart.arrivals`. Children made by fork share them."""
        view = memoryview(mmap.mmap(-1, _CELLS * 8))
        view[_KEY * 8 : _KEY * 8 + 16] = os.urandom(16)
        view.cast("Q")[0] = _MAGIC
        return cls(view), view

    def key(self, kind: str, name: bytes, rate: Rate) -> Key:
        """Where a name of this kind is counted (2 µs, so keep it)."""
        digest = hashlib.blake2b(name, digest_size=8, key=self._secret, person=kind.encode()).digest()
        place = int.from_bytes(digest, "little")
        begin, sets = self._regions[kind]
        tag = place & _TAG or 1
        first = begin + (place >> 64 - _TIME_BITS) % sets * WAYS
        interval = rate.interval
        full = interval * rate.burst
        return Key(kind, rate, first, tag, interval, full, full + _SKEW)

    def admit(self, keys: Sequence[Key], now: int) -> Over | None:
        """Counts a request for all of these keys; where one has had too many it counts for none of them, and that one is told.

        `now` is in microseconds of CLOCK_MONOTONIC. The rule is `gcra.admit`, written out.
        """
        cells = self._cells
        while True:
            changes = []
            for key in keys:
                index, word, ahead = self._find(key, now)
                ahead += key.interval
                if ahead > key.full:
                    return Over(key, ahead - key.full)
                changes.append((index, word, key.tag << _TIME_BITS | (now + ahead & _TIME)))
            # Another worker may have counted meanwhile. To look again leaves a tenth of a microsecond in which a request may be
            # lost, instead of all of the above; each turn of the loop is one in which somebody else got through.
            for index, word, _ in changes:
                if cells[index] != word:
                    break
            else:
                for index, _, after in changes:
                    cells[index] = after
                return None

    def sweep(self, now: int) -> None:
        """Empties a part of the old cells, before times that come around look as if they lay ahead. Call it each second."""
        cells, begin = self._cells, self._swept
        end = min(begin + SWEPT, _CELLS)
        for index, word in enumerate(cells[begin:end].tolist(), begin):
            if word and (word - now) & _TIME > _HORIZON:
                cells[index] = 0
        self._swept = end if end < _CELLS else _HEAD

    def release(self) -> None:
        """Lets go of the memory, so that its mmap can be closed."""
        self._cells.release()

    def _find(self, key: Key, now: int) -> tuple[int, int, int]:
        """A key's cell, or the one that it may have; what is in it; and how far the key's time lies ahead."""
        cells, tag, first = self._cells, key.tag, key.first
        for index in range(first, first + WAYS):
            word = cells[index]
            if word >> _TIME_BITS == tag:
                ahead = (word - now) & _TIME
                return index, word, ahead if ahead <= key.most else 0
        best, least = first, _TIME
        for index in range(first, first + WAYS):
            word = cells[index]
            ahead = (word - now) & _TIME
            if not word or ahead > _HORIZON:
                return index, word, 0
            if ahead < least:
                best, least = index, ahead
        return best, cells[best], 0
