"""A state directory with as many registered domains as a large platform has, and looks at a program that serves them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.traffic import DOMAIN, Tenant
from edgeproxy import keys
from edgeproxy.config.structs import Config, State
from edgeproxy.control.store import Store, schema
from edgeproxy.control.store.base import parent_of
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer

WILDCARD = f"*.{DOMAIN}"
"""Registered too, so that one certificate is enough: what is measured is not the making of certificates."""

_BATCH = 10_000


async def fill(state_directory: Path, registered: Sequence[Tenant]) -> None:
    """Makes a state directory in which these tenants, and WILDCARD, are registered, and nothing is published yet.

    By the store's own tables and change log, in a few transactions: one for each would take minutes.
    """
    state_directory.mkdir(mode=0o700, parents=True)
    config = Config(state=State(directory=str(state_directory)))
    root = keys.root_key(config, state_directory, may_create=True)
    sealers = Sealer(keys.derive(root, "store")), Sealer(keys.derive(root, "acme"))
    store = await Store.open(config, state_directory, sealers[0], account_sealer=sealers[1])
    try:
        for start in range(0, len(registered), _BATCH):
            await _add(store, registered[start : start + _BATCH])
        await _add(store, [Tenant(WILDCARD, "nobody")])
    finally:
        await store.close()


async def _add(store: Store, registered: Iterable[Tenant]) -> None:
    now = time.time()
    async with store.database.write() as write:
        rows = []
        for tenant in registered:
            rows.append(
                {
                    "hostname": tenant.hostname,
                    "parent": parent_of(tenant.hostname),
                    "workspace_id": tenant.workspace,
                    "origin": "",
                    "state": DomainState.VERIFIED.value,
                    "created_at": now,
                    "updated_at": now,
                    "verified_at": now,
                }
            )
            write.changed("sites", tenant.hostname)
        await write.connection.execute(schema.domains.insert(), rows)


def workers_of(supervisor: int) -> list[int]:
    """Process ids of a running program's workers."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return sorted(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith("edgeproxy w"))


def private_bytes(pid: int) -> int:
    """What a process has in memory for itself alone, the published map not counted."""
    return parse_private(Path(f"/proc/{pid}/smaps").read_text())


def parse_private(smaps: str) -> int:
    """The private bytes in the text of /proc/PID/smaps. Those of the published map are left out: pages of a shared file count
    as private while no other process happens to read them."""
    total = 0
    mapping = ""
    for line in smaps.splitlines():
        name, _, value = line.partition(":")
        if name in ("Private_Clean", "Private_Dirty"):
            if not mapping.endswith("/data.mdb"):
                total += int(value.split()[0]) * 1024
        elif "-" in name.partition(" ")[0]:
            mapping = line
    return total


def accepted_by(connection: socket.socket, processes: Iterable[int]) -> int | None:
    """Which of these processes holds the other end of a loopback connection; None while it waits to be accepted."""
    theirs, ours = connection.getpeername()[1], connection.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == theirs and int(fields[2].split(":")[1], 16) == ours:
            wanted = f"socket:[{fields[9]}]"
            return next((pid for pid in processes if wanted in _descriptors(pid)), None)
    return None


def _descriptors(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except FileNotFoundError:
            continue  # closed since the folder was listed
    return found
