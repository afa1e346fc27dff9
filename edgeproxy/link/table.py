"""What the workers of a machine count together: connections, in total, per client address and per client network.

One memfd of fixed size, made by the supervisor before the first fork. It has a column per living worker; a worker
writes its own column alone and reads all of them. (Two processes that increment one cell lose counts: 308,797 of
600,000 were left.) So nothing is locked, and every figure is approximate: a reader may miss what happens just now.

Addresses are counted in keyed-hash buckets, two rows of `BUCKETS` (a count-min sketch): the lower of the two sums counts.
It is never too low; with 40,000 other connections open it is about 3 too high. The key is random, so that nobody
can choose addresses that fall into a victim's buckets. Networks have two rows of their own: a large one in the same bucket
would make an address look crowded.

Layout, in 32-bit cells of the machine's own byte order: a head of 16 (magic, number of columns, buckets per row, epoch,
four cells of key), then for each column a head of 16 (state, connections, beat) and its four rows.
"""

from __future__ import annotations

import hashlib
import mmap
import os

from edgeproxy.errors import LinkError

BUCKETS = 8192
"""Per row; a power of two."""

COLUMNS_MAX = 1024

_MAGIC = 0x45505432
_HEAD = 16
_COLUMN_HEAD = 16
_COLUMN = _COLUMN_HEAD + 4 * BUCKETS
_EPOCH = 3
_KEY = 4
_STATE, _CONNECTIONS, _BEAT = 0, 1, 2
_SHIFT = BUCKETS.bit_length() - 1
_MASK = BUCKETS - 1

FREE, ACCEPTING, DRAINING = 0, 1, 2


