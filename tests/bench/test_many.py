"""A state directory with many domains, and looks at processes."""

import os
import socket
import sqlite3

import pytest

from bench.errors import BenchError
from bench.many import WILDCARD, accepted_by, certify, fill, parse_private, private_bytes
from bench.traffic import tenants
from edgeproxy import keys
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.store import Store, StoredCertificate
from edgeproxy.published.seal import Sealer

SMAPS = """\
55d0c0a00000-55d0c0a01000 r--p 00000000 fd:01 1234    /usr/bin/python3.11
Rss:                   4 kB
Private_Clean:         4 kB
Private_Dirty:         8 kB
VmFlags: rd mr mw me sd
7f0000000000-7f1000000000 r--s 00000000 fd:01 99      /var/lib/edgeproxy/published/1-1/data.mdb
Private_Clean:      4000 kB
Private_Dirty:         0 kB
7f2000000000-7f2000001000 rw-p 00000000 00:00 0
Private_Clean:         0 kB
Private_Dirty:       100 kB
"""


def test_private_memory_is_counted_without_the_published_map():
    assert parse_private(SMAPS) == (4 + 8 + 100) * 1024
    assert private_bytes(os.getpid()) > 1024 * 1024


async def test_a_filled_store_has_every_domain_and_tells_of_each(tmp_path):
    await fill(tmp_path / "state", tenants(25))
    store = sqlite3.connect(tmp_path / "state" / "edgeproxy.db")
    assert store.execute("SELECT count(*), min(state), max(state) FROM domains").fetchone() == (26, "verified", "verified")
    known = {key for (key,) in store.execute("SELECT key FROM changes WHERE database = 'sites'")}
    assert known == {WILDCARD, *(tenant.hostname for tenant in tenants(25))}
    store.close()


def test_who_accepted_a_connection_is_known_once_it_was():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert accepted_by(client, [os.getpid()]) is None
        accepted, _ = server.accept()
        with accepted:
            assert accepted_by(client, [os.getpid()]) == os.getpid()
            assert accepted_by(client, []) is None


async def test_certificates_for_all_are_their_own_and_open_with_the_maps_key(tmp_path):
    state = tmp_path / "state"
    await fill(state, tenants(5))
    with pytest.raises(BenchError, match="no certificate"):
        await certify(state, tenants(5))
    config = Config(state=State(directory=str(state)))
    root = keys.root_key(config, state, may_create=False)
    sealer = Sealer(keys.derive(root, "map"))
    store = await Store.open(
        config, state, Sealer(keys.derive(root, "store")), account_sealer=Sealer(keys.derive(root, "acme"))
    )
    try:
        wildcard = StoredCertificate(
            id="one", names=(WILDCARD,), chain=b"chain", sealed_key=sealer.seal(b"key", b"key:one"),
            not_before=0.0, not_after=2e9, renew_at=1e9, issuer="internal",
        )  # fmt: skip
        await store.add_certificate(wildcard, 1.0)
        await certify(state, tenants(5))
        for tenant in tenants(5):
            found = await store.current_certificate(tenant.hostname, 1.0)
            assert found is not None
            assert (found.names, found.chain) == ((tenant.hostname,), b"chain")
            assert sealer.open(found.sealed_key, b"key:" + found.id.encode()) == b"key"
    finally:
        await store.close()
