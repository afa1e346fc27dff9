"""A disk of a few kilobytes, in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

MOUNT = 'mount -t tmpfs -o "size=$1" edgeproxy-test "$2" && echo there && exec cat'


class SmallDisk:
    """A tmpfs on `folder` that only processes started with `command` see. It is gone when the last of them has ended.

    Skips the test where nothing may be mounted.
    """

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", MOUNT, "sh", size, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"there\n":
            _, said = self._holder.communicate()
            pytest.skip(f"nothing may be mounted here: {said.decode().strip()}")

    def command(self, arguments: Iterable[str]) -> list[str]:
        """What to run for this to be run where the disk is."""
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", *arguments]

    def grow(self, size: str) -> None:
        """Makes room."""
        subprocess.run(self.command(["mount", "-o", f"remount,size={size}", str(self.folder)]), check=True)

    def content(self) -> list[str]:
        """Paths of all that is on it."""
        root = Path(f"/proc/{self._holder.pid}/root{self.folder}")
        return sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._holder.communicate()
