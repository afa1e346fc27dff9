"""A state directory with many domains, and looks at processes."""

import os
import socket
import sqlite3

from bench.many import WILDCARD, accepted_by, fill, parse_private, private_bytes
from bench.traffic import tenants

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
