"""A first start on a disk that is too small: the real program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import Running
from tests.integration.small_disk import SmallDisk

STORE = {"edgeproxy.db", "edgeproxy.db-wal", "edgeproxy.db-shm"}
WHOLE = STORE | {"edgeproxy.lock", "state.key", "instance", "internal-ca.pem", "published"}


@pytest.mark.parametrize(
    ("size", "apart"),
    [("4k", False), ("200k", False), ("8k", True), ("12k", True), ("108k", True), ("116k", True)],
)
def test_a_first_start_without_room_is_refused_and_one_with_room_succeeds(tmp_path: Path, size: str, apart: bool) -> None:
    """At each step: lock, key, store; with the store on another disk the machine's id, the map's table of readers, its data and
    its word."""
    with SmallDisk(tmp_path / "edge" / "state", size) as disk:
        tables: dict[str, Any] = {"store": {"url": f"sqlite:///{tmp_path}/apart.db"}} if apart else {}
        command = disk.command([sys.executable, "-m", "edgeproxy", "serve", "--config"])
        edge = Running(tmp_path / "edge", tables, command=command)
        try:
            edge.start(wait=False)
            assert edge.wait_ended() == 1
            assert edge.logged("not up to date yet") is None
            lines = edge.log.read_text().splitlines()
            assert lines[-1].startswith(f"edgeproxy: The disk is full: {edge.state}/")
            assert lines[-1].endswith(" cannot be written. Make room there, and try again.")
            assert "Traceback" not in edge.log.read_text()
            assert edge.logged("died and is replaced") is None
            left = disk.content()
            assert {path for path in left if not path.startswith("published/")} <= WHOLE
            disk.grow("64m")
            edge.start()
            assert edge.logged("made anew") is None
            edge.add_domain("a.example.com")
            assert edge.stop() == 0
        finally:
            edge.stop()
