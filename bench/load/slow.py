"""Clients that are slow on purpose, and one that is not. Run as a process: `python -m bench.load.slow`.

Slow ones say or take a byte now and then, each from an address of its own, so that no limit per address or network hides what
they do: "head" never ends its request's head, "body" its body, "read" takes an answer byte by byte. Whoever is ended is
followed by another. "control" asks as fast as a person does, and notes how long each answer took.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import socket
import ssl
import sys
import time
from collections import Counter, deque
from pathlib import Path

from bench.errors import WrongAnswer
from bench.load.arguments import parse
from bench.load.base import LoadCommand, LoadReport
from bench.load.client import client_context
from bench.load.sink import ANSWER, LARGE_PATH

KINDS = ("head", "body", "read")
CONTROL = "control"
TIMEOUT = 30.0
PAUSE = 5.0
"""Seconds between two bytes of a slow client."""
_NETWORK = 250
_FRESH = 5
"""Of so many control requests one comes over a new connection."""
_BIND_WITHOUT_PORT = 24
_ALIVE = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """What one such process is to do."""

    port: int
    root_file: Path
    hostname: str
    kind: str
    count: int
    """Clients at a time; for control, requests a second."""
    seconds: float
    """How long, from the moment on at which all clients are there; for control, in all."""

    def command(self) -> LoadCommand:
        """The load process."""
        values = [f"--{field.replace('_', '-')}={value}" for field, value in dataclasses.asdict(self).items()]
        return LoadCommand(name=f"slow-{self.kind}", command=[sys.executable, "-m", "bench.load.slow", *values], parse=parse)

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


def connected(slow: Slow, context: ssl.SSLContext, number: int) -> ssl.SSLSocket:
    """A slow client that has said its first words."""
    plain = socket.socket()
    try:
        plain.settimeout(TIMEOUT)
        plain.setsockopt(socket.IPPROTO_IP, _BIND_WITHOUT_PORT, 1)
        if slow.kind == "read":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
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
    """Has a client say or take its next byte; False where it has been ended."""
    try:
        if slow.kind != "read":
            client.send(b"x")
        return bool(client.recv(1)) and slow.kind == "read"
    except _ALIVE:
        return True
    except OSError:  # ssl.SSLError too
        return False


def attack(slow: Slow) -> LoadReport:
    """How many clients there were in all; how many of them could not come, and how many were ended, among the failures."""
    context = client_context(slow.root_file, "http/1.1")
    clients: deque[tuple[float, ssl.SSLSocket]] = deque()
    counts: Counter[str] = Counter()

    def come() -> None:
        counts["came"] += 1
        try:
            clients.append((time.monotonic() + PAUSE, connected(slow, context, counts["came"])))
        except OSError:
            counts["turned away"] += 1
            if counts["turned away"] > slow.count:
                raise WrongAnswer(f"Of {counts['came']} slow clients only {len(clients)} were let in.") from None

    with contextlib.ExitStack() as stack:
        stack.callback(_close, clients)
        while len(clients) < slow.count:
            come()
            while clients and clients[0][0] < time.monotonic():
                _turn(slow, clients, counts)
        sys.stdout.write("all are there\n")
        sys.stdout.flush()
        end = time.monotonic() + slow.seconds
        while (now := time.monotonic()) < end:
            if len(clients) < slow.count:
                come()
            elif clients[0][0] > now:
                time.sleep(min(clients[0][0] - now, 0.1))  # noqa: TID251
            while clients and clients[0][0] < time.monotonic():
                _turn(slow, clients, counts)
    return LoadReport(succeeded=counts.pop("came"), failures=dict(counts))


def _close(clients: deque[tuple[float, ssl.SSLSocket]]) -> None:
    for _, client in clients:
        client.close()


def _turn(slow: Slow, clients: deque[tuple[float, ssl.SSLSocket]], counts: Counter[str]) -> None:
    _, client = clients.popleft()
    if goes_on(slow, client):
        clients.append((time.monotonic() + PAUSE, client))
    else:
        counts["ended"] += 1
        client.close()


def control(slow: Slow) -> LoadReport:
    """Seconds that each answer took, a new connection's handshake included. Raises WrongAnswer where one is another."""
    context = client_context(slow.root_file, "http/1.1")
    request = f"GET / HTTP/1.1\r\nHost: {slow.hostname}\r\n\r\n".encode()
    seconds: list[float] = []
    end = due = time.monotonic()
    end += slow.seconds
    client: ssl.SSLSocket | None = None
    try:
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))  # noqa: TID251
            # From when it ought to have begun: who is kept waiting does not ask less.
            begun, due = due, due + 1 / slow.count
            if client is None or len(seconds) % _FRESH == 0:
                if client is not None:
                    client.close()
                plain = socket.create_connection(("127.0.0.1", slow.port), TIMEOUT)
                client = context.wrap_socket(plain, server_hostname=slow.hostname)
            client.sendall(request)
            answer = b""
            while not answer.endswith(ANSWER):
                piece = client.recv(65536)
                if not piece:
                    raise WrongAnswer(f"A control request was answered {answer[:200]!r}.")
                answer += piece
            seconds.append(time.monotonic() - begun)
    finally:
        if client is not None:
            client.close()
    return LoadReport(succeeded=len(seconds), failures={}, seconds=tuple(seconds))


def main() -> None:
    """Does what the command line says, and prints the report that `arguments.parse` reads."""
    parser = argparse.ArgumentParser()
    for field in ("port", "count"):
        parser.add_argument(f"--{field}", type=int, required=True)
    parser.add_argument("--root-file", type=Path, required=True)
    parser.add_argument("--hostname", required=True)
    parser.add_argument("--kind", choices=(*KINDS, CONTROL), required=True)
    parser.add_argument("--seconds", type=float, required=True)
    slow = Slow(**vars(parser.parse_args()))
    try:
        report = control(slow) if slow.kind == CONTROL else attack(slow)
    except (WrongAnswer, OSError) as error:
        report = LoadReport(succeeded=0, failures={f"{type(error).__name__}: {error}": 1})
    sys.stdout.write("report " + json.dumps(dataclasses.asdict(report)) + "\n")


if __name__ == "__main__":
    main()
