"""CPU time of a process tree, from /proc."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessTimes:
    """What of /proc/PID/stat counts here. Times in clock ticks (proc(5): fields 14 to 17)."""

    pid: int
    parent: int
    own: int
    """utime + stime, all threads."""
    reaped: int
    """cutime + cstime: of children that ended and were waited for."""


def parse_stat(line: str) -> ProcessTimes:
    """Reads the text of /proc/PID/stat. The command name may hold anything, spaces and parentheses included.

    Raises ValueError where it is something else.
    """
    head, closing, tail = line.rpartition(")")
    pid, opening, _ = head.partition(" (")
    fields = tail.split()
    if not closing or not opening or len(fields) < 15:
        raise ValueError(f"not a line of /proc/PID/stat: {line[:80]!r}")
    return ProcessTimes(
        pid=int(pid), parent=int(fields[1]), own=int(fields[11]) + int(fields[12]), reaped=int(fields[13]) + int(fields[14])
    )


def tree(processes: Iterable[ProcessTimes], root: int) -> dict[int, ProcessTimes]:
    """The process `root` and all that descend from it."""
    children: dict[int, list[ProcessTimes]] = {}
    found: dict[int, ProcessTimes] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            found[root] = process
    waiting = [root]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in found:
                found[process.pid] = process
                waiting.append(process.pid)
    return found


def read_tree(root: int, proc: Path = Path("/proc")) -> dict[int, ProcessTimes]:
    """The living tree below and with `root`; empty if it is gone."""
    processes = []
    for entry in os.scandir(proc):
        if entry.name.isdecimal():
            try:
                processes.append(parse_stat((proc / entry.name / "stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended since the folder was listed
    return tree(processes, root)


def parse_core_busy(text: str, core: int) -> float:
    """Seconds that a core was not idle since the start of the machine, from the text of /proc/stat.

    Time that a hypervisor gave to others ("steal") counts as busy: it was not there to be used. Raises ValueError where the
    core is not listed.
    """
    for line in text.splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) * TICK
    raise ValueError(f"core {core} is not in /proc/stat")


TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds of a clock tick."""


def total_seconds(processes: Mapping[int, ProcessTimes]) -> float:
    """CPU seconds of all of them and of what they have reaped: a worker that was replaced is not forgotten."""
    return sum(process.own + process.reaped for process in processes.values()) * TICK


def busiest_seconds(before: Mapping[int, ProcessTimes], after: Mapping[int, ProcessTimes]) -> float:
    """CPU seconds between two looks of the one process that used most."""
    return TICK * max((process.own - before[pid].own for pid, process in after.items() if pid in before), default=0)
