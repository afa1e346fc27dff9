"""Accepting: who is counted under what, who goes first, and what happens when there are no descriptors left."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from edgeproxy.edge.accept import BATCH, Accepted, Acceptor, packed, peer_of
from tests.edge.harness import listener


def test_addresses_are_counted_by_what_one_customer_has():
    assert packed("1.2.3.4") == bytes((1, 2, 3, 4))
    assert packed("2001:db8::1") == packed("2001:db8::ffff")
    assert packed("2001:db8::1") != packed("2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("1.2.3.4", 5), "1.2.3.4"),
        (("::ffff:1.2.3.4", 5, 0, 0), "1.2.3.4"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::1"),
        (("::1", 5), "::1"),
    ],
)
def test_peers_are_plain_literals(address: tuple[object, ...], peer: str):
    assert peer_of(address) == peer


class Hall:
    """Takes connections in, and plays crowded or exhausted."""

    def __init__(self) -> None:
        self.listener = listener()
        self.admitted: list[str] = []
        self.crowded = False
        self.asked = 0
        self.exhausted: list[OSError] = []

    def acceptor(self) -> Acceptor:
        return Acceptor(asyncio.get_running_loop(), self.listener, self.admit, self.is_crowded, self.exhausted.append)

    def admit(self, accepted: Accepted, peer: str) -> None:
        self.admitted.append(peer)
        accepted.refuse()

    def is_crowded(self) -> bool:
        self.asked += 1
        return self.crowded

    def knock(self, times: int) -> None:
        for _ in range(times):
            socket.create_connection(self.listener.getsockname()).close()


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_everybody_is_admitted_in_batches():
    hall = Hall()
    acceptor = hall.acceptor()
    hall.knock(BATCH * 2 + 3)
    await until(lambda: len(hall.admitted) == BATCH * 2 + 3)
    assert hall.asked >= 3
    acceptor.close()


async def test_a_crowded_worker_lets_others_go_first_and_accepts_all_the_same():
    hall = Hall()
    hall.crowded = True
    acceptor = hall.acceptor()
    hall.knock(3)
    await until(lambda: len(hall.admitted) == 3)
    assert hall.asked >= 1
    acceptor.close()


async def test_a_closed_acceptor_takes_nobody():
    hall = Hall()
    acceptor = hall.acceptor()
    acceptor.close()
    acceptor.close()
    assert hall.listener.fileno() == -1


class Exhausted:
    """A listening socket while there are no descriptors, `times` times."""

    def __init__(self, real: socket.socket, times: int) -> None:
        self.real = real
        self.times = times

    def _accept(self) -> tuple[int, tuple[str, int]]:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self.real._accept()  # type: ignore[attr-defined,no-any-return]

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


async def test_running_out_of_descriptors_is_survived():
    hall = Hall()
    hall.listener = Exhausted(hall.listener, 2)  # type: ignore[assignment]
    acceptor = hall.acceptor()
    hall.knock(1)
    await until(lambda: hall.admitted)
    assert [error.errno for error in hall.exhausted] == [errno.EMFILE] * 2
    acceptor.close()
