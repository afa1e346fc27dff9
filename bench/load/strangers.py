"""Handshakes for names that nobody registered, each name once. Run as a process: `python -m bench.load.strangers`.

A client of OpenSSL's would cost more than what is measured: a real ClientHello is taken from it once, and its name replaced.
Connections come a batch at a time, each batch from another address (or all from one), and each must be answered with exactly
the alert unrecognized_name (or with internal_error too, where one network may be limited) and the end of the connection.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import socket
import ssl
import sys
import time
from collections.abc import Sequence

from bench.errors import WrongAnswer
from bench.load.arguments import parse
from bench.load.base import LoadCommand, LoadReport

UNRECOGNIZED_NAME, INTERNAL_ERROR = bytes((21, 3, 3, 0, 2, 2, 112)), bytes((21, 3, 3, 0, 2, 2, 80))
"""The fatal alerts as records (RFC 8446 section 6)."""

TIMEOUT = 10.0
_BATCH = 32
_LABEL = 16
_SUFFIX = ".strangers.test"
_BIND_WITHOUT_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of linux/in.h: the kernel picks the port when it knows where the connection goes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What one such process is to do."""

    port: int
    first: int
    """Number of its first name."""
    count: int
    """Names, hence connections, at most."""
    seconds: float
    """After which it ends all the same."""
    one_address: int = 0
    """1: all come from one address, so that their network may be limited. 0: from many."""

    def command(self) -> LoadCommand:
        """The load process."""
        values = [f"--{field}={value}" for field, value in dataclasses.asdict(self).items()]
        return LoadCommand(name="strangers", command=[sys.executable, "-m", "bench.load.strangers", *values], parse=parse)


def name_of(number: int) -> str:
    """The name with this number: all are different, all are of the same length, and none follows from another."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=_LABEL // 2).hexdigest() + _SUFFIX


def client_hello() -> tuple[bytes, bytes]:
    """What comes before and after the name in the ClientHello of Python's OpenSSL."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name_of(0))
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    before, _, after = outgoing.read().partition(name_of(0).encode("ascii"))
    return before, after


def _batch(flood: Flood, address: str, hellos: Sequence[bytes]) -> None:
    """A connection for each of these; raises WrongAnswer where one is not refused as it must be."""
    with contextlib.ExitStack() as stack:
        connections = []
        for hello in hellos:
            connection = stack.enter_context(socket.socket())
            connection.settimeout(TIMEOUT)
            connection.setsockopt(socket.IPPROTO_IP, _BIND_WITHOUT_PORT, 1)
            connection.bind((address, 0))
            connection.connect(("127.0.0.1", flood.port))
            connection.sendall(hello)
            connections.append(connection)
        for connection in connections:
            answer = b""
            while piece := connection.recv(64):
                answer += piece
            if answer != UNRECOGNIZED_NAME and not (flood.one_address and answer == INTERNAL_ERROR):
                raise WrongAnswer(f"A name that nobody registered was answered {answer[:100]!r}.")


def run(flood: Flood) -> LoadReport:
    """All of it, or as much as the time allows."""
    before, after = client_hello()
    end, done = time.monotonic() + flood.seconds, 0
    while done < flood.count and time.monotonic() < end:
        start = flood.first + done
        size = min(_BATCH, flood.count - done)
        turn = 0 if flood.one_address else start // _BATCH
        address = f"127.{1 + turn // 250 % 250}.{turn % 250}.1"
        _batch(flood, address, [before + name_of(start + each).encode("ascii") + after for each in range(size)])
        done += size
    return LoadReport(succeeded=done, failures={})


def main() -> None:
    """Does what the command line says, and prints the report that `arguments.parse` reads."""
    parser = argparse.ArgumentParser()
    for field in ("port", "first", "count", "one_address"):
        parser.add_argument(f"--{field}", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    try:
        report = run(Flood(**vars(parser.parse_args())))
    except (WrongAnswer, OSError) as error:
        report = LoadReport(succeeded=0, failures={f"{type(error).__name__}: {error}": 1})
    sys.stdout.write("report " + json.dumps(dataclasses.asdict(report)) + "\n")


if __name__ == "__main__":
    main()
