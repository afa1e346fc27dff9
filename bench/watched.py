"""The program with a watch on each worker's loop. Run as a process: `python -m bench.watched FOLDER serve --config FILE`.

The watch is a timer of the loop's own, and a mark at each of what strangers bring: a read of a client or of an origin, a
connection that is taken. Where two marks lie further apart than a timer's interval, the loop stood still in between; how much
of that the worker was ready to run and the machine did something else is asked of the kernel. What was seen is written to
FOLDER/worker-PID.json, each second.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeproxy.cli.main import main as edge_main
from edgeproxy.edge import accept, connection, plain, worker
from edgeproxy.edge.upstream import connection as upstream

TICK = 0.002
"""Seconds between two marks of a loop that has nothing to do."""

NOTABLE = 0.006
"""Seconds from which a pause is kept, longest first."""

KEPT = 40

ASK = "ask"
"""A file of this name in the folder has each worker look through its heap for garbage, once for each content."""

_WRITTEN = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The loop did not turn."""

    at: float
    """Unix time of its end."""
    seconds: float
    own: float
    """Of that, what the worker itself took: the time in which it waited for its core left out."""
    cpu: float
    """CPU time, since the last tick at most."""
    collector: float
    """Of that, the collector's."""
    before: str
    """What began."""
    slept: int
    """How often it gave up its core by itself, since the last tick."""
    faults: int
    """Pages that had to be read from a disk."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Collections:
    """What the collector did with one generation."""

    runs: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    collected: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """What a look through all of it found."""

    asked: str
    """By what content of ASK."""
    garbage: int
    """Objects that only cycles kept."""
    kinds: dict[str, int]
    """Of them, by their type: the most frequent."""
    objects: int
    """Of those left, whatever the collector knows."""
    frozen: int
    blocks: int
    """Pieces of memory that Python holds, of all kinds."""
    seconds: float
    """The collector's."""


class Watch:
    """Of one worker. Nothing here is thread-safe."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._folder = folder
        self._loop = loop
        self._file = folder / f"worker-{os.getpid()}.json"
        self._sched = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._marked = time.perf_counter()
        self._mark = "start"
        self._cpu = time.thread_time()
        self._waited = self._read_waited()
        self._slept = self._faults = 0
        self._next_write = 0.0
        self._asked = ""
        self.pauses: list[Pause] = []
        self.count = 0
        self.generations = [Collections(), Collections(), Collections()]
        self._collecting = 0.0
        self._collector = 0.0
        self.heap: Heap | None = None
        gc.callbacks.append(self._collects)

    def begin(self) -> None:
        """Watches from now on."""
        self._marked = time.perf_counter()
        self._tick()

    def mark(self, what: str) -> None:
        """Something new begins."""
        now = time.perf_counter()
        if now - self._marked > NOTABLE:
            self._paused(now)
        self._marked, self._mark = now, what

    def _paused(self, now: float) -> None:
        seconds = now - self._marked
        waited = self._read_waited()
        own = seconds - min(seconds, waited - self._waited)
        self.count += 1
        if own > NOTABLE:
            cpu = time.thread_time() - self._cpu
            usage = resource.getrusage(resource.RUSAGE_THREAD)
            pause = Pause(
                at=time.time(),
                seconds=seconds,
                own=own,
                cpu=cpu,
                collector=self._collector,
                before=self._mark,
                slept=usage.ru_nvcsw - self._slept,
                faults=usage.ru_majflt - self._faults,
            )
            self.pauses.append(pause)
            self.pauses.sort(key=lambda each: -each.own)
            del self.pauses[KEPT:]

    def _tick(self) -> None:
        self.mark("tick")
        self._waited = self._read_waited()
        self._cpu = time.thread_time()
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        self._slept, self._faults = usage.ru_nvcsw, usage.ru_majflt
        self._collector = 0.0
        if self._marked > self._next_write:
            self._next_write = self._marked + _WRITTEN
            self._look()
            self._marked = time.perf_counter()
        self._loop.call_later(TICK, self._tick)

    def _read_waited(self) -> float:
        """Seconds in which this thread was ready to run and did not, since its start."""
        return int(os.pread(self._sched, 100, 0).split()[1]) / 1e9

    def _collects(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
            return
        generation, took = self.generations[info["generation"]], now - self._collecting
        generation.runs += 1
        generation.seconds += took
        generation.longest = max(generation.longest, took)
        generation.collected += info["collected"]
        self._collector += took

    def _look(self) -> None:
        """What takes time of its own, and is none of the worker's."""
        with contextlib.suppress(FileNotFoundError):
            asked = (self._folder / ASK).read_text()
            if asked and asked != self._asked:
                self._asked = asked
                self.heap = self._search(asked)
        self._write()

    def _search(self, asked: str) -> Heap:
        generations, self.generations = self.generations, [Collections(), Collections(), Collections()]
        frozen = gc.get_freeze_count()
        gc.set_debug(gc.DEBUG_SAVEALL)
        began = time.perf_counter()
        garbage = gc.collect()
        seconds = time.perf_counter() - began
        gc.set_debug(0)
        kinds: dict[str, int] = {}
        for each in gc.garbage:
            name = f"{type(each).__module__}.{type(each).__qualname__}"
            kinds[name] = kinds.get(name, 0) + 1
        gc.garbage.clear()
        gc.collect()
        self.generations = generations
        most = dict(sorted(kinds.items(), key=lambda kind: -kind[1])[:12])
        return Heap(
            asked=asked,
            garbage=garbage,
            kinds=most,
            objects=len(gc.get_objects()),
            frozen=frozen,
            blocks=sys.getallocatedblocks(),
            seconds=seconds,
        )

    def _write(self) -> None:
        data = {
            "pid": os.getpid(),
            "count": self.count,
            "pauses": [dataclasses.asdict(each) for each in self.pauses],
            "generations": [dataclasses.asdict(each) for each in self.generations],
            "heap": dataclasses.asdict(self.heap) if self.heap is not None else None,
        }
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(data))
        fresh.replace(self._file)


def _marking(watch: Watch, owner: Any, name: str, what: str) -> None:
    """Has each call of a class's method marked."""
    method, mark = getattr(owner, name), watch.mark

    @functools.wraps(method)
    def marked(self: Any, *arguments: Any) -> Any:
        mark(what)
        return method(self, *arguments)

    setattr(owner, name, marked)


def watching(folder: Path) -> None:
    """Has every worker that is born of this process watched."""
    run: Callable[[worker.Worker], Any] = worker.Worker.run

    async def watched(self: worker.Worker) -> None:
        watch = Watch(folder, asyncio.get_running_loop())
        for owner, name, what in (
            (connection.Connection, "buffer_updated", "client"),
            (connection.Connection, "connection_made", "client came"),
            (connection.Connection, "connection_lost", "client lost"),
            (connection.Connection, "expired", "client late"),
            (plain.PlainConnection, "data_received", "client, http"),
            (upstream.OriginConnection, "buffer_updated", "origin"),
            (upstream.OriginConnection, "connection_lost", "origin lost"),
            (accept.Acceptor, "_ready", "accept"),
            (worker.Worker, "_expire", "sweep"),
            (worker.Worker, "_send_report", "report"),
            (worker.Worker, "_notice_change", "change"),
        ):
            _marking(watch, owner, name, what)
        watch.begin()
        await run(self)

    worker.Worker.run = watched  # type: ignore[method-assign]


def main() -> None:
    """The command line: a folder, then that of the program."""
    watching(Path(sys.argv.pop(1)))
    edge_main()


if __name__ == "__main__":
    main()
