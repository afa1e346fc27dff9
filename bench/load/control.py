"""A client that asks as fast as a person does and notes how long each answer took: who is kept waiting while others hurt? Run
as a process: `python -m bench.load.control`.

"kept" asks over connections that it keeps, "new" over a new one each time. It asks when a request is due and never sooner or
later because of the answers; an answer's time counts from then, so that who is kept waiting does not ask less.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.errors import BenchError, WrongAnswer
from bench.load.client import client_context
from bench.load.sink import ANSWER

KEPT, NEW = "kept", "new"
TIMEOUT = 30.0
CLIENTS = 4
"""Who ask in turn, so that few wait for their own last answer when their next request is due."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What one such process is to do, until it is told to end (SIGTERM)."""

    port: int
    root_file: Path
    hostname: str
    kind: str
    rate: float
    """Requests a second."""

    def command(self) -> Sequence[str]:
        """The process."""
        values = [f"--{field.replace('_', '-')}={value}" for field, value in dataclasses.asdict(self).items()]
        return [sys.executable, "-m", "bench.load.control", *values]


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    due: float
    """When, time.monotonic()."""
    late: float
    """Seconds by which the client itself began too late: the machine had no time for it, or an earlier answer kept it."""
    seconds: float
    """From when it was due to the whole answer."""


def ask(control: Control, ended: Callable[[], float]) -> list[Asked]:
    """All requests that are due before `ended`, which is asked again and again. Raises WrongAnswer where one is answered
    otherwise, OSError where it is not at all."""
    context = client_context(control.root_file, "http/1.1")
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(_client, control, context, begun + n / control.rate, ended) for n in range(CLIENTS)]
        return sorted((each for client in clients for each in client.result()), key=lambda each: each.due)


def _client(control: Control, context: ssl.SSLContext, due: float, ended: Callable[[], float]) -> list[Asked]:
    """Every so-manieth request."""
    request = f"GET / HTTP/1.1\r\nHost: {control.hostname}\r\n\r\n".encode()
    asked: list[Asked] = []
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(_connected(control, context)) if control.kind == KEPT else None
        while due < ended():
            time.sleep(max(0.0, due - time.monotonic()))  # noqa: TID251
            begun = time.monotonic()
            if kept is not None:
                _answered(kept, request)
                done = time.monotonic()
            else:
                with _connected(control, context) as client:
                    _answered(client, request)
                    done = time.monotonic()
            asked.append(Asked(round(due, 4), round(begun - due, 5), round(done - due, 5)))
            due += CLIENTS / control.rate
    return asked


def _connected(control: Control, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", control.port), TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=control.hostname)


def _answered(client: ssl.SSLSocket, request: bytes) -> None:
    client.sendall(request)
    answer = b""
    while not answer.endswith(ANSWER):
        piece = client.recv(65536)
        answer += piece
        if not piece or not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]):
            raise WrongAnswer(f"A control request was answered {answer[:200]!r}.")


def read_asked(output: str) -> list[Asked]:
    """Reads what the process printed. Raises WrongAnswer with what went wrong, BenchError where it printed something else."""
    for line in output.splitlines():
        if line.startswith("asked "):
            return [Asked(*values) for values in json.loads(line.removeprefix("asked "))]
        if line.startswith("failed "):
            raise WrongAnswer(line.removeprefix("failed "))
    raise BenchError(f"A control process gave no report. It printed:\n{output[-1000:]}")


def main() -> None:
    """Does what the command line says, and prints what `read_asked` reads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root-file", type=Path, required=True)
    parser.add_argument("--hostname", required=True)
    parser.add_argument("--kind", choices=(KEPT, NEW), required=True)
    parser.add_argument("--rate", type=float, required=True)
    ended = [math.inf]
    signal.signal(signal.SIGTERM, lambda *_: ended.insert(0, time.monotonic()))
    try:
        asked = ask(Control(**vars(parser.parse_args())), lambda: ended[0])
    except (WrongAnswer, OSError) as error:
        sys.stdout.write(f"failed {type(error).__name__}: {error}\n")
    else:
        sys.stdout.write("asked " + json.dumps([dataclasses.astuple(each) for each in asked]) + "\n")


if __name__ == "__main__":
    main()
