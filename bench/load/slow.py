"""Clients that are slow on purpose. Run as a process: `python -m bench.load.slow`.

They say or take a few bytes now and then, each at times of its own and from an address of its own, so that no limit per
address or network hides what they do: "head" never ends its request's head, "body" its body, "read" takes an answer, through a
window of a few kilobytes, a few bytes at a time. Whoever is ended is followed by another.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import random
import signal
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from bench.errors import WrongAnswer
from bench.load.base import LoadReport
from bench.load.sink import LARGE_PATH

KINDS = ("head", "body", "read")
THERE = "all are there\n"
"""What a process prints once they are."""
TIMEOUT = 30.0
PAUSE = 10.0
"""Seconds between two turns of a slow client."""
TAKEN = 64
"""Bytes, of ciphertext, that one who reads takes at a turn."""
WINDOW = 4096
SEGMENT = 1460
"""Bytes of a segment on the way to one who reads, as on a real network: on loopback it would be 64 KB, and the kernel would
make the server's send buffer two megabytes large."""
_NETWORK = 250
_BIND_WITHOUT_PORT = 24
_ALIVE = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """What one such process is to do, until it is told to end (SIGTERM)."""

    port: int
    hostname: str
    kind: str
    first: int
    """The number of its first client; clients of other processes have others."""
    count: int
    """Clients at a time."""
    rate: float
    """Clients that come a second."""

    def command(self) -> Sequence[str]:
        """The process."""
        values = [f"--{field}={value}" for field, value in dataclasses.asdict(self).items()]
        return [sys.executable, "-m", "bench.load.slow", *values]

    @property
    def said(self) -> bytes:
        """What a client says at first."""
        host = f"Host: {self.hostname}\r\n"
        if self.kind == "head":
            return f"GET / HTTP/1.1\r\n{host}X-Slow: ".encode()
        if self.kind == "body":
            return f"POST / HTTP/1.1\r\n{host}Content-Length: 1000000\r\n\r\n".encode()
        return f"GET {LARGE_PATH} HTTP/1.1\r\n{host}\r\n".encode()


def address_of(number: int) -> str:
    """Where the client with this number comes from."""
    return f"127.{1 + number // _NETWORK // 250 % 250}.{number // _NETWORK % 250}.{1 + number % _NETWORK}"


def careless_context() -> ssl.SSLContext:
    """Of clients who do not care whom they hurt: nothing is verified, so that ten thousand cost less."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def connected(slow: Slow, context: ssl.SSLContext, number: int) -> ssl.SSLSocket:
    """A slow client that has said its first words."""
    plain = socket.socket()
    try:
        plain.settimeout(TIMEOUT)
        plain.setsockopt(socket.IPPROTO_IP, _BIND_WITHOUT_PORT, 1)
        if slow.kind == "read":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        plain.bind((address_of(number), 0))
        plain.connect(("127.0.0.1", slow.port))
        client = context.wrap_socket(plain, server_hostname=slow.hostname)
    except BaseException:
        plain.close()
        raise
    client.sendall(slow.said)
    client.setblocking(False)
    return client


def goes_on(slow: Slow, client: ssl.SSLSocket) -> bool:
    """Has a client say or take a little more; False where it has been ended."""
    try:
        if slow.kind == "read":
            return bool(socket.socket.recv(client, TAKEN))  # beneath TLS, which would take a whole record
        client.send(b"x")
        client.recv(1)
        return False  # an answer or the end: the edge has had enough
    except _ALIVE:
        return True
    except OSError:  # ssl.SSLError too
        return False


class Attack:
    """The clients of one process."""

    def __init__(self, slow: Slow) -> None:
        self._slow = slow
        self._context = careless_context()
        self._random = random.Random(slow.first)
        self._turns: list[tuple[float, int, ssl.SSLSocket]] = []
        """By when it is each one's turn."""
        self._counts: Counter[str] = Counter()
        self._come_at = 0.0
        self._complete = False

    def run(self, ended: Callable[[], bool]) -> LoadReport:
        """How many clients there were in all; how many of them could not come, and how many were ended, among the failures.
        Raises WrongAnswer where more are turned away than let in."""
        try:
            while not ended():
                self._step(time.monotonic())
        finally:
            for _, _, client in self._turns:
                client.close()
        return LoadReport(succeeded=self._counts.pop("came"), failures=dict(self._counts))

    def _step(self, now: float) -> None:
        turns, slow = self._turns, self._slow
        missing = len(turns) < slow.count
        if not missing and not self._complete:
            self._complete = True
            sys.stdout.write(THERE)
            sys.stdout.flush()
        if turns and turns[0][0] <= now:
            _, number, client = heapq.heappop(turns)
            if goes_on(slow, client):
                heapq.heappush(turns, (now + PAUSE, number, client))
            else:
                self._counts["ended"] += 1
                client.close()
        elif missing and self._come_at <= now:
            self._come_at = max(self._come_at, now - 1.0) + 1 / slow.rate  # who is behind may hurry, a little
            self._come()
        else:
            next_turn = min(turns[0][0] if turns else now + 1, self._come_at if missing else now + 1)
            time.sleep(min(0.1, max(0.0, next_turn - now)))  # noqa: TID251

    def _come(self) -> None:
        self._counts["came"] += 1
        number = self._slow.first + self._counts["came"] - 1
        try:
            client = connected(self._slow, self._context, number)
        except OSError:
            self._counts["turned away"] += 1
            if self._counts["turned away"] > self._slow.count:
                raise WrongAnswer(f"Of {self._counts['came']} slow clients only {len(self._turns)} were let in.") from None
        else:
            heapq.heappush(self._turns, (time.monotonic() + self._random.uniform(0, PAUSE), number, client))


def main() -> None:
    """Does what the command line says, and prints the report that `arguments.parse` reads."""
    parser = argparse.ArgumentParser()
    for field in ("port", "first", "count"):
        parser.add_argument(f"--{field}", type=int, required=True)
    parser.add_argument("--hostname", required=True)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--rate", type=float, required=True)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    try:
        report = Attack(Slow(**vars(parser.parse_args()))).run(lambda: bool(ended))
    except (WrongAnswer, OSError) as error:
        report = LoadReport(succeeded=0, failures={f"{type(error).__name__}: {error}": 1})
    sys.stdout.write("report " + json.dumps(dataclasses.asdict(report)) + "\n")


if __name__ == "__main__":
    main()
