"""What all parts of a run share: folder, cores, tenants, certificates, and the children that must be ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.authority import Authority
from bench.children import Child
from bench.traffic import Tenant


@dataclasses.dataclass(frozen=True, slots=True)
class Cores:
    """Which core the proxies have, and which the origin and the load generators share; as taskset takes them."""

    proxy: str
    load: str

    @property
    def apart(self) -> bool:
        """False on a machine with a single core, where figures are worth little."""
        return self.proxy != self.load


def choose_cores(available: Sequence[int]) -> Cores:
    """The first core for the proxy, one for the rest: a second core is all that may be had, so more are not used."""
    ordered = sorted(available)
    return Cores(str(ordered[0]), str(ordered[1] if len(ordered) > 1 else ordered[0]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The surroundings of a run. Children started through it end with `exits`."""

    work: Path
    cores: Cores
    tenants: tuple[Tenant, ...]
    authority: Authority
    exits: contextlib.AsyncExitStack
    niceness: int = 0
    """Of all children; below zero they go before other work on the machine."""

    async def start_proxy(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Starts a process on the proxies' core."""
        return await self._start(name, command, self.cores.proxy, environment or {})

    async def start_other(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Starts a process on the other core."""
        return await self._start(name, command, self.cores.load, environment or {})

    async def _start(self, name: str, command: Sequence[str], cores: str, environment: Mapping[str, str]) -> Child:
        log = self.work / f"{name}.log"
        child = Child(name, command, cores=cores, log=log, niceness=self.niceness, environment=environment)
        return await self.exits.enter_async_context(child)

    def load_child(self, name: str, command: Sequence[str], environment: Mapping[str, str], *, yielding: int = 0) -> Child:
        """A load process, not yet started, on the other core; whoever starts it ends it. `yielding`: by so much nicer than the
        others it is."""
        log, niceness = self.folder("load") / f"{name}.log", self.niceness + yielding
        return Child(name, command, cores=self.cores.load, log=log, niceness=niceness, environment=environment)

    def socket_path(self, name: str) -> Path:
        """Where a Unix socket may be made; the work folder's own path may be longer than the 107 bytes that one takes."""
        return Path(self.exits.enter_context(tempfile.TemporaryDirectory(prefix="edgeproxy-bench-"))) / name

    def folder(self, name: str) -> Path:
        """A new folder for one part's files."""
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def available_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))
