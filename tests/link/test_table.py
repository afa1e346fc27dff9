import gc
import mmap
import os
import random
import signal
import timeit
from collections.abc import Iterator

import pytest

from edgeproxy.errors import LinkError
from edgeproxy.link.table import BUCKETS, Table


@pytest.fixture
def view() -> Iterator[memoryview]:
    table, view, descriptor = Table.create(8)
    table.release()
    yield view
    gc.collect()
    os.close(descriptor)


@pytest.fixture
def table(view: memoryview) -> Table:
    return Table(view)


def address(number: int) -> bytes:
    return number.to_bytes(4, "big")


def test_connections_of_an_address_are_summed_over_workers(table: Table) -> None:
    for index in (0, 1):
        table.claim(index)
    slot = table.slot(address(1))
    assert table.column(0).enter(slot) == 1
    assert table.column(1).enter(slot) == 2
    assert table.column(1).enter(slot) == 3
    assert table.address(slot) == 3
    table.column(1).leave(slot)
    assert table.address(slot) == 2
    assert (table.column(0).connections, table.column(1).connections) == (1, 1)
    assert table.connections() == 2


def test_addresses_are_counted_apart(table: Table) -> None:
    table.claim(0)
    column = table.column(0)
    assert column.enter(table.slot(address(1))) == 1
    assert column.enter(table.slot(address(2))) == 1


def test_a_count_is_never_too_low_and_little_too_high(table: Table) -> None:
    table.claim(0)
    column = table.column(0)
    pick = random.Random(1)
    for _ in range(40_000):
        column.enter(table.slot(pick.randbytes(4)))
    excess = [table.address(table.slot(pick.randbytes(16))) for _ in range(500)]
    assert min(excess) >= 0
    assert sum(excess) / len(excess) < 5
    assert max(excess) < 16


def test_the_key_differs_per_table() -> None:
    slots = set()
    for _ in range(3):
        table, view, descriptor = Table.create(1)
        slots.add(table.slot(b"abcd"))
        assert len(view) > 8 * BUCKETS
        os.close(descriptor)
    assert len(slots) > 1


def test_clearing_a_dead_workers_column_forgets_its_connections(table: Table) -> None:
    table.claim(0)
    table.claim(1)
    slot = table.slot(address(9))
    table.column(0).enter(slot)
    table.column(1).enter(slot)
    table.column(0).beat(5.0)
    table.clear(0)
    assert table.address(slot) == 1
    assert table.beat(0) == 0
    assert table.free() == 0
    table.claim(0)
    assert table.column(0).connections == 0
    assert table.free() == 2


def test_the_mean_leaves_out_draining_workers(table: Table) -> None:
    assert table.mean_connections() == 0.0
    for index in range(3):
        table.claim(index)
    slot = table.slot(address(1))
    for index, count in enumerate((4, 2, 9)):
        for _ in range(count):
            table.column(index).enter(slot)
    table.column(2).drain()
    assert table.mean_connections() == 3.0
    assert table.address(slot) == 15


def test_leaving_too_often_never_goes_below_zero(table: Table) -> None:
    table.claim(0)
    slot = table.slot(address(1))
    table.column(0).leave(slot)
    assert table.column(0).connections == 0
    assert table.address(slot) == 0


def test_a_forked_worker_writes_what_others_read(table: Table) -> None:
    table.claim(0)
    table.claim(1)
    slot = table.slot(address(4))
    pid = os.fork()
    if pid == 0:
        try:
            table.column(1).enter(slot)
            table.column(1).beat(12.5)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert table.address(slot) == 1
    assert table.beat(1) == 12_500


def test_a_table_claimed_later_is_seen_by_those_who_look_already(view: memoryview) -> None:
    supervisor, worker = Table(view), Table(view)
    supervisor.claim(0)
    assert len(worker.living()) == 1
    supervisor.claim(1)
    assert len(worker.living()) == 2
    supervisor.clear(0)
    assert len(worker.living()) == 1


def test_other_bytes_are_not_taken_for_a_table() -> None:
    with pytest.raises(LinkError):
        Table(memoryview(mmap.mmap(-1, 4096)))
    with pytest.raises(LinkError):
        Table(memoryview(bytearray(8)))


def test_the_number_of_columns_is_bounded() -> None:
    for columns in (0, 100_000):
        with pytest.raises(ValueError, match="columns"):
            Table.create(columns)
    table, _, descriptor = Table.create(2)
    os.close(descriptor)
    with pytest.raises(IndexError):
        table.column(2)


def test_counting_a_connection_is_cheap(table: Table) -> None:
    for index in range(4):
        table.claim(index)
    column, peer = table.column(0), address(77)

    def one_connection() -> None:
        slot = table.slot(peer)
        column.enter(slot)
        column.leave(slot)

    # About 2 µs for both; the bound is wide because a test never fails for a slow machine.
    assert min(timeit.repeat(one_connection, number=1000, repeat=5)) / 1000 < 50e-6


def test_networks_are_counted_beside_their_addresses(table: Table) -> None:
    for index in (0, 1):
        table.claim(index)
    slots = [table.slot(address(number), b"network") for number in range(10)]
    for slot in slots:
        table.column(0).enter(slot)
        table.column(1).enter(slot)
    assert [table.address(slot) for slot in slots] == [2] * 10
    assert table.network(slots[0]) == table.network(table.slot(address(99), b"network")) == 20
    assert table.network(table.slot(address(0), b"another")) == 0
    for slot in slots:
        table.column(0).leave(slot)
    assert table.network(slots[0]) == 10


def test_a_crowded_network_makes_no_address_look_crowded(table: Table) -> None:
    table.claim(0)
    for number in range(5_000):
        table.column(0).enter(table.slot(address(number), b"network"))
    assert table.address(table.slot(b"network")) < 16
