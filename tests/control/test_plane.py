"""What needs the store is opened together or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgeproxy import keys
from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.machine import Process, State
from edgeproxy.config.platform import Api, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Tls
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.plane import Plane, edge_names, open_plane, patterns
from edgeproxy.control.store import Account
from edgeproxy.errors import ConfigError, EdgeError, Fault, MapError, StateError
from edgeproxy.link.start import ChildStart
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer

KEY, OTHER_KEY = "ab" * 32, "cd" * 32


def test_the_platforms_own_names_are_what_customers_point_at_the_api_and_its_workspaces() -> None:
    whole = Config(platform=Platform(name="ve.ai", cname_target="domain.edge.example"), api=Api(hostname="api.edge.example"))
    assert sorted(edge_names(whole)) == ["*.ve.ai", "api.edge.example", "domain.edge.example"]
    assert edge_names(Config(platform=Platform(cname_target="domain.edge.example"))) == ["domain.edge.example"]
    assert edge_names(Config()) == []


def test_the_name_for_clients_without_sni_is_served_as_one_that_a_pattern_admits() -> None:
    allow = Allow(patterns=("*.customers.example", "one.example"))
    both = Config(issuance=Issuance(allow=allow), tls=Tls(default_hostname="default.example"))
    assert patterns(both) == ["*.customers.example", "one.example", "default.example"]
    assert patterns(Config(issuance=Issuance(allow=allow))) == ["*.customers.example", "one.example"]
    assert patterns(Config()) == []


def config(directory: Path, key: str = KEY, group: str = "") -> Config:
    return Config(
        state=State(directory=str(directory), key=key), issuance=Issuance(directory="internal"), process=Process(group=group)
    )


@contextlib.asynccontextmanager
async def opened(settings: Config, *, serving: bool = False) -> AsyncIterator[Plane]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        start = ChildStart(
            config=settings,
            config_path=None,
            state_directory=Path(settings.state.directory),
            channel=ours,
            sockets={},
            started_at=time.time(),
            serving=serving,
        )
        plane = await open_plane(start, Metrics("1", 10))
    try:
        yield plane
    finally:
        await plane.close()


async def test_a_zone_is_answered_where_there_is_one(tmp_path: Path) -> None:
    async with opened(config(tmp_path)) as plane:
        assert plane.authority is None
    with_zone = msgspec.structs.replace(
        config(tmp_path), dns=Dns(zone="acme.edge.example"), platform=Platform(cname_target="edge.example")
    )
    async with opened(with_zone, serving=True) as plane:
        assert plane.authority is not None
        publishing = asyncio.ensure_future(plane.publisher.run())
        await asyncio.wait_for(plane.authority.loaded.wait(), 60)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


async def refused(settings: Config, *, serving: bool = False) -> EdgeError:
    with pytest.raises(EdgeError) as caught:
        async with opened(settings, serving=serving):
            pass
    return caught.value


def held(directory: Path) -> list[str]:
    """Files of the directory that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(descriptor.readlink()))
    return [name for name in found if name.startswith(str(directory))]


async def test_the_first_start_makes_key_and_store_and_the_next_process_finds_them(tmp_path: Path) -> None:
    settings = config(tmp_path, key="")
    async with opened(settings) as plane:
        assert (tmp_path / keys.KEY_FILE).stat().st_mode & 0o777 == 0o600
        await plane.store.add_domain("a.example", "w", state=DomainState.VERIFIED, actor="t", now=1.0)
        publishing = asyncio.ensure_future(plane.publisher.run())
        await asyncio.wait_for(plane.publisher.published(1), 60)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        assert [name for name in held(tmp_path) if name.endswith(".mdb")]
    async with asyncio.timeout(60):
        while held(tmp_path):  # the query that the publisher was cancelled in ends in its thread
            await asyncio.sleep(0.01)
    async with opened(settings, serving=True) as plane:
        assert await plane.store.get_domain("a.example") is not None


async def test_a_replacement_never_makes_a_key(tmp_path: Path) -> None:
    error = await refused(config(tmp_path, key=""), serving=True)
    assert isinstance(error, StateError)
    assert "made when the edge starts for the first time" in error.detail
    assert list(tmp_path.iterdir()) == []


async def test_each_kind_of_secret_is_sealed_under_a_key_of_its_own(tmp_path: Path) -> None:
    async with opened(config(tmp_path)) as plane:
        await plane.store.save_account(Account(directory="https://ca.example/dir", key=b"the account's key"), 1.0)
        await plane.tickets.look()
        tickets = await plane.store.tickets()
        assert tickets is not None
    with contextlib.closing(sqlite3.connect(keys.store_path(Config(), tmp_path))) as connection:
        (account,) = connection.execute("SELECT sealed_key FROM accounts").fetchone()
        (mark,) = connection.execute("SELECT record FROM secrets WHERE name = 'key_check'").fetchone()
    sealed = {
        "acme": (account, b"account:https://ca.example/dir"),
        "map": (tickets.secrets[0], b"ticket:%d" % tickets.starts[0]),
        "store": (mark, b"key_check"),
    }
    for purpose in ("acme", "map", "store"):
        sealer = Sealer(keys.derive(bytes.fromhex(KEY), purpose))
        for kind, (secret, context) in sealed.items():
            if kind == purpose:
                assert sealer.open(secret, context)
            else:
                with pytest.raises(MapError):
                    sealer.open(secret, context)


async def test_another_state_key_is_refused_with_nothing_left_open_and_nothing_overwritten(tmp_path: Path) -> None:
    async with opened(config(tmp_path)):
        pass
    store = keys.store_path(Config(), tmp_path)
    before = store.read_bytes()
    error = await refused(config(tmp_path, key=OTHER_KEY))
    assert isinstance(error, StateError)
    assert "state key is not the one" in error.detail
    assert held(tmp_path) == []
    assert store.read_bytes() == before
    async with opened(config(tmp_path)):
        pass


async def test_where_the_map_cannot_be_made_the_store_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "published").write_text("in the way")
    error = await refused(config(tmp_path))
    assert isinstance(error, MapError)
    assert "published" in error.detail
    assert held(tmp_path) == []
    (tmp_path / "published").unlink()
    async with opened(config(tmp_path)):
        pass


async def test_a_group_that_is_not_there_is_told_with_how_to_make_it(tmp_path: Path) -> None:
    error = await refused(config(tmp_path, group="no-such-group"))
    assert isinstance(error, ConfigError)
    assert error.fault is Fault.OPERATOR
    assert "process.group" in error.detail
    assert "groupadd no-such-group" in error.detail
    assert held(tmp_path) == []


async def test_the_map_is_the_configured_groups_to_read(tmp_path: Path) -> None:
    usable = [found for found in grp.getgrall() if os.geteuid() == 0 or found.gr_gid in os.getgroups()]
    other = next((found for found in usable if found.gr_gid != os.getegid()), None)
    if other is None:
        pytest.skip("this user has no second group")
    async with opened(config(tmp_path, group=other.gr_name)):
        folder = tmp_path / "published"
        assert folder.stat().st_gid == other.gr_gid
        assert folder.stat().st_mode & 0o070 == 0o050
    own = tmp_path / "own"
    own.mkdir()
    async with opened(config(own)):
        assert (own / "published").stat().st_gid == os.getegid()