class Table:
    """The whole table, as any process sees it. The supervisor makes it and gives columns out; workers get a `Column`."""

    def __init__(self, view: memoryview) -> None:
        """`view` is `WorkerStart.table`: the mapped bytes. Raises LinkError when they are not a table of this layout."""
        self._cells = cells = view.cast("B").cast("I")
        if len(cells) < _HEAD or cells[0] != _MAGIC or cells[2] != BUCKETS or len(cells) != _size(cells[1]):
            raise LinkError("The table that workers share has another layout than this version's.", code="table_layout")
        self.columns = cells[1]
        self._key = cells[_KEY : _KEY + 4].tobytes()
        self._epoch = -1
        self._living: list[int] = []

    @classmethod
    def create(cls, columns: int) -> tuple[Table, memoryview, int]:
        """A new table with that many free columns: the table, its bytes for `WorkerStart.table`, and its memfd.

        The memory is used only where it is written: 128 KiB per column that was ever in use.
        """
        if not 0 < columns <= COLUMNS_MAX:
            raise ValueError(f"between 1 and {COLUMNS_MAX} columns, not {columns}")
        descriptor = os.memfd_create("edgeproxy-table", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _size(columns) * 4)
        view = memoryview(mmap.mmap(descriptor, _size(columns) * 4))
        cells = view.cast("I")
        cells[1], cells[2] = columns, BUCKETS
        view[_KEY * 4 : _KEY * 4 + 16] = os.urandom(16)
        cells[0] = _MAGIC
        return cls(view), view, descriptor

    def claim(self, index: int) -> None:
        """Clears a column and gives it to a worker about to be born. The supervisor alone calls this."""
        self.clear(index)
        self._cells[self._base(index) + _STATE] = ACCEPTING
        self._cells[_EPOCH] = (self._cells[_EPOCH] + 1) & 0xFFFFFFFF

    def clear(self, index: int) -> None:
        """Forgets what a dead worker counted. The supervisor alone calls this, after it has waited for the process."""
        base = self._base(index)
        self._cells[base : base + _COLUMN] = memoryview(bytes(_COLUMN * 4)).cast("I")
        self._cells[_EPOCH] = (self._cells[_EPOCH] + 1) & 0xFFFFFFFF

    def free(self) -> int | None:
        """The lowest column that nobody has; None when all are taken."""
        return next((index for index in range(self.columns) if self._cells[self._base(index)] == FREE), None)

    def column(self, index: int) -> Column:
        """The column that the worker with `WorkerStart.column == index` writes."""
        return Column(self, self._cells, self._base(index))

    def beat(self, index: int) -> int:
        """The last `Column.beat` of a column, in ms modulo 2**32; 0 when there was none yet."""
        return self._cells[self._base(index) + _BEAT]

    def draining(self, index: int) -> bool:
        """Whether the worker of that column said that it accepts no more."""
        return self._cells[self._base(index) + _STATE] == DRAINING

    def slot(self, address: bytes, network: bytes = b"") -> int:
        """Where connections of this client address are counted: for `Column.enter` and `leave` (1.6 µs, so keep it).

        `address` is the packed address (4 or 16 bytes), or whatever should share one count, such as the first 8 bytes
        of an IPv6 address; `network` is what it is counted in beside that, as its first bytes.
        """
        return self._places(address) | self._places(network) << 2 * _SHIFT

    def _places(self, counted: bytes) -> int:
        """A bucket of each of two rows."""
        digest = hashlib.blake2b(counted, digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") & (BUCKETS * BUCKETS - 1)

    def address(self, slot: int) -> int:
        """Open connections of a client address on this machine, summed over the living workers."""
        return self._sum(slot & _MASK, BUCKETS + (slot >> _SHIFT & _MASK))

    def network(self, slot: int) -> int:
        """The same of a client network."""
        return self._sum(2 * BUCKETS + (slot >> 2 * _SHIFT & _MASK), 3 * BUCKETS + (slot >> 3 * _SHIFT))

    def _sum(self, first: int, second: int) -> int:
        cells = self._cells
        low = high = 0
        for base in self.living():
            low += cells[base + _COLUMN_HEAD + first]
            high += cells[base + _COLUMN_HEAD + second]
        return min(low, high)

    def connections(self) -> int:
        """Open connections on this machine."""
        return sum(self._cells[base + _CONNECTIONS] for base in self.living())

    def mean_connections(self) -> float:
        """Open connections per worker, over those that accept (draining ones are left out); 0.0 when none does."""
        cells = self._cells
        counts = [cells[base + _CONNECTIONS] for base in self.living() if cells[base + _STATE] == ACCEPTING]
        return sum(counts) / len(counts) if counts else 0.0

    def living(self) -> list[int]:
        """Where the columns in use begin, in cells; looked up anew only when the supervisor gave out or took back one."""
        epoch = self._cells[_EPOCH]
        if epoch != self._epoch:
            bases = [self._base(index) for index in range(self.columns)]
            self._living = [base for base in bases if self._cells[base + _STATE] != FREE]
            self._epoch = epoch
        return self._living

    def release(self) -> None:
        """Lets go of the memory, so that its mmap can be closed; only tests need it."""
        self._cells.release()

    def _base(self, index: int) -> int:
        if not 0 <= index < self.columns:
            raise IndexError(f"column {index} of {self.columns}")
        return _HEAD + index * _COLUMN


class Column:
    """What one worker counts. Only that worker may call its methods; `connections` may be read by all."""

    __slots__ = ("_base", "_cells", "_table")

    def __init__(self, table: Table, cells: memoryview[int], base: int) -> None:
        self._table = table
        self._cells = cells
        self._base = base

    @property
    def connections(self) -> int:
        """Open client connections of this worker."""
        return self._cells[self._base + _CONNECTIONS]

    def enter(self, slot: int) -> int:
        """Counts a new connection of `Table.slot(address)`; how many that address now has on the whole machine.

        Call it for every accepted connection, also for one that is then refused for the answer's sake, and `leave` once
        for each, when it is closed.
        """
        cells, base = self._cells, self._base
        cells[base + _CONNECTIONS] += 1
        rows = base + _COLUMN_HEAD
        cells[rows + (slot & _MASK)] += 1
        cells[rows + BUCKETS + (slot >> _SHIFT & _MASK)] += 1
        cells[rows + 2 * BUCKETS + (slot >> 2 * _SHIFT & _MASK)] += 1
        cells[rows + 3 * BUCKETS + (slot >> 3 * _SHIFT)] += 1
        return self._table.address(slot)

    def leave(self, slot: int) -> None:
        """Counts the end of a connection that entered."""
        cells, base = self._cells, self._base
        rows = base + _COLUMN_HEAD
        for cell in (
            base + _CONNECTIONS,
            rows + (slot & _MASK),
            rows + BUCKETS + (slot >> _SHIFT & _MASK),
            rows + 2 * BUCKETS + (slot >> 2 * _SHIFT & _MASK),
            rows + 3 * BUCKETS + (slot >> 3 * _SHIFT),
        ):
            if cells[cell]:
                cells[cell] -= 1

    def drain(self) -> None:
        """This worker accepts no more: its connections no longer count for the mean, still for addresses."""
        self._cells[self._base + _STATE] = DRAINING

    def beat(self, now: float) -> None:
        """A sign of life, `time.monotonic()`. A worker that beat once and then not for 10 s is replaced by the supervisor."""
        self._cells[self._base + _BEAT] = int(now * 1000) & 0xFFFFFFFF or 1


def _size(columns: int) -> int:
    return _HEAD + columns * _COLUMN
