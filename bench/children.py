"""The processes that a run starts: pinned to cores, bounded in time, ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.cpu import read_tree
from bench.errors import BenchError

END_SECONDS = 5.0
"""How long an asked child may take to end before it is killed."""

_START_SECONDS = 30.0


class Child:
    """One process and all that it starts. Use it as a context manager, or enter it into an exit stack."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cores: str,
        log: Path,
        niceness: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`cores` is what taskset takes: "0" or "1-3"; `niceness` below zero goes before others' work, which root alone may.

        Standard output and error go to `log`.
        """
        self.name = name
        self.log = log
        # The kernel ends the child with us even if we are killed; all helpers exec, so the child keeps the process id.
        self._command = [*("setpriv", "--pdeathsig", "TERM", "nice", "-n", str(niceness), "taskset", "-c", cores), *command]
        self._environment = {**os.environ, **(environment or {})}
        self._niceness = niceness
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id; raises BenchError before the start."""
        if self._process is None:
            raise BenchError(f"{self.name} was not started.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process is not None and self._process.returncode is None

    async def __aenter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # a Ctrl-C is ours to pass on
            )
        if self._niceness:
            # Where the kernel groups what it schedules by session (sched(7), autogroup), a process's own niceness counts only
            # within its session.
            with contextlib.suppress(OSError):
                Path(f"/proc/{self.pid}/autogroup").write_text(str(self._niceness))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        """Ends it and its descendants: first asked, then killed."""
        process = self._process
        if process is None:
            return
        members = [pid for pid in read_tree(process.pid) if pid != process.pid]
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            except TimeoutError:
                members = [pid for pid in read_tree(process.pid) if pid != process.pid]
                process.kill()
                await process.wait()
        for pid in members:
            _kill_orphan(pid, process.pid)

    def check_alive(self) -> None:
        """Raises BenchError with the end of its log if it has ended."""
        if self._process is None or self._process.returncode is not None:
            raise BenchError(f"{self.name} ended by itself. Its log ends:\n{self.log_end()}")

    def log_end(self) -> str:
        """The last lines of what it wrote."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return ""

    async def wait(self, seconds: float) -> int:
        """Its exit status; raises BenchError if it takes longer."""
        if self._process is None:
            raise BenchError(f"{self.name} was not started.")
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            raise BenchError(f"{self.name} did not end within {seconds:.0f} s. Its log ends:\n{self.log_end()}") from None

    async def wait_listening(self, port: int, host: str = "127.0.0.1") -> None:
        """Returns as soon as connections to `port` are taken; raises BenchError if that does not happen or it ends."""
        for _ in range(int(_START_SECONDS / 0.05)):
            self.check_alive()
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
        raise BenchError(f"{self.name} does not listen on port {port}. Its log ends:\n{self.log_end()}")


def _kill_orphan(pid: int, root: int) -> None:
    """Kills a former descendant of `root`, unless the number belongs to another process by now: our own child's session
    is its mark."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getsid(pid) == root:
            os.kill(pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that nothing listens on just now."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports
