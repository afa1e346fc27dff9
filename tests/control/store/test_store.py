"""The store as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.config.machine import Store as StoreSection
from edgeproxy.config.structs import Config
from edgeproxy.control import store as package
from edgeproxy.errors import ConfigError
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, anew


async def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    async with anew(tmp_path) as store:
        one = store.id
        await store.add_domain("a.example.com", "one", state=DomainState.VERIFIED, actor="t", now=NOW)
    async with anew(tmp_path) as store:
        assert store.id == one
        assert (await store.head_change(), await store.count_domains()) == (1, 1)


async def test_the_store_lies_where_the_configuration_says(tmp_path: Path) -> None:
    async with anew(tmp_path, Config(store=StoreSection(url="sqlite:///other.db"))):
        pass
    assert (tmp_path / "other.db").exists()


async def test_postgresql_is_refused_until_clusters_are_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PostgreSQL"):
        async with anew(tmp_path, Config(store=StoreSection(url="postgresql://db/edge"))):
            pass


def test_a_start_without_a_migration_does_not_load_alembic(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from tests.control.store.making import anew
async def main():
    async with anew(Path(sys.argv[1])) as store:
        await store.head_change()
asyncio.run(main())
print("alembic" in sys.modules)
"""
    outputs = [
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["True\n", "False\n"]


def test_the_package_exports_what_its_users_need() -> None:
    for name in package.__all__:
        assert hasattr(package, name)
    assert {"Store", "Domain", "StoredCertificate", "Order", "Account", "GateRoute"} <= set(package.__all__)
