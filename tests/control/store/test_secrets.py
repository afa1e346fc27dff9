"""Ticket secrets and the built-in CA's root."""

from __future__ import annotations

from pathlib import Path

from edgeproxy.control.store import InternalCa, Store
from edgeproxy.published.records import Tickets
from tests.control.store.making import NOW, logged, opened


async def test_ticket_secrets_are_replaced_as_a_whole(store: Store) -> None:
    assert await store.tickets() is None
    await store.save_tickets(Tickets(secrets=(b"one",), starts=(3600,)), NOW)
    new = Tickets(secrets=(b"two", b"one"), starts=(7200, 3600))
    assert await store.save_tickets(new, NOW) == 2
    assert await store.tickets() == new
    assert await logged(store) == [("tickets", "current")] * 2


async def test_the_built_in_ca_survives_a_restart_and_its_key_is_nowhere_in_clear(tmp_path: Path) -> None:
    ca = InternalCa(certificate=b"the certificate", key=b"-----BEGIN PRIVATE KEY----- of nobody")
    async with opened(tmp_path) as store:
        assert await store.internal_ca() is None
        await store.save_internal_ca(ca, NOW)
        for path in tmp_path.iterdir():
            assert b"nobody" not in path.read_bytes()
    async with opened(tmp_path) as store:
        found = await store.internal_ca()
    assert found is not None
    assert (found.certificate, found.key, found.created_at) == (ca.certificate, ca.key, NOW)
    assert "nobody" not in repr(found)
