"""Ticket secrets and the built-in CA's root."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.config.structs import Config
from edgeproxy.control.store import InternalCa, Store
from edgeproxy.errors import StateError
from edgeproxy.published.records import Tickets
from edgeproxy.published.seal import Sealer
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


async def test_another_state_key_than_the_stores_own_is_refused_and_the_own_one_still_fits(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.check_key(NOW)
    other = await Store.open(Config(), tmp_path, Sealer(b"x" * 32), account_sealer=Sealer(b"y" * 32))
    try:
        with pytest.raises(StateError, match=r"state key is not the one .* Put that key back from your copy"):
            await other.check_key(NOW)
    finally:
        await other.close()
    async with opened(tmp_path) as store:
        await store.check_key(NOW)
        assert await store.head_change() == 0
