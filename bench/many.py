"""A state directory with as many domains and certificates as a large platform has, and looks at a program that serves them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.traffic import DOMAIN, Tenant
from edgeproxy import keys
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.store import Store, StoredCertificate, schema
from edgeproxy.control.store.base import parent_of
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer

WILDCARD = f"*.{DOMAIN}"
"""Registered too, and certified by the program itself: every name then gets a certificate of its own with the same chain and
key, sealed for it. What is measured is not the making of certificates."""

_BATCH = 10_000


async def fill(state_directory: Path, registered: Sequence[Tenant]) -> None:
    """Makes a state directory in which these tenants, and WILDCARD, are registered, and nothing is published yet.

    By the store's own tables and change log, in a few transactions: one for each would take minutes.
    """
    state_directory.mkdir(mode=0o700, parents=True)
    async with opened(state_directory) as (store, _):
        for start in range(0, len(registered), _BATCH):
            await _add(store, registered[start : start + _BATCH])
        await _add(store, [Tenant(WILDCARD, "nobody")])


async def certify(state_directory: Path, registered: Sequence[Tenant]) -> None:
    """Gives each of them a certificate of its own, after WILDCARD's. The program must not run."""
    async with opened(state_directory) as (store, sealer):
        wildcard = await store.current_certificate(WILDCARD)
        if wildcard is None:
            raise BenchError(f"There is no certificate for {WILDCARD}.")
        key = sealer.open(wildcard.sealed_key, b"key:" + wildcard.id.encode("ascii"))
        for start in range(0, len(registered), _BATCH):
            await _certify(store, sealer, wildcard, key, registered[start : start + _BATCH])


@contextlib.asynccontextmanager
async def opened(state_directory: Path) -> AsyncIterator[tuple[Store, Sealer]]:
    """The store, and what seals private keys for the map."""
    config = Config(state=State(directory=str(state_directory)))
    root = keys.root_key(config, state_directory, may_create=not (state_directory / "state.key").exists())
    sealers = Sealer(keys.derive(root, "store")), Sealer(keys.derive(root, "acme"))
    store = await Store.open(config, state_directory, sealers[0], account_sealer=sealers[1])
    try:
        yield store, Sealer(keys.derive(root, "map"))
    finally:
        await store.close()


async def _certify(store: Store, sealer: Sealer, wildcard: StoredCertificate, key: bytes, registered: Sequence[Tenant]) -> None:
    async with store.database.write() as write:
        number = await write.head() + 1
        certificates, names = [], []
        for tenant in registered:
            certificate_id = f"bench-{tenant.hostname}"
            certificates.append(
                {
                    "id": certificate_id,
                    "chain": wildcard.chain,
                    "sealed_key": sealer.seal(key, b"key:" + certificate_id.encode("ascii")),
                    "not_before": wildcard.not_before,
                    "not_after": wildcard.not_after,
                    "renew_at": wildcard.renew_at,
                    "issuer": wildcard.issuer,
                    "key_type": wildcard.key_type,
                    "added_at": wildcard.added_at,
                }
            )
            names.append(
                {
                    "name": tenant.hostname,
                    "number": number,
                    "parent": parent_of(tenant.hostname),
                    "not_after": wildcard.not_after,
                    "certificate_id": certificate_id,
                    "position": 0,
                }
            )
            write.changed("certificates", certificate_id)
            write.changed("sites", tenant.hostname)
        await write.connection.execute(schema.certificates.insert(), certificates)
        await write.connection.execute(schema.certificate_names.insert(), names)


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


def controller_of(supervisor: int) -> int:
    """Process id of a running program's controller."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith("edgeproxy c"))


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
