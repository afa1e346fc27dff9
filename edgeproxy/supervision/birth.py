"""How a child is born: fork, then everything that is not its own is closed, given up or reset; then its main runs."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from edgeproxy import errors
from edgeproxy.errors import EdgeError, StartError
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Failed
from edgeproxy.log import Log
from edgeproxy.supervision import identity

_REFUSED = 1
_CRASHED = 70  # EX_SOFTWARE
_RESET = (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
_IGNORED = (signal.SIGINT, signal.SIGHUP)
"""A terminal sends these to all processes of a group; what is to be done about them the supervisor says."""


class Birth:
    """What a child needs to begin; made by the parent."""

    def __init__(
        self,
        name: str,
        log: Log,
        user: identity.Identity | None,
        *,
        keep: Iterable[int] = (),
        close: Iterable[Closing] = (),
        die_with_parent: bool = False,
    ) -> None:
        """`keep` are the descriptors that stay open beside 0, 1 and 2. `close` are objects that must be closed as objects:
        one that still thought it had a descriptor would later close what another has under that number.
        """
        self.name = name
        self.log = log
        self.user = user
        self.keep = {*keep, log.sink.fileno()}
        self.close = list(close)
        self.die_with_parent = die_with_parent

    def fork(self, body: Callable[[], int | None]) -> int:
        """Forks; in the child runs `body` and exits with what it returns (None is 0). Returns the pid; OSError if it fails.

        `body` is responsible for its own errors; what it raises nevertheless is logged, and the exit status is 70.
        """
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between the fork and the reset would run the parent's handler in the child, and be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._child(parent, body)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _child(self, parent: int, body: Callable[[], int | None]) -> None:
        status = _CRASHED
        try:
            self._begin(parent)
            status = body() or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else _REFUSED
        except BaseException as error:  # noqa: BLE001 - the last place that can say anything
            self.log.named(self.name).error("the process ends on an error that nobody expected", error=_told(error))
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _begin(self, parent: int) -> None:
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        for each in self.close:
            each.close()
        close_others(self.keep)
        identity.become(self.user)
        if self.die_with_parent and not identity.die_with_parent(signal.SIGKILL, parent):
            os._exit(0)
        identity.name_process(self.name.replace("controller", "edgeproxy ctl").replace("worker", "edgeproxy w"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        gc.enable()


class Closing(Protocol):
    """Anything with `close()`."""

    def close(self) -> None:
        """Closes it."""


def run_main(main: Callable[[], int | None], channel: Channel, log: Log) -> int:
    """Runs a child's main; an EdgeError goes to the supervisor as Failed. Returns the exit status."""
    try:
        return main() or 0
    except EdgeError as error:
        with contextlib.suppress(errors.LinkError):
            channel.send(Failed(detail=error.detail[:32_000], code=error.code))
        log.error("the process cannot serve", detail=error.detail, code=error.code)
        return _REFUSED


def wait_for_gate(gate: int) -> bool:
    """Blocks until the supervisor opens the gate (True) or is gone (False)."""
    try:
        return os.read(gate, 1) == b"g"
    finally:
        os.close(gate)


def ask_child(birth: Birth, question: Callable[[], bytes], seconds: float) -> bytes:
    """Runs `question` in a short-lived child and returns its answer (at most 64 KiB).

    Raises what the question raised where that was an EdgeError, and StartError when the child fails or takes too long.
    """
    read, write = os.pipe()
    birth.keep.add(write)

    def body() -> int:
        try:
            answer = b"\0" + question()
        except EdgeError as error:
            answer = b"\1" + json.dumps({"code": error.code, "detail": error.detail}).encode()
        os.write(write, answer[: 64 * 1024])
        return 0

    try:
        pid = birth.fork(body)
    finally:
        os.close(write)
    try:
        answer = _read_all(read, time.monotonic() + seconds)
    finally:
        os.close(read)
        # Answered or late: nothing more is wanted of it. A child that ended by itself is not hurt.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if answer[:1] == b"\0":
        return answer[1:]
    if answer[:1] == b"\1":
        told = json.loads(answer[1:])
        raise edge_error(told["code"], told["detail"])
    raise StartError(f"The helper process ({birth.name}) ended without an answer: {ending(status)}.", fault=errors.Fault.EDGE)


def edge_error(code: str, detail: str) -> EdgeError:
    """An error that happened in another process."""
    kinds: list[type[EdgeError]] = [errors.ConfigError, errors.StateError, errors.StartError, errors.MapError]
    kind = next((kind for kind in kinds if kind.code == code), errors.StartError)
    return kind(detail, code=code)


def ending(status: int) -> str:
    """How a process ended, from its wait status: "exit status 1", "killed by SIGKILL"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def close_others(keep: Iterable[int]) -> None:
    """Closes every descriptor but 0, 1, 2 and these."""
    kept = {0, 1, 2, *keep}
    try:
        open_now = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        open_now = list(range(3, os.sysconf("SC_OPEN_MAX")))
    for descriptor in open_now:
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _read_all(descriptor: int, deadline: float) -> bytes:
    data = b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(descriptor, 64 * 1024)
        if not part:
            break
        data += part
    return data


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" at {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in last)
    return f"{type(error).__name__}: {error}{where}"
